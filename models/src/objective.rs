//! What a preference is worth: from errors of the noise prediction to the loss of a pair.
//!
//! Every pair objective here is a DPO (Rafailov et al. 2023, arXiv 2305.18290): it turns a pair into a logit z, the
//! difference of the implicit rewards of winner and loser, and a form of [`preference`] makes the loss of it, −log σ(z)
//! unless another is asked for. They differ in the states at which the noise prediction is asked, in what it is compared
//! with, and in how the errors become z; a file each, the formula on top.

pub mod d3po;
pub mod diffusion_dpo;
pub mod inpo;
pub mod inversion_dpo;
pub mod inversion_dpo_official;
pub mod inversion_dpo_published;
pub mod mixture;
pub mod preference;
pub mod sft;
pub mod single_timestep;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use d3po::D3po;
pub use diffusion_dpo::DiffusionDpo;
pub use inpo::Inpo;
pub use inversion_dpo::{InversionDpo, PathSource, PathTarget, TimestepReduction};
pub use inversion_dpo_official::InversionDpoOfficial;
pub use inversion_dpo_published::{InversionDpoPublished, Reduction, Sign, Start, StatePairing, Weighting};
pub use mixture::Mixture;
pub use preference::{Preference, PreferenceForm, preference_loss, preference_loss_of, preference_slope};
pub use sft::Sft;
pub use single_timestep::SingleTimestep;

use crate::{Error, Result};

/// An objective and its settings, in JSON `{"name": "inversion-dpo", "beta": 2000, …}`. Unknown settings are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum ObjectiveSettings {
    /// Four terms along a path of the reference: the default.
    InversionDpo(InversionDpo),
    /// Equation 16 of the paper, as printed or as its script has it.
    InversionDpoPublished(InversionDpoPublished),
    /// The released script with its own constants.
    InversionDpoOfficial(InversionDpoOfficial),
    /// One term of equation 16.
    SingleTimestep(SingleTimestep),
    /// Four terms at noised images.
    DiffusionDpo(DiffusionDpo),
    /// Four terms along a path of the policy.
    Inpo(Inpo),
    /// Likelihoods of stochastic steps.
    D3po(D3po),
    /// Noise prediction on winners.
    Sft(Sft),
    /// Two of the others.
    Mixture(Mixture),
}

impl Default for ObjectiveSettings {
    fn default() -> Self {
        Self::InversionDpo(InversionDpo::default())
    }
}

impl ObjectiveSettings {
    /// The name in settings and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InversionDpo(_) => "inversion-dpo",
            Self::InversionDpoPublished(_) => "inversion-dpo-published",
            Self::InversionDpoOfficial(_) => "inversion-dpo-official",
            Self::SingleTimestep(_) => "single-timestep",
            Self::DiffusionDpo(_) => "diffusion-dpo",
            Self::Inpo(_) => "inpo",
            Self::D3po(_) => "d3po",
            Self::Sft(_) => "sft",
            Self::Mixture(_) => "mixture",
        }
    }

    /// The objectives that this is made of, with their weights: itself, or those of the mixture.
    pub fn parts(&self) -> Vec<(&Self, f64)> {
        match self {
            Self::Mixture(mixture) => mixture.parts().into(),
            one => vec![(one, 1.)],
        }
    }

    /// The settings of the two-term family, whose gradient is zero at the reference.
    pub fn two_term(&self) -> Option<InversionDpoPublished> {
        match self {
            Self::InversionDpoPublished(settings) => Some(*settings),
            Self::InversionDpoOfficial(settings) => Some(settings.published()),
            Self::SingleTimestep(settings) => Some(settings.published()),
            _ => None,
        }
    }

    /// # Errors
    /// A value out of its range, or an objective that cannot move as it is set.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::InversionDpo(settings) => settings.validate(),
            Self::InversionDpoPublished(_) | Self::InversionDpoOfficial(_) | Self::SingleTimestep(_) => {
                self.two_term().map_or(Ok(()), |settings| settings.validate())
            }
            Self::DiffusionDpo(settings) => positive("beta", settings.beta),
            Self::Inpo(settings) => settings.validate(),
            Self::D3po(settings) => settings.validate(),
            Self::Sft(_) => Ok(()),
            Self::Mixture(settings) => settings.validate(),
        }
    }
}

