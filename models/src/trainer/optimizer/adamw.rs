//! AdamW: Loshchilov & Hutter 2019 (decoupled weight decay), as torch's `optim.AdamW` has it.

use super::rule::{Rule, Step};
use crate::Result;
use candle_core::Tensor;

/// Decay of the first moment.
const BETA1: f32 = 0.9;
/// Decay of the second moment.
const BETA2: f32 = 0.999;
/// Added to the root of the second moment.
const EPSILON: f32 = 1e-8;

pub(super) struct AdamW {
    /// Share of a parameter taken away a step, times the learning rate.
    pub weight_decay: f32,
}

/// The factors of a step.
struct Factors {
    rate: f32,
    keep: f32,
    /// Root of the second moment's correction.
    correction: f32,
}

impl AdamW {
    fn factors(&self, step: &Step) -> Factors {
        let number = step.number as f64;
        let first = 1.0 - f64::from(BETA1).powf(number);
        Factors {
            rate: (step.learning_rate / first) as f32 * step.share,
            keep: 1.0 - (step.learning_rate as f32) * step.share * self.weight_decay,
            correction: (1.0 - f64::from(BETA2).powf(number)).sqrt() as f32,
        }
    }
}

impl Rule for AdamW {
    fn moments(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        vec![("first", shape.to_vec()), ("second", shape.to_vec())]
    }

    fn update_values(&self, step: &Step, _: &[usize], value: &mut [f32], moments: &mut [Vec<f32>], gradient: &[f32]) {
        let Factors { rate, keep, correction } = self.factors(step);
        let [first, second] = moments else { return };
        let both = first.iter_mut().zip(second);
        for ((value, (first, second)), &g) in value.iter_mut().zip(both).zip(gradient) {
            *first = BETA1 * *first + (1.0 - BETA1) * g;
            *second = BETA2 * *second + (1.0 - BETA2) * g * g;
            *value = *value * keep - rate * *first / (second.sqrt() / correction + EPSILON);
        }
    }

    fn update_tensors(&self, step: &Step, value: &Tensor, moments: &mut [Tensor], g: &Tensor) -> Result<Tensor> {
        let (beta1, beta2, epsilon) = (f64::from(BETA1), f64::from(BETA2), f64::from(EPSILON));
        let Factors { rate, keep, correction } = self.factors(step);
        let [first, second] = moments else { return Ok(value.clone()) };
        *first = ((&*first * beta1)? + (g * (1.0 - beta1))?)?;
        *second = ((&*second * beta2)? + (g.sqr()? * (1.0 - beta2))?)?;
        let root = second.sqrt()?.affine(1.0 / f64::from(correction), epsilon)?;
        Ok(((value * f64::from(keep))? - ((&*first * f64::from(rate))? / root)?)?)
    }
}
