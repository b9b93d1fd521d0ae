//! Settings of a preference training.

use super::learning_rate::LearningRateSchedule;
use super::optimizer::OptimizerKind;
use crate::lora::LoraSettings;
use crate::objective::{ObjectiveSettings, Preference};
use crate::pipeline::SampleSettings;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What the noise predictors compute in while the parameters that learn, their gradients and the optimizer stay in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MixedPrecision {
    /// The pipeline's own precision.
    #[default]
    No,
    /// bfloat16, policy and reference alike.
    Bf16,
}

/// Which parameters move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
        /// Ends of the names of the layers; default: all projections of all attentions.
        #[serde(default = "default_targets")]
        targets: Vec<String>,
    },
    /// The scene-graph encoder; the UNet stays. The reference conditions on its own encoder.
    SceneGraphEncoder,
    /// The scene-graph encoder and adapters on the UNet.
    SceneGraphEncoderLora {
        /// Rank of the adapters.
        rank: usize,
        /// Scale is `alpha / rank`.
        alpha: f64,
        /// Ends of the names of the layers; default: all projections of all attentions.
        #[serde(default = "default_targets")]
        targets: Vec<String>,
    },
}

fn default_targets() -> Vec<String> {
    LoraSettings::default().targets
}

impl Trainable {
    /// The adapters, where there are any.
    pub fn lora(&self) -> Option<LoraSettings> {
        match self {
            Self::Unet | Self::SceneGraphEncoder => None,
            Self::Lora { rank, alpha, targets } | Self::SceneGraphEncoderLora { rank, alpha, targets } => {
                Some(LoraSettings { rank: *rank, alpha: *alpha, targets: targets.clone() })
            }
        }
    }

    /// Whether the scene-graph encoder moves.
    pub fn moves_encoder(&self) -> bool {
        matches!(self, Self::SceneGraphEncoder | Self::SceneGraphEncoderLora { .. })
    }
}

/// How a trainer trains; the defaults are those that gained in the pilot (`spec/PILOT.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerSettings {
    /// What is minimised.
    pub objective: ObjectiveSettings,
    /// How a logit becomes a loss, of objectives that have logits.
    pub preference: Preference,
    /// What moves.
    pub trainable: Trainable,
    /// How it moves.
    pub optimizer: OptimizerKind,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How it goes after the warm-up.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Optimizer steps of linear warm-up.
    pub warmup_steps: usize,
    /// Optimizer steps in all.
    pub max_steps: usize,
    /// Pairs in a batch.
    pub batch_size: usize,
    /// Batches whose gradients make one optimizer step; the step is that of one batch as large as all of them, bit for
    /// bit, but only the gradients of one are held at a time.
    pub gradient_accumulation_steps: usize,
    /// The policy's blocks are computed again on the way back instead of kept: less memory for more time.
    pub gradient_checkpointing: bool,
    /// Precision of the predictions.
    pub mixed_precision: MixedPrecision,
    /// Share of pairs that are seen without their condition, winner and loser alike.
    pub caption_dropout: f64,
    /// Decay of the moving average of the parameters, which is what is exported.
    pub ema_decay: f64,
    /// Gradients of a larger norm are scaled down to it.
    pub max_grad_norm: f64,
    /// The optimizer's.
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
            preference: Preference::default(),
            trainable: Trainable::default(),
            optimizer: OptimizerKind::default(),
            learning_rate: 3e-5,
            learning_rate_schedule: LearningRateSchedule::Linear,
            warmup_steps: 10,
            max_steps: 300,
            batch_size: 16,
            gradient_accumulation_steps: 1,
            gradient_checkpointing: false,
            mixed_precision: MixedPrecision::No,
            caption_dropout: 0.0,
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
        self.preference.validate()?;
        let positive = [("learning_rate", self.learning_rate), ("max_grad_norm", self.max_grad_norm)];
        if let Some((name, value)) = positive.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            return Err(Error::Invalid(format!("`{name}` must be a positive number, not {value}")));
        }
        for (name, value) in [("ema_decay", self.ema_decay), ("caption_dropout", self.caption_dropout)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::Invalid(format!("`{name}` must lie in 0..1, not {value}")));
            }
        }
        if self.batch_size == 0 || self.max_steps == 0 || self.gradient_accumulation_steps == 0 {
            return Err(Error::Invalid(
                "`batch_size`, `gradient_accumulation_steps` and `max_steps` must be at least 1".to_owned(),
            ));
        }
        match self.trainable.lora() {
            Some(lora) if lora.rank == 0 => Err(Error::Invalid("`trainable.rank` must be at least 1".to_owned())),
            _ => Ok(()),
        }
    }
}
