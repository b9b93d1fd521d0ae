//! InceptionV3 as FID has it: the weights that TensorFlow published in 2015, in the layout of pytorch-fid.
//!
//! Source: mseitzer/pytorch-fid at b9c1811, `src/pytorch_fid/inception.py` (`pt_inception-2015-12-05`, names as in
//! torchvision). Against torchvision, the average pools of blocks A, C and E leave the padding out, and the last block's
//! pool is a maximum.

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::pixels::Pixels;
use crate::ops::{self, Padding};
use crate::weights::{WeightFiles, content_hash};
use crate::{Error, Result};

/// Side of what the network looks at, in pixels.
pub const IMAGE_SIZE: usize = 299;
/// Channels of the first convolution as published; all others are in proportion.
const PUBLISHED_WIDTH: usize = 32;
const FIRST: &str = "Conv2d_1a_3x3.conv.weight";
const BATCH_NORM_EPS: f64 = 1e-3;

/// Pictures to features of 2048 dimensions (64 times the channels of the first convolution).
pub struct InceptionV3 {
    stem: Stem,
    mixed: Vec<Block>,
    content_hash: String,
    device: Device,
}

impl InceptionV3 {
    /// Reads a safetensors file with the tensors of `pt_inception-2015-12-05`. The channels follow from the first
    /// convolution, so that a narrower network of the same form can be read too.
    ///
    /// # Errors
    /// The file is damaged, or a tensor is missing, unknown or of another shape; the error names file and tensor.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let mut files = WeightFiles::of_files(path, &[path.to_owned()])?;
        let first = files.entries().find(|(name, _)| *name == FIRST).map(|(_, entry)| entry.shape);
        let width = first.and_then(|shape| shape.first().copied()).unwrap_or(PUBLISHED_WIDTH);
        if width == 0 || !width.is_multiple_of(2) {
            return Err(Error::Tensor {
                path: path.to_owned(),
                tensor: FIRST.to_owned(),
                message: format!("has {width} channels; InceptionV3 has {PUBLISHED_WIDTH}, or an even number"),
            });
        }
        let ((stem, mixed), tensors) =
            files.load(DType::F32, device, |vb| load(&Loader { vb, width, input: std::cell::Cell::new(3) }))?;
        let content_hash = content_hash([("inception_v3", &tensors)])?;
        Ok(Self { stem, mixed, content_hash, device: device.clone() })
    }

    /// SHA-256 over all weights, in hex.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// Features `[b, d]` of pictures, each resized to 299 × 299.
    ///
    /// # Errors
    /// There are no pictures.
    pub fn features(&self, pictures: &[Pixels]) -> Result<Tensor> {
        let values = pictures.iter().flat_map(resized).collect::<Vec<f32>>();
        let pixels = Tensor::from_vec(values, (pictures.len(), 3, IMAGE_SIZE, IMAGE_SIZE), &self.device)?;
        self.forward(&pixels)
    }

    /// Features `[b, d]` of pixels `[b, 3, h, w]` in −1 ..= 1.
    ///
    /// # Errors
    /// The pictures are too small for the network's strides.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut hidden = self.stem.forward(pixels)?;
        for block in &self.mixed {
            hidden = block.forward(&hidden)?;
        }
        Ok(hidden.mean(D::Minus1)?.mean(D::Minus1)?)
    }
}

/// torch's `interpolate(bilinear, align_corners=False)` without antialiasing, then 2 x − 1: `[3, 299, 299]`.
fn resized(picture: &Pixels) -> Vec<f32> {
    let (across, down) = (taps(picture.width()), taps(picture.height()));
    let mut values = Vec::with_capacity(3 * IMAGE_SIZE * IMAGE_SIZE);
    let at = |x: usize, y: usize, channel: usize| {
        f32::from(picture.values()[(y * picture.width() + x) * 3 + channel]) / 255.0
    };
    for channel in 0..3 {
        for &(top, bottom, low) in &down {
            for &(left, right, aside) in &across {
                let upper = at(left, top, channel) * (1.0 - aside) + at(right, top, channel) * aside;
                let lower = at(left, bottom, channel) * (1.0 - aside) + at(right, bottom, channel) * aside;
                values.push(2.0 * (upper * (1.0 - low) + lower * low) - 1.0);
            }
        }
    }
    values
}

