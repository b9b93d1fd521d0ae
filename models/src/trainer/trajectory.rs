//! The trajectory cache: the states that the reference passes on its way to an image.
//!
//! They depend on the reference, the condition and the image alone, never on what is trained, so they are computed
//! once and kept: content-addressed files of [`IMAGES_PER_FILE`] images, read by every epoch and every job. A path is
//! *recorded* where the reference made the image from a known seed (sampling is replayed, bit for bit), else *inverted*.

use super::example::ImageInput;
use crate::objective::inversion_dpo::step_noise;
use crate::objective::{InversionDpo, PathSource, StatePairing};
use crate::pipeline::{Conditioning, Pipeline, SampleSettings};
use crate::scene_graph_encoder::GraphText;
use crate::scheduler::InverseLabel;
use crate::weights::{TensorMap, read_file, write_file};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Images in one file of the cache.
const IMAGES_PER_FILE: usize = 64;
/// A replayed path must end in the image; this much is allowed between machines that round differently.
const REPLAY_TOLERANCE: f32 = 1e-3;

/// How paths are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathSettings {
    /// How the candidates were sampled.
    pub sampling: SampleSettings,
    /// Whether recorded paths are used where there are any.
    pub source: PathSource,
    /// How the other images are inverted.
    pub inversion: SampleSettings,
    /// What the reference is told during an inversion.
    pub label: InverseLabel,
}

impl PathSettings {
    /// Those of an Inversion-DPO.
    pub fn of(objective: &InversionDpo, sampling: SampleSettings) -> Self {
        Self {
            sampling,
            source: objective.path,
            inversion: SampleSettings {
                num_inference_steps: objective.inversion_steps,
                guidance_scale: objective.inversion_guidance_scale,
            },
            label: objective.inversion_label,
        }
    }
}

/// What of a path an objective reads; the cache holds whole paths, whoever reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathReading {
    /// Which state of an inverted path goes with a timestep.
    pub pairing: StatePairing,
    /// Whether the noise of each step is wanted.
    pub step_noises: bool,
}

/// The path of one image.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// Training timesteps of the states.
    pub timesteps: Vec<usize>,
    /// The states, `[c · h · w]` each, in the order of the timesteps.
    pub states: Vec<Vec<f32>>,
    /// For each state the noise between it and its neighbour towards the image; empty where it was not asked for.
    pub step_noises: Vec<Vec<f32>>,
}

/// An image with its condition.
pub(super) struct PathImage<'a> {
    pub image: &'a ImageInput,
    pub condition: usize,
}

/// Reads or computes the paths of images, in their order. `progress(done, total)` may stop it.
pub(super) fn trajectories(
    reference: &Pipeline,
    conditioning: &Conditioning,
    graphs: &[GraphText],
    images: &[PathImage],
    settings: PathSettings,
    reading: PathReading,
    cache: &Path,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Trajectory>> {
    let mut all = Vec::with_capacity(images.len());
    let schedule = Timesteps::new(reference, settings, reading)?;
    for part in images.chunks(IMAGES_PER_FILE) {
        progress(all.len(), images.len())?;
        let file = cache.join(format!("{}.safetensors", key(reference, graphs, part, settings)));
        let states = match read_states(&file, part.len()) {
            Some(states) => states,
            None => {
                let states = compute(reference, conditioning, part, settings)?;
                let tensors: TensorMap =
                    states.iter().enumerate().map(|(i, states)| (format!("{i:04}"), states.clone())).collect();
                write_file(&file, &tensors, DType::F32)?;
                states
            }
        };
        for (image, states) in part.iter().zip(states) {
            all.push(schedule.trajectory(is_recorded(image.image, settings), &states)?);
        }
    }
    progress(images.len(), images.len())?;
    Ok(all)
}

fn is_recorded(image: &ImageInput, settings: PathSettings) -> bool {
    settings.source == PathSource::Recorded && image.seed.is_some()
}

/// A damaged or missing file is computed again.
fn read_states(file: &Path, count: usize) -> Option<Vec<Tensor>> {
    let tensors = if file.exists() { read_file(file, DType::F32, &Device::Cpu).ok()? } else { return None };
    (tensors.len() == count).then(|| tensors.into_values().collect())
}

fn key(reference: &Pipeline, graphs: &[GraphText], images: &[PathImage], settings: PathSettings) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("trajectories 1/{}/{settings:?}/", reference.hash()));
    for one in images {
        let sentence = graphs.get(one.condition).map(|graph| format!("{graph:?}")).unwrap_or_default();
        hasher.update(format!("{sentence}/{:?}/", one.image.seed));
        for value in &one.image.latent {
            hasher.update(value.to_le_bytes());
        }
    }
    hex::encode(hasher.finalize())
}

