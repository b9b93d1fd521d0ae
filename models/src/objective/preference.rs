//! From the logit of a pair to its loss: the forms of the DPO family.
//!
//! | form | loss of z, with u = z − margin | source |
//! | --- | --- | --- |
//! | sigmoid | −log σ(u) = softplus(−u) | Rafailov et al. 2023, arXiv 2305.18290 |
//! | hinge | max(0, 1 − u) | Zhao et al. 2023 (SLiC-HF), arXiv 2305.10425 |
//! | ipo | (u − ½)² | Azar et al. 2023, arXiv 2310.12036 |
//!
//! These are the `loss_type`s of diffusers' `train_diffusion_dpo.py`, which writes IPO as (h − 1/(2β))² with h = z/β: the
//! same times 1/β², a constant that would make its gradient a few million times smaller than the others'. A margin above
//! zero asks for more than a tie: Amini et al. 2024 (DPO with an offset), arXiv 2402.10571.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which form, and how far apart winner and loser shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preference {
    /// Loss of a logit.
    pub form: PreferenceForm,
    /// Taken off every logit first.
    pub margin: f64,
}

/// Loss of a logit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreferenceForm {
    /// softplus(−u): never satisfied, but less and less.
    #[default]
    Sigmoid,
    /// max(0, 1 − u): satisfied at u = 1.
    Hinge,
    /// (u − ½)²: pulls back beyond u = ½.
    Ipo,
}

impl Preference {
    /// # Errors
    /// A margin that is no number.
    pub fn validate(&self) -> Result<()> {
        if self.margin.is_finite() {
            return Ok(());
        }
        Err(Error::Invalid(format!("`preference.margin` must be a number, not {}", self.margin)))
    }

    /// Losses of logits, `[b]` → `[b]`.
    ///
    /// # Errors
    /// Candle's.
    pub fn losses(&self, logits: &Tensor) -> Result<Tensor> {
        let logits = if self.margin == 0. { logits.clone() } else { (logits - self.margin)? };
        match self.form {
            PreferenceForm::Sigmoid => preference_loss(&logits),
            PreferenceForm::Hinge => Ok((1. - logits)?.relu()?),
            PreferenceForm::Ipo => Ok((logits - 0.5)?.sqr()?),
        }
    }

    /// Loss of one logit.
    pub fn loss(&self, logit: f64) -> f64 {
        let distance = logit - self.margin;
        match self.form {
            PreferenceForm::Sigmoid => preference_loss_of(distance),
            PreferenceForm::Hinge => (1. - distance).max(0.),
            PreferenceForm::Ipo => (distance - 0.5).powi(2),
        }
    }

    /// dLoss/dz: with it the gradient of a loss over many timesteps can be gathered one timestep at a time.
    pub fn slope(&self, logit: f64) -> f64 {
        let distance = logit - self.margin;
        match self.form {
            PreferenceForm::Sigmoid => preference_slope(distance),
            // At the kink the slope of the side that still learns, which is candle's.
            PreferenceForm::Hinge => -f64::from(distance <= 1.),
            PreferenceForm::Ipo => 2. * (distance - 0.5),
        }
    }
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

/// d(−log σ(z))/dz = −σ(−z).
pub fn preference_slope(logit: f64) -> f64 {
    -1. / (1. + logit.exp())
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
    fn every_form_as_tensor_number_and_slope() {
        let places = [-3., 0., 0.25, 1., 1.5, 7.];
        for (form, at_zero, at_seven) in [
            (PreferenceForm::Sigmoid, std::f64::consts::LN_2, 0.000_911_466_453_774_222),
            (PreferenceForm::Hinge, 1., 0.),
            (PreferenceForm::Ipo, 0.25, 42.25),
        ] {
            let plain = Preference { form, margin: 0. };
            assert!((plain.loss(0.) - at_zero).abs() < 1e-12, "{form:?}");
            assert!((plain.loss(7.) - at_seven).abs() < 1e-12, "{form:?}");
            let shifted = Preference { form, margin: 0.5 };
            assert_eq!(shifted.loss(1.75), plain.loss(1.25), "{form:?}");
            for preference in [plain, shifted] {
                let logits = Var::new(&places, &Device::Cpu).unwrap();
                let losses = preference.losses(logits.as_tensor()).unwrap();
                let gradients = losses.sum_all().unwrap().backward().unwrap();
                let slopes = gradients.get(logits.as_tensor()).unwrap().to_vec1::<f64>().unwrap();
                for ((logit, loss), slope) in places.iter().zip(losses.to_vec1::<f64>().unwrap()).zip(slopes) {
                    assert!((loss - preference.loss(*logit)).abs() < 1e-12, "{preference:?} at {logit}");
                    assert!((slope - preference.slope(*logit)).abs() < 1e-12, "{preference:?} at {logit}: {slope}");
                }
            }
        }
        assert!(Preference { margin: f64::NAN, ..Preference::default() }.validate().is_err());
    }
}
