//! DDIM-InPO: Lu et al. 2025, arXiv 2503.18454, and its released code.
//!
//! The noise that Diffusion-DPO draws afresh is instead the one that would have led to the image: x₀ is inverted *by the
//! policy itself*, without gradient and without guidance, up to a random timestep of a short schedule; then the target is
//! the effective noise ε* = (x_t − √ᾱ(t) x₀)/√(1 − ᾱ(t)) and
//!
//! z = −β [(‖ε*_w − ε_θ(x_t^w, t)‖² − ‖ε*_w − ε_ref(x_t^w, t)‖²) − (same of the loser)], means over the elements.
//!
//! The script has ½ β (with β = 2000 for SD 1.5, 5000 for SDXL) and may add noise of deviation η to the state, so that the
//! path is not quite the deterministic one; here η is relative to the noise level: √(1 − ᾱ) ε* becomes
//! √(1 − ᾱ) (√(1 − η²) ε* + η ε), which keeps its variance. Since the policy moves, nothing of it can be kept between steps.
//!
//! Differs from `inversion-dpo` with `path = inverted` in who inverts: here θ, there the reference.

use serde::{Deserialize, Serialize};

use super::positive;
use crate::scheduler::InverseLabel;
use crate::{Error, Result};

/// Settings of DDIM-InPO. The logits are [`super::four_term_logits`], the target is [`super::inversion_dpo::target`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inpo {
    /// β without the ½ of the script.
    pub beta: f64,
    /// Steps of the schedule along which the policy inverts.
    pub inversion_steps: usize,
    /// Timestep that the policy is told during the inversion.
    pub inversion_label: InverseLabel,
    /// Share of fresh noise in a state, 0..1.
    pub eta: f64,
}

impl Default for Inpo {
    fn default() -> Self {
        Self { beta: 2000., inversion_steps: 10, inversion_label: InverseLabel::Destination, eta: 0.1 }
    }
}

impl Inpo {
    pub(super) fn validate(&self) -> Result<()> {
        positive("beta", self.beta)?;
        if self.inversion_steps < 2 {
            // The first step of an inversion may lead from the image to itself.
            return Err(Error::Invalid("`objective.inversion_steps` must be at least 2".to_owned()));
        }
        super::share("eta", self.eta)?;
        Ok(())
    }
}
