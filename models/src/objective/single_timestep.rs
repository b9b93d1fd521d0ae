//! The paper's single-timestep form: arXiv 2507.11554, supplement S12 (table S5) and equation S25.
//!
//! z = ½ β v_k [mean (ε_θ(x_k^w, t_k) − ε_ref(x_k^w, t_k))² − (same of the loser)], with one k a pair, uniform over the
//! inverted path, and v_k = 1: equation 16 without its sum. It serves to compare states of the inverted path with freshly
//! noised ones at the same cost. As the sum, it has no gradient where training starts and needs a [`Start`].

use serde::{Deserialize, Serialize};

use super::inversion_dpo_published::{InversionDpoPublished, Reduction, Sign, Start, StatePairing, Weighting};
use crate::scheduler::InverseLabel;

/// Settings of the single-timestep form.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SingleTimestep {
    pub beta: f64,
    /// Steps of the inverted path, of which one is drawn.
    pub inversion_steps: usize,
    /// Guidance of reference and policy, at the inversion and in the loss.
    pub guidance_scale: f64,
    pub inversion_label: InverseLabel,
    pub sign: Sign,
    pub weighting: Weighting,
    pub start: Start,
}

impl Default for SingleTimestep {
    fn default() -> Self {
        Self {
            beta: 2000.,
            inversion_steps: 20,
            guidance_scale: 2.,
            inversion_label: InverseLabel::Destination,
            sign: Sign::Equation,
            weighting: Weighting::Uniform,
            start: Start::None,
        }
    }
}

impl SingleTimestep {
    /// The same terms as a published objective has them; the one term that is drawn is its whole path.
    pub fn published(&self) -> InversionDpoPublished {
        InversionDpoPublished {
            beta: self.beta,
            inversion_steps: self.inversion_steps,
            guidance_scale: self.guidance_scale,
            inversion_label: self.inversion_label,
            sign: self.sign,
            weighting: self.weighting,
            reduction: Reduction::Script,
            pairing: StatePairing::Arrived,
            start: self.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn one_term_has_half_of_beta() {
        let objective = SingleTimestep { beta: 100., start: Start::Jitter { std: 0.02 }, ..SingleTimestep::default() };
        objective.published().validate().unwrap();
        assert_eq!(objective.published().term_weights(&[0.1], 8), [50.]);
        let weighted = SingleTimestep { weighting: Weighting::InverseAlpha, ..objective };
        assert_eq!(weighted.published().term_weights(&[0.1], 8), [250.]);
        // However long the path is: only one of it counts.
        let long = SingleTimestep { inversion_steps: 80, ..objective };
        assert_eq!(long.published().term_weights(&[0.1], 8), [50.]);
        assert!(matches!(SingleTimestep::default().published().validate(), Err(Error::Training(_))));
    }
}
