//! A training job: what it is asked for, which states it goes through, and what is wrong with a request.
//!
//! The states are those of the API and of the SQL type `job_state`. [`JobState::next`] is the only place where one becomes
//! another; whoever writes a state to the store asks it first.

mod cost;
mod fields;
mod objective;
mod spec;
mod trainable;

use serde::{Deserialize, Serialize};

pub use crate::error::Fault;
pub use crate::store::state::JobState;
pub use fields::Fields;
pub use objective::{
    Objective, PathChoice, PublishedReduction, PublishedWeighting, Start, TargetChoice, TimestepReduction,
};
pub use spec::{EvaluationSpec, JobSpec, LearningRateSchedule, LossForm, OptimizerChoice};
pub use trainable::Trainable;

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobChange {
    /// Everything that the job names exists and fits.
    Validate,
    /// A worker took it up (also: again, after another was killed).
    Prepare,
    /// The first step can be taken.
    Run,
    /// A worker let it go unfinished, because the service stops.
    Release,
    /// Asked from outside.
    Pause,
    /// The worker saved a checkpoint and let go.
    Paused,
    /// Asked from outside.
    Resume,
    /// Asked from outside.
    Cancel,
    /// The worker let go.
    Cancelled,
    /// Done.
    Succeed,
    /// Cannot be done.
    Fail,
}

impl JobState {
    /// Whether a worker holds the job, or should.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Preparing | Self::Running | Self::Pausing | Self::Cancelling)
    }

    /// The state after `change`; `None` where that change is not allowed.
    ///
    /// Without a worker a request is granted at once (`Queued` + `Pause` = `Paused`); with one it becomes a wish that the
    /// worker sees within a step.
    pub fn next(self, change: JobChange) -> Option<Self> {
        use JobChange as C;
        use JobState as S;
        match (self, change) {
            (S::Validating, C::Validate) | (S::Preparing | S::Running, C::Release) | (S::Paused, C::Resume) => {
                Some(S::Queued)
            }
            // `Preparing` and `Running` too: the worker before was killed, and did not say so.
            (S::Queued | S::Preparing | S::Running, C::Prepare) => Some(S::Preparing),
            (S::Preparing | S::Running, C::Pause) => Some(S::Pausing),
            (S::Queued, C::Pause) | (S::Pausing, C::Paused) => Some(S::Paused),
            // The second: changed one's mind before the worker saw it.
            (S::Preparing, C::Run) | (S::Pausing, C::Resume) => Some(S::Running),
            (S::Validating | S::Queued | S::Paused, C::Cancel) | (S::Cancelling, C::Cancelled) => Some(S::Cancelled),
            (S::Preparing | S::Running | S::Pausing, C::Cancel) => Some(S::Cancelling),
            // A wish that came too late: the job was through.
            (S::Running | S::Pausing | S::Cancelling, C::Succeed) => Some(S::Succeeded),
            (state, C::Fail) if !state.is_final() => Some(S::Failed),
            _ => None,
        }
    }

    /// Every state from which `change` leads to `to`.
    pub fn sources(change: JobChange, to: Self) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|state| state.next(change) == Some(to)).collect()
    }
}

/// The parts of a job's work, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStage {
    /// Waits.
    Waiting,
    /// Graphs into embeddings; latents out of the store.
    Encode,
    /// Paths of candidates that the reference made, from their seeds.
    Replay,
    /// Paths of other images.
    Invert,
    /// Steps.
    Train,
    /// Held-out comparison.
    Evaluate,
}

impl JobStage {
    /// The stage's word in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Encode => "encode",
            Self::Replay => "replay",
            Self::Invert => "invert",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
        }
    }
}

/// How long a job will take, in seconds, from what one forward pass of one image costs.
///
/// A pair's step is four forwards and two backwards (a backward counts as two forwards) for most objectives; a sampled
/// image is two forwards a step, conditional and unconditional.
pub fn estimate_seconds(spec: &JobSpec, num_pairs: usize, num_inference_steps: usize, seconds_per_forward: f64) -> f64 {
    let sampled = |images: usize| (images * num_inference_steps * 2) as f64;
    let paths: f64 = spec
        .objective
        .parts()
        .iter()
        .map(|objective| match objective {
            // A path a candidate and the reference's prediction on it, once, before the first step.
            Objective::InversionDpo { .. } => sampled(num_pairs * 2) * 1.5,
            other => other
                .inverts()
                .map_or(0.0, |(steps, guided)| (num_pairs * 2 * steps * if guided { 2 } else { 1 }) as f64),
        })
        .sum();
    let asked: f64 = spec.objective.parts().iter().map(|objective| objective.forwards_a_pair()).sum();
    let steps = (spec.max_steps * spec.batch_size * spec.gradient_accumulation_steps) as f64 * asked;
    let evaluation = sampled(spec.evaluation.num_graphs * spec.evaluation.num_noises * 2);
    let selection = spec
        .max_steps
        .checked_div(spec.evaluation.every)
        .map_or(0.0, |times| sampled((times + 1) * spec.evaluation.selection_graphs));
    let samples =
        spec.max_steps.checked_div(spec.sample_every).map_or(0.0, |times| sampled((times + 1) * spec.sample_graphs));
    (paths + steps + evaluation + selection + samples) * seconds_per_forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHANGES: [JobChange; 11] = [
        JobChange::Validate,
        JobChange::Prepare,
        JobChange::Run,
        JobChange::Release,
        JobChange::Pause,
        JobChange::Paused,
        JobChange::Resume,
        JobChange::Cancel,
        JobChange::Cancelled,
        JobChange::Succeed,
        JobChange::Fail,
    ];

    proptest! {
        #[test]
        fn a_final_state_stays(changes in prop::collection::vec(0..CHANGES.len(), 0..40)) {
            let mut state = JobState::Validating;
            for change in changes {
                let next = state.next(CHANGES[change]);
                if state.is_final() {
                    prop_assert_eq!(next, None);
                }
                state = next.unwrap_or(state);
            }
            // Whatever happened, a job that is not through can still be ended from outside.
            if !state.is_final() {
                prop_assert_eq!(state.next(JobChange::Fail), Some(JobState::Failed));
                if state != JobState::Cancelling {
                    prop_assert!(state.next(JobChange::Cancel).is_some());
                }
            }
        }
    }

    #[test]
    fn the_usual_way_goes_through() {
        let mut state = JobState::Validating;
        for (change, expected) in [
            (JobChange::Validate, JobState::Queued),
            (JobChange::Prepare, JobState::Preparing),
            (JobChange::Run, JobState::Running),
            (JobChange::Pause, JobState::Pausing),
            (JobChange::Paused, JobState::Paused),
            (JobChange::Resume, JobState::Queued),
            (JobChange::Prepare, JobState::Preparing),
            // killed here: another worker takes it up
            (JobChange::Prepare, JobState::Preparing),
            (JobChange::Run, JobState::Running),
            (JobChange::Succeed, JobState::Succeeded),
        ] {
            state = state.next(change).unwrap();
            assert_eq!(state, expected);
        }
    }
}
