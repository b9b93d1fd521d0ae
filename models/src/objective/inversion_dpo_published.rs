//! Inversion-DPO as published: arXiv 2507.11554, equation 16, and its released script.
//!
//! Equation: z = β Σ_k v_k [‖ε_θ(x_k^w, t_k) − ε_ref(x_k^w, t_k)‖² − (same of the loser)], summed over the whole path.
//! Script: z = ½ β (1/N) Σ_k v_k [mean (ε_θ − ε_ref)²_w − (same of the loser)], v_k = 1/(2 ᾱ(t_k)), with the prediction
//! at x_k taken at x_{k−1} and guidance 2; with exactly its constants it is [`super::inversion_dpo_official`].
//!
//! Two warnings. At θ = θ_ref every term is the square of zero: z = 0, the loss is ln 2, and *the gradient is exactly
//! zero*; the script moves by rounding alone. And the printed sign pushes the policy *away* from the reference on the
//! winner's path, against the caption of the paper's figure 2. In our pilot this objective harmed with either sign.

use serde::{Deserialize, Serialize};

use super::positive;
use crate::scheduler::InverseLabel;
use crate::{Error, Result};

/// Settings of the published objective; the defaults are the script's constants at the equation's states, without a
/// [`Start`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InversionDpoPublished {
    pub beta: f64,
    /// N.
    pub inversion_steps: usize,
    /// Guidance of reference and policy, at the inversion and in the loss.
    pub guidance_scale: f64,
    pub inversion_label: InverseLabel,
    pub sign: Sign,
    pub weighting: Weighting,
    pub reduction: Reduction,
    pub pairing: StatePairing,
    pub start: Start,
}

impl Default for InversionDpoPublished {
    fn default() -> Self {
        Self {
            beta: 2000.,
            inversion_steps: 80,
            guidance_scale: 2.,
            inversion_label: InverseLabel::Destination,
            sign: Sign::Equation,
            weighting: Weighting::InverseAlpha,
            reduction: Reduction::Script,
            pairing: StatePairing::Arrived,
            start: Start::None,
        }
    }
}

/// Where the winner's path is pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// Away from the reference, the loser's towards it: equation 16 and the script.
    #[default]
    Equation,
    /// Towards the reference, the loser's away from it: the caption of figure 2.
    Caption,
}

/// v_k.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// 1/(2 ᾱ(t_k)), the script's; the noisiest quarter of the path has more than four fifths of all weight.
    #[default]
    InverseAlpha,
    /// 1, equation 16.
    Uniform,
}

/// How the terms are gathered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Half the mean over the path of means over the elements.
    #[default]
    Script,
    /// The sum over the path of sums over the elements.
    Equation,
}

/// Which state of the inverted path is asked with the label t_k.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatePairing {
    /// x_k, where the step to t_k arrives: equation 16.
    #[default]
    Arrived,
    /// x_{k−1}, where it starts: the script.
    Source,
}

/// How the policy leaves the reference, where it has no gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Start {
    /// Not at all; refused with an explanation.
    #[default]
    None,
    /// Every trained parameter is moved by normal noise of this deviation, relative to the deviation of its values.
    Jitter {
        /// 0.02 in the pilot.
        std: f64,
    },
    /// This many steps of Diffusion-DPO first.
    DiffusionDpo {
        /// 20 in the pilot.
        steps: usize,
    },
}

impl InversionDpoPublished {
    pub(super) fn validate(&self) -> Result<()> {
        positive("beta", self.beta)?;
        if self.inversion_steps == 0 {
            return Err(Error::Invalid("`objective.inversion_steps` must be at least 1".to_owned()));
        }
        if !self.guidance_scale.is_finite() {
            return Err(Error::Invalid("`objective.guidance_scale` must be a number".to_owned()));
        }
        match self.start {
            Start::None | Start::DiffusionDpo { steps: 0 } => Err(cannot_move()),
            Start::Jitter { std } => positive("start.std", std),
            Start::DiffusionDpo { .. } => Ok(()),
        }
    }

    /// Signed weight of each term, such that z = Σ_k weight_k (m_k^w − m_k^l), where m_k is the mean over the
    /// `num_elements` of (ε_θ − ε_ref)² at the k-th state and `alphas` are the ᾱ(t_k).
    pub fn term_weights(&self, alphas: &[f64], num_elements: usize) -> Vec<f64> {
        alphas.iter().map(|&alpha| self.term_weight(alpha, alphas.len(), num_elements)).collect()
    }

