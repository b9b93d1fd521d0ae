//! Supervised fine-tuning on winners: Ho et al. 2020, arXiv 2006.11239, equation 14.
//!
//! L = ‖ε − ε_θ(x_t^w, t)‖², the squared norm as a mean over the elements, x_t = √ᾱ(t) x₀ + √(1 − ᾱ(t)) ε, t uniform over
//! the training timesteps. The loser is not looked at; there is no β and no logit. The baseline that every preference
//! objective has to beat: it knows that the winner is good, but not what the loser lacks.

use serde::{Deserialize, Serialize};

/// Supervised fine-tuning has no settings of its own. The loss is [`super::mean_squared_errors`] to the noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sft {}
