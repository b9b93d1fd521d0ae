//! Pointwise activations and GEGLU, forward and backward in one pass each.
#![expect(clippy::inline_always, reason = "only inlined does a body get its caller's instruction set")]

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;

use super::elementary as e;
use super::storage::{output, slice, tensor, with_slices};
use super::threads::for_chunks;

/// Elements that one piece of work takes.
const PIECE: usize = 1 << 14;

#[derive(Clone, Copy, Debug)]
pub enum Pointwise {
    Silu,
    Gelu,
    QuickGelu,
}

#[inline(always)]
fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = f(*x);
    }
}

#[multiversion(targets = "simd")]
fn forward(kind: Pointwise, x: &[f32], y: &mut [f32]) {
    match kind {
        Pointwise::Silu => map(x, y, e::silu),
        Pointwise::Gelu => map(x, y, e::gelu),
        Pointwise::QuickGelu => map(x, y, e::quick_gelu),
    }
}

#[inline(always)]
fn map_slope(x: &[f32], dy: &[f32], dx: &mut [f32], f: impl Fn(f32) -> f32) {
    for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
        *dx = dy * f(*x);
    }
}

#[multiversion(targets = "simd")]
fn backward(kind: Pointwise, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    match kind {
        Pointwise::Silu => map_slope(x, dy, dx, e::silu_slope),
        Pointwise::Gelu => map_slope(x, dy, dx, e::gelu_slope),
        Pointwise::QuickGelu => map_slope(x, dy, dx, e::quick_gelu_slope),
    }
}

impl CustomOp1 for Pointwise {
    fn name(&self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::QuickGelu => "quick_gelu",
        }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut y = vec![0.; x.len()];
        for_chunks(&mut y, PIECE, |i, y, _| {
            forward(*self, &x[i * PIECE..][..y.len()], y);
            Ok(())
        })?;
        Ok(output(y, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let mut dx = vec![0.; x.elem_count()];
        with_slices(x, dy, |x, dy| {
            for_chunks(&mut dx, PIECE, |i, dx, _| {
                let start = i * PIECE;
                backward(*self, &x[start..][..dx.len()], &dy[start..][..dx.len()], dx);
                Ok(())
            })
        })?;
        tensor(dx, x.shape()).map(Some)
    }
}

/// a · gelu(b) for rows `[a, b]`.
#[derive(Clone, Copy, Debug)]
pub struct Geglu;

#[multiversion(targets = "simd")]
fn gate(x: &[f32], y: &mut [f32], half: usize) {
    for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(half)) {
        let (a, b) = x.split_at(half);
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = a * e::gelu(*b);
        }
    }
}

#[multiversion(targets = "simd")]
fn gate_backward(x: &[f32], dy: &[f32], dx: &mut [f32], half: usize) {
    let rows = x.chunks_exact(2 * half).zip(dy.chunks_exact(half)).zip(dx.chunks_exact_mut(2 * half));
    for ((x, dy), dx) in rows {
        let (a, b) = x.split_at(half);
        let (da, db) = dx.split_at_mut(half);
        for (((da, db), dy), (a, b)) in da.iter_mut().zip(db).zip(dy).zip(a.iter().zip(b)) {
            *da = dy * e::gelu(*b);
            *db = dy * a * e::gelu_slope(*b);
        }
    }
}

fn half_of(shape: &Shape) -> Result<usize> {
    match shape.dims().last() {
        Some(&last) if last > 0 && last % 2 == 0 => Ok(last / 2),
        _ => bail!("geglu: the last dimension of {shape:?} does not split in two"),
    }
}

impl CustomOp1 for Geglu {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let half = half_of(layout.shape())?;
        let x = slice(x, layout)?;
        let rows = (PIECE / half).max(1);
        let mut y = vec![0.; x.len() / 2];
        for_chunks(&mut y, rows * half, |i, y, _| {
            gate(&x[2 * i * rows * half..][..2 * y.len()], y, half);
            Ok(())
        })?;
        let mut shape = layout.shape().dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = half;
        }
        Ok(output(y, shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let half = half_of(x.shape())?;
        let rows = (PIECE / half).max(1);
        let mut dx = vec![0.; x.elem_count()];
        with_slices(x, dy, |x, dy| {
            for_chunks(&mut dx, 2 * rows * half, |i, dx, _| {
                let start = i * rows * half;
                gate_backward(&x[2 * start..][..dx.len()], &dy[start..][..dx.len() / 2], dx, half);
                Ok(())
            })
        })?;
        tensor(dx, x.shape()).map(Some)
    }
}
