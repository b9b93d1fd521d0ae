//! The resources: one file a noun. A handler reads the request, calls one function of `builder` and writes the answer.

pub mod agreement;
pub mod candidates;
pub mod collections;
pub mod demo;
pub mod edits;
pub mod evaluations;
pub mod exports;
pub mod frechet_distances;
pub mod generations;
pub mod graphs;
pub mod health;
pub mod image;
pub mod imports;
pub mod job_estimate;
pub mod jobs;
pub mod metric_networks;
pub mod models;
pub mod pairing_comparison;
pub mod pairings;
pub mod progress;
pub mod questions;
pub mod score_runs;
pub mod scorers;
pub mod tokens;
pub mod votes;
pub mod webhooks;
