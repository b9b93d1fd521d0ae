//! `diptych metrics answerer-accuracy`: how often the exact answerer is right.

use builder::answer::shapes::accuracy::{DAMAGES, measure};
use clap::Args;
use serde_json::json;

use super::super::{Global, output};

/// How often the exact answerer is right about drawn scenes, sharp, and blurred and noisy as a decoder leaves them
///
/// Prints a Markdown table, with --json a line a row. Half of the questions hold of the picture; for the others one fact of the
/// graph was changed.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych metrics answerer-accuracy --scenes 2000")]
pub(crate) struct Accuracy {
    /// Scenes for the questions that hold; twice as many for those that do not
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    scenes: u32,
}

impl Accuracy {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        if !global.json {
            output::line("| blur, noise | question | it holds | right | of |\n| --- | --- | --- | --- | --- |")?;
        }
        for damage in DAMAGES {
            for ((kind, holds), tally) in measure(self.scenes as usize, damage)? {
                let kind = kind.as_str();
                if global.json {
                    output::json(&json!({
                        "blur": damage.blur, "noise": damage.noise, "kind": kind, "holds": holds,
                        "accuracy": tally.accuracy(), "answers": tally.all,
                    }))?;
                    continue;
                }
                let holds = if holds { "yes" } else { "no" };
                let share = 100.0 * tally.accuracy();
                output::line(&format!(
                    "| {} px, {} / 255 | {kind} | {holds} | {share:.2} % | {} |",
                    damage.blur, damage.noise, tally.all
                ))?;
            }
        }
        Ok(())
    }
}
