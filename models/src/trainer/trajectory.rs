//! The states that the reference passes on its way to an image.
//!
//! They depend on the reference, the condition and the image alone, never on what is trained, so they are computed
//! once and kept in the cache ([`super::tensor_cache`]), read by every epoch and every job. A path is *recorded* where the
//! reference made the image from a known seed (sampling is replayed, bit for bit), else *inverted*.

use super::example::ImageInput;
use super::tensor_cache::{CachedRow, Key, Precision, TensorCache, Wanted, key};
use crate::objective::inversion_dpo::step_noise;
use crate::objective::{InversionDpo, PathSource, StatePairing};
use crate::pipeline::{Conditioning, Pipeline, SampleSettings};
use crate::scene_graph_encoder::GraphText;
use crate::scheduler::{InverseLabel, NoiseSchedule};
use crate::{Error, Result};
use candle_core::Tensor;
use std::sync::Arc;

/// A replayed path must end in the image; this much is allowed between machines that round differently.
pub(crate) const REPLAY_TOLERANCE: f32 = 1e-3;

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

/// What of a path an objective reads; the cache holds whole paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathReading {
    /// Which state of an inverted path goes with a timestep.
    pub pairing: StatePairing,
    /// Whether the noise of each step is wanted.
    pub step_noises: bool,
}

impl PathReading {
    /// A state in f16 is another state close by, whose target follows from it; a noise between two states would take the
    /// error of both, many times over where they are close to each other.
    fn precision(self) -> Precision {
        if self.step_noises { Precision::Full } else { Precision::Half }
    }
}

/// The path of one image, read from the cache state by state.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// Training timesteps of the states.
    pub timesteps: Arc<[usize]>,
    places: Arc<[Place]>,
    row: CachedRow,
    elements: usize,
}

impl Trajectory {
    /// The `k`-th state, `[c · h · w]`, in the order of the timesteps.
    pub(super) fn state(&self, k: usize) -> Result<Vec<f32>> {
        self.kept(self.place(k)?.state)
    }

    /// The noise between the `k`-th state and its neighbour towards the image.
    pub(super) fn step_noise(&self, k: usize) -> Result<Vec<f32>> {
        let place = self.place(k)?;
        let (neighbour, alpha) = place.neighbour;
        step_noise(&self.kept(place.state)?, place.alpha, &self.kept(neighbour)?, alpha)
    }

    /// A state on the way from the `k`-th to its neighbour towards the image, `share` (0..1) of the timesteps between them
    /// gone, and its timestep. A DDIM step is a straight line in x/√ᾱ over √(1/ᾱ − 1), so this is a state of the path as much
    /// as its ends are.
    pub(super) fn between(&self, k: usize, share: f64, schedule: &NoiseSchedule) -> Result<(usize, Vec<f32>)> {
        let place = self.place(k)?;
        let gone = (share * (place.timestep as i64 - place.neighbour_timestep) as f64) as i64;
        let timestep = place.timestep as i64 - gone;
        let alpha = if gone == 0 { place.alpha } else { schedule.alpha_cumprod(timestep)? };
        let (neighbour, neighbour_alpha) = place.neighbour;
        let level = |alpha: f64| (1. / alpha - 1.).sqrt();
        let weight = (level(alpha) - level(neighbour_alpha)) / (level(place.alpha) - level(neighbour_alpha));
        let (of_state, of_neighbour) =
            ((alpha / place.alpha).sqrt() * weight, (alpha / neighbour_alpha).sqrt() * (1. - weight));
        let (state, neighbour) = (self.kept(place.state)?, self.kept(neighbour)?);
        let mix = |(state, neighbour): (&f32, &f32)| {
            (f64::from(*state) * of_state + f64::from(*neighbour) * of_neighbour) as f32
        };
        Ok((timestep as usize, state.iter().zip(&neighbour).map(mix).collect()))
    }

    fn place(&self, k: usize) -> Result<&Place> {
        self.places.get(k).ok_or_else(|| Error::Training(format!("a path has no state {k}")))
    }

