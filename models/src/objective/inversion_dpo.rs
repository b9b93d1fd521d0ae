//! Inversion-DPO as it trains: the four terms of Diffusion-DPO, at states of the path that the reference took to the
//! image (recorded) or would have taken (inverted), in place of freshly noised images.
//!
//! z = −β [(‖ε*_w − ε_θ(x_t^w, t)‖² − ‖ε*_w − ε_ref(x_t^w, t)‖²) − (same of the loser)], the squared norms as means over
//! the elements, one t of the path for both sides of a pair, each side with its own path. The target ε* is the noise
//! that leads from the image x₀ to the state in one step, ε* = (x_t − √ᾱ(t) x₀)/√(1 − ᾱ(t)), as in DDIM-InPO
//! (Lu et al. 2025, arXiv 2503.18454), or the noise that the path's own step had (the `residual` rule of ALGORITHM §3.6).
//!
//! One timestep a pair is the default. With K of them ([`InversionDpo::num_timesteps`], spread evenly over the path from a
//! random start, so that each state is asked equally often), the loss is either the mean of the K losses, or the loss of
//! the mean of the K logits. The gradient of the first is an unbiased estimate of that of the whole path, whatever K; that
//! of the second is not, for a loss that bends (all but the straight part of the hinge): the slope is taken at an estimate.
//!
//! A recorded path has few states, and asks at the same ones again and again: with many steps on few pairs the policy learns
//! them by heart. η of [`InversionDpo::eta`] mixes fresh noise into a state as DDIM-InPO's script does,
//! √(1 − ᾱ) ε* becoming √(1 − ᾱ) (√(1 − η²) ε* + η ε): 0 is the path itself, 1 is Diffusion-DPO at the path's timesteps.
//!
//! Source: Inversion-DPO, arXiv 2507.11554, whose equation 16 compares the policy with the reference's own prediction
//! instead; that has no gradient where training starts (see [`super::inversion_dpo_published`]).

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::scheduler::InverseLabel;
use crate::{Error, Result};

/// Settings of Inversion-DPO. The logits are [`super::four_term_logits`], the target is [`target`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InversionDpo {
    /// β without any ½.
    pub beta: f64,
    /// Where the states come from.
    pub path: PathSource,
    /// What the predictions are compared with.
    pub target: PathTarget,
    /// K, the timesteps of the path that a pair is asked at in a step; 0: all.
    pub num_timesteps: usize,
    /// How they come together.
    pub timestep_reduction: TimestepReduction,
    /// Whether states between the path's own are asked at too, at any timestep: a DDIM step is a straight line from one state
    /// to the next, so every point of it is of the path.
    pub between_steps: bool,
    /// Share of fresh noise in a state, 0..=1; only with [`PathTarget::Image`].
    pub eta: f64,
    /// Steps of an inversion.
    pub inversion_steps: usize,
    /// Guidance of the reference during an inversion; 1 is none.
    pub inversion_guidance_scale: f64,
    /// Timestep that the reference is told during an inversion.
    pub inversion_label: InverseLabel,
}

impl Default for InversionDpo {
    fn default() -> Self {
        Self {
            beta: 2000.,
            path: PathSource::Recorded,
            target: PathTarget::Image,
            num_timesteps: 1,
            timestep_reduction: TimestepReduction::Each,
            between_steps: false,
            eta: 0.,
            inversion_steps: 50,
            inversion_guidance_scale: 1.,
            inversion_label: InverseLabel::Destination,
        }
    }
}

/// Where the states of a path come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathSource {
    /// Sampling, replayed exactly from the seed, of images that this reference made; inversion of all others.
    #[default]
    Recorded,
    /// Inversion of every image.
    Inverted,
}

/// What the predictions at a state of a path are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathTarget {
    /// The noise between the image and the state.
    #[default]
    Image,
    /// The noise between the state and its neighbour on the path, towards the image: what the path's own step assumed.
    Step,
}

/// How several timesteps of a pair come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimestepReduction {
    /// The mean of the losses.
    #[default]
    Each,
    /// One loss, of the mean of the logits.
    Sum,
}

impl InversionDpo {
    pub(super) fn validate(&self) -> Result<()> {
        super::positive("beta", self.beta)?;
        if self.inversion_steps == 0 {
            return Err(Error::Invalid("`objective.inversion_steps` must be at least 1".to_owned()));
        }
        super::share("eta", self.eta)?;
        if self.eta > 0. && self.target == PathTarget::Step {
            let reason =
                "`objective.eta` needs the target `image`: no step of the path leads to a state with fresh noise";
            return Err(Error::Invalid(reason.to_owned()));
        }
        if !self.inversion_guidance_scale.is_finite() {
            return Err(Error::Invalid("`objective.inversion_guidance_scale` must be a number".to_owned()));
        }
        Ok(())
    }
}

