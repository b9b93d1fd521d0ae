//! Temporary, until `models::trainer::Trainer` is in.

/// One side of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageInput {
    /// Scaled latent of the image, `[c · h · w]`.
    pub latent: Vec<f32>,
    /// The seed where this very reference made the image with the trainer's sampling settings: its path can be replayed
    /// exactly. `None` for images from elsewhere, whose path has to be inverted.
    pub seed: Option<u64>,
}

/// A winner and a loser of the same scene graph.
#[derive(Clone, Debug, PartialEq)]
pub struct PairInput {
    /// Index of the scene graph.
    pub condition: usize,
    /// The preferred image.
    pub winner: ImageInput,
    /// The other.
    pub loser: ImageInput,
}
use models::pipeline::Pipeline;
use models::scene_graph_encoder::GraphText;
use std::path::Path;
use std::sync::Arc;
#[derive(Default)]
pub struct TrainerSettings {
    pub max_steps: usize,
    pub num_inference_steps: usize,
}
#[derive(Clone, Debug)]
pub struct Progress {
    pub stage: &'static str,
    pub done: usize,
    pub total: usize,
}
pub enum Control {
    Continue,
    Stop,
}
#[derive(serde::Serialize)]
pub struct StepMetrics {
    pub step: usize,
    pub seconds: f64,
}
pub struct Trainer;
impl Trainer {
    pub fn new(
        _reference: Arc<Pipeline>,
        _graphs: Vec<GraphText>,
        _pairs: Vec<PairInput>,
        _settings: TrainerSettings,
        _cache: &Path,
        _progress: &mut dyn FnMut(Progress) -> Control,
    ) -> models::Result<Trainer> {
        Err(models::Error::Stopped)
    }
    pub fn step_index(&self) -> usize {
        0
    }
    pub fn step(&mut self) -> models::Result<StepMetrics> {
        Err(models::Error::Stopped)
    }
    pub fn save(&self, _dir: &Path) -> models::Result<()> {
        Ok(())
    }
    pub fn restore(&mut self, _dir: &Path) -> models::Result<()> {
        Ok(())
    }
    pub fn export(&self, _file: &Path) -> models::Result<()> {
        Ok(())
    }
}
