//! From the pixels of a picture to what a network takes: PIL's resizing to the bit, centre crop, normalisation.
//!
//! Source: Pillow, `src/libImaging/Resample.c` (8 bits a channel: the kernel in fixed point of 22 bits, the rows first,
//! rounded to 8 bits between the passes; Pillow 13 takes the columns first for some sizes, and then differs by that
//! rounding). Networks are judged on pictures that were resized by it, and one step in 255
//! moves a score by more than the figures that are compared.

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// Channels of a picture.
const RGB: usize = 3;
/// Bits behind the point of a kernel's weight.
const PRECISION: u32 = 32 - 8 - 2;
/// Half the width of the bicubic kernel, in pixels.
const SUPPORT: f64 = 2.0;

/// A picture in memory: `height · width · 3` values, row after row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    width: usize,
    height: usize,
    values: Vec<u8>,
}

/// Where the odd pixel goes when a crop cannot lie in the very middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Center {
    /// torchvision's `CenterCrop`, which OpenAI's CLIP uses: half a pixel is rounded to the even number.
    Torchvision,
    /// transformers' image processors: half a pixel is rounded down.
    Transformers,
}

/// (x / 255 − mean) / std, by channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    pub mean: [f32; RGB],
    pub std: [f32; RGB],
}

impl Normalization {
    /// CLIP's and BLIP's.
    pub const CLIP: Self =
        Self { mean: [0.481_454_66, 0.457_827_5, 0.408_210_73], std: [0.268_629_54, 0.261_302_6, 0.275_777_1] };
}

impl Pixels {
    /// Takes RGB values, row after row.
    ///
    /// # Errors
    /// There are not `height · width · 3` of them, or none.
    pub fn new(width: usize, height: usize, values: Vec<u8>) -> Result<Self> {
        if values.is_empty() || values.len() != width * height * RGB {
            return Err(Error::Invalid(format!("{} values do not make {width} × {height} RGB pixels", values.len())));
        }
        Ok(Self { width, height, values })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// RGB values, row after row.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// `Image.resize((width, height), BICUBIC)`.
    pub fn resize(&self, width: usize, height: usize) -> Self {
        let rows = if width == self.width { self.clone() } else { self.resize_rows(width) };
        if height == self.height { rows } else { rows.resize_columns(height) }
    }

    /// The shorter side becomes `size` (the longer is rounded down), then the middle square of it is kept.
    pub fn resize_and_crop(&self, size: usize, center: Center) -> Self {
        let (short, long) = (self.width.min(self.height), self.width.max(self.height));
        let longer = size * long / short;
        let (width, height) = if self.width <= self.height { (size, longer) } else { (longer, size) };
        let resized = self.resize(width, height);
        let offset = |length: usize| {
            let spare = length - size;
            match center {
                Center::Transformers => spare / 2,
                Center::Torchvision => (spare as f64 / 2.0).round_ties_even() as usize,
            }
        };
        let (left, top) = (offset(width), offset(height));
        let row = |y: usize| &resized.values[((top + y) * width + left) * RGB..][..size * RGB];
        Self { width: size, height: size, values: (0..size).flat_map(row).copied().collect() }
    }

    /// Pictures of one size as `[b, 3, h, w]`.
    ///
    /// # Errors
    /// The pictures differ in size, or there are none.
    pub fn batch(pictures: &[Self], normalization: Normalization, device: &Device) -> Result<Tensor> {
        let Some(first) = pictures.first() else { return Err(Error::Invalid("there are no pictures".to_owned())) };
        let (width, height) = (first.width, first.height);
        let mut values = Vec::with_capacity(pictures.len() * first.values.len());
        for picture in pictures {
            if (picture.width, picture.height) != (width, height) {
                return Err(Error::Invalid("the pictures of a batch differ in size".to_owned()));
            }
            for channel in 0..RGB {
                let (mean, std) = (normalization.mean[channel], normalization.std[channel]);
                let of_channel = picture.values.iter().skip(channel).step_by(RGB);
                values.extend(of_channel.map(|&value| (f32::from(value) / 255.0 - mean) / std));
            }
        }
        Ok(Tensor::from_vec(values, (pictures.len(), RGB, height, width), device)?)
    }

    fn resize_rows(&self, width: usize) -> Self {
        let kernel = Kernel::new(self.width, width);
        let mut values = Vec::with_capacity(width * self.height * RGB);
        for row in self.values.chunks_exact(self.width * RGB) {
            for (start, weights) in &kernel.places {
                let mut sums = [1_i32 << (PRECISION - 1); RGB];
                for (pixel, weight) in row[start * RGB..].as_chunks::<RGB>().0.iter().zip(weights) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += i32::from(value) * weight);
                }
                values.extend(sums.map(clip));
            }
        }
        Self { width, height: self.height, values }
    }

    fn resize_columns(&self, height: usize) -> Self {
        let kernel = Kernel::new(self.height, height);
        let stride = self.width * RGB;
        let mut values = Vec::with_capacity(stride * height);
        let mut sums = vec![0_i32; stride];
        for (start, weights) in &kernel.places {
            sums.fill(1 << (PRECISION - 1));
            for (row, weight) in self.values[start * stride..].chunks_exact(stride).zip(weights) {
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += i32::from(value) * weight);
            }
            values.extend(sums.iter().copied().map(clip));
        }
        Self { width: self.width, height, values }
    }
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// For each pixel that comes out, the first that goes in and the weights from there on.
struct Kernel {
    places: Vec<(usize, Vec<i32>)>,
}

