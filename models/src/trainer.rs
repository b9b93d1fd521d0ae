//! Preference training: pairs of images in, better UNet weights out.
//!
//! One step reads top-down in [`Trainer::step`]. Everything random in a step follows from the seed and the step's
//! number, so a resumed run is the same run, bit for bit, whatever the number of threads.

mod batch;
pub mod data_parallel;
mod example;
pub mod learning_rate;
pub mod optimizer;
mod settings;
mod trajectory;

pub use example::{ImageInput, PairInput};
pub use settings::{Trainable, TrainerSettings};

use crate::lora::LoraSettings;
use crate::objective::{InversionDpoPublished, ObjectiveSettings, Start, inversion_dpo_published};
use crate::pipeline::{Conditioning, GraphMode, Pipeline, SampleSettings};
use crate::scene_graph_encoder::GraphText;
use crate::unet::UNet2DConditionModel;
use crate::weights::{TensorMap, VarMap, load_strictly, read_json, write_file, write_json};
use crate::{Error, Result};
use batch::{Batch, Networks};
use candle_core::{DType, Tensor, Var};
use optimizer::{AdamW, AdamWSettings, Gradients, clip_gradients, gradient_norm};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use trajectory::{PathImage, PathSettings, Trajectory, trajectories};

/// How far the preparation is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// `encode`, `replay` or `invert`.
    pub stage: &'static str,
    /// Graphs or images done.
    pub done: usize,
    /// Of how many.
    pub total: usize,
}

/// What a caller wants after a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop as soon as possible; the trainer is not made.
    Stop,
}

/// What one step tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Steps done, this one included.
    pub step: usize,
    /// Mean −log σ(z) over the batch.
    pub loss: f64,
    /// Mean z.
    pub implicit_reward_margin: f64,
    /// Share of pairs with z > 0.
    pub pair_accuracy: f64,
    /// Norm of the gradient before clipping.
    #[serde(rename = "grad_norm")]
    pub gradient_norm: f64,
    /// Root mean square of ε_θ − ε_ref over the batch.
    pub drift: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Wall-clock seconds of this step.
    pub seconds: f64,
}

/// A training under way.
pub struct Trainer {
    settings: TrainerSettings,
    reference: Arc<Pipeline>,
    policy: UNet2DConditionModel,
    vars: VarMap,
    /// Parameters that are exported but not trained: the alphas of adapters.
    constants: TensorMap,
    optimizer: AdamW,
    conditioning: Conditioning,
    pairs: Vec<PairInput>,
    /// Of winner and loser of each pair; empty where the objective needs none.
    paths: Vec<[Arc<Trajectory>; 2]>,
}

#[derive(Serialize, Deserialize)]
struct CheckpointNote {
    settings: TrainerSettings,
    reference: String,
    num_pairs: usize,
}

