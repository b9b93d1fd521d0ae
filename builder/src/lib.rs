//! The domain: what a scene graph, a question, a score card, a pair is; and the store. No HTTP.
//!
//! Data flows one way: SceneGraph → Conditioning → Candidate → ScoreCard → Pair → TrainingExample → Checkpoint →
//! Evaluation. Each arrow is one module here, one kind of task, one resource of the API.

pub mod laion_sg;
pub mod lint;
pub mod pretrain;
pub mod scene_graph;
pub mod shapes;
