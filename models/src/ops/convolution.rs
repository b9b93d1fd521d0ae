//! Two-dimensional convolution, forward and backward, as matrix products.
//!
//! Two ways, chosen by the sizes of one image alone, never by how many there are: an image's result must not depend on
//! what else is in the batch. [`columns`] serves every kernel and stride; [`winograd`] takes less than half of the
//! products for 3 × 3 kernels over images that are large enough for their weight. The input's gradient at stride 1 is
//! again a convolution, by the turned kernel.

mod columns;
mod winograd;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;

use super::elementary::sum;
use super::gradient::hand_over;
use super::storage::{output, slice, tensor, with_slice, with_slices};
use super::threads::{for_chunks, scratch};

/// Added to the stride of a matrix's rows, so that a power of two does not map a panel to few cache sets.
const SKEW: usize = 16;

/// Zeros around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    pub left: usize,
    pub right: usize,
    pub top: usize,
    pub bottom: usize,
}

impl Padding {
    pub const fn symmetric(padding: usize) -> Self {
        Self { left: padding, right: padding, top: padding, bottom: padding }
    }

    /// Torch's `F.pad` order: left, right, top, bottom. The VAE's downsampler has (0, 1, 0, 1).
    pub const fn asymmetric(left: usize, right: usize, top: usize, bottom: usize) -> Self {
        Self { left, right, top, bottom }
    }
}

impl From<usize> for Padding {
    fn from(padding: usize) -> Self {
        Self::symmetric(padding)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    pub stride: usize,
    pub padding: Padding,
}

/// All sizes of one call.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
    outputs: usize,
    kernel_height: usize,
    kernel_width: usize,
    stride: usize,
    padding: Padding,
    out_height: usize,
    out_width: usize,
}

impl Geometry {
    fn new(op: Convolution, x: &Shape, weight: &Shape) -> Result<Self> {
        let (images, channels, height, width) = x.dims4()?;
        let (outputs, weight_channels, kernel_height, kernel_width) = weight.dims4()?;
        let Convolution { stride, padding } = op;
        let padded_height = height + padding.top + padding.bottom;
        let padded_width = width + padding.left + padding.right;
        if channels != weight_channels {
            bail!("conv2d: {channels} channels come in, the weight {weight:?} takes {weight_channels}");
        }
        if stride == 0 || padded_height < kernel_height || padded_width < kernel_width {
            bail!("conv2d: input {x:?} with {op:?} is smaller than the kernel of {weight:?}");
        }
        Ok(Self {
            images,
            channels,
            height,
            width,
            outputs,
            kernel_height,
            kernel_width,
            stride,
            padding,
            out_height: (padded_height - kernel_height) / stride + 1,
            out_width: (padded_width - kernel_width) / stride + 1,
        })
    }

    fn area(&self) -> usize {
        self.height * self.width
    }

    fn out_area(&self) -> usize {
        self.out_height * self.out_width
    }

    fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Products summed for one result.
    fn depth(&self) -> usize {
        self.channels * self.taps()
    }

    fn out_shape(&self) -> (usize, usize, usize, usize) {
        (self.images, self.outputs, self.out_height, self.out_width)
    }
}

/// y = w ∗ x (+ bias), into `y`.
fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) -> Result<()> {
    if winograd::pays(g) {
        winograd::forward(g, x, winograd::Kernels::Given(weight), bias, y)
    } else {
        columns::forward(g, x, weight, bias, y)
    }
}

/// The gradient of the input.
fn backward_input(g: &Geometry, weight: &[f32], dy: &[f32]) -> Result<Vec<f32>> {
    let mut dx = vec![0.; g.images * g.channels * g.area()];
    if dx.is_empty() || dy.is_empty() {
        return Ok(dx);
    }
    let p = g.padding;
    let reaches =
        p.left < g.kernel_width && p.right < g.kernel_width && p.top < g.kernel_height && p.bottom < g.kernel_height;
    if g.stride == 1 && reaches {
        let (down, across) = (g.kernel_height - 1, g.kernel_width - 1);
        let turned = Geometry {
            images: g.images,
            channels: g.outputs,
            height: g.out_height,
            width: g.out_width,
            outputs: g.channels,
            out_height: g.height,
            out_width: g.width,
            padding: Padding {
                left: across - p.left,
                right: across - p.right,
                top: down - p.top,
                bottom: down - p.bottom,
            },
            ..*g
        };
        if winograd::pays(&turned) {
            winograd::forward(&turned, dy, winograd::Kernels::Turned(weight), None, &mut dx)?;
            return Ok(dx);
        }
        // To turn a kernel that is seen by few pixels costs more than to add up columns.
        if g.outputs < 4 * g.out_area() {
            scratch(weight.len(), |kernel| {
                turn(g, weight, kernel)?;
                columns::forward(&turned, dy, kernel, None, &mut dx)
            })?;
            return Ok(dx);
        }
    }
    columns::backward_input(g, weight, dy, &mut dx)?;
    Ok(dx)
}

