//! Inversion-DPO as it trains: the four terms of Diffusion-DPO, at states of the path that the reference took to the
//! image (recorded) or would have taken (inverted), in place of freshly noised images.
//!
//! z = −β [(‖ε*_w − ε_θ(x_t^w, t)‖² − ‖ε*_w − ε_ref(x_t^w, t)‖²) − (same of the loser)], the squared norms as means over
//! the elements, one t of the path for both sides of a pair, each side with its own path. The target ε* is the noise
//! that leads from the image x₀ to the state in one step, ε* = (x_t − √ᾱ(t) x₀)/√(1 − ᾱ(t)), as in DDIM-InPO
//! (Lu et al. 2025, arXiv 2503.18454).
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

impl InversionDpo {
    pub(super) fn validate(&self) -> Result<()> {
        if self.inversion_steps == 0 {
            return Err(Error::Invalid("`objective.inversion_steps` must be at least 1".to_owned()));
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
    let mut shape = vec![1; state.rank()];
    shape[0] = alphas.len();
    let column = |of: fn(f64) -> f64| -> Result<Tensor> {
        let values: Vec<f32> = alphas.iter().map(|&alpha| of(alpha) as f32).collect();
        Ok(Tensor::from_vec(values, shape.as_slice(), state.device())?.to_dtype(state.dtype())?)
    };
    let noise = (state - image.broadcast_mul(&column(f64::sqrt)?)?)?;
    Ok(noise.broadcast_mul(&column(|alpha| 1. / (1. - alpha).sqrt())?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

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
