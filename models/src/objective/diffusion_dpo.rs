//! Diffusion-DPO: Wallace et al. 2023, arXiv 2311.12908, equation 14 with its script's constants.
//!
//! z = −β [(‖ε − ε_θ(x_t^w, t)‖² − ‖ε − ε_ref(x_t^w, t)‖²) − (same of the loser)], the squared norms as means over the
//! elements, x_t = √ᾱ(t) x₀ + √(1 − ᾱ(t)) ε, one t and one ε for both sides of a pair.
//!
//! The published script has ½ β in place of β (and launches with β = 5000): β = 2000 here is 4000 there.

use serde::{Deserialize, Serialize};

/// Settings of Diffusion-DPO. The logits are [`super::four_term_logits`], the target is the noise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionDpo {
    /// β without the ½ of the published script.
    pub beta: f64,
}

impl Default for DiffusionDpo {
    fn default() -> Self {
        Self { beta: 2000. }
    }
}
