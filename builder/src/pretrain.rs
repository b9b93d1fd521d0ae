//! Makes the embedded default from nothing: a tiny, complete SDXL-SG, trained on the world of shapes.
//!
//! Stages, each resumable and each reading only what the stages before it wrote into the model folder:
//! 1. `vae`: AutoencoderKL on rendered scenes;
//! 2. `text`: the BPE tokenizer and two CLIP text encoders, contrastively against an image tower;
//! 3. `unet`: the noise predictor, conditioned on captions; the text encoders are tuned along with it;
//! 4. `scene_graph_encoder`: with everything else frozen, as LAION-SG does;
//! 5. `measure`: the numbers of the model card, into `measurements.json`.

mod fit;
mod measure;
mod scene_graph_encoder;
mod text;
mod unet;
mod vae;

use models::Result;
use std::path::{Path, PathBuf};

/// File names of weights: diffusers' networks, transformers' networks.
const WEIGHTS: (&str, &str) = ("diffusion_pytorch_model.safetensors", "model.safetensors");

/// What `diptych pretrain` may be told.
#[derive(Clone, Debug)]
pub struct PretrainSettings {
    /// The model folder to make.
    pub output: PathBuf,
    /// Seed of all parameters, scenes and noises.
    pub seed: u64,
    /// Share of the default number of steps of every stage; 1 for the real thing, little for tests.
    pub scale: f64,
    /// Only this stage, where given; those before it must be done.
    pub only: Option<Stage>,
}

/// A stage of the pre-training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// AutoencoderKL.
    Vae,
    /// Tokenizer and text encoders; needs no other stage.
    Text,
    /// Noise predictor.
    Unet,
    /// Scene-graph encoder.
    SceneGraphEncoder,
    /// Scores on held-out graphs; trains nothing.
    Measure,
}

impl PretrainSettings {
    fn steps(&self, full: usize) -> usize {
        ((full as f64 * self.scale) as usize).max(2)
    }

    /// Where checkpoints of unfinished stages lie.
    fn work_folder(&self) -> PathBuf {
        self.output.join(".pretrain")
    }
}

/// A sign of life from a stage.
#[derive(Clone, Debug)]
pub struct PretrainProgress {
    /// The stage.
    pub stage: &'static str,
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Mean loss since the last sign of life; no number where nothing is trained.
    pub loss: f64,
    /// Seconds since the stage (or its resumed part) began.
    pub seconds: f64,
}

/// Runs all stages that are not done yet.
pub fn run(settings: &PretrainSettings, report: &mut dyn FnMut(&PretrainProgress)) -> Result<()> {
    fs_err::create_dir_all(settings.work_folder())?;
    let wanted = |stage| settings.only.is_none_or(|only| only == stage);
    if wanted(Stage::Vae) {
        vae::run(settings, report)?;
    }
    if wanted(Stage::Text) {
        text::run(settings, report)?;
    }
    if wanted(Stage::Unet) {
        unet::run(settings, report)?;
    }
    if wanted(Stage::SceneGraphEncoder) {
        scene_graph_encoder::run(settings, report)?;
    }
    if wanted(Stage::Measure) {
        measure::run(settings, report)?;
    }
    Ok(())
}

fn stage_is_done(folder: &Path) -> bool {
    folder.join("config.json").exists()
}
