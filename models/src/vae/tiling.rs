//! Large pictures piece by piece: tiles that overlap by a quarter, cross-faded, so that memory does not grow with the
//! picture.
//!
//! Source: diffusers `AutoencoderKL.tiled_decode`, `_tiled_encode`, `blend_v`, `blend_h`. Group norms and the attention see a
//! tile alone, so the result is near that of the whole picture, not equal to it.

use super::{AutoencoderKL, Posterior};
use crate::{Error, Result};
use candle_core::Tensor;

/// Side of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileSize {
    /// `sample_size` of the VAE's configuration, as diffusers' `enable_tiling` has it.
    OfConfig,
    /// So many pixels.
    Pixels(usize),
}

/// What overlaps, as a share of a tile's side.
const OVERLAP: f64 = 0.25;

/// Sides, in the unit of what goes in or of what comes out.
#[derive(Clone, Copy)]
struct Sides {
    tile: usize,
    step: usize,
    /// Of what comes out: how far neighbours are cross-faded.
    blend: usize,
    /// Of what comes out: what is kept of each tile.
    keep: usize,
}

impl Sides {
    fn new(input: usize, output: usize) -> Self {
        let blend = (output as f64 * OVERLAP) as usize;
        Self { tile: input, step: (input as f64 * (1. - OVERLAP)) as usize, blend, keep: output - blend }
    }
}

impl AutoencoderKL {
    /// Side of a tile in pixels and in latents.
    fn tile(&self, size: TileSize) -> Result<(usize, usize)> {
        let pixels = match size {
            TileSize::OfConfig => self.config.sample_size,
            TileSize::Pixels(pixels) => pixels,
        };
        let downscale = self.config.downscale();
        // Neighbours must meet without gap: the step of the one side is that of the other.
        let least = 4 * downscale;
        if pixels < least || !pixels.is_multiple_of(least) {
            let message = format!("a tile of {pixels} pixels; its side must be a multiple of {least}");
            return Err(Error::Invalid(message));
        }
        Ok((pixels, pixels / downscale))
    }

    /// As [`Self::encode`], of pictures larger than a tile piece by piece.
    ///
    /// # Errors
    /// The size of a tile is no multiple of four latents.
    pub fn encode_tiled(&self, sample: &Tensor, tile: Option<TileSize>) -> Result<Posterior> {
        let Some(size) = tile else { return self.encode(sample) };
        let (pixels, latents) = self.tile(size)?;
        let (_, _, height, width) = sample.dims4()?;
        if height <= pixels && width <= pixels {
            return self.encode(sample);
        }
        let moments = tiled(sample, Sides::new(pixels, latents), |tile| self.moments(tile))?;
        self.posterior(&moments)
    }

    /// As [`Self::decode`], of pictures larger than a tile piece by piece.
    ///
    /// # Errors
    /// The size of a tile is no multiple of four latents.
    pub fn decode_tiled(&self, latents: &Tensor, tile: Option<TileSize>) -> Result<Tensor> {
        let Some(size) = tile else { return self.decode(latents) };
        let (pixels, side) = self.tile(size)?;
        let (_, _, height, width) = latents.dims4()?;
        if height <= side && width <= side {
            return self.decode(latents);
        }
        tiled(latents, Sides::new(side, pixels), |tile| self.decode(tile))
    }
}

/// `[b, c, h, w]` tile by tile through `work`, put together again; two rows of tiles are held at a time.
fn tiled(x: &Tensor, sides: Sides, work: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let mut rows = Vec::new();
    let mut above: Vec<Tensor> = Vec::new();
    for top in (0..height).step_by(sides.step) {
        let mut row: Vec<Tensor> = Vec::new();
        for left in (0..width).step_by(sides.step) {
            let tile = x.narrow(2, top, sides.tile.min(height - top))?;
            let mut tile = work(&tile.narrow(3, left, sides.tile.min(width - left))?.contiguous()?)?;
            if let Some(upper) = above.get(row.len()) {
                tile = blend(upper, &tile, 2, sides.blend)?;
            }
            if let Some(before) = row.last() {
                tile = blend(before, &tile, 3, sides.blend)?;
            }
            row.push(tile);
        }
        let kept = row
            .iter()
            .map(|tile| {
                let (_, _, h, w) = tile.dims4()?;
                tile.narrow(2, 0, sides.keep.min(h))?.narrow(3, 0, sides.keep.min(w))
            })
            .collect::<candle_core::Result<Vec<_>>>()?;
        rows.push(Tensor::cat(&kept, 3)?);
        above = row;
    }
    Ok(Tensor::cat(&rows, 2)?)
}

/// `after` with its first `extent` places along `axis` faded in from the last ones of `before`.
fn blend(before: &Tensor, after: &Tensor, axis: usize, extent: usize) -> Result<Tensor> {
    let size = after.dim(axis)?;
    let extent = extent.min(before.dim(axis)?).min(size);
    if extent == 0 {
        return Ok(after.clone());
    }
    let mut shape = [1; 4];
    shape[axis] = extent;
    let share: Vec<f32> = (0..extent).map(|i| i as f32 / extent as f32).collect();
    let share = Tensor::from_vec(share, shape.as_slice(), after.device())?.to_dtype(after.dtype())?;
    let old = before.narrow(axis, before.dim(axis)? - extent, extent)?.broadcast_mul(&share.affine(-1., 1.)?)?;
    let faded = (old + after.narrow(axis, 0, extent)?.broadcast_mul(&share)?)?;
    Ok(Tensor::cat(&[faded, after.narrow(axis, extent, size - extent)?], axis)?)
}