impl Trainer {
    /// Encodes the graphs, replays or inverts the paths that the objective needs (or reads them from `cache`), and
    /// stands at step 0.
    pub fn new(
        reference: Arc<Pipeline>,
        graphs: &[GraphText],
        pairs: Vec<PairInput>,
        settings: TrainerSettings,
        cache: &Path,
        progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Self> {
        settings.validate()?;
        check_pairs(&reference, graphs, &pairs)?;
        let mut tell = |stage, done, total| match progress(Progress { stage, done, total }) {
            Control::Continue => Ok(()),
            Control::Stop => Err(Error::Stopped),
        };
        tell("encode", 0, graphs.len())?;
        let conditioning = reference.encode_graphs(graphs, GraphMode::SceneGraph)?;
        let paths = match path_settings(&settings) {
            Some(path_settings) => paths_of(&reference, &conditioning, graphs, &pairs, path_settings, cache, &mut tell)?,
            None => Vec::new(),
        };
        let (vars, constants) = trainable(&reference, &settings)?;
        let policy = load_policy(&reference, &vars, &constants)?;
        let optimizer = AdamW::new(
            &vars,
            AdamWSettings {
                weight_decay: settings.weight_decay as f32,
                ema_decay: settings.ema_decay as f32,
                ..AdamWSettings::default()
            },
        )?;
        Ok(Self { settings, reference, policy, vars, constants, optimizer, conditioning, pairs, paths })
    }

    /// Steps done.
    pub fn step_index(&self) -> usize {
        self.optimizer.step_count() as usize
    }

    /// One optimizer step.
    pub fn step(&mut self) -> Result<StepMetrics> {
        let started = Instant::now();
        let step = self.step_index();
        let batch = Batch::draw(&self.settings, step, &self.pairs, &self.paths)?;
        let networks = Networks {
            policy: &self.policy,
            reference: &self.reference,
            conditioning: &self.conditioning,
            vars: &self.vars,
        };
        let outcome = match &self.settings.objective {
            ObjectiveSettings::InversionDpoPublished(objective) if !warms_up(objective, step) => {
                batch.published(&networks, objective)?
            }
            objective => batch.four_term(&networks, objective.beta())?,
        };
        let mut gradients = outcome.gradients;
        self.refuse_to_pretend(&gradients)?;
        let gradient_norm = clip_gradients(&mut gradients, self.settings.max_grad_norm);
        if !gradient_norm.is_finite() || !outcome.summary.loss.is_finite() {
            return Err(Error::Training(format!(
                "step {}: loss {} and gradient norm {gradient_norm}; the last checkpoint is good. Lower the learning \
                 rate or beta",
                step + 1,
                outcome.summary.loss
            )));
        }
        let TrainerSettings { warmup_steps, max_steps, .. } = self.settings;
        let factor = self.settings.learning_rate_schedule.factor(step, warmup_steps, max_steps);
        let learning_rate = self.settings.learning_rate * factor;
        self.optimizer.step(&gradients, learning_rate)?;
        Ok(StepMetrics {
            step: step + 1,
            loss: outcome.summary.loss,
            implicit_reward_margin: outcome.summary.implicit_reward_margin,
            pair_accuracy: outcome.summary.pair_accuracy,
            gradient_norm,
            drift: outcome.drift,
            learning_rate,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// An objective without a gradient where it stands cannot learn; going on would only look like training.
    fn refuse_to_pretend(&self, gradients: &Gradients) -> Result<()> {
        if gradient_norm(gradients) != 0.0 {
            return Ok(());
        }
        match self.settings.objective {
            ObjectiveSettings::InversionDpoPublished(_) => Err(inversion_dpo_published::cannot_move()),
            _ => Err(Error::Training(
                "the gradient is exactly zero: winner and loser are the same images, or β is too small".to_owned(),
            )),
        }
    }

    /// Writes a checkpoint folder, whole or not at all: all that an exact resume needs.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = dir.with_file_name(name);
        if partial.exists() {
            fs_err::remove_dir_all(&partial)?;
        }
        fs_err::create_dir_all(&partial)?;
        write_file(&partial.join("state.safetensors"), &self.optimizer.state()?, DType::F32)?;
        let note = CheckpointNote {
            settings: self.settings.clone(),
            reference: self.reference.hash().to_owned(),
            num_pairs: self.pairs.len(),
        };
        write_json(&partial.join("trainer.json"), &note)?;
        if dir.exists() {
            fs_err::remove_dir_all(dir)?;
        }
        fs_err::rename(&partial, dir)?;
        Ok(())
    }

    /// Takes up a checkpoint of this very training.
    ///
    /// # Errors
    /// It is damaged, or belongs to another reference, other pairs or other settings.
    pub fn restore(&mut self, dir: &Path) -> Result<()> {
        let note: CheckpointNote = read_json(&dir.join("trainer.json"))?;
        let differs = if note.reference != self.reference.hash() {
            Some("reference model")
        } else if note.num_pairs != self.pairs.len() {
            Some("number of pairs")
        } else if note.settings != self.settings {
            Some("settings")
        } else {
            None
        };
        if let Some(what) = differs {
            return Err(Error::Training(format!("{}: the checkpoint has another {what}", dir.display())));
        }
        let file = dir.join("state.safetensors");
        let bytes = fs_err::read(&file)?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &candle_core::Device::Cpu)?;
        self.optimizer.restore(&tensors.into_iter().collect())
    }

    /// Writes the averaged weights, for [`Pipeline::with_unet`]: the whole UNet, or the adapters.
    pub fn export(&self, file: &Path) -> Result<()> {
        let mut weights = self.optimizer.averaged()?;
        weights.extend(self.constants.clone());
        write_file(file, &weights, DType::F32)
    }
}

fn check_pairs(reference: &Pipeline, graphs: &[GraphText], pairs: &[PairInput]) -> Result<()> {
    if pairs.is_empty() {
        return Err(Error::Invalid("there are no pairs to train on".to_owned()));
    }
    let elements = reference.latent_channels() * reference.latent_size().pow(2);
    for (i, pair) in pairs.iter().enumerate() {
        if pair.condition >= graphs.len() {
            return Err(Error::Invalid(format!("pair {i}: condition {} of {}", pair.condition, graphs.len())));
        }
        for image in [&pair.winner, &pair.loser] {
            if image.latent.len() != elements {
                return Err(Error::Invalid(format!(
                    "pair {i}: a latent of {} values; this model's have {elements}",
                    image.latent.len()
                )));
            }
        }
    }
    Ok(())
}

/// The first steps of a published objective may be Diffusion-DPO's.
fn warms_up(objective: &InversionDpoPublished, step: usize) -> bool {
    matches!(objective.start, Start::DiffusionDpo { steps } if step < steps)
}

fn path_settings(settings: &TrainerSettings) -> Option<PathSettings> {
    match &settings.objective {
        ObjectiveSettings::InversionDpo(objective) => Some(PathSettings::of(objective, settings.sampling)),
        ObjectiveSettings::InversionDpoPublished(objective) => Some(PathSettings {
            sampling: settings.sampling,
            source: crate::objective::PathSource::Inverted,
            inversion: SampleSettings {
                num_inference_steps: objective.inversion_steps,
                guidance_scale: objective.guidance_scale,
            },
            label: objective.inversion_label,
        }),
        ObjectiveSettings::DiffusionDpo(_) => None,
    }
}

/// Paths of both images of each pair; an image that several pairs share is worked on once.
fn paths_of(
    reference: &Pipeline,
    conditioning: &Conditioning,
    graphs: &[GraphText],
    pairs: &[PairInput],
    settings: PathSettings,
    cache: &Path,
    tell: &mut dyn FnMut(&'static str, usize, usize) -> Result<()>,
) -> Result<Vec<[Arc<Trajectory>; 2]>> {
    let mut places = std::collections::HashMap::new();
    let mut images: Vec<PathImage> = Vec::new();
    let mut of_pairs: Vec<[usize; 2]> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        of_pairs.push([&pair.winner, &pair.loser].map(|image| {
            let bits: Vec<u32> = image.latent.iter().map(|value| value.to_bits()).collect();
            *places.entry((pair.condition, image.seed, bits)).or_insert_with(|| {
                images.push(PathImage { image, condition: pair.condition });
                images.len() - 1
            })
        }));
    }
    let stage = if images.iter().any(|one| one.image.seed.is_some()) { "replay" } else { "invert" };
    let paths: Vec<Arc<Trajectory>> =
        trajectories(reference, conditioning, graphs, &images, settings, cache, &mut |done, total| {
            tell(stage, done, total)
        })?
        .into_iter()
        .map(Arc::new)
        .collect();
    Ok(of_pairs.into_iter().map(|places| places.map(|place| Arc::clone(&paths[place]))).collect())
}

/// The variables to train, and constants that belong to them.
fn trainable(reference: &Pipeline, settings: &TrainerSettings) -> Result<(VarMap, TensorMap)> {
    let (vars, constants) = match settings.trainable {
        Trainable::Unet => {
            let vars = reference
                .unet_weights()
                .iter()
                .map(|(name, tensor)| Ok((name.clone(), Var::from_tensor(&tensor.copy()?)?)))
                .collect::<Result<VarMap>>()?;
            (vars, TensorMap::new())
        }
        Trainable::Lora { rank, alpha } => {
            let lora = LoraSettings { rank, alpha, ..LoraSettings::default() };
            let adapters = lora.fresh_adapters(reference.unet_weights(), settings.seed, reference.device())?;
            let parts = adapters.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
            let constants = lora.alphas(&parts)?;
            (adapters, constants)
        }
    };
    if let ObjectiveSettings::InversionDpoPublished(InversionDpoPublished { start: Start::Jitter { std }, .. }) =
        settings.objective
    {
        jitter(&vars, std, settings.seed)?;
    }
    Ok((vars, constants))
}

/// Moves every variable by normal noise of `std` times the deviation of its values.
fn jitter(vars: &VarMap, std: f64, seed: u64) -> Result<()> {
    for (number, var) in vars.values().enumerate() {
        let values = var.flatten_all()?.to_vec1::<f32>()?;
        let count = values.len().max(1) as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        let scale = (std * variance.sqrt()) as f32;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number as u64);
        let moved: Vec<f32> = values
            .into_iter()
            .map(|value| value + scale * Distribution::<f32>::sample(&StandardNormal, &mut rng))
            .collect();
        var.set(&Tensor::from_vec(moved, var.shape(), var.device())?)?;
    }
    Ok(())
}

fn load_policy(reference: &Pipeline, vars: &VarMap, constants: &TensorMap) -> Result<UNet2DConditionModel> {
    let mut tensors = reference.unet_weights().clone();
    tensors.extend(constants.clone());
    tensors.extend(vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())));
    load_strictly(&tensors, Path::new("unet"), reference.device(), |vb| {
        UNet2DConditionModel::load(&vb, reference.unet().config())
    })
}