/// ε* = (x_t − √ᾱ(t) x₀)/√(1 − ᾱ(t)), with ᾱ(t) for each example.
///
/// # Shapes
/// `state`, `image` and the result `[b, …]`, `alphas [b]`.
///
/// # Errors
/// The shapes do not agree, or an ᾱ is not between 0 and 1.
pub fn target(state: &Tensor, image: &Tensor, alphas: &[f64]) -> Result<Tensor> {
    if let Some(alpha) = alphas.iter().find(|alpha| !(0. ..1.).contains(*alpha)) {
        return Err(Error::Invalid(format!("there is no noise in a state with ᾱ = {alpha}")));
    }
    let column = |of: fn(f64) -> f64| super::column(alphas.iter().map(|&alpha| of(alpha)), state);
    let noise = (state - image.broadcast_mul(&column(f64::sqrt)?)?)?;
    Ok(noise.broadcast_mul(&column(|alpha| 1. / (1. - alpha).sqrt())?)?)
}

/// The ε of a step between two states of a DDIM path with η = 0, whichever way it was gone:
/// ε = (x_t/√ᾱ(t) − x_s/√ᾱ(s))/(√(1/ᾱ(t) − 1) − √(1/ᾱ(s) − 1)), since both states are √ᾱ x₀ + √(1 − ᾱ) ε of the same x₀.
///
/// `noisy` has the ᾱ `alpha`, `clean` the larger one `clean_alpha`; element by element, into a new vector.
///
/// # Errors
/// Both have the same noise level, or different lengths.
pub fn step_noise(noisy: &[f32], alpha: f64, clean: &[f32], clean_alpha: f64) -> Result<Vec<f32>> {
    let level = |alpha: f64| (1. / alpha - 1.).sqrt();
    let distance = level(alpha) - level(clean_alpha);
    if distance.is_nan() || distance <= 0. || noisy.len() != clean.len() {
        return Err(Error::Invalid(format!("no step leads from ᾱ = {clean_alpha} to ᾱ = {alpha}")));
    }
    let (of_noisy, of_clean) = (1. / (alpha.sqrt() * distance), 1. / (clean_alpha.sqrt() * distance));
    let noise = |(noisy, clean): (&f32, &f32)| (f64::from(*noisy) * of_noisy - f64::from(*clean) * of_clean) as f32;
    Ok(noisy.iter().zip(clean).map(noise).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{NoiseSchedule, SchedulerConfig};
    use candle_core::Device;

    #[test]
    fn the_noise_of_a_step_is_found_from_its_ends() {
        let schedule = NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap();
        let (sample, epsilon) = (0.8f64, -1.7f64);
        for step in &schedule.ddim_steps(20, 0.).unwrap()[..19] {
            let next = step.sample_weight * sample + step.output_weight * epsilon;
            let found = step_noise(&[sample as f32], step.alpha, &[next as f32], step.previous_alpha).unwrap()[0];
            assert!((f64::from(found) - epsilon).abs() < 2e-5, "{found} at {}", step.timestep);
        }
        for step in &schedule.ddim_inverse_steps(20, InverseLabel::Destination).unwrap()[1..] {
            let next = step.sample_weight * sample + step.output_weight * epsilon;
            let found = step_noise(&[next as f32], step.alpha, &[sample as f32], step.source_alpha).unwrap()[0];
            assert!((f64::from(found) - epsilon).abs() < 2e-5, "{found} at {}", step.timestep);
        }
        assert!(step_noise(&[1.], 0.5, &[1.], 0.5).is_err());
    }

    #[test]
    fn the_target_is_the_noise_that_was_added() {
        let image = Tensor::new(&[[1f32, -2.], [0.5, 3.]], &Device::Cpu).unwrap();
        let noise = Tensor::new(&[[0.3f32, 0.1], [-1.2, 2.]], &Device::Cpu).unwrap();
        let alphas = [0.9f64, 0.2];
        let mix =
            |of: fn(f64) -> f64| Tensor::new(&[[of(alphas[0]) as f32], [of(alphas[1]) as f32]], &Device::Cpu).unwrap();
        let state = (image.broadcast_mul(&mix(f64::sqrt)).unwrap()
            + noise.broadcast_mul(&mix(|alpha| (1. - alpha).sqrt())).unwrap())
        .unwrap();
        let found = target(&state, &image, &alphas).unwrap();
        let difference = (found - noise).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-6, "{difference}");
        assert!(target(&state, &image, &[0.5, 1.]).is_err());
    }
}
