//! `diptych metrics table`: every metric in the store, and how far they agree.

use builder::scene_graph::Split;
use builder::store::score_card::Scope;
use builder::task::agreement;
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::super::{Global, output, session};

/// Mean, standard error and rank correlations of every metric that candidates in the store have
///
/// Prints Markdown tables, with --json one document. The standard error is that of the graphs' means, since candidates of a
/// graph are not independent; correlations are means of Spearman's ρ within graphs.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych metrics table --data demo --generation 01890a5d-ac96-774b-bcce-b302099a8057")]
pub(crate) struct Table {
    /// Graphs of this side of the split
    #[arg(long, value_parser = super::super::split)]
    split: Option<Split>,
    /// Only this generation's candidates
    #[arg(long, value_name = "ID")]
    generation: Option<Uuid>,
}

impl Table {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let scope = Scope { split: self.split, generation_id: self.generation, answerer: None };
        let found = session::with(global, async |session| {
            Ok(agreement::table(&mut *session.context.pool.acquire().await?, &scope).await?)
        })?;
        anyhow::ensure!(!found.rows.is_empty(), "no candidate has a score here");
        if global.json {
            let rows: Vec<_> = found
                .rows
                .iter()
                .map(|row| {
                    json!({
                        "scorer": row.answerer, "version": row.answerer_version, "metric": row.metric,
                        "candidates": row.num_candidates, "graphs": row.num_graphs, "mean": row.mean,
                        "standard_error": row.standard_error,
                    })
                })
                .collect();
            let correlations: Vec<_> = found
                .correlations
                .iter()
                .map(|&(a, b, spearman, graphs)| json!({ "a": a, "b": b, "spearman": spearman, "graphs": graphs }))
                .collect();
            return output::json(&json!({ "rows": rows, "correlations": correlations }));
        }
        output::line(
            "| no. | scorer | metric | candidates | mean | standard error |\n| --- | --- | --- | --- | --- | --- |",
        )?;
        for (row, number) in found.rows.iter().zip(1..) {
            let error = row.standard_error.map_or_else(|| "–".to_owned(), |error| format!("{error:.4}"));
            output::line(&format!(
                "| {number} | `{}` {} | {} | {} | {:.4} | {error} |",
                row.answerer, row.answerer_version, row.metric, row.num_candidates, row.mean
            ))?;
        }
        let numbers: Vec<String> = (1..=found.rows.len()).map(|number| number.to_string()).collect();
        output::line(&format!("\n| ρ | {} |\n| --- |{}", numbers.join(" | "), " --- |".repeat(numbers.len())))?;
        for i in 0..found.rows.len() {
            let cells: Vec<String> = (0..found.rows.len())
                .map(|k| {
                    let pair = found.correlations.iter().find(|one| (one.0, one.1) == (i.min(k), i.max(k)));
                    match pair {
                        Some((_, _, Some(rho), _)) => format!("{rho:.2}"),
                        Some(_) => "–".to_owned(),
                        None => "1".to_owned(),
                    }
                })
                .collect();
            output::line(&format!("| {} | {} |", i + 1, cells.join(" | ")))?;
        }
        Ok(())
    }
}