/// States of each image, `[T, c · h · w]`.
fn compute(
    reference: &Pipeline,
    conditioning: &Conditioning,
    images: &[PathImage],
    settings: PathSettings,
) -> Result<Vec<Tensor>> {
    let (recorded, inverted): (Vec<usize>, Vec<usize>) =
        (0..images.len()).partition(|&i| is_recorded(images[i].image, settings));
    let mut states: Vec<Option<Tensor>> = vec![None; images.len()];
    if !recorded.is_empty() {
        let seeds: Vec<u64> = recorded.iter().filter_map(|&i| images[i].image.seed).collect();
        let conditions: Vec<usize> = recorded.iter().map(|&i| images[i].condition).collect();
        let path = reference.sample_path(&conditioning.select(&conditions)?, &seeds, settings.sampling)?;
        for (row, &i) in recorded.iter().enumerate() {
            let all = stack_rows(&path, row)?;
            check_replay(&all, images[i].image)?;
            states[i] = Some(all);
        }
    }
    if !inverted.is_empty() {
        let (c, side) = (reference.latent_channels(), reference.latent_size());
        let latents: Vec<f32> = inverted.iter().flat_map(|&i| images[i].image.latent.iter().copied()).collect();
        let latents = Tensor::from_vec(latents, (inverted.len(), c, side, side), reference.device())?;
        let conditions: Vec<usize> = inverted.iter().map(|&i| images[i].condition).collect();
        let conditions = conditioning.select(&conditions)?;
        let inversions = reference.invert_many(&latents, &conditions, settings.inversion, settings.label)?;
        let mut places = inverted.iter();
        for inversion in inversions {
            let count = inversion.trajectory.first().map_or(Ok(0), |first| first.dim(0))?;
            for (row, &i) in places.by_ref().take(count).enumerate() {
                states[i] = Some(stack_rows(&inversion.trajectory, row)?);
            }
        }
    }
    states.into_iter().map(|one| one.ok_or_else(|| Error::Training("a path was not computed".to_owned()))).collect()
}

fn stack_rows(path: &[Tensor], row: usize) -> Result<Tensor> {
    let rows = path.iter().map(|state| Ok(state.get(row)?.flatten_all()?)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&rows, 0)?)
}

fn check_replay(states: &Tensor, image: &ImageInput) -> Result<()> {
    let end = states.get(states.dim(0)? - 1)?.to_vec1::<f32>()?;
    let difference = end.iter().zip(&image.latent).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    if end.len() == image.latent.len() && difference <= REPLAY_TOLERANCE {
        return Ok(());
    }
    Err(Error::Training(format!(
        "replaying seed {:?} ends {difference} away from the recorded latent: the image was not made by this reference \
         with these settings; train with `path: inverted`",
        image.seed
    )))
}

/// Which states of a path are of use, and at which timesteps.
struct Timesteps {
    recorded: Vec<Place>,
    inverted: Vec<Place>,
    reading: PathReading,
}

/// A state of a path, by its number there.
struct Place {
    state: usize,
    timestep: usize,
    alpha: f64,
    /// The neighbour towards the image, and its ᾱ.
    neighbour: (usize, f64),
}

impl Timesteps {
    /// The last step of sampling and the first of inversion do not change the noise level where the schedule ends at
    /// ᾱ(0); a state there is the image itself, and has no noise to predict. Only the script's pairing wants it.
    fn new(reference: &Pipeline, settings: PathSettings, reading: PathReading) -> Result<Self> {
        let schedule = reference.schedule();
        let recorded = schedule
            .ddim_steps(settings.sampling.num_inference_steps, 0.0)?
            .iter()
            .enumerate()
            .filter(|(_, step)| step.alpha < step.previous_alpha)
            .map(|(k, step)| Place {
                state: k,
                timestep: step.timestep,
                alpha: step.alpha,
                neighbour: (k + 1, step.previous_alpha),
            })
            .collect();
        let inverted = schedule
            .ddim_inverse_steps(settings.inversion.num_inference_steps, settings.label)?
            .iter()
            .enumerate()
            .filter(|(_, step)| reading.pairing == StatePairing::Source || step.alpha < step.source_alpha)
            .map(|(k, step)| Place {
                state: match reading.pairing {
                    StatePairing::Arrived => k + 1,
                    StatePairing::Source => k,
                },
                timestep: step.timestep,
                alpha: step.alpha,
                neighbour: (k, step.source_alpha),
            })
            .collect();
        Ok(Self { recorded, inverted, reading })
    }

    fn trajectory(&self, recorded: bool, states: &Tensor) -> Result<Trajectory> {
        let places = if recorded { &self.recorded } else { &self.inverted };
        let state = |place: usize| -> Result<Vec<f32>> { Ok(states.get(place)?.to_vec1::<f32>()?) };
        let noise = |place: &Place| {
            let (neighbour, alpha) = place.neighbour;
            step_noise(&state(place.state)?, place.alpha, &state(neighbour)?, alpha)
        };
        Ok(Trajectory {
            timesteps: places.iter().map(|place| place.timestep).collect(),
            states: places.iter().map(|place| state(place.state)).collect::<Result<_>>()?,
            step_noises: match self.reading.step_noises {
                true => places.iter().map(noise).collect::<Result<_>>()?,
                false => Vec::new(),
            },
        })
    }
}