    fn kept(&self, state: usize) -> Result<Vec<f32>> {
        self.row.read(state * self.elements, self.elements)
    }
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
    cache: &TensorCache,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Trajectory>> {
    let schedule = Timesteps::new(reference, settings, reading)?;
    let elements = reference.latent_channels() * reference.latent_size().pow(2);
    let wanted: Vec<Wanted> = images
        .iter()
        .map(|image| {
            let recorded = is_recorded(image.image, settings);
            let steps = if recorded { settings.sampling } else { settings.inversion }.num_inference_steps;
            Wanted { key: image_key(reference, graphs, image, settings), length: (steps + 1) * elements }
        })
        .collect();
    let mut compute = |places: &[usize]| {
        let part: Vec<&PathImage> = places.iter().map(|&place| &images[place]).collect();
        compute(reference, conditioning, &part, settings)
    };
    let rows = cache.fetch(&wanted, reading.precision(), &mut compute, progress)?;
    let path = |(image, row): (&PathImage, CachedRow)| {
        let recorded = is_recorded(image.image, settings);
        let (timesteps, places) = if recorded { &schedule.recorded } else { &schedule.inverted };
        Trajectory { timesteps: Arc::clone(timesteps), places: Arc::clone(places), row, elements }
    };
    Ok(images.iter().zip(rows).map(path).collect())
}

fn is_recorded(image: &ImageInput, settings: PathSettings) -> bool {
    settings.source == PathSource::Recorded && image.seed.is_some()
}

/// All that a path depends on; of the settings those of its own kind alone.
fn image_key(reference: &Pipeline, graphs: &[GraphText], image: &PathImage, settings: PathSettings) -> Key {
    let how = if is_recorded(image.image, settings) {
        format!("recorded path/{:?}/{:?}", image.image.seed, settings.sampling)
    } else {
        format!("inverted path/{:?}/{:?}", settings.inversion, settings.label)
    };
    let graph = graphs.get(image.condition).map(|graph| format!("{graph:?}")).unwrap_or_default();
    let latent: Vec<u8> = image.image.latent.iter().flat_map(|value| value.to_le_bytes()).collect();
    key([reference.hash().as_bytes(), how.as_bytes(), graph.as_bytes(), &latent])
}

/// States of each image, one after the other.
fn compute(
    reference: &Pipeline,
    conditioning: &Conditioning,
    images: &[&PathImage],
    settings: PathSettings,
) -> Result<Vec<Vec<f32>>> {
    let (recorded, inverted): (Vec<usize>, Vec<usize>) =
        (0..images.len()).partition(|&i| is_recorded(images[i].image, settings));
    let mut states: Vec<Option<Vec<f32>>> = vec![None; images.len()];
    if !recorded.is_empty() {
        let seeds: Vec<u64> = recorded.iter().filter_map(|&i| images[i].image.seed).collect();
        let conditions: Vec<usize> = recorded.iter().map(|&i| images[i].condition).collect();
        let path = reference.sample_path(&conditioning.select(&conditions)?, &seeds, settings.sampling)?;
        for (all, &i) in path_of_each(&path)?.into_iter().zip(&recorded) {
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
            for (all, &i) in path_of_each(&inversion.trajectory)?.into_iter().zip(places.by_ref()) {
                states[i] = Some(all);
            }
        }
    }
    states.into_iter().map(|one| one.ok_or_else(|| Error::Training("a path was not computed".to_owned()))).collect()
}

/// The states of each image one after the other, out of those of a batch `[b, c, h, w]`, in one copy to the host.
fn path_of_each(path: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    Ok(Tensor::stack(path, 1)?.flatten_from(1)?.to_vec2()?)
}

fn check_replay(states: &[f32], image: &ImageInput) -> Result<()> {
    let end = &states[states.len().saturating_sub(image.latent.len())..];
    let difference = replay_difference(end, &image.latent);
    if difference <= REPLAY_TOLERANCE {
        return Ok(());
    }
    Err(Error::Training(format!(
        "replaying seed {:?} ends {difference} away from the recorded latent: the image was not made by this reference \
         with these settings; train with `path: inverted`",
        image.seed
    )))
}

/// How far the end of a replayed path is from the recorded latent; infinite where they have different lengths.
pub(crate) fn replay_difference(end: &[f32], latent: &[f32]) -> f32 {
    if end.len() != latent.len() {
        return f32::INFINITY;
    }
    end.iter().zip(latent).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Which states of a path are of use, and at which timesteps.
struct Timesteps {
    recorded: (Arc<[usize]>, Arc<[Place]>),
    inverted: (Arc<[usize]>, Arc<[Place]>),
}

/// A state of a path, by its number there.
#[derive(Debug)]
struct Place {
    state: usize,
    timestep: usize,
    alpha: f64,
    /// The neighbour towards the image, and its ᾱ.
    neighbour: (usize, f64),
    /// The last timestep that has no more noise than the neighbour; −1 where the neighbour is the image.
    neighbour_timestep: i64,
}

impl Timesteps {
    /// The last step of sampling and the first of inversion do not change the noise level where the schedule ends at
    /// ᾱ(0); a state there is the image itself, and has no noise to predict. Only the script's pairing wants it.
    fn new(reference: &Pipeline, settings: PathSettings, reading: PathReading) -> Result<Self> {
        let schedule = reference.schedule();
        let alphas = (0..schedule.num_train_timesteps() as i64)
            .map(|timestep| schedule.alpha_cumprod(timestep))
            .collect::<Result<Vec<_>>>()?;
        let reached = |alpha: f64| alphas.partition_point(|its| *its >= alpha) as i64 - 1;
        let recorded: Vec<Place> = schedule
            .ddim_steps(settings.sampling.num_inference_steps, 0.0)?
            .iter()
            .enumerate()
            .filter(|(_, step)| step.alpha < step.previous_alpha)
            .map(|(k, step)| Place {
                state: k,
                timestep: step.timestep,
                alpha: step.alpha,
                neighbour: (k + 1, step.previous_alpha),
                neighbour_timestep: reached(step.previous_alpha),
            })
            .collect();
        let inverted: Vec<Place> = schedule
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
                neighbour_timestep: reached(step.source_alpha),
            })
            .collect();
        let shared = |places: Vec<Place>| (places.iter().map(|place| place.timestep).collect(), Arc::from(places));
        Ok(Self { recorded: shared(recorded), inverted: shared(inverted) })
    }
}
