//! What a job would cost, as a dry run answers it.

use builder::task::train::Estimate;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What a job would cost on this machine.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobEstimate {
    /// The request, with every default written out.
    pub spec: Value,
    /// Wall-clock time, evaluation included.
    pub seconds: f64,
    /// Largest working memory.
    pub memory_bytes: u64,
    /// Disk that the trajectory cache takes where nothing of it is kept yet.
    pub trajectory_cache_bytes: u64,
    /// Pairs.
    pub num_pairs: i64,
    /// Distinct pictures among them.
    pub num_images: i64,
    /// Pictures whose path is replayed from their seed.
    pub replayed: i64,
    /// Pictures whose path is found by inversion.
    pub inverted: i64,
    /// Of one picture through the reference.
    pub seconds_per_forward: f64,
    /// Of one pair in a step.
    pub seconds_per_pair: f64,
    /// `jobs`: the pair's time was measured in earlier jobs of the same kind; `forward`: it follows from the forward pass.
    #[schema(example = "forward")]
    pub measured_in: String,
    /// When the forward pass was measured on this machine.
    pub measured_at: DateTime<Utc>,
}

impl JobEstimate {
    /// As an answer.
    pub fn new(spec: Value, estimate: Estimate) -> Self {
        let measured_in = if estimate.measured_jobs { "jobs" } else { "forward" }.to_owned();
        let Estimate {
            seconds,
            memory_bytes,
            trajectory_cache_bytes,
            num_pairs,
            num_images,
            replayed,
            inverted,
            seconds_per_forward,
            seconds_per_pair,
            measured_jobs: _,
            measured_at,
        } = estimate;
        Self {
            spec,
            seconds,
            memory_bytes,
            trajectory_cache_bytes,
            num_pairs,
            num_images,
            replayed,
            inverted,
            seconds_per_forward,
            seconds_per_pair,
            measured_in,
            measured_at,
        }
    }
}
