//! Inversion-DPO as its released script computes it (arXiv 2507.11554; ALGORITHM §2.7 and §3.5 hold the reading).
//!
//! z = ½ β (1/N) Σ_k v_k [mean (ε_θ(x_{k−1}^w, t_k) − ε_ref(x_{k−1}^w, t_k))² − (same of the loser)], v_k = 1/(2 ᾱ(t_k)),
//! N = 80, guidance 2 on both sides and at the inversion, the inversion told the destination t_k. The state that is paired
//! with t_k is the one *before* the step to t_k, so x₀ is asked twice (the step to t_0 leads from ᾱ(0) to ᾱ(0)) and the
//! noisiest state never. N = 80 has t = 0, 12 … 948.
//!
//! Its constants cannot be changed, only β, N and how it starts: in exact arithmetic it cannot leave the reference
//! (see [`super::inversion_dpo_published`]); the script does so because reference and policy round differently.

use serde::{Deserialize, Serialize};

use super::inversion_dpo_published::{InversionDpoPublished, Reduction, Sign, Start, StatePairing, Weighting};
use crate::scheduler::InverseLabel;

/// Settings of the released script.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InversionDpoOfficial {
    pub beta: f64,
    /// N.
    pub inversion_steps: usize,
    pub start: Start,
}

impl Default for InversionDpoOfficial {
    fn default() -> Self {
        Self { beta: 2000., inversion_steps: 80, start: Start::None }
    }
}

impl InversionDpoOfficial {
    /// The script's constants as settings of the general form.
    pub fn published(&self) -> InversionDpoPublished {
        InversionDpoPublished {
            beta: self.beta,
            inversion_steps: self.inversion_steps,
            guidance_scale: 2.,
            inversion_label: InverseLabel::Destination,
            sign: Sign::Equation,
            weighting: Weighting::InverseAlpha,
            reduction: Reduction::Script,
            pairing: StatePairing::Source,
            start: self.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{NoiseSchedule, SchedulerConfig};

    /// ALGORITHM §3.5: v lies in [0.50, 59.3] for N = 80 with mean 7.14, in [0.50, 60.6] for 20 (8.28), in [0.50, 80.7] for
    /// 40 (9.42); the noisiest quarter of the steps has 82 to 85 % of all weight.
    #[test]
    fn the_weights_are_those_of_the_script() {
        let schedule = NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap();
        for (steps, largest, mean) in [(80, 59.3, 7.14), (20, 60.6, 8.28), (40, 80.7, 9.42)] {
            let objective = InversionDpoOfficial { inversion_steps: steps, ..InversionDpoOfficial::default() };
            let published = objective.published();
            let alphas: Vec<f64> = schedule
                .ddim_inverse_steps(steps, published.inversion_label)
                .unwrap()
                .iter()
                .map(|step| step.alpha)
                .collect();
            // z = Σ weight_k (…): ½ β/N v_k.
            let weights = published.term_weights(&alphas, 768);
            let v: Vec<f64> = weights.iter().map(|weight| weight / (0.5 * 2000. / steps as f64)).collect();
            assert_eq!(v.len(), steps);
            assert!((v[0] - 0.5 / alphas[0]).abs() < 1e-9 && (v[0] - 0.50).abs() < 0.005);
            assert!((v[steps - 1] - largest).abs() < 0.05, "{}", v[steps - 1]);
            assert!((v.iter().sum::<f64>() / steps as f64 - mean).abs() < 0.005);
            let noisiest: f64 = v[steps * 3 / 4..].iter().sum::<f64>() / v.iter().sum::<f64>();
            assert!((0.82..0.86).contains(&noisiest), "{noisiest}");
        }
    }
}