/// Mean over the elements of each example of the squared difference: `[b, …]` twice → `[b]`.
///
/// # Errors
/// The shapes do not agree.
pub fn mean_squared_errors(prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
    Ok((prediction - target)?.sqr()?.flatten_from(1)?.mean(1)?)
}

/// Errors of policy and reference on both sides of pairs, `[b]` each; the policy's carry the gradient.
#[derive(Clone, Debug)]
pub struct PairErrors {
    /// Policy on the winner, `model_losses_w` of Diffusion-DPO's script.
    pub winner: Tensor,
    /// Reference on the winner.
    pub winner_reference: Tensor,
    /// Policy on the loser.
    pub loser: Tensor,
    /// Reference on the loser.
    pub loser_reference: Tensor,
}

/// z = −β [(winner − winner reference) − (loser − loser reference)], `[b]`: the policy predicts the winner's noise
/// better than the reference does, and the loser's worse, where z is positive.
///
/// # Errors
/// The shapes do not agree.
pub fn four_term_logits(errors: &PairErrors, beta: f64) -> Result<Tensor> {
    let winner = (&errors.winner - errors.winner_reference.detach())?;
    let loser = (&errors.loser - errors.loser_reference.detach())?;
    Ok(((winner - loser)? * -beta)?)
}

/// What a batch of pairs tells about the training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairSummary {
    /// Mean loss.
    pub loss: f64,
    /// Mean logit: how much more reward the policy implies for the winner than for the loser.
    pub implicit_reward_margin: f64,
    /// Share of pairs with a positive logit; one of zero counts half, as in Diffusion-DPO's script.
    pub pair_accuracy: f64,
}

/// Summary of the logits of a batch; all zero for none.
pub fn summarize(logits: &[f64], preference: Preference) -> PairSummary {
    if logits.is_empty() {
        return PairSummary::default();
    }
    let mean = |of: &dyn Fn(f64) -> f64| logits.iter().map(|&logit| of(logit)).sum::<f64>() / logits.len() as f64;
    PairSummary {
        loss: mean(&|logit| preference.loss(logit)),
        implicit_reward_margin: mean(&|logit| logit),
        pair_accuracy: mean(&|logit| match logit {
            0. => 0.5,
            _ => f64::from(logit > 0.),
        }),
    }
}

/// Numbers, one an example, shaped so that they multiply examples like `like`: `[b, 1, …]`.
fn column(values: impl Iterator<Item = f64>, like: &Tensor) -> Result<Tensor> {
    let values: Vec<f64> = values.collect();
    let mut shape = vec![1; like.rank()];
    if let Some(first) = shape.first_mut() {
        *first = values.len();
    }
    Ok(Tensor::from_vec(values, shape.as_slice(), like.device())?.to_dtype(like.dtype())?)
}

fn positive(name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0. {
        Ok(())
    } else {
        Err(Error::Invalid(format!("`objective.{name}` must be a positive number, not {value}")))
    }
}

