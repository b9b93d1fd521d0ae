//! How an optimizer moves one parameter.

use crate::Result;
use candle_core::Tensor;

/// What a rule is told of a step.
pub(super) struct Step {
    /// From 1.
    pub number: u64,
    pub learning_rate: f64,
    /// The parameter's factor on the learning rate.
    pub share: f32,
}

/// The same formulas twice: over values in host memory, and by tensor operations.
pub(super) trait Rule: Send + Sync {
    /// Names and shapes of what is kept for a parameter of `shape` beside its value.
    fn moments(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)>;

    /// Moves the values of a parameter of `shape`, and its moments, in one pass.
    fn update_values(
        &self,
        step: &Step,
        shape: &[usize],
        value: &mut [f32],
        moments: &mut [Vec<f32>],
        gradient: &[f32],
    );

    /// The parameter after the step; its moments are replaced.
    fn update_tensors(&self, step: &Step, value: &Tensor, moments: &mut [Tensor], gradient: &Tensor) -> Result<Tensor>;
}
