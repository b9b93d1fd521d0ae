//! How scores become pairs: which metrics count how much, how clear a difference must be, which pairs are taken.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A pairing policy. In JSON every key but `weights` may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Weight of each metric; a candidate's score is the weighted mean. A negative weight turns a metric round. `votes` is
    /// what people said ([`crate::vote::METRIC`]).
    pub weights: BTreeMap<String, f64>,
    /// Smallest difference of scores in a pair; a difference of zero never makes one.
    #[serde(default)]
    pub margin: f64,
    /// What to do when several candidates share the best or the worst score.
    #[serde(default)]
    pub tie: TieRule,
    /// Which pairs of a graph's candidates are taken.
    #[serde(default)]
    pub select: Select,
}

/// What to do when several candidates share the best or the worst score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TieRule {
    /// Take the one with the smallest id.
    #[default]
    First,
    /// Take none of them.
    Skip,
}

/// Which pairs of a graph's candidates are taken, of those that differ by the margin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The best against the worst: at most one pair a graph.
    #[default]
    BestWorst,
    /// Every two candidates.
    AllAboveMargin,
    /// The best against every other.
    BestRest,
    /// Some, by chance; which, follows from the seed and the ids alone.
    Random {
        /// Chooses.
        seed: u64,
        /// At most so many a graph.
        pairs_per_graph: usize,
    },
}

impl Default for Policy {
    /// Best against worst by the DPG score.
    fn default() -> Self {
        Self::best_worst("dpg")
    }
}

impl Policy {
    /// The best against the worst by one metric.
    pub fn best_worst(metric: &str) -> Self {
        Self {
            weights: BTreeMap::from([(metric.to_owned(), 1.0)]),
            margin: 0.0,
            tie: TieRule::default(),
            select: Select::default(),
        }
    }

    /// Reads and checks a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it: (JSON pointer, message).
    pub fn parse(value: &Value) -> Result<Self, Vec<(String, String)>> {
        let Some(map) = value.as_object() else {
            return Err(vec![(String::new(), "a policy is an object".to_owned())]);
        };
        let mut faults: Vec<(String, String)> = Vec::new();
        let mut fault = |pointer: String, message: &str| faults.push((pointer, message.to_owned()));
        match map.get("weights") {
            None => fault("/weights".to_owned(), "is missing; example: {\"dpg\": 1}"),
            Some(Value::Object(weights)) => {
                for (metric, weight) in weights.iter().filter(|(_, weight)| !weight.is_number()) {
                    fault(
                        format!("/weights/{}", crate::lint::pointer_segment(metric)),
                        &format!("must be a number, not {weight}"),
                    );
                }
                if !weights.values().any(|weight| weight.as_f64().is_some_and(|weight| weight != 0.0)) {
                    fault("/weights".to_owned(), "needs a metric with a weight other than 0");
                }
            }
            Some(_) => fault("/weights".to_owned(), "must be an object of metric and weight"),
        }
        if let Some(margin) = map.get("margin")
            && !margin.as_f64().is_some_and(|margin| margin >= 0.0)
        {
            fault("/margin".to_owned(), "must be a number of at least 0");
        }
        if let Some(tie) = map.get("tie")
            && TieRule::deserialize(tie).is_err()
        {
            fault("/tie".to_owned(), "must be \"first\" or \"skip\"");
        }
        if let Some(select) = map.get("select")
            && Select::deserialize(select).is_err()
        {
            fault(
                "/select".to_owned(),
                "must be \"best_worst\", \"all_above_margin\", \"best_rest\" or {\"random\": {\"seed\", \"pairs_per_graph\"}}",
            );
        }
        for key in map.keys().filter(|key| !["weights", "margin", "tie", "select"].contains(&key.as_str())) {
            fault(format!("/{}", crate::lint::pointer_segment(key)), "is no part of a policy");
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Self::deserialize(value).map_err(|error| vec![(String::new(), error.to_string())])
    }

    /// The weighted mean of a candidate's scores; none if a metric that counts is missing or no number.
    pub fn score(&self, scores: &BTreeMap<String, f64>) -> Option<f64> {
        let (mut sum, mut total) = (0.0, 0.0);
        for (metric, weight) in self.weights.iter().filter(|(_, weight)| **weight != 0.0) {
            sum += weight * scores.get(metric)?;
            total += weight.abs();
        }
        let score = sum / total;
        score.is_finite().then_some(score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_it_writes() {
        let policy = Policy::parse(&json!({"weights": {"dpg": 1.0}, "margin": 0.1, "select": "best_worst"})).unwrap();
        assert_eq!(Policy::parse(&serde_json::to_value(&policy).unwrap()), Ok(policy));
        let random =
            json!({"weights": {"dpg": 2}, "select": {"random": {"seed": 3, "pairs_per_graph": 2}}, "tie": "skip"});
        assert_eq!(Policy::parse(&random).unwrap().select, Select::Random { seed: 3, pairs_per_graph: 2 });
    }

    #[test]
    fn tells_all_faults_at_once() {
        let faults = Policy::parse(&json!({"weights": {"dpg": "1"}, "margin": -1, "tie": 3, "select": "best", "x": 0}))
            .unwrap_err();
        let pointers: Vec<&str> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/weights/dpg", "/weights", "/margin", "/tie", "/select", "/x"]);
        assert_eq!(Policy::parse(&json!({})).unwrap_err()[0].0, "/weights");
    }

    #[test]
    fn weighs_metrics() {
        let policy = Policy::parse(&json!({"weights": {"a": 3, "b": -1, "c": 0}})).unwrap();
        let scores = |pairs: &[(&str, f64)]| pairs.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect();
        assert_eq!(policy.score(&scores(&[("a", 1.0), ("b", 0.5)])), Some(0.625));
        assert_eq!(policy.score(&scores(&[("a", 1.0)])), None);
        assert_eq!(policy.score(&scores(&[("a", 1.0), ("b", f64::NAN)])), None);
    }
}
