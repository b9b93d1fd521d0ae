//! `diptych evaluate`: a finished job's model against its reference, again or on more graphs.

use builder::job::JobSpec;
use builder::store::evaluation::{self, Evaluation};
use builder::store::state::TaskState;
use builder::store::{candidate, checkpoint, job, pairing};
use builder::task::evaluate::{self, EvaluationSettings};
use builder::task::train::WEIGHTS;
use builder::task::{TaskContext, score};
use clap::Args;
use uuid::Uuid;

use super::wait::{self, Look};
use super::{Global, Usage, output, session};
use crate::api::evaluations::EvaluationResponse;

/// Compare a finished job's model with its reference on held-out graphs, with the same noises
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych evaluate --job 01890a5d-ac96-774b-bcce-b302099a8057 --num-graphs 400 --seed 1"
)]
pub(crate) struct Evaluate {
    /// The finished job
    #[arg(long, value_name = "ID")]
    job: Uuid,
    /// Held-out graphs
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    num_graphs: u32,
    /// Images a graph and a model
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    num_noises: u32,
    /// Where the noises come from
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..1 << 53))]
    seed: i64,
    /// Sampling steps [default: as the job's own comparison]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    num_inference_steps: Option<u32>,
    /// Guidance scale, 1 is none [default: as the job's own comparison]
    #[arg(long, value_name = "G", value_parser = guidance_scale)]
    guidance_scale: Option<f64>,
    /// Who judges
    #[arg(long, value_name = "NAME", default_value = "shapes")]
    answerer: String,
}

impl Evaluate {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let row = session::with(global, async |session| {
            let context = session.context.clone();
            let settings = self.settings(&context).await?;
            let id = evaluate::create(&context, Some(self.job), "by hand", &settings, true).await?;
            session.start_worker(1);
            wait::until(&context, async || {
                let row = load(&context, id).await?;
                Ok(Look {
                    what: "evaluating".to_owned(),
                    done: row.done,
                    total: row.total,
                    end: row.state.is_final().then_some(row),
                })
            })
            .await
        })?;
        let failed = row.state == TaskState::Failed;
        if global.json {
            output::json(&EvaluationResponse::from(row))?;
        } else {
            let result = row.result.unwrap_or_default();
            let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
            output::line(&format!(
                "base {:.4}, trained {:.4}, delta {:+.4} ± {:.4}",
                number("base_score"),
                number("trained_score"),
                number("delta"),
                number("delta_se"),
            ))?;
        }
        if failed { Err(super::Told.into()) } else { Ok(()) }
    }

    /// As the job's own comparison, with these numbers.
    async fn settings(&self, context: &TaskContext) -> anyhow::Result<EvaluationSettings> {
        let answerer = score::answerer(&self.answerer)?;
        let (mut graphs, _) = evaluate::held_out(context, &*answerer).await?;
        graphs.truncate(self.num_graphs as usize);
        let mut connection = context.pool.acquire().await?;
        let job = job::find(&mut connection, self.job).await?;
        let job = job.ok_or_else(|| builder::Error::not_found("job", self.job))?;
        let spec: JobSpec = serde_json::from_value(job.spec)?;
        let weights = checkpoint::find_artifact(&mut connection, self.job, WEIGHTS).await?;
        let weights =
            weights.ok_or_else(|| Usage(format!("job {} is {} and has left no weights", self.job, job.state)))?;
        // The reference, and how it sampled: those of the pairing's candidates.
        let first = pairing::list_pairs(&mut connection, spec.pairing_id, 1, None).await?.items.pop();
        let first = first.ok_or_else(|| Usage("the job's pairing holds no pairs".to_owned()))?;
        let made = candidate::find(&mut connection, first.pair.winner_id).await?;
        let made = made.ok_or_else(|| builder::Error::not_found("candidate", first.pair.winner_id))?;
        Ok(EvaluationSettings {
            base_model_hash: made.model_hash,
            trained_blob: weights.blob,
            graph_ids: graphs.iter().map(|graph| graph.id).collect(),
            num_noises: self.num_noises,
            seed: self.seed,
            num_inference_steps: (self.num_inference_steps)
                .or(spec.num_inference_steps.map(|steps| steps as u32))
                .unwrap_or(made.num_inference_steps as u32),
            guidance_scale: self.guidance_scale.or(spec.guidance_scale).unwrap_or(made.guidance_scale),
            answerer: answerer.name().to_owned(),
            answerer_version: answerer.version().to_owned(),
        })
    }
}

/// Within the limits of the API.
fn guidance_scale(word: &str) -> Result<f64, String> {
    let scale = word.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&scale) { Ok(scale) } else { Err("must be between 0 and 100".to_owned()) }
}

async fn load(context: &TaskContext, id: Uuid) -> anyhow::Result<Evaluation> {
    let row = evaluation::find(&mut *context.pool.acquire().await?, id).await?;
    Ok(row.ok_or_else(|| builder::Error::not_found("evaluation", id))?)
}
