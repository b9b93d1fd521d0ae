//! `diptych score`: answers and score cards, of candidates in the store or of a folder of pictures without one.

use builder::store::score_failure;
use builder::store::score_run::{self, ScoreRun};
use builder::store::state::TaskState;
use builder::task::score::{self, ScoreRequest};
use clap::Args;
use uuid::Uuid;

use super::wait::{self, Look};
use super::{Global, endpoint, output, session};
use crate::api::score_runs::ScoreRunResponse;

mod folder;

pub(super) use folder::{list_pictures, of_graph, read_graphs};

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
  diptych score --images pictures --graphs graphs.json --metric numeracy --boxes boxes.jsonl
  diptych score --answerer pick-score --network pick-score-v1
  diptych score --answerer my-vlm --recorded
  diptych score --images grids --questions dpg_bench.csv --answers answers.jsonl --mode reference --pic-num 4 --json")]
pub(crate) struct Score {
    /// Who scores: shapes (exact, for the synthetic world), openai (any OpenAI-compatible vision endpoint), blip-vqa (with
    /// --images: --model); of the store also clip-score, pick-score, aesthetic (--network), shapes-boxes, http-boxes
    /// (DETECTOR_URL), openai-graph (SG-IoU; OPENAI_BASE_URL, OPENAI_MODEL), human (votes), with --recorded whoever gave the answers that were imported
    #[arg(long, value_name = "NAME", default_value = "shapes")]
    answerer: String,
    /// Only this generation's candidates
    #[arg(long, value_name = "ID", conflicts_with = "images")]
    generation: Option<Uuid>,
    /// A network that `diptych model register` has made known
    #[arg(long, value_name = "NAME", conflicts_with = "images")]
    network: Option<String>,
    /// Compute the scores from answers that are in the store; nothing is asked
    #[arg(long, conflicts_with = "images")]
    recorded: bool,
    /// With --recorded, which version, where there are answers of several
    #[arg(long, value_name = "VERSION", requires = "recorded")]
    answerer_version: Option<String>,
    /// 2 or more: everything once more, to see how stable the scorer is (`diptych agreement retest`)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    repetition: u32,
    /// Only put it into the queue
    #[arg(long, conflicts_with = "images")]
    detach: bool,
    #[command(flatten)]
    folder: Box<folder::Folder>,
}

impl Score {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        if let Some(images) = &self.folder.images {
            session::limit_threads(global);
            return self.folder.run(images, &self.answerer, global);
        }
        if !self.recorded && !score::SCORERS.contains(&self.answerer.as_str()) {
            let message = format!("--answerer {}: is one of {}", self.answerer, score::SCORERS.join(", "));
            return Err(super::Usage(message).into());
        }
        let (row, failed) = session::with(global, async |session| {
            let context = session.context.clone();
            let request = ScoreRequest {
                answerer: self.answerer.clone(),
                answerer_version: self.answerer_version.clone(),
                network: self.network.clone(),
                generation_id: self.generation,
                repetition: self.repetition,
                recorded: self.recorded,
            };
            let id = score::create(&context, &request).await?;
            if self.detach {
                return Ok((load(&context, id).await?, 0));
            }
            session.start_worker(1);
            let row = wait::until(&context, async || {
                let row = load(&context, id).await?;
                Ok(Look {
                    what: "scoring".to_owned(),
                    done: row.done,
                    total: row.total,
                    end: row.state.is_final().then_some(row),
                })
            })
            .await?;
            let failed = score_failure::count(&mut *context.pool.acquire().await?, &row).await?;
            Ok((row, failed))
        })?;
        let has_failed = row.state == TaskState::Failed;
        if global.json {
            output::json(&ScoreRunResponse::new(row, failed))?;
        } else {
            output::line(&format!("score run {} {}: {} of {} candidates", row.id, row.state, row.done, row.total))?;
            if failed > 0 {
                output::note(&format!("{failed} candidates could not be scored, or not in full"));
            }
            if let Some(spent) = row.spent.as_ref().and_then(|spent| serde_json::from_value(spent.clone()).ok()) {
                endpoint::tell(&row.answerer, Some(spent));
            }
            if let Some(message) = row.error.as_ref().and_then(|error| error["message"].as_str()) {
                output::note(message);
            }
        }
        if has_failed { Err(super::Told.into()) } else { Ok(()) }
    }
}

async fn load(context: &builder::task::TaskContext, id: Uuid) -> anyhow::Result<ScoreRun> {
    let row = score_run::find(&mut *context.pool.acquire().await?, id).await?;
    Ok(row.ok_or_else(|| builder::Error::not_found("score run", id))?)
}
