//! Learning-rate schedules, counted in optimizer steps.

use serde::{Deserialize, Serialize};

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearningRateSchedule {
    /// As it is.
    Constant,
    /// In a straight line to zero at the last step.
    #[default]
    Linear,
    /// Along half a cosine to zero at the last step.
    Cosine,
}

impl LearningRateSchedule {
    /// The factor on the learning rate for step `step` (0-based) of `max_steps`, after a linear warm-up.
    pub fn factor(self, step: usize, warmup_steps: usize, max_steps: usize) -> f64 {
        if step < warmup_steps {
            return (step + 1) as f64 / warmup_steps as f64;
        }
        let rest = max_steps.saturating_sub(warmup_steps).max(1) as f64;
        let done = ((step - warmup_steps) as f64 / rest).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - done,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_and_comes_down() {
        assert_eq!(LearningRateSchedule::Linear.factor(0, 10, 100), 0.1);
        assert_eq!(LearningRateSchedule::Linear.factor(9, 10, 100), 1.0);
        assert_eq!(LearningRateSchedule::Linear.factor(55, 10, 100), 0.5);
        assert_eq!(LearningRateSchedule::Constant.factor(99, 10, 100), 1.0);
        assert!(LearningRateSchedule::Cosine.factor(99, 10, 100) < 0.001);
    }
}
