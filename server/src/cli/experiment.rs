//! `diptych experiment`: a file of trainings, run to one table.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Context;
use builder::experiment::{ExperimentPlan, table};
use builder::task::experiment::{self, Progress};
use clap::Args;

use super::{Global, Told, Usage, output, session};

/// Run the trainings of an experiment's file, each with every seed, and print one table with standard errors
///
/// An experiment that was stopped or killed goes on where it was when it is started again with the same data folder.
/// Shipped ones are in `experiments/`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych experiment experiments/objectives.toml --data /tmp/experiments --output results"
)]
pub(crate) struct Experiment {
    /// What to run, in TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder for the table (Markdown), the results (JSON) and the plots (SVG)
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Only the first N seeds of each run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// A few graphs and two steps of everything: shows in seconds that every part works, and nothing more
    #[arg(long)]
    smoke: bool,
    /// Only read and check the file, and say what it would run
    #[arg(long)]
    check: bool,
}

impl Experiment {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let text = fs_err::read_to_string(&self.file)?;
        let mut plan = ExperimentPlan::parse(&text)
            .map_err(|error| Usage(format!("{}: {}", self.file.display(), builder::task::error_text(&error))))?;
        if let Some(seeds) = self.seeds {
            plan = plan.with_seeds(seeds as usize);
        }
        if self.smoke {
            plan = plan.smoke();
        }
        if self.check {
            return tell_plan(&plan, global.json);
        }
        let mut results = session::with(global, async |session| {
            let context = session.context.clone();
            session.start_worker(1);
            let bar = Mutex::new((String::new(), output::bar(0, "")));
            let tell = |now: Progress| show(&bar, &now);
            Ok(experiment::run(&context, &plan, &tell).await?)
        })?;
        table::summarize(&mut results);
        let markdown = table::markdown(&results);
        if let Some(folder) = &self.output {
            fs_err::create_dir_all(folder)?;
            let json = serde_json::to_string_pretty(&results).context("writing the results")?;
            fs_err::write(folder.join(format!("{}.json", plan.name)), json + "\n")?;
            fs_err::write(folder.join(format!("{}.md", plan.name)), &markdown)?;
            for (name, plot) in table::plots(&results)? {
                fs_err::write(folder.join(name), plot)?;
            }
        }
        if global.json {
            output::json(&results)?;
        } else {
            output::line(markdown.trim_end())?;
        }
        let ended_well = |run: &serde_json::Value| run["summary"]["seeds"].as_u64().is_some_and(|seeds| seeds > 0);
        let any = results["runs"].as_array().is_some_and(|runs| runs.iter().any(ended_well));
        // A training that cannot move is a result; nothing but such is a failure.
        if any { Ok(()) } else { Err(Told.into()) }
    }
}

/// One line a piece of work on a stream, a bar on a terminal.
fn show(bar: &Mutex<(String, indicatif::ProgressBar)>, now: &Progress) {
    let Ok(mut shown) = bar.lock() else { return };
    if shown.0 != now.what {
        shown.1.finish_and_clear();
        tracing::info!(what = now.what, "experiment");
        *shown = (now.what.clone(), output::bar(u64::try_from(now.total).unwrap_or(0), &now.what));
    }
    shown.1.set_length(u64::try_from(now.total).unwrap_or(0));
    shown.1.set_position(u64::try_from(now.done).unwrap_or(0));
}

fn tell_plan(plan: &ExperimentPlan, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(plan);
    }
    output::line(&format!("{}: {} runs, {} trainings", plan.title, plan.runs.len(), plan.num_trials()))?;
    for run in &plan.runs {
        let Some(first) = run.trials.first() else { continue };
        output::line(&format!(
            "  {}: {} graphs, {} × {} steps of {} pairs, {:.0} image-forwards a step",
            run.name,
            run.graphs,
            run.trials.len(),
            first.spec.max_steps,
            first.spec.batch_size,
            first.spec.image_forwards_per_step(plan.data.sampling()),
        ))?;
    }
    Ok(())
}