    /// The weight of one of `num_terms` terms, at ᾱ = `alpha`.
    pub fn term_weight(&self, alpha: f64, num_terms: usize, num_elements: usize) -> f64 {
        let sign = match self.sign {
            Sign::Equation => 1.,
            Sign::Caption => -1.,
        };
        let reduction = match self.reduction {
            Reduction::Script => 0.5 / num_terms as f64,
            Reduction::Equation => num_elements as f64,
        };
        let weight = match self.weighting {
            Weighting::InverseAlpha => 0.5 / alpha,
            Weighting::Uniform => 1.,
        };
        sign * self.beta * reduction * weight
    }
}

/// z of a pair from the mean squared distances of its terms.
pub fn logit(weights: &[f64], winner: &[f64], loser: &[f64]) -> f64 {
    weights.iter().zip(winner.iter().zip(loser)).map(|(weight, (w, l))| weight * (w - l)).sum()
}

/// The error of an objective that has no gradient where it stands.
pub fn cannot_move() -> Error {
    Error::Training(
        "this objective cannot move from the reference: every term is the square of a difference that is zero there, \
         so the gradient is exactly zero. Set `objective.start` to {\"rule\": \"jitter\", \"std\": 0.02} or \
         {\"rule\": \"diffusion-dpo\", \"steps\": 20}, or train with `inversion-dpo` or `diffusion-dpo`"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::{ObjectiveSettings, mean_squared_errors, preference_slope};
    use candle_core::{Device, Tensor, Var};

    #[test]
    fn script_and_equation_by_hand() {
        let script = InversionDpoPublished { beta: 100., ..InversionDpoPublished::default() };
        let weights = script.term_weights(&[0.5, 0.1], 8);
        // ½ · 100 · ½ · (1, 5)
        assert_eq!(weights, [25., 125.]);
        assert!((logit(&weights, &[0.03, 0.01], &[0.01, 0.02]) - (0.5 - 1.25)).abs() < 1e-12);
        let equation = InversionDpoPublished {
            weighting: Weighting::Uniform,
            reduction: Reduction::Equation,
            sign: Sign::Caption,
            ..script
        };
        assert_eq!(equation.term_weights(&[0.5, 0.1], 8), [-800., -800.]);
    }

    /// A network of one parameter per element, two states: prediction = state · parameter.
    fn gradient(policy: &[f32; 2], reference: &[f32; 2]) -> (f64, Vec<f32>) {
        let parameter = Var::new(policy, &Device::Cpu).unwrap();
        let reference = Tensor::new(reference, &Device::Cpu).unwrap();
        let weights = InversionDpoPublished::default().term_weights(&[0.9, 0.3], 2);
        let states = |side: f32| [[1.0f32, -2.0], [0.7, 0.4]].map(|state| state.map(|x| x + side));
        let errors = |state: [f32; 2]| {
            let state = Tensor::new(&[state], &Device::Cpu).unwrap();
            let predict = |parameter: &Tensor| state.broadcast_mul(parameter).unwrap();
            mean_squared_errors(&predict(parameter.as_tensor()), &predict(&reference)).unwrap().squeeze(0).unwrap()
        };
        let winner = states(0.).map(errors);
        let loser = states(1.).map(errors);
        let number = |error: &Tensor| f64::from(error.to_scalar::<f32>().unwrap());
        let logit = logit(&weights, &winner.each_ref().map(number), &loser.each_ref().map(number));
        let mut sum = vec![0f32; 2];
        for (k, weight) in weights.into_iter().enumerate() {
            let term = ((&winner[k] - &loser[k]).unwrap() * (weight * preference_slope(logit))).unwrap();
            let part = term.backward().unwrap().get(parameter.as_tensor()).unwrap().to_vec1::<f32>().unwrap();
            sum.iter_mut().zip(part).for_each(|(total, value)| *total += value);
        }
        (logit, sum)
    }

    #[test]
    fn at_the_reference_the_gradient_is_exactly_zero() {
        assert_eq!(gradient(&[0.3, -0.8], &[0.3, -0.8]), (0., vec![0., 0.]));
        let (logit, gradient) = gradient(&[0.31, -0.8], &[0.3, -0.8]);
        assert!(logit != 0. && gradient[0] != 0.);
    }

    #[test]
    fn without_a_start_rule_it_is_refused() {
        let settings =
            |start| ObjectiveSettings::InversionDpoPublished(InversionDpoPublished { start, ..Default::default() });
        assert!(matches!(settings(Start::None).validate(), Err(Error::Training(_))));
        assert!(settings(Start::DiffusionDpo { steps: 0 }).validate().is_err());
        assert!(settings(Start::Jitter { std: 0. }).validate().is_err());
        settings(Start::Jitter { std: 0.02 }).validate().unwrap();
        settings(Start::DiffusionDpo { steps: 20 }).validate().unwrap();
    }
}