/// For each place that comes out: the two that go in, and the share of the second.
fn taps(length: usize) -> Vec<(usize, usize, f32)> {
    let scale = length as f32 / IMAGE_SIZE as f32;
    let tap = |i: usize| {
        let place = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (place as usize).min(length - 1);
        (first, (first + 1).min(length - 1), place - first as f32)
    };
    (0..IMAGE_SIZE).map(tap).collect()
}

/// Convolution, batch norm and ReLU; the norm is folded into the convolution.
struct BasicConv2d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    padding: Padding,
}

impl BasicConv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::conv2d(x, &self.weight, Some(&self.bias), self.stride, self.padding)?.relu()?)
    }
}

/// Reads layers and follows the channels: each convolution takes what the last one gave, unless told otherwise.
struct Loader<'a> {
    vb: VarBuilder<'a>,
    /// Channels of the first convolution.
    width: usize,
    input: std::cell::Cell<usize>,
}

impl Loader<'_> {
    fn channels(&self, published: usize) -> usize {
        published * self.width / PUBLISHED_WIDTH
    }

    /// The next convolutions take the output of one with so many channels.
    fn from(&self, published: usize) -> &Self {
        self.input.set(self.channels(published));
        self
    }

    fn conv(&self, name: &str, output: usize, (height, width): (usize, usize), stride: usize) -> Result<BasicConv2d> {
        // What keeps its size is padded; what shrinks is not.
        let keeps = stride == 1 && !["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3"].contains(&name);
        let padding = if keeps {
            Padding::asymmetric(width / 2, width / 2, height / 2, height / 2)
        } else {
            Padding::symmetric(0)
        };
        let (vb, output) = (self.vb.pp(name), self.channels(output));
        let weight = vb.get((output, self.input.get(), height, width), "conv.weight")?;
        let norm = |part: &str| vb.get(output, &format!("bn.{part}"));
        let (gain, shift, mean, variance) =
            (norm("weight")?, norm("bias")?, norm("running_mean")?, norm("running_var")?);
        let gain = (gain / (variance + BATCH_NORM_EPS)?.sqrt()?)?;
        self.input.set(output);
        Ok(BasicConv2d {
            weight: weight.broadcast_mul(&gain.reshape((output, 1, 1, 1))?)?,
            bias: (shift - (mean * gain)?)?,
            stride,
            padding,
        })
    }

    /// A branch of a block; stride 1.
    fn branch(&self, block: &str, input: usize, layers: &[Layer<'_>]) -> Result<Vec<BasicConv2d>> {
        self.chain(block, input, layers, 1)
    }

    /// A branch whose last layer halves the picture.
    fn halving(&self, block: &str, input: usize, layers: &[Layer<'_>]) -> Result<Vec<BasicConv2d>> {
        self.chain(block, input, layers, 2)
    }

    fn chain(&self, block: &str, input: usize, layers: &[Layer<'_>], last: usize) -> Result<Vec<BasicConv2d>> {
        self.from(input);
        let stride = |i: usize| if i + 1 == layers.len() { last } else { 1 };
        let layer = |(i, (name, output, kernel)): (usize, &Layer<'_>)| {
            self.conv(&format!("{block}.{name}"), *output, *kernel, stride(i))
        };
        layers.iter().enumerate().map(layer).collect()
    }
}

/// Name, channels as published, height and width of the kernel.
type Layer<'a> = (&'a str, usize, (usize, usize));

/// From pixels to a map of 35 × 35.
struct Stem {
    layers: [BasicConv2d; 5],
}

impl Stem {
    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let [first, second, third, fourth, fifth] = &self.layers;
        let hidden = third.forward(&second.forward(&first.forward(pixels)?)?)?;
        let hidden = hidden.max_pool2d_with_stride(3, 2)?;
        Ok(fifth.forward(&fourth.forward(&hidden)?)?.max_pool2d_with_stride(3, 2)?)
    }
}

