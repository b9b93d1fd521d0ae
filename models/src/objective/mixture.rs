//! A mixture of two objectives on the same pairs: L = (1 − w) L₁ + w L₂.
//!
//! Each has its own states, targets, logits and β. The pilot mixed the recorded path with Diffusion-DPO, half and half.

use serde::{Deserialize, Serialize};

use super::ObjectiveSettings;
use crate::{Error, Result};

/// Two objectives and the weight of the second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Has the weight 1 − `weight`.
    pub first: Box<ObjectiveSettings>,
    /// Has the weight `weight`.
    pub second: Box<ObjectiveSettings>,
    /// Between 0 and 1.
    #[serde(default = "half")]
    pub weight: f64,
}

fn half() -> f64 {
    0.5
}

impl Mixture {
    /// Both objectives with their weights.
    pub fn parts(&self) -> [(&ObjectiveSettings, f64); 2] {
        [(&*self.first, 1. - self.weight), (&*self.second, self.weight)]
    }

    pub(super) fn validate(&self) -> Result<()> {
        if !(self.weight > 0. && self.weight < 1.) {
            return Err(Error::Invalid(format!(
                "`objective.weight` must lie between 0 and 1, both excluded, not {}",
                self.weight
            )));
        }
        for (part, _) in self.parts() {
            if matches!(part, ObjectiveSettings::Mixture(_)) {
                return Err(Error::Invalid("a mixture of mixtures is not possible".to_owned()));
            }
        }
        // One that cannot leave the reference by itself is taken along by the other.
        let moved = self.parts().iter().any(|(part, _)| part.two_term().is_none());
        for (part, _) in self.parts() {
            match part.validate() {
                Err(Error::Training(_)) if moved => {}
                result => result?,
            }
        }
        Ok(())
    }
}
