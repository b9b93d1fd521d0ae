//! `diptych score`: answers and score cards of candidates.

use builder::store::score_run::{self, ScoreRun};
use builder::store::state::TaskState;
use builder::task::score;
use clap::Args;
use uuid::Uuid;

use super::wait::{self, Look};
use super::{Global, output, session};
use crate::api::score_runs::ScoreRunResponse;

/// Ask the graphs' questions about their candidates and compute the scores
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych score --answerer shapes")]
pub(crate) struct Score {
    /// Who answers
    #[arg(long, value_name = "NAME", default_value = "shapes")]
    answerer: String,
    /// Only this generation's candidates
    #[arg(long, value_name = "ID")]
    generation: Option<Uuid>,
    /// Only put it into the queue
    #[arg(long)]
    detach: bool,
}

impl Score {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let row = session::with(global, async |session| {
            let context = session.context.clone();
            let id = score::create(&context, &self.answerer, self.generation).await?;
            if self.detach {
                return load(&context, id).await;
            }
            session.start_worker(1);
            wait::until(&context, async || {
                let row = load(&context, id).await?;
                Ok(Look { what: "scoring".to_owned(), done: row.done, total: row.total, end: row.state.is_final().then_some(row) })
            })
            .await
        })?;
        let failed = row.state == TaskState::Failed;
        if global.json {
            output::json(&ScoreRunResponse::from(row))?;
        } else {
            output::line(&format!("score run {} {}: {} of {} candidates", row.id, row.state, row.done, row.total))?;
        }
        if failed { Err(super::Told.into()) } else { Ok(()) }
    }
}

async fn load(context: &builder::task::TaskContext, id: Uuid) -> anyhow::Result<ScoreRun> {
    let row = score_run::find(&mut *context.pool.acquire().await?, id).await?;
    Ok(row.ok_or_else(|| builder::Error::not_found("score run", id))?)
}
