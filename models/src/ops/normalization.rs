//! Group norm (with SiLU fused) and layer norm, forward and backward.
//!
//! Statistics are those of one image's group or one row, in f32 runs gathered in f64; the backward
//! pass computes them again rather than keep the normalised values.
#![expect(clippy::inline_always, reason = "only inlined does a body get its caller's instruction set")]

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;

use super::elementary::{silu, silu_slope, sum, sum2};
use super::gradient::hand_over;
use super::storage::{output, slice, tensor, with_slice, with_slices};
use super::threads::for_chunks;

/// What follows a normalisation in the same pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    Silu,
}

#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    pub groups: usize,
    pub eps: f64,
    pub activation: Activation,
}

/// Images, channels of a group, pixels.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    channels: usize,
    in_group: usize,
    area: usize,
}

/// Mean and 1/√(variance + eps) of a slab; two passes, biased variance as in torch.
#[inline(always)]
fn statistics(slab: &[f32], eps: f64) -> (f32, f32) {
    let count = slab.len() as f64;
    let mean = (sum(slab, |v| v) / count) as f32;
    let variance = sum(slab, |v| (v - mean) * (v - mean)) / count;
    (mean, (1. / (variance + eps).sqrt()) as f32)
}

#[multiversion(targets = "simd")]
fn group_forward(x: &[f32], y: &mut [f32], area: usize, weight: &[f32], bias: &[f32], eps: f64, silu_too: bool) {
    let (mean, scale) = statistics(x, eps);
    for (((x, y), w), b) in x.chunks_exact(area).zip(y.chunks_exact_mut(area)).zip(weight).zip(bias) {
        let factor = scale * w;
        let offset = b - mean * factor;
        if silu_too {
            for (y, x) in y.iter_mut().zip(x) {
                *y = silu(x * factor + offset);
            }
        } else {
            for (y, x) in y.iter_mut().zip(x) {
                *y = x * factor + offset;
            }
        }
    }
}

/// One group's gradients: `dx`, and into `sums` for each channel Σ dy·x̂ and Σ dy, where dy is
/// the gradient before the activation.
#[multiversion(targets = "simd")]
fn group_backward(
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    area: usize,
    weight: &[f32],
    bias: &[f32],
    eps: f64,
    silu_too: bool,
    sums: &mut [[f64; 2]],
) {
    let (mean, scale) = statistics(x, eps);
    let (mut with_x, mut alone) = (0., 0.);
    let channels = x.chunks_exact(area).zip(dy.chunks_exact(area)).zip(dx.chunks_exact_mut(area));
    for ((((x, dy), dx), sums), (w, b)) in channels.zip(sums.iter_mut()).zip(weight.iter().zip(bias)) {
        if silu_too {
            let factor = scale * w;
            let offset = b - mean * factor;
            for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                *dx = dy * silu_slope(x * factor + offset);
            }
        } else {
            dx.copy_from_slice(dy);
        }
        *sums = [sum2(dx, x, |d, x| d * ((x - mean) * scale)), sum(dx, |d| d)];
        with_x += sums[0] * f64::from(*w);
        alone += sums[1] * f64::from(*w);
    }
    let count = x.len() as f64;
    let (with_x, alone) = ((with_x / count) as f32, (alone / count) as f32);
    for ((dx, x), w) in dx.chunks_exact_mut(area).zip(x.chunks_exact(area)).zip(weight) {
        for (dx, x) in dx.iter_mut().zip(x) {
            let normal = (x - mean) * scale;
            *dx = scale * (*dx * w - alone - normal * with_x);
        }
    }
}

