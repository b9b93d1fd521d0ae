//! What an image is worth under each metric, with the parts it is made of.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One metric's verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricScore {
    /// 0 ..= 1, but for metrics with a scale of their own; none where the metric does not apply, or where a question it needs was refused.
    pub score: Option<f64>,
    /// What the score is made of, by name; only parts that exist.
    pub parts: BTreeMap<String, f64>,
}

/// All metrics that follow from the answers about one image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreCard {
    /// DPG-Bench: share of questions that hold, a child only with its parents.
    pub dpg: MetricScore,
    /// The same as the published script has it; see [`crate::score::dpg::reference`].
    pub dpg_reference: MetricScore,
    /// T2I-CompBench's attribute binding.
    pub attribute: MetricScore,
    /// T2I-CompBench's spatial relations, by answers.
    pub spatial: MetricScore,
    /// T2I-CompBench's mean of the parts that apply.
    pub three_in_one: MetricScore,
    /// Questions that were answered yes or no.
    pub answered: usize,
    /// Questions that were refused.
    pub refused: usize,
}

impl ScoreCard {
    /// The metrics by the names that the store, the API and policies use.
    pub fn metrics(&self) -> [(&'static str, &MetricScore); 5] {
        [
            ("dpg", &self.dpg),
            (crate::score::DPG_REFERENCE, &self.dpg_reference),
            ("attribute", &self.attribute),
            ("spatial", &self.spatial),
            ("three_in_one", &self.three_in_one),
        ]
    }
}
