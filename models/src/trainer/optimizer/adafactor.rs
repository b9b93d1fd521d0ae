//! Adafactor with a given learning rate: Shazeer & Stern 2018, arXiv 1804.04235, as transformers' `Adafactor` with
//! `scale_parameter=False, relative_step=False` has it, which is what the released Inversion-DPO script trains SDXL with.
//!
//! The second moment of a matrix is kept as the means of its rows and columns, so that the optimizer's memory is a small
//! part of the parameters'. There is no first moment. With g² + ε₁ averaged at β̂₂(k) = 1 − k^(−0.8):
//! update u = g/√v̂, scaled down to a root mean square of at most 1 for each parameter, then θ ← θ (1 − rate · decay) − rate · u.
//! Kernels `[o, i, h, w]` are taken as o · i matrices of h × w, as transformers does.

use super::Gradients;
use super::slots::{Moments, Slots};
use crate::Result;
use crate::weights::VarMap;

/// ε₁, added to squared gradients.
const EPSILON: f32 = 1e-30;
/// Largest root mean square of an update.
const CLIP_THRESHOLD: f64 = 1.0;
/// Power of the step in β̂₂.
const DECAY_RATE: f64 = -0.8;

pub(super) struct FactoredMoments {
    /// Of a matrix: means over its columns, one a row; of a vector: its squares.
    rows: Vec<f32>,
    /// Of a matrix: means over its rows, one a column; of a vector: empty.
    columns: Vec<f32>,
    /// Rows and columns of the matrices that it is made of; `None`: a vector or a scalar.
    matrix: Option<(usize, usize)>,
}

impl Moments for FactoredMoments {
    fn named(&self) -> [(&'static str, &Vec<f32>); 2] {
        [("rows", &self.rows), ("columns", &self.columns)]
    }

    fn named_mut(&mut self) -> [(&'static str, &mut Vec<f32>); 2] {
        [("rows", &mut self.rows), ("columns", &mut self.columns)]
    }
}

/// The optimizer; it owns the moments and the moving average, the parameters stay in their variables.
pub struct Adafactor {
    weight_decay: f32,
    pub(super) slots: Slots<FactoredMoments>,
}

impl Adafactor {
    /// Moments zero, moving average equal to the parameters.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(vars: &VarMap, weight_decay: f32, ema_decay: f32) -> Result<Self> {
        Ok(Self { weight_decay, slots: Slots::new(vars, ema_decay, FactoredMoments::zero)? })
    }

    /// One update; parameters without a gradient stay as they are. The moving average warms up as `AdamW`'s.
    ///
    /// # Errors
    /// Candle's.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let weight_decay = self.weight_decay;
        self.slots.update(gradients, |step, value, moments, gradient| {
            let decay = (1.0 - (step as f64).powf(DECAY_RATE)) as f32;
            let mut update = moments.update(gradient, decay);
            let mean_square =
                update.iter().map(|u| f64::from(*u) * f64::from(*u)).sum::<f64>() / update.len().max(1) as f64;
            let scale = (learning_rate / (mean_square.sqrt() / CLIP_THRESHOLD).max(1.0)) as f32;
            update.iter_mut().for_each(|u| *u *= scale);
            let keep = 1.0 - learning_rate as f32 * weight_decay;
            for (value, update) in value.iter_mut().zip(update) {
                *value = *value * keep - update;
            }
        })
    }
}

impl FactoredMoments {
    fn zero(shape: &[usize]) -> Self {
        let count: usize = shape.iter().product();
        match shape {
            [.., rows, columns] => Self {
                rows: vec![0.0; count / (*columns).max(1)],
                columns: vec![0.0; count / (*rows).max(1)],
                matrix: Some((*rows, *columns)),
            },
            _ => Self { rows: vec![0.0; count], columns: Vec::new(), matrix: None },
        }
    }

