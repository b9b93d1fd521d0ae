//! What a preference is worth: from errors of the noise prediction to the loss of a pair.
//!
//! Every objective here is a DPO (Rafailov et al. 2023, arXiv 2305.18290): it turns a pair into a logit z, the
//! difference of the implicit rewards of winner and loser, and the loss of the pair is −log σ(z) = softplus(−z).
//! They differ in the states at which the noise prediction is asked, in what it is compared with, and in how the errors
//! become z; a file each, the formula on top.

pub mod diffusion_dpo;
pub mod inversion_dpo;
pub mod inversion_dpo_published;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use diffusion_dpo::DiffusionDpo;
pub use inversion_dpo::{InversionDpo, PathSource};
pub use inversion_dpo_published::{InversionDpoPublished, Reduction, Sign, Start, Weighting};

use crate::{Error, Result};

/// An objective and its settings, in JSON `{"name": "inversion-dpo", "beta": 2000, …}`. Unknown settings are refused.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum ObjectiveSettings {
    /// Four terms along a path of the reference: the default.
    InversionDpo(InversionDpo),
    /// Equation 16 of the paper, as printed or as its script has it.
    InversionDpoPublished(InversionDpoPublished),
    /// Four terms at noised images.
    DiffusionDpo(DiffusionDpo),
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
            Self::DiffusionDpo(_) => "diffusion-dpo",
        }
    }

    /// β, the strength of the pull to the reference.
    pub fn beta(&self) -> f64 {
        match self {
            Self::InversionDpo(settings) => settings.beta,
            Self::InversionDpoPublished(settings) => settings.beta,
            Self::DiffusionDpo(settings) => settings.beta,
        }
    }

    /// # Errors
    /// A value out of its range, or an objective that cannot move as it is set.
    pub fn validate(&self) -> Result<()> {
        positive("beta", self.beta())?;
        match self {
            Self::InversionDpo(settings) => settings.validate(),
            Self::InversionDpoPublished(settings) => settings.validate(),
            Self::DiffusionDpo(_) => Ok(()),
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

/// −log σ(z) of each pair, `[b]` → `[b]`; neither overflows nor loses its gradient at z = 0, where training starts.
///
/// # Errors
/// Candle's.
pub fn preference_loss(logits: &Tensor) -> Result<Tensor> {
    // softplus(−z) = max(−z, 0) + log(1 + exp(−|z|)). The kinks cancel: at 0, relu has slope 1 and abs slope 1 too.
    let negated = logits.neg()?;
    let tail = (negated.abs()?.neg()?.exp()? + 1.)?.log()?;
    Ok((negated.relu()? + tail)?)
}

/// −log σ(z) of a number.
pub fn preference_loss_of(logit: f64) -> f64 {
    (-logit).max(0.) + (-logit.abs()).exp().ln_1p()
}

/// d(−log σ(z))/dz = −σ(−z): with it the gradient of a loss over many timesteps can be gathered one timestep at a time.
pub fn preference_slope(logit: f64) -> f64 {
    -1. / (1. + logit.exp())
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
pub fn summarize(logits: &[f64]) -> PairSummary {
    if logits.is_empty() {
        return PairSummary::default();
    }
    let mean = |of: fn(f64) -> f64| logits.iter().map(|&logit| of(logit)).sum::<f64>() / logits.len() as f64;
    PairSummary {
        loss: mean(preference_loss_of),
        implicit_reward_margin: mean(|logit| logit),
        pair_accuracy: mean(|logit| match logit {
            0. => 0.5,
            _ => f64::from(logit > 0.),
        }),
    }
}

fn positive(name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0. {
        Ok(())
    } else {
        Err(Error::Invalid(format!("`objective.{name}` must be a positive number, not {value}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn the_loss_and_its_slope_at_zero_and_far_out() {
        let logits = Var::new(&[0f64, 2., -2., 900., -900.], &Device::Cpu).unwrap();
        let losses = preference_loss(logits.as_tensor()).unwrap();
        let expected = [std::f64::consts::LN_2, 0.126_928_011_042_972, 2.126_928_011_042_972, 0., 900.];
        for (i, loss) in losses.to_vec1::<f64>().unwrap().into_iter().enumerate() {
            assert!((loss - expected[i]).abs() < 1e-12, "{loss} for {}", expected[i]);
        }
        let gradients = losses.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(logits.as_tensor()).unwrap().to_vec1::<f64>().unwrap();
        for (slope, logit) in gradient.into_iter().zip([0., 2., -2., 900., -900.]) {
            assert!((slope - preference_slope(logit)).abs() < 1e-12, "{slope} at {logit}");
        }
        assert_eq!(preference_slope(0.), -0.5);
        assert_eq!(preference_loss_of(0.), std::f64::consts::LN_2);
    }

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
        let summary = summarize(&[0., 1., -1., 4.]);
        assert_eq!((summary.implicit_reward_margin, summary.pair_accuracy), (1., 0.625));
        assert_eq!(summarize(&[]).loss, 0.);
    }

    #[test]
    fn settings_are_tagged_by_name_and_strict() {
        let read = |text: &str| serde_json::from_str::<ObjectiveSettings>(text);
        assert_eq!(read(r#"{"name":"inversion-dpo"}"#).unwrap(), ObjectiveSettings::default());
        let inverted = read(r#"{"name":"inversion-dpo","path":"inverted","beta":500}"#).unwrap();
        assert_eq!((inverted.name(), inverted.beta()), ("inversion-dpo", 500.));
        assert!(matches!(inverted, ObjectiveSettings::InversionDpo(InversionDpo { path: PathSource::Inverted, .. })));
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
    }
}