impl GroupNorm {
    fn sizes(&self, x: &Shape, weight: &Shape, bias: &Shape) -> Result<Sizes> {
        let dims = x.dims();
        if dims.len() < 2 {
            bail!("group_norm: input {x:?} has no channels");
        }
        let channels = dims[1];
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            bail!("group_norm: {channels} channels do not make {} groups", self.groups);
        }
        if weight.elem_count() != channels || bias.elem_count() != channels {
            bail!("group_norm: {channels} channels, weight {weight:?}, bias {bias:?}");
        }
        Ok(Sizes { channels, in_group: channels / self.groups, area: dims[2..].iter().product() })
    }
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
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
        let Sizes { in_group, area, .. } = self.sizes(xl.shape(), wl.shape(), bl.shape())?;
        let (x, weight, bias) = (slice(x, xl)?, slice(w, wl)?, slice(b, bl)?);
        let mut y = vec![0.; x.len()];
        let slab = in_group * area;
        for_chunks(&mut y, slab, |i, y, _| {
            let channel = i % self.groups * in_group;
            let (weight, bias) = (&weight[channel..][..in_group], &bias[channel..][..in_group]);
            let silu_too = self.activation == Activation::Silu;
            group_forward(&x[i * slab..][..slab], y, area, weight, bias, self.eps, silu_too);
            Ok(())
        })?;
        Ok(output(y, xl.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Sizes { channels, in_group, area } = self.sizes(x.shape(), w.shape(), b.shape())?;
        let slab = in_group * area;
        let mut dx = vec![0.; x.elem_count()];
        let mut sums = vec![[0_f64; 2]; dx.len().checked_div(slab).unwrap_or(0) * in_group];
        with_slices(x, dy, |x, dy| {
            with_slices(w, b, |weight, bias| {
                if slab == 0 {
                    return Ok(());
                }
                let mut parts: Vec<_> = dx.chunks_mut(slab).zip(sums.chunks_mut(in_group)).collect();
                for_chunks(&mut parts, 1, |i, part, _| {
                    let channel = i % self.groups * in_group;
                    let (weight, bias) = (&weight[channel..][..in_group], &bias[channel..][..in_group]);
                    let (x, dy) = (&x[i * slab..][..slab], &dy[i * slab..][..slab]);
                    let silu_too = self.activation == Activation::Silu;
                    for (dx, sums) in part {
                        group_backward(x, dy, dx, area, weight, bias, self.eps, silu_too, sums);
                    }
                    Ok(())
                })
            })
        })?;
        let total = |which: usize| {
            let mut totals = vec![0_f64; channels];
            for image in sums.chunks_exact(channels) {
                for (total, sums) in totals.iter_mut().zip(image) {
                    *total += sums[which];
                }
            }
            tensor(totals.iter().map(|&t| t as f32).collect(), channels)
        };
        let dw = if w.track_op() { hand_over(w, total(0)?)? } else { None };
        let db = if b.track_op() { hand_over(b, total(1)?)? } else { None };
        let dx = x.track_op().then(|| tensor(dx, x.shape())).transpose()?;
        Ok((dx, dw, db))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    pub eps: f64,
}

/// Rows that one piece of work normalises.
const ROWS: usize = 16;

#[multiversion(targets = "simd")]
fn rows_forward(x: &[f32], y: &mut [f32], weight: &[f32], bias: &[f32], eps: f64) {
    let width = weight.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let (mean, scale) = statistics(x, eps);
        for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = (x - mean) * scale * w + b;
        }
    }
}

/// Adds to `dw` and `db` what these rows give.
#[multiversion(targets = "simd")]
fn rows_backward(x: &[f32], dy: &[f32], dx: &mut [f32], weight: &[f32], eps: f64, dw: &mut [f32], db: &mut [f32]) {
    let width = weight.len();
    let count = width as f64;
    for ((x, dy), dx) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
        let (mean, scale) = statistics(x, eps);
        for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(weight) {
            *dx = dy * w;
        }
        let alone = (sum(dx, |d| d) / count) as f32;
        let with_x = (sum2(dx, x, |d, x| d * ((x - mean) * scale)) / count) as f32;
        for ((((dx, x), dy), dw), db) in dx.iter_mut().zip(x).zip(dy).zip(dw.iter_mut()).zip(db.iter_mut()) {
            let normal = (x - mean) * scale;
            *dx = scale * (*dx - alone - normal * with_x);
            *dw += dy * normal;
            *db += dy;
        }
    }
}

fn row_width(x: &Shape, weight: &Shape, bias: &Shape) -> Result<usize> {
    let width = x.dims().last().copied().unwrap_or(0);
    if width == 0 || weight.elem_count() != width || bias.elem_count() != width {
        bail!("layer_norm: input {x:?}, weight {weight:?}, bias {bias:?}");
    }
    Ok(width)
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
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
        let width = row_width(xl.shape(), wl.shape(), bl.shape())?;
        let (x, weight, bias) = (slice(x, xl)?, slice(w, wl)?, slice(b, bl)?);
        let mut y = vec![0.; x.len()];
        for_chunks(&mut y, ROWS * width, |i, y, _| {
            rows_forward(&x[i * ROWS * width..][..y.len()], y, weight, bias, self.eps);
            Ok(())
        })?;
        Ok(output(y, xl.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = row_width(x.shape(), w.shape(), b.shape())?;
        let mut dx = vec![0.; x.elem_count()];
        let pieces = dx.len().div_ceil(ROWS * width);
        let mut sums = vec![0_f32; pieces * 2 * width];
        with_slices(x, dy, |x, dy| {
            with_slice(w, |weight| {
                let mut parts: Vec<_> = dx.chunks_mut(ROWS * width).zip(sums.chunks_mut(2 * width)).collect();
                for_chunks(&mut parts, 1, |i, part, _| {
                    for (dx, sums) in part {
                        let start = i * ROWS * width;
                        let (x, dy) = (&x[start..][..dx.len()], &dy[start..][..dx.len()]);
                        let (dw, db) = sums.split_at_mut(width);
                        rows_backward(x, dy, dx, weight, self.eps, dw, db);
                    }
                    Ok(())
                })
            })
        })?;
        let mut totals = super::linear::sum_of_rows(&sums, 2 * width);
        let db = totals.split_off(width);
        let dw = if w.track_op() { hand_over(w, tensor(totals, w.shape())?)? } else { None };
        let db = if b.track_op() { hand_over(b, tensor(db, b.shape())?)? } else { None };
        let dx = x.track_op().then(|| tensor(dx, x.shape())).transpose()?;
        Ok((dx, dw, db))
    }
}
