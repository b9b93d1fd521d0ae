//! `diptych generate`: candidates of graphs.

use builder::store::generation::{self, Generation};
use builder::store::state::{Split, TaskState};
use builder::task::generate;
use clap::Args;
use uuid::Uuid;

use super::wait::{self, Look};
use super::{Global, output, session};
use crate::api::generations::{CreateGenerationRequest, GenerationResponse, to_task};

/// Make candidates of graphs
///
/// The same seed, graph, model and settings give the same pixels. A generation that was stopped goes on with `diptych
/// worker` or `diptych serve`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych generate --split train --num-candidates 4 --seed 0")]
pub(crate) struct Generate {
    /// This graph; may be repeated. Default: every graph of --split
    #[arg(long = "graph", value_name = "ID", conflicts_with = "split")]
    graphs: Vec<Uuid>,
    /// `train` or `held_out`. Default: both
    #[arg(long, value_parser = super::split)]
    split: Option<Split>,
    /// Model by name or folder
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// What the candidates' seeds derive from
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..1 << 53))]
    seed: i64,
    /// Candidates a graph
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    num_candidates: u32,
    /// Sampling steps
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    num_inference_steps: u32,
    /// Classifier-free guidance
    #[arg(long, value_name = "SCALE", default_value_t = generate::GenerationRequest::default().guidance_scale)]
    guidance_scale: f64,
    /// Only put it into the queue
    #[arg(long)]
    detach: bool,
}

impl Generate {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let request = CreateGenerationRequest {
            graph_ids: (!self.graphs.is_empty()).then_some(self.graphs),
            split: self.split,
            model: self.model,
            seed: self.seed,
            num_candidates: self.num_candidates,
            num_inference_steps: self.num_inference_steps,
            guidance_scale: self.guidance_scale,
        };
        let row = session::with(global, async |session| {
            let context = session.context.clone();
            let request = to_task(&context, request).await?;
            let id = generate::create(&context, &request).await?;
            if self.detach {
                return load(&context, id).await;
            }
            session.start_worker(1);
            wait::until(&context, async || {
                let row = load(&context, id).await?;
                Ok(Look {
                    what: "generating".to_owned(),
                    done: row.done,
                    total: row.total,
                    end: row.state.is_final().then_some(row),
                })
            })
            .await
        })?;
        finish(row, global.json)
    }
}

async fn load(context: &builder::task::TaskContext, id: Uuid) -> anyhow::Result<Generation> {
    let row = generation::find(&mut *context.pool.acquire().await?, id).await?;
    Ok(row.ok_or_else(|| builder::Error::not_found("generation", id))?)
}

fn finish(row: Generation, json: bool) -> anyhow::Result<()> {
    let failed = row.state == TaskState::Failed;
    if json {
        output::json(&GenerationResponse::from(row))?;
    } else {
        output::line(&format!("generation {} {}: {} of {} candidates", row.id, row.state, row.done, row.total))?;
        if let Some(error) = &row.error {
            output::note(&format!("error: {}", error["message"].as_str().unwrap_or("unknown")));
        }
    }
    if failed { Err(super::Told.into()) } else { Ok(()) }
}
