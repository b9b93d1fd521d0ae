//! Settings of a preference training.

use super::learning_rate::LearningRateSchedule;
use crate::objective::ObjectiveSettings;
use crate::pipeline::SampleSettings;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which parameters move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Trainable {
    /// All of the UNet.
    #[default]
    Unet,
    /// Low-rank adapters on its attention; the reference is the same network with the adapters off.
    Lora {
        /// Rank of the adapters.
        rank: usize,
        /// Scale is `alpha / rank`.
        alpha: f64,
    },
}

/// How a trainer trains; the defaults are those that gained in the pilot (`spec/PILOT.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerSettings {
    /// What is minimised.
    pub objective: ObjectiveSettings,
    /// What moves.
    pub trainable: Trainable,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How it goes after the warm-up.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Optimizer steps of linear warm-up.
    pub warmup_steps: usize,
    /// Optimizer steps in all.
    pub max_steps: usize,
    /// Pairs a step.
    pub batch_size: usize,
    /// Decay of the moving average of the parameters, which is what is exported.
    pub ema_decay: f64,
    /// Gradients of a larger norm are scaled down to it.
    pub max_grad_norm: f64,
    /// AdamW's.
    pub weight_decay: f64,
    /// Decides the order of pairs, the timesteps and the noises.
    pub seed: u64,
    /// How the candidates were sampled, for replaying their paths.
    pub sampling: SampleSettings,
}

impl Default for TrainerSettings {
    fn default() -> Self {
        Self {
            objective: ObjectiveSettings::default(),
            trainable: Trainable::default(),
            learning_rate: 3e-5,
            learning_rate_schedule: LearningRateSchedule::Linear,
            warmup_steps: 10,
            max_steps: 300,
            batch_size: 16,
            ema_decay: 0.97,
            max_grad_norm: 1.0,
            weight_decay: 0.0,
            seed: 0,
            sampling: SampleSettings::default(),
        }
    }
}

impl TrainerSettings {
    /// # Errors
    /// The first setting that makes no sense, by name.
    pub fn validate(&self) -> Result<()> {
        self.objective.validate()?;
        let positive = [("learning_rate", self.learning_rate), ("max_grad_norm", self.max_grad_norm)];
        if let Some((name, value)) = positive.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            return Err(Error::Invalid(format!("`{name}` must be a positive number, not {value}")));
        }
        if !(0.0..1.0).contains(&self.ema_decay) {
            return Err(Error::Invalid(format!("`ema_decay` must lie in 0..1, not {}", self.ema_decay)));
        }
        if self.batch_size == 0 || self.max_steps == 0 {
            return Err(Error::Invalid("`batch_size` and `max_steps` must be at least 1".to_owned()));
        }
        match self.trainable {
            Trainable::Lora { rank: 0, .. } => Err(Error::Invalid("`trainable.rank` must be at least 1".to_owned())),
            _ => Ok(()),
        }
    }
}
