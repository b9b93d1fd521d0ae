//! Preference training: pairs of images in, better UNet weights out.
//!
//! One step reads top-down in [`Trainer::step`]. Everything random in a step follows from the seed and the step's
//! number, so a resumed run is the same run, bit for bit, whatever the number of threads.

pub mod data_parallel;
mod draw;
mod encoded;
mod example;
mod gradient;
#[cfg(test)]
mod gradient_tests;
pub mod gradients;
pub mod learning_rate;
mod networks;
pub mod optimizer;
mod parameters;
#[cfg(test)]
mod precision_tests;
mod settings;
mod states;
pub mod tensor_cache;
pub(crate) mod trajectory;

pub use encoded::latents;
pub use example::{ImageInput, PairInput};
pub use settings::{MixedPrecision, Trainable, TrainerSettings};

use crate::objective::{
    DiffusionDpo, InversionDpoPublished, ObjectiveSettings, PathTarget, Start, inversion_dpo_published,
};
use crate::pipeline::{Conditioning, Pipeline, SampleSettings};
use crate::scene_graph_encoder::GraphText;
use crate::unet::UNet2DConditionModel;
use crate::weights::{TensorMap, VarMap, read_json, write_file, write_json};
use crate::{Error, Result};
use candle_core::DType;
use gradient::{Component, Outcome};
use gradients::Gradients;
use networks::{Networks, TrainedEncoder};
use optimizer::Optimizer;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tensor_cache::TensorCache;
use trajectory::{PathImage, PathReading, PathSettings, Trajectory, trajectories};

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
    /// Mean loss over the batch.
    pub loss: f64,
    /// Mean z; none for an objective without logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implicit_reward_margin: Option<f64>,
    /// Share of pairs with z > 0; none for an objective without logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_accuracy: Option<f64>,
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
    reference_unet: UNet2DConditionModel,
    policy: UNet2DConditionModel,
    /// The policy's own scene-graph encoder, where it learns.
    encoder: Option<TrainedEncoder>,
    vars: VarMap,
    /// Parameters that are exported but not trained: the alphas of adapters.
    constants: TensorMap,
    optimizer: Optimizer,
    conditioning: Conditioning,
    pairs: Vec<PairInput>,
    components: Vec<Component>,
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
        cache: &TensorCache,
        progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Self> {
        settings.validate()?;
        check_pairs(&reference, graphs, &pairs)?;
        let mut tell = |stage, done, total| match progress(Progress { stage, done, total }) {
            Control::Continue => Ok(()),
            Control::Stop => Err(Error::Stopped),
        };
        let conditioning = encoded::graphs(&reference, graphs, cache, &mut |done, total| tell("encode", done, total))?;
        let mut components = Vec::new();
        for (objective, weight) in settings.objective.parts() {
            let paths = match path_settings(objective, settings.sampling) {
                Some(wanted) => paths_of(&reference, &conditioning, graphs, &pairs, wanted, cache, &mut tell)?,
                None => Vec::new(),
            };
            components.push(Component { objective: objective.clone(), weight, paths });
        }
        let (vars, constants) = parameters::trainable(&reference, &settings)?;
        let policy = parameters::load_policy(&reference, &settings, &vars, &constants)?;
        let reference_unet = parameters::reference_unet(&reference, &settings)?;
        let encoder = parameters::load_encoder(&reference, &settings, &vars, graphs, cache)?;
        let optimizer =
            Optimizer::new(settings.optimizer, &vars, settings.weight_decay as f32, settings.ema_decay as f32)?;
        Ok(Self {
            settings,
            reference,
            reference_unet,
            policy,
            encoder,
            vars,
            constants,
            optimizer,
            conditioning,
            pairs,
            components,
        })
    }

    /// Steps done.
    pub fn step_index(&self) -> usize {
        self.optimizer.step_count() as usize
    }

    /// One optimizer step.
    pub fn step(&mut self) -> Result<StepMetrics> {
        let started = Instant::now();
        let step = self.step_index();
        self.round_anew()?;
        let outcome = self.outcome(step)?;
        let mut gradients = outcome.gradients;
        self.refuse_to_pretend(step, &gradients)?;
        let gradient_norm = gradients.clip(self.settings.max_grad_norm)?;
        if !gradient_norm.is_finite() || !outcome.loss.is_finite() {
            return Err(Error::Training(format!(
                "step {}: loss {} and gradient norm {gradient_norm}; the last checkpoint is good. Lower the learning \
                 rate or beta",
                step + 1,
                outcome.loss
            )));
        }
        let TrainerSettings { warmup_steps, max_steps, .. } = self.settings;
        let factor = self.settings.learning_rate_schedule.factor(step, warmup_steps, max_steps);
        let learning_rate = self.settings.learning_rate * factor;
        self.optimizer.step(&gradients, learning_rate)?;
        Ok(StepMetrics {
            step: step + 1,
            loss: outcome.loss,
            implicit_reward_margin: outcome.pairs.map(|pairs| pairs.implicit_reward_margin),
            pair_accuracy: outcome.pairs.map(|pairs| pairs.pair_accuracy),
            gradient_norm,
            drift: outcome.drift.sqrt(),
            learning_rate,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Networks that do not compute in f32 hold rounded copies of the variables, which have moved.
    fn round_anew(&mut self) -> Result<()> {
        if self.policy.dtype() != DType::F32 {
            self.policy = parameters::load_policy(&self.reference, &self.settings, &self.vars, &self.constants)?;
        }
        if self.reference.dtype() != DType::F32
            && let Some(encoder) = &mut self.encoder
        {
            encoder.network = parameters::encoder_network(&self.reference, &self.vars)?;
        }
        Ok(())
    }

    /// Loss and gradient of the pairs of a step, over all objectives of a mixture.
    fn outcome(&self, step: usize) -> Result<Outcome> {
        let drawn = draw::draw(&self.settings, step, &self.pairs);
        let networks = Networks {
            policy: &self.policy,
            reference: &self.reference,
            reference_unet: &self.reference_unet,
            conditioning: &self.conditioning,
            encoder: self.encoder.as_ref(),
            vars: &self.vars,
        };
        let mut total = Outcome::default();
        for component in &self.components {
            let objective = at_step(&component.objective, step);
            let mut part = gradient::of_batch(&networks, &self.settings, &objective, component, &drawn)?;
            if self.components.len() == 1 {
                return Ok(part);
            }
            part.gradients.scale(component.weight)?;
            total.gradients.add(part.gradients)?;
            total.loss += component.weight * part.loss;
            total.drift += component.weight * part.drift;
            // Logits of different objectives are not of one kind: those of the first that has any.
            total.pairs = total.pairs.or(part.pairs);
        }
        Ok(total)
    }

    /// An objective without a gradient where it starts cannot learn; going on would only look like training.
    fn refuse_to_pretend(&self, step: usize, gradients: &Gradients) -> Result<()> {
        // Later, every pair of a batch may be told apart so well that the loss is flat, or every likelihood ratio be
        // clipped: the next batch may have more to say.
        if step > 0 || gradients.norm()? != 0.0 {
            return Ok(());
        }
        if self.components.iter().all(|component| component.objective.two_term().is_some()) {
            return Err(inversion_dpo_published::cannot_move());
        }
        // A batch whose captions were all dropped does not reach the encoder of the captions.
        if self.settings.caption_dropout > 0.0 && matches!(self.settings.trainable, Trainable::SceneGraphEncoder) {
            return Ok(());
        }
        Err(Error::Training(
            "the gradient is exactly zero: winner and loser are the same images, or β is too small".to_owned(),
        ))
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

/// The first steps of a two-term objective may be Diffusion-DPO's.
fn at_step(objective: &ObjectiveSettings, step: usize) -> ObjectiveSettings {
    match objective.two_term() {
        Some(InversionDpoPublished { beta, start: Start::DiffusionDpo { steps }, .. }) if step < steps => {
            ObjectiveSettings::DiffusionDpo(DiffusionDpo { beta })
        }
        _ => objective.clone(),
    }
}

/// Which paths an objective needs, and what of them.
fn path_settings(objective: &ObjectiveSettings, sampling: SampleSettings) -> Option<(PathSettings, PathReading)> {
    if let ObjectiveSettings::InversionDpo(objective) = objective {
        let step_noises = objective.target == PathTarget::Step;
        return Some((PathSettings::of(objective, sampling), PathReading { step_noises, ..PathReading::default() }));
    }
    let objective = objective.two_term()?;
    let settings = PathSettings {
        sampling,
        source: crate::objective::PathSource::Inverted,
        inversion: SampleSettings {
            num_inference_steps: objective.inversion_steps,
            guidance_scale: objective.guidance_scale,
        },
        label: objective.inversion_label,
    };
    Some((settings, PathReading { pairing: objective.pairing, step_noises: false }))
}

/// Paths of both images of each pair; an image that several pairs share is worked on once.
fn paths_of(
    reference: &Pipeline,
    conditioning: &Conditioning,
    graphs: &[GraphText],
    pairs: &[PairInput],
    (settings, reading): (PathSettings, PathReading),
    cache: &TensorCache,
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
        trajectories(reference, conditioning, graphs, &images, settings, reading, cache, &mut |done, total| {
            tell(stage, done, total)
        })?
        .into_iter()
        .map(Arc::new)
        .collect();
    Ok(of_pairs.into_iter().map(|places| places.map(|place| Arc::clone(&paths[place]))).collect())
}
