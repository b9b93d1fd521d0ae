//! `diptych demo`: the whole main job, with the pages filling while it runs.

use std::path::PathBuf;
use std::time::Duration;

use builder::task::TaskContext;
use builder::task::demo::{self, DemoPlan};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::Value;

use super::serve::{Listen, announce};
use super::{Global, output, session};
use crate::serve::Server;

/// How often the progress on stderr is brought up to date.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Run the whole main job on synthetic scenes: graphs, four candidates each, scores, pairs, training, evaluation
///
/// The first line of stdout is the URL of the pages, which fill while it runs; the last is a JSON summary. A demo that was
/// stopped or killed goes on where it was when it is started again with the same data folder.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych demo --once --seed 0")]
pub(crate) struct Demo {
    /// Stop after the run instead of leaving the pages up
    #[arg(long)]
    once: bool,
    /// The set of the paper's size: 2,785 graphs × 4 = 11,140 images
    #[arg(long, conflicts_with = "small")]
    full: bool,
    /// A few graphs and steps: shows in seconds that every part works, and nothing more
    #[arg(long)]
    small: bool,
    /// A LAION-SG file of other graphs, ingested beside the synthetic ones
    #[arg(long, value_name = "FILE")]
    extra_graphs: Option<PathBuf>,
    /// Of everything that is drawn at random
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..1 << 53))]
    seed: i64,
    #[command(flatten)]
    listen: Listen,
}

impl Demo {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        self.listen.check()?;
        if let Some(file) = &self.extra_graphs {
            // Before anything is started: a file that cannot be opened.
            fs_err::File::open(file)?;
        }
        let mut plan = match (self.full, self.small) {
            (true, _) => DemoPlan::full(self.seed),
            (_, true) => DemoPlan::small(self.seed),
            _ => DemoPlan::normal(self.seed),
        };
        // Absolute: a demo is gone on with from anywhere.
        plan.extra_graphs = self.extra_graphs.map(std::path::absolute).transpose()?;
        session::with(global, async |session| {
            let context = session.context.clone();
            let server =
                Server::bind(context.clone(), self.listen.bind, self.listen.port, self.listen.limits()).await?;
            announce(&server.url()?, global.json)?;
            session.start_worker(1);
            let serving = tokio::spawn(server.run());
            let showing = tokio::spawn(show(context.clone()));
            let summary = tokio::select! {
                summary = demo::run(&context, plan) => Some(summary?),
                () = context.shutdown.cancelled() => None,
            };
            showing.abort();
            if let Some(summary) = summary {
                output::json(&summary)?;
                if !self.once {
                    output::note("The demo is done; the pages stay up. Ctrl-C stops them.");
                    context.shutdown.cancelled().await;
                }
            } else {
                output::note("The demo was stopped; the same command goes on with it.");
            }
            let stopped_early = context.shutdown.is_cancelled() && self.once;
            context.shutdown.cancel();
            serving.await??;
            if stopped_early { Err(super::Told.into()) } else { Ok(()) }
        })
    }
}

/// A bar for the stage that runs, on a terminal.
async fn show(context: TaskContext) {
    let mut current: Option<(String, ProgressBar)> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(mut connection) = context.pool.acquire().await else { return };
        let Ok(Some(status)) = demo::status(&mut connection).await else { continue };
        drop(connection);
        let name = status["stage"].as_str().unwrap_or_default();
        let Some(stage) = status["stages"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name)) else {
            continue;
        };
        let count = |key: &str| stage.get(key).and_then(Value::as_u64).unwrap_or(0);
        if current.as_ref().is_none_or(|(shown, _)| shown != name) {
            if let Some((_, bar)) = current.take() {
                bar.finish();
            }
            current = Some((name.to_owned(), output::bar(count("total"), name)));
        }
        if let Some((_, bar)) = &current {
            bar.set_length(count("total"));
            bar.set_position(count("done"));
        }
    }
}