fn share(name: &str, value: f64) -> Result<()> {
    if (0. ..=1.).contains(&value) {
        Ok(())
    } else {
        Err(Error::Invalid(format!("`objective.{name}` must lie in 0..=1, not {value}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn four_terms_by_hand() {
        let column = |value: f64| Tensor::new(&[value], &Device::Cpu).unwrap();
        let errors = PairErrors {
            winner: column(0.30),
            winner_reference: column(0.31),
            loser: column(0.52),
            loser_reference: column(0.50),
        };
        let logit = four_term_logits(&errors, 100.).unwrap().to_vec1::<f64>().unwrap()[0];
        // −100 [(−0.01) − 0.02] = 3
        assert!((logit - 3.).abs() < 1e-9);
    }

    #[test]
    fn the_gradient_at_the_reference_is_not_zero() {
        // The policy is the reference; its prediction p misses the targets, so both errors have a slope.
        let prediction = Var::new(&[[0.5f64, -0.5]], &Device::Cpu).unwrap();
        let target = |a: f64, b: f64| Tensor::new(&[[a, b]], &Device::Cpu).unwrap();
        let winner = mean_squared_errors(prediction.as_tensor(), &target(1., 0.)).unwrap();
        let loser = mean_squared_errors(prediction.as_tensor(), &target(0., 0.)).unwrap();
        let errors = PairErrors { winner_reference: winner.clone(), loser_reference: loser.clone(), winner, loser };
        let logits = four_term_logits(&errors, 10.).unwrap();
        let loss = preference_loss(&logits).unwrap().sum_all().unwrap();
        assert!((loss.to_scalar::<f64>().unwrap() - std::f64::consts::LN_2).abs() < 1e-12);
        let gradient = loss.backward().unwrap().get(prediction.as_tensor()).unwrap().to_vec2::<f64>().unwrap();
        // −½ · −10 · [(p − w) − (p − l)] = 5 (l − w) = (−5, 0)
        assert_eq!(gradient, [[-5., 0.]]);
    }

    #[test]
    fn summaries_count_ties_half() {
        let summary = summarize(&[0., 1., -1., 4.], Preference::default());
        assert_eq!((summary.implicit_reward_margin, summary.pair_accuracy), (1., 0.625));
        assert_eq!(summarize(&[], Preference::default()).loss, 0.);
    }

    #[test]
    fn settings_are_tagged_by_name_and_strict() {
        let read = |text: &str| serde_json::from_str::<ObjectiveSettings>(text);
        assert_eq!(read(r#"{"name":"inversion-dpo"}"#).unwrap(), ObjectiveSettings::default());
        let inverted = read(r#"{"name":"inversion-dpo","path":"inverted","beta":500}"#).unwrap();
        let expected = InversionDpo { path: PathSource::Inverted, beta: 500., ..InversionDpo::default() };
        assert_eq!(inverted, ObjectiveSettings::InversionDpo(expected));
        assert!(read(r#"{"name":"diffusion-dpo","path":"inverted"}"#).is_err());
        assert!(read(r#"{"name":"diffusion-dpo","betta":1}"#).is_err());
        assert!(read(r#"{"name":"dpo"}"#).is_err());
        assert!(read(r#"{"name":"diffusion-dpo","beta":0}"#).unwrap().validate().is_err());
        let published = r#"{"name":"inversion-dpo-published","start":{"rule":"jitter","std":0.02},"sign":"caption"}"#;
        let published = read(published).unwrap();
        published.validate().unwrap();
        let text = serde_json::to_string(&published).unwrap();
        assert_eq!(read(&text).unwrap(), published);
        assert!(text.contains(r#""name":"inversion-dpo-published""#), "{text}");
        let mixture = r#"{"name":"mixture","first":{"name":"sft"},"second":{"name":"d3po","clip":0.2},"weight":0.3}"#;
        let mixture = read(mixture).unwrap();
        mixture.validate().unwrap();
        assert_eq!(read(&serde_json::to_string(&mixture).unwrap()).unwrap(), mixture);
        assert_eq!(
            mixture.parts().iter().map(|(part, weight)| (part.name(), *weight)).collect::<Vec<_>>(),
            [("sft", 0.7), ("d3po", 0.3),]
        );
        for bad in [
            r#"{"name":"mixture","first":{"name":"sft"},"second":{"name":"inpo"},"weight":1}"#,
            r#"{"name":"mixture","first":{"name":"sft"},"second":{"name":"inpo","eta":2}}"#,
            r#"{"name":"mixture","first":{"name":"inversion-dpo-official"},"second":{"name":"single-timestep"}}"#,
            r#"{"name":"d3po","eta":0}"#,
            r#"{"name":"inversion-dpo-official"}"#,
        ] {
            assert!(read(bad).unwrap().validate().is_err(), "{bad}");
        }
        // Taken along.
        read(r#"{"name":"mixture","first":{"name":"sft"},"second":{"name":"single-timestep"}}"#)
            .unwrap()
            .validate()
            .unwrap();
        assert!(read(r#"{"name":"sft","beta":1}"#).is_err());
    }
}
