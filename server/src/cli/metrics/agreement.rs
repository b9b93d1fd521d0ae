//! `diptych metrics agreement`: how far two scorers agree.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use builder::dpg_bench::run::item_key;
use builder::metrics::agreement::{self, Scored};
use clap::Args;
use serde_json::json;

use super::super::output;
use super::each_object;

/// Rank correlation of two scorers within graphs, and the pairs of images that they order differently
///
/// Reads two outputs of `diptych score --json` over the same pictures. Pictures of one `item_id` are compared with each
/// other. The last line is a summary, the lines before it the disagreements, the surest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych metrics agreement --a shapes.jsonl --b openai.jsonl")]
pub(crate) struct Agreement {
    /// Scores of the first scorer
    #[arg(long, value_name = "FILE")]
    a: PathBuf,
    /// Scores of the second scorer
    #[arg(long, value_name = "FILE")]
    b: PathBuf,
}

/// Score and graph by image.
type Scores = HashMap<String, (f64, String)>;

impl Agreement {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (a, b) = (read(&self.a)?, read(&self.b)?);
        let mut both: Vec<Scored> = a
            .iter()
            .filter_map(|(image, (score, graph))| {
                let (other, _) = b.get(image)?;
                Some(Scored { graph: graph.clone(), image: image.clone(), a: *score, b: *other })
            })
            .collect();
        both.sort_by(|one, other| one.image.cmp(&other.image));
        if both.is_empty() {
            anyhow::bail!("no picture has a score in both {} and {}", self.a.display(), self.b.display());
        }
        let only_one = a.len() + b.len() - 2 * both.len();
        if only_one > 0 {
            output::note(&format!("warning: {only_one} pictures have a score in one file only; they are left out"));
        }
        let found = agreement::agreement(&both);
        for one in &found.disagreements {
            output::json(&json!({ "disagreement": {
                "graph": one.graph, "preferred_by_a": one.preferred_by_a, "preferred_by_b": one.preferred_by_b,
                "margin_a": one.margin_a, "margin_b": one.margin_b,
            }}))?;
        }
        output::json(&json!({ "summary": {
            "images": found.images, "graphs": found.graphs, "ranked_graphs": found.ranked_graphs,
            "spearman": found.spearman, "kendall": found.kendall, "concordant": found.concordant,
            "discordant": found.disagreements.len(), "ties": found.ties,
        }}))
    }
}

fn read(path: &Path) -> anyhow::Result<Scores> {
    let mut scores = Scores::new();
    let faults = each_object(path, |_, object| {
        // A summary is no image, and an image without a score has nothing to compare.
        let (Some(image), Some(score)) = (object.text("image")?, object.get("score")) else { return Ok(()) };
        let score = score.as_f64().ok_or_else(|| format!("score: must be a number, not {score}"))?;
        let graph = object.text("item_id")?.unwrap_or_else(|| item_key(image));
        scores.insert(image.to_owned(), (score, graph.to_owned()));
        Ok(())
    })?;
    anyhow::ensure!(faults == 0, "{}: {faults} lines could not be read", path.display());
    Ok(scores)
}
