//! Adafactor with a given learning rate: Shazeer & Stern 2018, arXiv 1804.04235, as transformers' `Adafactor` with
//! `scale_parameter=False, relative_step=False` has it, which is what the released Inversion-DPO script trains SDXL with.
//!
//! The second moment of a matrix is kept as the means of its rows and columns, so that the optimizer's memory is a small
//! part of the parameters'. There is no first moment. With g² + ε₁ averaged at β̂₂(k) = 1 − k^(−0.8):
//! update u = g/√v̂, scaled down to a root mean square of at most 1 for each parameter, then θ ← θ (1 − rate · decay) − rate · u.
//! Kernels `[o, i, h, w]` are taken as o · i matrices of h × w, as transformers does.

use super::rule::{Rule, Step};
use crate::Result;
use candle_core::{D, Tensor};

/// ε₁, added to squared gradients.
const EPSILON: f32 = 1e-30;
/// Largest root mean square of an update.
const CLIP_THRESHOLD: f64 = 1.0;
/// Power of the step in β̂₂.
const DECAY_RATE: f64 = -0.8;

pub(super) struct Adafactor {
    pub weight_decay: f32,
}

impl Adafactor {
    /// Share of a parameter that a step leaves.
    fn keep(&self, step: &Step) -> f32 {
        1.0 - step.learning_rate as f32 * step.share * self.weight_decay
    }
}

/// β̂₂ of a step.
fn decay(step: &Step) -> f32 {
    (1.0 - (step.number as f64).powf(DECAY_RATE)) as f32
}

impl Rule for Adafactor {
    /// Of a matrix: the means over its columns, one a row, and those over its rows; of a vector: its squares.
    fn moments(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        match shape {
            [many @ .., rows, columns] => {
                vec![("rows", [many, &[*rows]].concat()), ("columns", [many, &[*columns]].concat())]
            }
            _ => vec![("rows", shape.to_vec())],
        }
    }

    fn update_values(
        &self,
        step: &Step,
        shape: &[usize],
        value: &mut [f32],
        moments: &mut [Vec<f32>],
        gradient: &[f32],
    ) {
        let mut update = match (moments, shape) {
            ([rows, columns], [.., height, width]) => {
                update_of_matrices((*height, *width), rows, columns, gradient, decay(step))
            }
            ([squares], _) => update_of_vector(squares, gradient, decay(step)),
            _ => return,
        };
        let sum = update.iter().map(|u| f64::from(*u) * f64::from(*u)).sum::<f64>();
        let mean_square = sum / update.len().max(1) as f64;
        let rate = step.learning_rate * f64::from(step.share);
        let scale = (rate / (mean_square.sqrt() / CLIP_THRESHOLD).max(1.0)) as f32;
        update.iter_mut().for_each(|u| *u *= scale);
        let keep = self.keep(step);
        for (value, update) in value.iter_mut().zip(update) {
            *value = *value * keep - update;
        }
    }

    fn update_tensors(&self, step: &Step, value: &Tensor, moments: &mut [Tensor], g: &Tensor) -> Result<Tensor> {
        let decay = f64::from(decay(step));
        let mix = |mean: &Tensor, new: &Tensor| -> Result<Tensor> { Ok(((mean * decay)? + (new * (1.0 - decay))?)?) };
        let squares = g.sqr()?.affine(1.0, f64::from(EPSILON))?;
        let update = match moments {
            [rows, columns] => {
                *rows = mix(rows, &squares.mean(D::Minus1)?)?;
                *columns = mix(columns, &squares.mean(D::Minus2)?)?;
                let of_row = rows.broadcast_div(&rows.mean_keepdim(D::Minus1)?)?.sqrt()?.recip()?;
                let of_column = columns.sqrt()?.recip()?;
                g.broadcast_mul(&of_row.unsqueeze(D::Minus1)?)?.broadcast_mul(&of_column.unsqueeze(D::Minus2)?)?
            }
            [mean] => {
                *mean = mix(mean, &squares)?;
                (g / mean.sqrt()?)?
            }
            _ => return Ok(value.clone()),
        };
        let rms = (update.sqr()?.mean_all()?.sqrt()? / CLIP_THRESHOLD)?;
        let rate = step.learning_rate * f64::from(step.share);
        let scale = (rms.maximum(1.0)?.recip()? * rate)?;
        Ok(((value * f64::from(self.keep(step)))? - update.broadcast_mul(&scale)?)?)
    }
}

/// Takes the gradient of a vector into its moment, and gives g/√v̂.
fn update_of_vector(squares: &mut [f32], gradient: &[f32], decay: f32) -> Vec<f32> {
    for (mean, g) in squares.iter_mut().zip(gradient) {
        *mean = *mean * decay + (g * g + EPSILON) * (1.0 - decay);
    }
    gradient.iter().zip(squares).map(|(g, mean)| g / mean.sqrt()).collect()
}

/// The same for matrices of `height` × `width`, one after the other.
fn update_of_matrices(
    (height, width): (usize, usize),
    rows: &mut [f32],
    columns: &mut [f32],
    gradient: &[f32],
    decay: f32,
) -> Vec<f32> {
    let mut update = Vec::with_capacity(gradient.len());
    let moments = rows.chunks_mut(height).zip(columns.chunks_mut(width));
    for (matrix, (rows, columns)) in gradient.chunks(height * width).zip(moments) {
        let mut sums = vec![0.0f32; width];
        for (row, mean) in matrix.chunks(width).zip(rows.iter_mut()) {
            let mut sum = 0.0;
            for (g, column) in row.iter().zip(&mut sums) {
                let square = g * g + EPSILON;
                sum += square;
                *column += square;
            }
            *mean = *mean * decay + sum / width as f32 * (1.0 - decay);
        }
        for (mean, sum) in columns.iter_mut().zip(&sums) {
            *mean = *mean * decay + sum / height as f32 * (1.0 - decay);
        }
        // v̂ = rows · columns/mean(rows)
        let mean = rows.iter().sum::<f32>() / height as f32;
        for (row, of_row) in matrix.chunks(width).zip(rows.iter()) {
            let factor = 1.0 / (of_row / mean).sqrt();
            update.extend(row.iter().zip(columns.iter()).map(|(g, of_column)| g * factor / of_column.sqrt()));
        }
    }
    update
}
