//! The path on which an image was sampled beside the path that its inversion takes.
//!
//! Inversion-DPO (arXiv 2507.11554) takes the second for the first and shows both in its figure S9; here they are measured.
//! The two need not stop at the same timesteps. Within a step DDIM keeps its x₀ and ε, so at ᾱ it passes
//! √ᾱ x₀ + √(1 − ᾱ) ε: the sampled path has a state wherever the inversion stops, and nothing is sampled anew.

use candle_core::Tensor;

use crate::inversion_quality::{InversionQuality, of_noise, of_round_trip};
use crate::pipeline::{Conditioning, Pipeline, SampleSettings};
use crate::scheduler::{InverseLabel, weighted_sum};
use crate::trainer::trajectory::{REPLAY_TOLERANCE, replay_difference};
use crate::{Error, Result};

/// How both paths are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComparisonSettings {
    /// How the image was sampled.
    pub sampling: SampleSettings,
    /// How it is inverted.
    pub inversion: SampleSettings,
    /// What the network is told during the inversion.
    pub label: InverseLabel,
}

impl ComparisonSettings {
    /// Steps of the whole comparison: sampling, inversion, and sampling from where the inversion ended.
    pub fn num_steps(&self) -> usize {
        self.sampling.num_inference_steps + 2 * self.inversion.num_inference_steps
    }
}

/// One state of a path.
#[derive(Clone, Debug)]
pub struct PathState {
    /// Training timestep; 0 for the image.
    pub timestep: usize,
    /// ᾱ there.
    pub alpha: f64,
    /// `[1, c, h, w]`.
    pub latent: Tensor,
}

/// One state of the inversion, beside what sampling passed at the same noise level.
#[derive(Clone, Debug)]
pub struct InvertedState {
    /// The state.
    pub state: PathState,
    /// The sampled path there, `[1, c, h, w]`; `None` where sampling began with less noise.
    pub sampled: Option<Tensor>,
    /// ‖inverted − sampled‖ / ‖sampled‖.
    pub deviation: Option<f64>,
}

/// Both paths of one image.
#[derive(Clone, Debug)]
pub struct PathComparison {
    /// T + 1 states, the noise first.
    pub sampled: Vec<PathState>,
    /// The inversion's, the image first.
    pub inverted: Vec<InvertedState>,
    /// Of the inversion.
    pub quality: InversionQuality,
    /// Standard deviation of the noise that sampling began with.
    pub initial_std: f64,
    /// Correlation of its neighbouring elements.
    pub initial_autocorrelation: f64,
}

