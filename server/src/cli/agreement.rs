//! `diptych agreement`: how far scorers agree with each other, with people, and with themselves.

use builder::scene_graph::Split;
use builder::store::score_card::Scope;
use builder::task::{agreement, vote};
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{Global, output, session};
use crate::api::agreement::{RetestResponse, ScorerComparison};
use crate::api::votes::VoteAgreement;

/// Compare scorers over what is in the store: with each other, with people's votes, with themselves
///
/// `diptych metrics agreement` does the first for two outputs of `diptych score --json`, without a store.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  diptych agreement scorers --a shapes/dpg --b clip-score/clip_score
  diptych agreement votes
  diptych score --answerer openai --repetition 2 && diptych agreement retest --scorer openai")]
pub(crate) struct Agreement {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Scorers(Scorers),
    Votes(Votes),
    Retest(Retest),
}

/// Rank correlation of two metrics within graphs, and the pairs that they order differently
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych agreement scorers --a shapes/dpg --b clip-score/clip_score")]
struct Scorers {
    /// A metric, or SCORER/METRIC
    #[arg(long, value_name = "METRIC")]
    a: String,
    /// Another one
    #[arg(long, value_name = "METRIC")]
    b: String,
    /// Graphs of this side of the split
    #[arg(long, value_parser = super::split)]
    split: Option<Split>,
    /// Only this generation's candidates
    #[arg(long, value_name = "ID")]
    generation: Option<Uuid>,
    /// Disagreements to give
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Each scorer against people's votes, and what a difference of its scores is worth
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych agreement votes --voter ada")]
struct Votes {
    /// This voter's votes [default: everybody's]
    #[arg(long, value_name = "NAME")]
    voter: Option<String>,
}

/// A scorer against its own repetition
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych agreement retest --scorer openai")]
struct Retest {
    /// Its name
    #[arg(long, value_name = "NAME")]
    scorer: String,
}

impl Agreement {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.command {
            Command::Scorers(command) => command.run(global),
            Command::Votes(command) => command.run(global),
            Command::Retest(command) => command.run(global),
        }
    }
}

impl Scorers {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        let scope = Scope { split: self.split, generation_id: self.generation, answerer: None };
        let found = session::with(global, async |session| {
            let mut connection = session.context.pool.acquire().await?;
            Ok(agreement::between(&mut connection, &self.a, &self.b, &scope).await?)
        })?;
        let found = ScorerComparison::new(found, self.limit);
        if global.json {
            return output::json(&found);
        }
        output::line(&format!(
            "{} candidates of {} graphs; Spearman {}, Kendall {} over {} graphs",
            found.candidates,
            found.graphs,
            figure(found.spearman),
            figure(found.kendall),
            found.ranked_graphs
        ))?;
        let counts = (found.concordant, found.discordant, found.ties);
        output::line(&format!("pairs: {} alike, {} opposite, {} tied", counts.0, counts.1, counts.2))?;
        for one in &found.disagreements {
            output::line(&format!(
                "graph {}: {} by {:.4} against {} by {:.4}",
                one.graph_id, one.preferred_by_a, one.margin_a, one.preferred_by_b, one.margin_b
            ))?;
        }
        Ok(())
    }
}

impl Votes {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        let found: VoteAgreement = session::with(global, async |session| {
            let mut connection = session.context.pool.acquire().await?;
            Ok(vote::agreement(&mut connection, self.voter.as_deref()).await?)
        })?
        .into();
        if global.json {
            return output::json(&found);
        }
        for one in &found.scorers {
            let calibration = one.calibration.as_ref().map_or_else(String::new, |fit| {
                let error = fit.expected_calibration_error;
                format!("; slope {:.3}, Brier {:.4}, calibration error {error:.4}", fit.slope, fit.brier)
            });
            output::line(&format!(
                "{}: {} agree, {} disagree, {} tied{calibration}",
                one.metric, one.agreed, one.disagreed, one.tied
            ))?;
        }
        Ok(())
    }
}

impl Retest {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        let found: RetestResponse = session::with(global, async |session| {
            let mut connection = session.context.pool.acquire().await?;
            Ok(agreement::retest(&mut connection, &self.scorer).await?)
        })?
        .into();
        if global.json {
            return output::json(&found);
        }
        let [first, second] = &found.versions;
        output::line(&format!(
            "{first} against {second}: {} answers, {} alike, kappa {}",
            found.answers,
            figure(found.agreed),
            figure(found.kappa)
        ))?;
        for one in &found.metrics {
            output::line(&format!(
                "{}: {} candidates, mean difference {:.4}, reliability {}, Spearman {}; pairs: {} alike, {} opposite",
                one.metric,
                one.candidates,
                one.mean_difference,
                figure(one.reliability),
                figure(one.spearman),
                one.concordant,
                one.discordant
            ))?;
        }
        Ok(())
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
}
