//! `diptych score`: answers and score cards, of candidates in the store or of a folder of pictures without one.

use builder::store::score_run::{self, ScoreRun};
use builder::store::state::TaskState;
use builder::task::score;
use clap::Args;
use uuid::Uuid;

use super::wait::{self, Look};
use super::{Global, output, session};
use crate::api::score_runs::ScoreRunResponse;

mod folder;

pub(super) use folder::list_pictures;

/// Ask questions about pictures and compute the scores
///
/// With --images: the pictures of a folder, without a database. The questions are those of a DPG-Bench CSV file or follow
/// from scene graphs; the answers are read from a file or asked of --answerer. Without --images: the candidates in the
/// store.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  diptych score --answerer shapes
  diptych score --images pictures --graphs graphs.json --metric dpg --answers answers.jsonl
  diptych score --images pictures --graphs graphs.json --answerer openai --base-url http://127.0.0.1:8000/v1 --vision-model NAME
  diptych score --images pictures --graphs graphs.json --metric attribute_binding --answerer blip-vqa --model blip-vqa-capfilt-large
  diptych score --images grids --questions dpg_bench.csv --answers answers.jsonl --mode reference --pic-num 4 --json")]
pub(crate) struct Score {
    /// Who answers: shapes (exact, for the synthetic world), openai (any OpenAI-compatible vision endpoint), with --images
    /// also blip-vqa (--model)
    #[arg(long, value_name = "NAME", default_value = "shapes")]
    answerer: String,
    /// Only this generation's candidates
    #[arg(long, value_name = "ID", conflicts_with = "images")]
    generation: Option<Uuid>,
    /// Only put it into the queue
    #[arg(long, conflicts_with = "images")]
    detach: bool,
    #[command(flatten)]
    folder: Box<folder::Folder>,
}

impl Score {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        if let Some(images) = &self.folder.images {
            return self.folder.run(images, &self.answerer, global.json);
        }
        let row = session::with(global, async |session| {
            let context = session.context.clone();
            let id = score::create(&context, &self.answerer, self.generation).await?;
            if self.detach {
                return load(&context, id).await;
            }
            session.start_worker(1);
            wait::until(&context, async || {
                let row = load(&context, id).await?;
                Ok(Look {
                    what: "scoring".to_owned(),
                    done: row.done,
                    total: row.total,
                    end: row.state.is_final().then_some(row),
                })
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