impl Kernel {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        // Shrinking, the kernel widens: every pixel counts.
        let stretch = scale.max(1.0);
        let support = SUPPORT * stretch;
        let place = |i: usize| {
            let center = (i as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let weights: Vec<f64> =
                (start..end).map(|x| bicubic((x as f64 - center + 0.5) * (1.0 / stretch))).collect();
            let whole: f64 = weights.iter().sum();
            let fixed = weights.iter().map(|weight| {
                let weight = weight * (1.0 / whole) * f64::from(1 << PRECISION);
                (weight + 0.5_f64.copysign(weight)) as i32
            });
            (start, fixed.collect())
        };
        Self { places: (0..to).map(place).collect() }
    }
}

/// Keys' cubic convolution with a = −1/2.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: usize, height: usize) -> Pixels {
        let values = (0..width * height * RGB).map(|i| (i * 7 % 251) as u8).collect();
        Pixels::new(width, height, values).unwrap()
    }

    #[test]
    fn a_plain_picture_stays_plain_and_the_same_size_is_the_same() {
        let plain = Pixels::new(5, 9, vec![77; 5 * 9 * RGB]).unwrap();
        assert!(plain.resize(13, 4).values().iter().all(|&value| value == 77));
        let picture = gradient(6, 4);
        assert_eq!(picture.resize(6, 4), picture);
    }

    #[test]
    fn crops_lie_in_the_middle() {
        // 4 × 9 to 4 × 4: five rows are too many.
        let picture = gradient(4, 9);
        let row = |crop: &Pixels, y: usize| crop.values()[y * 12..][..12].to_vec();
        let (down, even) =
            (picture.resize_and_crop(4, Center::Transformers), picture.resize_and_crop(4, Center::Torchvision));
        assert_eq!((down.width(), down.height()), (4, 4));
        assert_eq!(row(&down, 0), picture.values()[2 * 12..3 * 12], "2.5 is rounded down");
        assert_eq!(row(&even, 0), picture.values()[2 * 12..3 * 12], "2.5 is rounded to 2");
        let picture = gradient(4, 7);
        assert_eq!(row(&picture.resize_and_crop(4, Center::Transformers), 0), picture.values()[12..24]);
        assert_eq!(row(&picture.resize_and_crop(4, Center::Torchvision), 0), picture.values()[24..36], "1.5 to 2");
    }

    #[test]
    fn wrong_sizes_are_refused() {
        assert!(Pixels::new(2, 2, vec![0; 11]).is_err());
        assert!(Pixels::new(0, 2, vec![]).is_err());
        assert!(Pixels::batch(&[gradient(2, 2), gradient(2, 3)], Normalization::CLIP, &Device::Cpu).is_err());
    }
}
