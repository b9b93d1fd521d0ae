//! `diptych pair`: pairs under a policy, live or frozen.

use std::path::PathBuf;

use builder::policy::Policy;
use builder::store::score_card::Scope;
use builder::store::state::Split;
use builder::task::freeze;
use clap::Args;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Global, Usage, output, session};
use crate::api::pairings::{PairingResponse, preview};

/// Show the pairs that a policy gives, and freeze them
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych pair --weight dpg=1 --margin 0.1 --freeze \"best against worst\"")]
pub(crate) struct Pair {
    /// A metric and its weight; may be repeated
    #[arg(long = "weight", value_name = "METRIC=WEIGHT")]
    weights: Vec<String>,
    /// Smallest difference of scores
    #[arg(long, value_name = "MARGIN")]
    margin: Option<f64>,
    /// Which pairs of a graph's candidates
    #[arg(long, value_name = "RULE", value_parser = ["best_worst", "all_above_margin", "best_rest"])]
    select: Option<String>,
    /// What to do with equals
    #[arg(long, value_name = "RULE", value_parser = ["first", "skip"])]
    tie: Option<String>,
    /// A policy as a JSON file, instead of the options above
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weights", "margin", "select", "tie"])]
    policy: Option<PathBuf>,
    /// Graphs of this side of the split
    #[arg(long, value_parser = super::split, default_value = "train")]
    split: Split,
    /// Only this generation's candidates
    #[arg(long, value_name = "ID")]
    generation: Option<Uuid>,
    /// Freeze the pairs under this name
    #[arg(long, value_name = "NAME")]
    freeze: Option<String>,
}

impl Pair {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let policy = self.policy()?;
        let scope = Scope { split: Some(self.split), generation_id: self.generation, answerer: None };
        session::with(global, async |session| {
            let Some(name) = &self.freeze else {
                let found = preview(&session.context, &policy, &scope).await?;
                if global.json {
                    return output::json(&found);
                }
                let mean = found.mean_margin.map_or_else(String::new, |mean| format!(", mean margin {mean:.3}"));
                return Ok(output::line(&format!("{} pairs of {} graphs{mean}", found.num_pairs, found.num_graphs))?);
            };
            let (pairing, new) = freeze::freeze(&session.context, name, &policy, &scope).await?;
            if global.json {
                return output::json(&PairingResponse::from(pairing));
            }
            let what = if new { "frozen" } else { "was frozen before" };
            Ok(output::line(&format!(
                "pairing {} {what}: {} pairs, hash {}",
                pairing.id, pairing.num_pairs, pairing.hash
            ))?)
        })
    }

    fn policy(&self) -> anyhow::Result<Policy> {
        let value = match &self.policy {
            Some(file) => serde_json::from_str(&fs_err::read_to_string(file)?)
                .map_err(|error| Usage(format!("{}: {error}", file.display())))?,
            None => self.policy_of_options()?,
        };
        Policy::parse(&value).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(|(pointer, message)| format!("{pointer}: {message}")).collect();
            Usage(format!("the policy: {}", lines.join("; "))).into()
        })
    }

    fn policy_of_options(&self) -> Result<Value, Usage> {
        let mut weights = Map::new();
        for text in &self.weights {
            let weight = text.split_once('=').and_then(|(name, weight)| Some((name, weight.parse::<f64>().ok()?)));
            let (name, weight) = weight.ok_or_else(|| Usage(format!("--weight {text}: is METRIC=NUMBER")))?;
            weights.insert(name.to_owned(), weight.into());
        }
        if weights.is_empty() {
            weights.insert("dpg".to_owned(), 1.0.into());
        }
        let mut policy = json!({ "weights": weights });
        if let Some(margin) = self.margin {
            policy["margin"] = margin.into();
        }
        if let Some(select) = &self.select {
            policy["select"] = select.as_str().into();
        }
        if let Some(tie) = &self.tie {
            policy["tie"] = tie.as_str().into();
        }
        Ok(policy)
    }
}