#[derive(Clone, Copy)]
enum Pool {
    /// 3 × 3, stride 1; the padding does not count.
    Average,
    /// 3 × 3, stride 1.
    Max,
    /// 3 × 3, stride 2, no padding.
    Halving,
}

impl Pool {
    fn forward(self, x: &Tensor) -> Result<Tensor> {
        if matches!(self, Self::Halving) {
            return Ok(x.max_pool2d_with_stride(3, 2)?);
        }
        // Everything here comes from a ReLU: zeros around change no maximum.
        let padded = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        if matches!(self, Self::Max) {
            return Ok(padded.max_pool2d_with_stride(3, 1)?);
        }
        let (_, _, height, width) = x.dims4()?;
        let inside = |i: usize, length: usize| 1 + usize::from(i > 0) + usize::from(i + 1 < length);
        let counts: Vec<f32> = (0..height)
            .flat_map(|y| (0..width).map(move |x| 9.0 / (inside(y, height) * inside(x, width)) as f32))
            .collect();
        let counts = Tensor::from_vec(counts, (1, 1, height, width), x.device())?;
        Ok(padded.avg_pool2d_with_stride(3, 1)?.broadcast_mul(&counts)?)
    }
}

/// Branches side by side, their channels one after another.
struct Block {
    branches: Vec<Vec<BasicConv2d>>,
    /// A branch whose output goes through two convolutions at once.
    forks: Vec<(Vec<BasicConv2d>, [BasicConv2d; 2])>,
    pool: Pool,
    after_pool: Option<BasicConv2d>,
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let through =
            |layers: &[BasicConv2d]| layers.iter().try_fold(x.clone(), |hidden, layer| layer.forward(&hidden));
        let mut outputs = Vec::new();
        for branch in &self.branches {
            outputs.push(through(branch)?);
        }
        for (branch, [first, second]) in &self.forks {
            let hidden = through(branch)?;
            outputs.extend([first.forward(&hidden)?, second.forward(&hidden)?]);
        }
        let pooled = self.pool.forward(x)?;
        outputs.push(match &self.after_pool {
            Some(layer) => layer.forward(&pooled)?,
            None => pooled,
        });
        Ok(Tensor::cat(&outputs, 1)?)
    }
}

fn load(loader: &Loader<'_>) -> Result<(Stem, Vec<Block>)> {
    let stem = Stem {
        layers: [
            loader.conv("Conv2d_1a_3x3", 32, (3, 3), 2)?,
            loader.conv("Conv2d_2a_3x3", 32, (3, 3), 1)?,
            loader.conv("Conv2d_2b_3x3", 64, (3, 3), 1)?,
            loader.conv("Conv2d_3b_1x1", 80, (1, 1), 1)?,
            loader.conv("Conv2d_4a_3x3", 192, (3, 3), 1)?,
        ],
    };
    let mixed = vec![
        block_a(loader, "Mixed_5b", 192, 32)?,
        block_a(loader, "Mixed_5c", 256, 64)?,
        block_a(loader, "Mixed_5d", 288, 64)?,
        block_b(loader, "Mixed_6a", 288)?,
        block_c(loader, "Mixed_6b", 128)?,
        block_c(loader, "Mixed_6c", 160)?,
        block_c(loader, "Mixed_6d", 160)?,
        block_c(loader, "Mixed_6e", 192)?,
        block_d(loader, "Mixed_7a", 768)?,
        block_e(loader, "Mixed_7b", 1280, Pool::Average)?,
        block_e(loader, "Mixed_7c", 2048, Pool::Max)?,
    ];
    // The classifier comes with the file and has no part in the features.
    if loader.vb.contains_tensor("fc.weight") {
        loader.vb.get((1008, loader.channels(2048)), "fc.weight")?;
        loader.vb.get(1008, "fc.bias")?;
    }
    Ok((stem, mixed))
}