/// From `[o, c, kh, kw]` to `[c, o, kh, kw]` with each kernel turned by half a circle, in blocks of outputs so that
/// whole lines of the cache are written.
fn turn(g: &Geometry, weight: &[f32], kernel: &mut [f32]) -> Result<()> {
    const BLOCK: usize = 16;
    let (depth, taps) = (g.depth(), g.taps());
    let share = g.channels.div_ceil(super::threads::threads());
    for_chunks(kernel, share * g.outputs * taps, |chunk, kernel, _| {
        for (b, from) in weight.chunks(BLOCK * depth).enumerate() {
            for (i, to) in kernel.chunks_exact_mut(g.outputs * taps).enumerate() {
                let c = chunk * share + i;
                let to = to[b * BLOCK * taps..].chunks_exact_mut(taps);
                for (from, to) in from.chunks_exact(depth).zip(to) {
                    for (to, from) in to.iter_mut().zip(from[c * taps..][..taps].iter().rev()) {
                        *to = *from;
                    }
                }
            }
        }
        Ok(())
    })
}

/// The gradient of the weight.
fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32]) -> Result<Vec<f32>> {
    let mut dw = vec![0.; g.outputs * g.depth()];
    if x.is_empty() || dy.is_empty() || dw.is_empty() {
        return Ok(dw);
    }
    if winograd::pays(g) {
        winograd::backward_weight(g, x, dy, &mut dw)?;
    } else {
        columns::backward_weight(g, x, dy, &mut dw)?;
    }
    Ok(dw)
}

/// The gradient of the bias: `dy` summed over images and pixels.
#[multiversion(targets = "simd")]
fn backward_bias(outputs: usize, area: usize, dy: &[f32]) -> Vec<f32> {
    let mut totals = vec![0_f64; outputs];
    if area > 0 {
        for image in dy.chunks_exact(outputs * area) {
            for (total, plane) in totals.iter_mut().zip(image.chunks_exact(area)) {
                *total += sum(plane, |v| v);
            }
        }
    }
    totals.iter().map(|&t| t as f32).collect()
}

impl Convolution {
    fn run(
        self,
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let g = Geometry::new(self, x_layout.shape(), weight_layout.shape())?;
        if bias.is_some_and(|b| b.len() != g.outputs) {
            bail!("conv2d: the bias needs {} elements", g.outputs);
        }
        let mut y = vec![0.; g.images * g.outputs * g.out_area()];
        if !y.is_empty() {
            forward(&g, slice(x, x_layout)?, slice(weight, weight_layout)?, bias, &mut y)?;
        }
        Ok(output(y, g.out_shape()))
    }

    fn gradients(self, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = Geometry::new(self, x.shape(), weight.shape())?;
        let dx = if x.track_op() {
            Some(tensor(with_slices(weight, dy, |weight, dy| backward_input(&g, weight, dy))?, x.shape())?)
        } else {
            None
        };
        let dw = if weight.track_op() {
            let dw = with_slices(x, dy, |x, dy| backward_weight(&g, x, dy))?;
            hand_over(weight, tensor(dw, weight.shape())?)?
        } else {
            None
        };
        Ok((dx, dw))
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run((x, xl), (w, wl), None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, dy)
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run((x, xl), (w, wl), Some(slice(b, bl)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(x, w, dy)?;
        let db = if b.track_op() {
            let (_, outputs, height, width) = dy.dims4()?;
            let db = with_slice(dy, |dy| Ok(backward_bias(outputs, height * width, dy)))?;
            hand_over(b, tensor(db, b.shape())?)?
        } else {
            None
        };
        Ok((dx, dw, db))
    }
}
