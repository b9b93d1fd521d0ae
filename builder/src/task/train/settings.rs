//! A job's spec in the trainer's words.

use models::objective::{
    DiffusionDpo, InversionDpo, InversionDpoPublished, ObjectiveSettings, PathSource, Sign, Start as PublishedStart,
};
use models::pipeline::SampleSettings;
use models::trainer::{Trainable as TrainedPart, TrainerSettings, learning_rate};

use crate::job::{JobSpec, LearningRateSchedule, Objective, PathChoice, Start, Trainable};

/// The trainer's settings for `spec`, with the sampling that the pairing's candidates had.
pub(super) fn trainer_settings(spec: &JobSpec, sampling: SampleSettings) -> TrainerSettings {
    TrainerSettings {
        objective: objective(spec),
        trainable: match spec.trainable {
            Trainable::Unet {} => TrainedPart::Unet,
            Trainable::Lora { rank, alpha } => TrainedPart::Lora { rank, alpha },
        },
        learning_rate: spec.learning_rate,
        learning_rate_schedule: match spec.learning_rate_schedule {
            LearningRateSchedule::Constant => learning_rate::LearningRateSchedule::Constant,
            LearningRateSchedule::Linear => learning_rate::LearningRateSchedule::Linear,
        },
        warmup_steps: spec.warmup_steps,
        max_steps: spec.max_steps,
        batch_size: spec.batch_size,
        ema_decay: spec.ema_decay,
        max_grad_norm: spec.max_grad_norm,
        weight_decay: spec.weight_decay,
        seed: spec.seed as u64,
        sampling,
    }
}

fn objective(spec: &JobSpec) -> ObjectiveSettings {
    let beta = spec.beta;
    match spec.objective {
        Objective::DiffusionDpo {} => ObjectiveSettings::DiffusionDpo(DiffusionDpo { beta }),
        Objective::InversionDpo { path, num_inversion_steps, inversion_guidance_scale } => {
            ObjectiveSettings::InversionDpo(InversionDpo {
                beta,
                path: if path == PathChoice::Inverted { PathSource::Inverted } else { PathSource::Recorded },
                inversion_steps: num_inversion_steps,
                inversion_guidance_scale,
                ..InversionDpo::default()
            })
        }
        Objective::InversionDpoPublished { sign, start, num_inversion_steps, inversion_guidance_scale } => {
            ObjectiveSettings::InversionDpoPublished(InversionDpoPublished {
                beta,
                inversion_steps: num_inversion_steps,
                guidance_scale: inversion_guidance_scale,
                sign: if sign < 0 { Sign::Caption } else { Sign::Equation },
                start: match start {
                    Start::None => PublishedStart::None,
                    Start::Perturb(std) => PublishedStart::Jitter { std },
                    Start::WarmUp(steps) => PublishedStart::DiffusionDpo { steps },
                },
                ..InversionDpoPublished::default()
            })
        }
    }
}