    /// Takes the gradient into the moments, and gives g/√v̂.
    fn update(&mut self, gradient: &[f32], decay: f32) -> Vec<f32> {
        let Some((height, width)) = self.matrix else {
            for (mean, g) in self.rows.iter_mut().zip(gradient) {
                *mean = *mean * decay + (g * g + EPSILON) * (1.0 - decay);
            }
            return gradient.iter().zip(&self.rows).map(|(g, mean)| g / mean.sqrt()).collect();
        };
        let mut update = Vec::with_capacity(gradient.len());
        let matrices = gradient.chunks(height * width);
        let moments = self.rows.chunks_mut(height).zip(self.columns.chunks_mut(width));
        for (matrix, (rows, columns)) in matrices.zip(moments) {
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
}

#[cfg(test)]
mod tests {
    use super::super::slots::Kept;
    use super::*;
    use candle_core::{Device, Tensor, Var};

    /// The numbers are those of the formulas of transformers' `Adafactor.step`, line by line in Python's doubles, with
    /// lr = 0.1 and weight decay 0.01, for two steps (see the commit's message for the script).
    #[test]
    fn two_steps_of_a_matrix_a_kernel_and_a_vector() {
        let var = |values: Vec<f32>, shape: &[usize]| {
            Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
        };
        let vars: VarMap = [
            ("matrix".to_owned(), var(vec![0.5, -0.2, 0.1, 0.3, 0.8, -0.6], &[2, 3])),
            ("kernel".to_owned(), var((1..=8).map(|i| i as f32 / 10.0).collect(), &[1, 2, 2, 2])),
            ("vector".to_owned(), var(vec![1.0, -1.0, 0.25], &[3])),
        ]
        .into();
        let mut optimizer = Adafactor::new(&vars, 0.01, 0.0).unwrap();
        for step in 0..2 {
            let sign = if step == 0 { 1.0 } else { -0.5 };
            let gradient = |values: &[f32]| values.iter().map(|v| v * sign).collect::<Vec<f32>>();
            let gradients: Gradients = [
                ("matrix".to_owned(), gradient(&[0.1, -0.4, 0.2, 0.05, 0.3, -0.1])),
                ("kernel".to_owned(), gradient(&[0.3, 0.1, -0.2, 0.4, 0.01, 0.02, -0.03, 0.04])),
                ("vector".to_owned(), gradient(&[0.1, -0.2, 0.0])),
            ]
            .into();
            optimizer.step(&gradients, 0.1).unwrap();
        }
        for (name, expected) in GOLDEN {
            let found = vars[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{name}: {found}, should be {expected}");
            }
        }
    }

    const GOLDEN: [(&str, &[f32]); 3] = [
        ("matrix", &[0.462_308_2, -0.166_781_6, 0.063_107_8, 0.273_140_4, 0.763_169_5, -0.572_540_7]),
        (
            "kernel",
            &[0.051_335_4, 0.185_473_2, 0.322_246_8, 0.359_243_1, 0.472_951_5, 0.561_961_8, 0.733_549_1, 0.765_451_2],
        ),
        ("vector", &[0.964_371_9, -0.964_371_9, 0.249_500_3]),
    ];

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() {
        let vars = || -> VarMap {
            let tensor = Tensor::new(&[[0.5f32, -0.2], [0.1, 0.9]], &Device::Cpu).unwrap();
            [("w".to_owned(), Var::from_tensor(&tensor).unwrap())].into()
        };
        let gradients = |step: u64| -> Gradients { [("w".to_owned(), vec![0.1 * step as f32, -0.3, 0.2, 0.7])].into() };
        let values = |vars: &VarMap| vars["w"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let straight = vars();
        let mut optimizer = Adafactor::new(&straight, 0.0, 0.9).unwrap();
        (0..3).for_each(|step| optimizer.step(&gradients(step), 0.01).unwrap());
        let state = optimizer.slots.state().unwrap();
        (3..6).for_each(|step| optimizer.step(&gradients(step), 0.01).unwrap());

        let resumed = vars();
        let mut again = Adafactor::new(&resumed, 0.0, 0.9).unwrap();
        again.slots.restore(&state).unwrap();
        (3..6).for_each(|step| again.step(&gradients(step), 0.01).unwrap());
        assert_eq!(values(&straight), values(&resumed));
        let average =
            |one: &Adafactor| one.slots.averaged().unwrap()["w"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(average(&optimizer), average(&again));
        let mut damaged = state;
        damaged.remove("rows/w");
        assert!(again.slots.restore(&damaged).is_err());
    }
}