/// The convolution behind a block's pool.
fn after_pool(loader: &Loader<'_>, name: &str, input: usize, output: usize) -> Result<Option<BasicConv2d>> {
    loader.from(input).conv(&format!("{name}.branch_pool"), output, (1, 1), 1).map(Some)
}

fn block_a(loader: &Loader<'_>, name: &str, input: usize, pool: usize) -> Result<Block> {
    let branches = vec![
        loader.branch(name, input, &[("branch1x1", 64, (1, 1))])?,
        loader.branch(name, input, &[("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))])?,
        loader.branch(
            name,
            input,
            &[("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))],
        )?,
    ];
    let after_pool = after_pool(loader, name, input, pool)?;
    Ok(Block { branches, forks: vec![], pool: Pool::Average, after_pool })
}

fn block_b(loader: &Loader<'_>, name: &str, input: usize) -> Result<Block> {
    let branches = vec![
        loader.halving(name, input, &[("branch3x3", 384, (3, 3))])?,
        loader.halving(
            name,
            input,
            &[("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))],
        )?,
    ];
    Ok(Block { branches, forks: vec![], pool: Pool::Halving, after_pool: None })
}

fn block_c(loader: &Loader<'_>, name: &str, inner: usize) -> Result<Block> {
    let branches = vec![
        loader.branch(name, 768, &[("branch1x1", 192, (1, 1))])?,
        loader.branch(
            name,
            768,
            &[("branch7x7_1", inner, (1, 1)), ("branch7x7_2", inner, (1, 7)), ("branch7x7_3", 192, (7, 1))],
        )?,
        loader.branch(
            name,
            768,
            &[
                ("branch7x7dbl_1", inner, (1, 1)),
                ("branch7x7dbl_2", inner, (7, 1)),
                ("branch7x7dbl_3", inner, (1, 7)),
                ("branch7x7dbl_4", inner, (7, 1)),
                ("branch7x7dbl_5", 192, (1, 7)),
            ],
        )?,
    ];
    Ok(Block { branches, forks: vec![], pool: Pool::Average, after_pool: after_pool(loader, name, 768, 192)? })
}

fn block_d(loader: &Loader<'_>, name: &str, input: usize) -> Result<Block> {
    let branches = vec![
        loader.halving(name, input, &[("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3))])?,
        loader.halving(
            name,
            input,
            &[
                ("branch7x7x3_1", 192, (1, 1)),
                ("branch7x7x3_2", 192, (1, 7)),
                ("branch7x7x3_3", 192, (7, 1)),
                ("branch7x7x3_4", 192, (3, 3)),
            ],
        )?,
    ];
    Ok(Block { branches, forks: vec![], pool: Pool::Halving, after_pool: None })
}

fn block_e(loader: &Loader<'_>, name: &str, input: usize, pool: Pool) -> Result<Block> {
    let fork = |branch: &str| -> Result<[BasicConv2d; 2]> {
        let half = |part: &str, kernel| loader.from(384).conv(&format!("{name}.{branch}{part}"), 384, kernel, 1);
        Ok([half("a", (1, 3))?, half("b", (3, 1))?])
    };
    let branches = vec![loader.branch(name, input, &[("branch1x1", 320, (1, 1))])?];
    let forks = vec![
        (loader.branch(name, input, &[("branch3x3_1", 384, (1, 1))])?, fork("branch3x3_2")?),
        (
            loader.branch(name, input, &[("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3))])?,
            fork("branch3x3dbl_3")?,
        ),
    ];
    Ok(Block { branches, forks, pool, after_pool: after_pool(loader, name, input, 192)? })
}
