//! y = x Wᵀ + b over the last dimension, forward and backward.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::gemm::{Target, View, multiply};
use super::gradient::hand_over;
use super::storage::{output, slice, tensor, with_slice, with_slices};
use super::threads::threads;

#[derive(Clone, Copy, Debug)]
pub struct Linear;

/// Rows, inputs, outputs.
fn sizes(x: &Shape, weight: &Shape) -> Result<(usize, usize, usize)> {
    let (outputs, inputs) = weight.dims2()?;
    match x.dims().split_last() {
        Some((&last, rest)) if last == inputs => Ok((rest.iter().product(), inputs, outputs)),
        _ => bail!("linear: input {x:?} does not end in the {inputs} that the weight {weight:?} takes"),
    }
}

fn run(
    (x, xl): (&CpuStorage, &Layout),
    (weight, wl): (&CpuStorage, &Layout),
    bias: Option<&[f32]>,
) -> Result<(CpuStorage, Shape)> {
    let (rows, inputs, outputs) = sizes(xl.shape(), wl.shape())?;
    let (x, weight) = (View::rows(slice(x, xl)?, inputs), View::rows(slice(weight, wl)?, inputs));
    let mut y = vec![0.; rows * outputs];
    let target = Target { data: &mut y, stride: outputs };
    multiply((rows, outputs, inputs), target, x, weight.transposed(), false, threads())?;
    if let Some(bias) = bias {
        if bias.len() != outputs {
            bail!("linear: the bias needs {outputs} elements");
        }
        for row in y.chunks_exact_mut(outputs.max(1)) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
    let mut shape = xl.shape().dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    Ok(output(y, shape))
}

fn gradients(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (rows, inputs, outputs) = sizes(x.shape(), weight.shape())?;
    let dx = if x.track_op() {
        let mut dx = vec![0.; rows * inputs];
        with_slices(dy, weight, |dy, weight| {
            let target = Target { data: &mut dx, stride: inputs };
            let (dy, weight) = (View::rows(dy, outputs), View::rows(weight, inputs));
            multiply((rows, inputs, outputs), target, dy, weight, false, threads())
        })?;
        Some(tensor(dx, x.shape())?)
    } else {
        None
    };
    let dw = if weight.track_op() {
        let mut dw = vec![0.; outputs * inputs];
        with_slices(dy, x, |dy, x| {
            let target = Target { data: &mut dw, stride: inputs };
            let (dy, x) = (View::rows(dy, outputs), View::rows(x, inputs));
            multiply((outputs, inputs, rows), target, dy.transposed(), x, false, threads())
        })?;
        hand_over(weight, tensor(dw, weight.shape())?)?
    } else {
        None
    };
    Ok((dx, dw))
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        run((x, xl), (w, wl), None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        gradients(x, w, dy)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        run((x, xl), (w, wl), Some(slice(b, bl)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = gradients(x, w, dy)?;
        let db = if b.track_op() {
            hand_over(b, tensor(with_slice(dy, |dy| Ok(sum_of_rows(dy, b.elem_count())))?, b.shape())?)?
        } else {
            None
        };
        Ok((dx, dw, db))
    }
}

/// Column sums, f32 over short runs of rows, f64 over the runs.
pub fn sum_of_rows(values: &[f32], columns: usize) -> Vec<f32> {
    const RUN: usize = 64;
    let mut totals = vec![0_f64; columns];
    let mut partial = vec![0_f32; columns];
    for run in values.chunks(RUN * columns.max(1)) {
        partial.fill(0.);
        for row in run.chunks_exact(columns) {
            for (total, value) in partial.iter_mut().zip(row) {
                *total += value;
            }
        }
        for (total, value) in totals.iter_mut().zip(&partial) {
            *total += f64::from(*value);
        }
    }
    totals.iter().map(|&t| t as f32).collect()
}
