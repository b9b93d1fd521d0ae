//! A job's spec in the trainer's words.

use super::trainer_stub::TrainerSettings;
use models::pipeline::SampleSettings;

use crate::job::JobSpec;

/// The trainer's settings for `spec`, with the sampling that the pairing's candidates had.
pub(super) fn trainer_settings(spec: &JobSpec, sampling: SampleSettings) -> TrainerSettings {
    TrainerSettings {
        max_steps: spec.max_steps,
        num_inference_steps: sampling.num_inference_steps,
        ..TrainerSettings::default()
    }
}
