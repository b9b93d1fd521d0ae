//! The domain: what a scene graph, a question, a score card, a pair is; and the store. No HTTP.
//!
//! Data flows one way: SceneGraph → Conditioning → Candidate → ScoreCard → Pair → TrainingExample → Checkpoint →
//! Evaluation. Each arrow is one module here, one kind of task, one resource of the API.

pub mod answer;
pub mod archive;
pub mod blob;
pub mod candidate;
pub mod conditioning;
pub mod curation;
pub mod detect;
pub mod dpg_bench;
pub mod endpoint;
pub mod error;
pub mod evaluation;
pub mod experiment;
pub mod export;
pub mod extract;
pub mod id;
pub mod inversion;
pub mod job;
pub mod laion_sg;
pub mod lint;
pub mod metrics;
pub mod model_registry;
pub mod pair;
pub mod pairing;
pub mod pattern;
mod picture_lines;
pub mod plot;
pub mod policy;
pub mod pretrain;
pub mod prompt;
pub mod question;
pub mod scene_graph;
pub mod score;
pub mod score_card;
pub mod scorer;
pub mod shapes;
pub mod store;
pub mod task;
pub mod vote;
pub mod webhook;

pub use error::{Error, Result};