/// Samples the image of `seed` again, inverts it and samples back. `latent` `[c · h · w]` is what was recorded of it;
/// `progress(done, total)` is told of each step and may stop the work.
///
/// # Errors
/// The path does not lead to `latent`: another reference or other settings made it. Steps that the schedule has not.
pub fn compare(
    reference: &Pipeline,
    conditioning: &Conditioning,
    seed: u64,
    latent: &[f32],
    settings: ComparisonSettings,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<PathComparison> {
    let (mut done, total) = (0, settings.num_steps());
    let mut step = || {
        done += 1;
        progress(done, total)
    };
    let noise = reference.initial_latent(seed)?;
    let (mut path, mut state) = (vec![noise.clone()], noise.clone());
    reference.denoise(&mut state, conditioning, settings.sampling, |state| {
        path.push(state.clone());
        step()
    })?;
    let difference = replay_difference(&state.flatten_all()?.to_vec1::<f32>()?, latent);
    if difference > REPLAY_TOLERANCE {
        return Err(Error::Invalid(format!(
            "sampling seed {seed} again ends {difference} away from the recorded latent: the image was not made by this \
             model with these settings"
        )));
    }
    let sampled = sampled_states(reference, path, settings.sampling)?;

    let (inversion, label) = (settings.inversion, settings.label);
    let image = state;
    let inverted = reference.invert_visited(&image, conditioning, inversion, label, &mut step)?;
    let terminal = inverted.trajectory.last().cloned().unwrap_or_else(|| image.clone());
    let mut back = terminal.clone();
    reference.denoise(&mut back, conditioning, inversion, |_| step())?;

    let steps = reference.schedule().ddim_inverse_steps(inversion.num_inference_steps, label)?;
    let places = steps.first().map(|first| (0, first.source_alpha)).into_iter();
    let places = places.chain(steps.iter().map(|step| (step.timestep, step.alpha)));
    let beside = |((timestep, alpha), latent): ((usize, f64), Tensor)| {
        let sampled = state_at(&sampled, alpha)?;
        let deviation = sampled.as_ref().map(|sampled| deviation(&latent, sampled)).transpose()?;
        Ok(InvertedState { state: PathState { timestep, alpha, latent }, sampled, deviation })
    };
    let inverted = places.zip(inverted.trajectory).map(beside).collect::<Result<Vec<_>>>()?;
    let initial = of_noise(&noise)?;
    Ok(PathComparison {
        quality: of_round_trip(&image, &terminal, &back)?,
        initial_std: initial.terminal_std,
        initial_autocorrelation: initial.terminal_autocorrelation,
        sampled,
        inverted,
    })
}

fn sampled_states(reference: &Pipeline, path: Vec<Tensor>, settings: SampleSettings) -> Result<Vec<PathState>> {
    let steps = reference.schedule().ddim_steps(settings.num_inference_steps, 0.0)?;
    let end = steps.last().map(|last| (last.previous_timestep.max(0) as usize, last.previous_alpha));
    let places = steps.iter().map(|step| (step.timestep, step.alpha)).chain(end);
    Ok(places.zip(path).map(|((timestep, alpha), latent)| PathState { timestep, alpha, latent }).collect())
}

/// What the sampled path passes at `alpha`; `None` where it has no such noise level.
fn state_at(path: &[PathState], alpha: f64) -> Result<Option<Tensor>> {
    let around = path.windows(2).find(|two| two[0].alpha <= alpha && alpha <= two[1].alpha);
    let Some([noisier, cleaner]) = around else { return Ok(None) };
    // √ᾱ and √(1 − ᾱ) are the cosine and sine of an angle, and the states lie on the arc that x₀ and ε span.
    let angle = |alpha: f64| (1.0 - alpha).sqrt().atan2(alpha.sqrt());
    let (from, to, at) = (angle(noisier.alpha), angle(cleaner.alpha), angle(alpha));
    let whole = (from - to).sin();
    if whole <= 0.0 {
        return Ok(Some(cleaner.latent.clone()));
    }
    let weights = ((at - to).sin() / whole, (from - at).sin() / whole);
    Ok(Some(weighted_sum(&noisier.latent, &cleaner.latent, weights)?))
}

fn deviation(inverted: &Tensor, sampled: &Tensor) -> Result<f64> {
    let norm = |tensor: &Tensor| -> Result<f64> { Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt()) };
    Ok(norm(&(inverted - sampled)?)? / norm(sampled)?.max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::GraphMode;
    use crate::scene_graph_encoder::GraphText;
    use candle_core::Device;
    use std::path::Path;

    const SEED: u64 = 3;

    fn tiny() -> (Pipeline, Conditioning) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
        let reference = Pipeline::load(&folder, &Device::Cpu).unwrap();
        let graph = GraphText {
            triples: vec![["red circle", "left of", "blue square"].map(str::to_owned)],
            isolated: Vec::new(),
        };
        let conditioning = reference.encode_graphs(&[graph], GraphMode::SceneGraph).unwrap();
        (reference, conditioning)
    }

    fn settings(sampling: usize, inversion: usize) -> ComparisonSettings {
        let steps = |num_inference_steps| SampleSettings { num_inference_steps, guidance_scale: 1.0 };
        let label = InverseLabel::Destination;
        ComparisonSettings { sampling: steps(sampling), inversion: steps(inversion), label }
    }

    fn recorded(reference: &Pipeline, conditioning: &Conditioning, settings: ComparisonSettings) -> Vec<f32> {
        let latents = reference.sample(conditioning, &[SEED], settings.sampling).unwrap();
        latents.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn paths_part_from_the_image_on_and_less_with_more_steps() {
        let (reference, conditioning) = tiny();
        let compare = |inversion: usize| {
            let settings = settings(10, inversion);
            let latent = recorded(&reference, &conditioning, settings);
            let mut told = Vec::new();
            let found = compare(&reference, &conditioning, SEED, &latent, settings, &mut |done, total| {
                told.push((done, total));
                Ok(())
            });
            let total = 10 + 2 * inversion;
            assert_eq!(told, (1..=total).map(|done| (done, total)).collect::<Vec<_>>());
            found.unwrap()
        };
        let (few, many) = (compare(5), compare(40));
        for (found, steps) in [(&few, 5), (&many, 40)] {
            assert_eq!((found.sampled.len(), found.inverted.len()), (11, steps + 1));
            assert_eq!(found.inverted[0].deviation, Some(0.0), "both have the image");
            assert!(found.inverted.windows(2).all(|two| two[0].state.alpha >= two[1].state.alpha));
            assert!((found.initial_std - 1.0).abs() < 0.2, "{}", found.initial_std);
        }
        let furthest =
            |found: &PathComparison| found.inverted.iter().filter_map(|one| one.deviation).fold(0.0, f64::max);
        assert!(furthest(&few) > furthest(&many) && furthest(&many) > 0.0, "{} {}", furthest(&few), furthest(&many));
        assert!(many.quality.reconstruction_error < few.quality.reconstruction_error);
        // Sampling in ten steps begins at timestep 900, inverting in forty ends at 975.
        assert!(many.inverted.last().unwrap().deviation.is_none());
        assert!(few.inverted.last().unwrap().deviation.is_some());
    }

    #[test]
    fn between_its_stops_the_path_keeps_its_image_and_noise() {
        let constant = |value: f32| Tensor::full(value, (1, 1, 2, 2), &Device::Cpu).unwrap();
        let at = |alpha: f64| (alpha.sqrt() * 0.5 - (1.0 - alpha).sqrt() * 2.0) as f32;
        let path: Vec<PathState> = [0.1, 0.4, 0.9, 0.9]
            .map(|alpha| PathState { timestep: 0, alpha, latent: constant(at(alpha)) })
            .into_iter()
            .collect();
        for alpha in [0.1, 0.2, 0.4, 0.7, 0.9] {
            let found = state_at(&path, alpha).unwrap().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(found.iter().all(|value| (value - at(alpha)).abs() < 1e-6), "{alpha}: {found:?} for {}", at(alpha));
        }
        assert!(state_at(&path, 0.05).unwrap().is_none() && state_at(&path, 0.95).unwrap().is_none());
    }

    #[test]
    fn another_image_is_refused_and_the_work_can_be_stopped() {
        let (reference, conditioning) = tiny();
        let settings = settings(2, 2);
        let mut latent = recorded(&reference, &conditioning, settings);
        let stopped = compare(&reference, &conditioning, SEED, &latent, settings, &mut |done, _| {
            if done == 3 { Err(Error::Stopped) } else { Ok(()) }
        });
        assert!(matches!(stopped, Err(Error::Stopped)));
        latent[7] += 0.1;
        let error = compare(&reference, &conditioning, SEED, &latent, settings, &mut |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("was not made by this model"), "{error}");
    }
}
