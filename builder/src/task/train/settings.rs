//! A job's spec in the trainer's words.

use models::lora::LoraSettings;
use models::objective::{
    D3po, DiffusionDpo, Inpo, InversionDpo, InversionDpoOfficial, InversionDpoPublished, Mixture, ObjectiveSettings,
    PathSource, PathTarget, Preference, PreferenceForm, Reduction, Sft, Sign, SingleTimestep, Start as PublishedStart,
    TimestepReduction as Together, Weighting,
};
use models::pipeline::SampleSettings;
use models::trainer::{Trainable as TrainedPart, TrainerSettings, learning_rate, optimizer::OptimizerKind};

use crate::job::{
    JobSpec, LearningRateSchedule, LossForm, Objective, OptimizerChoice, PathChoice, PublishedReduction,
    PublishedWeighting, Start, TargetChoice, TimestepReduction, Trainable,
};

/// The trainer's settings for `spec`, with the sampling that the pairing's candidates had.
pub(super) fn trainer_settings(spec: &JobSpec, sampling: SampleSettings) -> TrainerSettings {
    TrainerSettings {
        objective: objective(&spec.objective, spec.beta),
        preference: Preference {
            form: match spec.loss {
                LossForm::Sigmoid => PreferenceForm::Sigmoid,
                LossForm::Hinge => PreferenceForm::Hinge,
                LossForm::Ipo => PreferenceForm::Ipo,
            },
            margin: spec.margin,
        },
        trainable: trainable(&spec.trainable),
        optimizer: match spec.optimizer {
            OptimizerChoice::Adamw => OptimizerKind::Adamw,
            OptimizerChoice::Adafactor => OptimizerKind::Adafactor,
        },
        learning_rate: spec.learning_rate,
        learning_rate_schedule: match spec.learning_rate_schedule {
            LearningRateSchedule::Constant => learning_rate::LearningRateSchedule::Constant,
            LearningRateSchedule::Linear => learning_rate::LearningRateSchedule::Linear,
            LearningRateSchedule::Cosine => learning_rate::LearningRateSchedule::Cosine,
        },
        warmup_steps: spec.warmup_steps,
        max_steps: spec.max_steps,
        batch_size: spec.batch_size,
        gradient_accumulation_steps: spec.gradient_accumulation_steps,
        gradient_checkpointing: spec.gradient_checkpointing,
        mixed_precision: spec.mixed_precision,
        caption_dropout: spec.caption_dropout,
        ema_decay: spec.ema_decay,
        max_grad_norm: spec.max_grad_norm,
        weight_decay: spec.weight_decay,
        seed: spec.seed as u64,
        sampling,
    }
}

fn trainable(asked: &Trainable) -> TrainedPart {
    let or_all = |targets: &Option<Vec<String>>| targets.clone().unwrap_or_else(|| LoraSettings::default().targets);
    match asked {
        Trainable::Unet {} => TrainedPart::Unet,
        Trainable::Lora { rank, alpha, targets } => {
            TrainedPart::Lora { rank: *rank, alpha: *alpha, targets: or_all(targets) }
        }
        Trainable::SceneGraphEncoder {} => TrainedPart::SceneGraphEncoder,
        Trainable::SceneGraphEncoderLora { rank, alpha, targets } => {
            TrainedPart::SceneGraphEncoderLora { rank: *rank, alpha: *alpha, targets: or_all(targets) }
        }
    }
}

fn objective(asked: &Objective, beta: f64) -> ObjectiveSettings {
    match asked {
        Objective::DiffusionDpo {} => ObjectiveSettings::DiffusionDpo(DiffusionDpo { beta }),
        Objective::Sft {} => ObjectiveSettings::Sft(Sft {}),
        Objective::InversionDpo {
            path,
            target,
            num_timesteps,
            timestep_reduction,
            between_steps,
            eta,
            num_inversion_steps,
            inversion_guidance_scale,
        } => ObjectiveSettings::InversionDpo(InversionDpo {
            beta,
            path: if *path == PathChoice::Inverted { PathSource::Inverted } else { PathSource::Recorded },
            target: match target {
                TargetChoice::Image => PathTarget::Image,
                TargetChoice::Step => PathTarget::Step,
            },
            num_timesteps: *num_timesteps,
            timestep_reduction: match timestep_reduction {
                TimestepReduction::Each => Together::Each,
                TimestepReduction::Sum => Together::Sum,
            },
            between_steps: *between_steps,
            eta: *eta,
            inversion_steps: *num_inversion_steps,
            inversion_guidance_scale: *inversion_guidance_scale,
            ..InversionDpo::default()
        }),
        Objective::InversionDpoPublished {
            sign: of,
            weighting,
            reduction,
            start: how,
            num_inversion_steps,
            inversion_guidance_scale,
        } => ObjectiveSettings::InversionDpoPublished(InversionDpoPublished {
            beta,
            inversion_steps: *num_inversion_steps,
            guidance_scale: *inversion_guidance_scale,
            sign: sign(*of),
            weighting: match weighting {
                PublishedWeighting::InverseAlpha => Weighting::InverseAlpha,
                PublishedWeighting::Uniform => Weighting::Uniform,
            },
            reduction: match reduction {
                PublishedReduction::Script => Reduction::Script,
                PublishedReduction::Equation => Reduction::Equation,
            },
            start: start(*how),
            ..InversionDpoPublished::default()
        }),
        Objective::InversionDpoOfficial { start: how, num_inversion_steps } => {
            ObjectiveSettings::InversionDpoOfficial(InversionDpoOfficial {
                beta,
                inversion_steps: *num_inversion_steps,
                start: start(*how),
            })
        }
        Objective::SingleTimestep { sign: of, start: how, num_inversion_steps, inversion_guidance_scale } => {
            ObjectiveSettings::SingleTimestep(SingleTimestep {
                beta,
                inversion_steps: *num_inversion_steps,
                guidance_scale: *inversion_guidance_scale,
                sign: sign(*of),
                start: start(*how),
                ..SingleTimestep::default()
            })
        }
        Objective::Inpo { num_inversion_steps, eta } => {
            ObjectiveSettings::Inpo(Inpo { beta, inversion_steps: *num_inversion_steps, eta: *eta, ..Inpo::default() })
        }
        Objective::D3po { clip, num_inference_steps, guidance_scale, eta } => ObjectiveSettings::D3po(D3po {
            beta,
            clip: *clip,
            num_inference_steps: *num_inference_steps,
            guidance_scale: *guidance_scale,
            eta: *eta,
        }),
        Objective::Mixture { first, second, weight, betas } => {
            // The job's β is in the others' scale, not in d3po's.
            let part = |asked: &Objective, own: Option<f64>| {
                let of_job = if matches!(asked, Objective::D3po { .. }) { asked.default_beta() } else { beta };
                Box::new(objective(asked, own.unwrap_or(of_job)))
            };
            ObjectiveSettings::Mixture(Mixture {
                first: part(first, betas[0]),
                second: part(second, betas[1]),
                weight: *weight,
            })
        }
    }
}

fn sign(of: i8) -> Sign {
    if of < 0 { Sign::Caption } else { Sign::Equation }
}

fn start(how: Start) -> PublishedStart {
    match how {
        Start::None => PublishedStart::None,
        Start::Perturb(std) => PublishedStart::Jitter { std },
        Start::WarmUp(steps) => PublishedStart::DiffusionDpo { steps },
    }
}
