//! `diptych train`: a training job.

use std::path::PathBuf;

use builder::job::{JobSpec, JobState};
use builder::store::job::{self, Job};
use builder::task::TaskContext;
use builder::task::train::{self, JobRequest};
use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::wait::{self, Look};
use super::{Global, Usage, output, session};
use crate::api::jobs::JobResponse;

/// Train on a frozen pairing, and compare the result with the reference on held-out graphs
///
/// The same as `POST /jobs`. A job that was stopped goes on where it was when a worker runs again.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych train --pairing 01890a5d-ac96-774b-bcce-b302099a8057 --max-steps 300")]
pub(crate) struct Train {
    /// The frozen pairs
    #[arg(long, value_name = "ID", required_unless_present = "resume")]
    pairing: Option<Uuid>,
    /// Wait for a job that is there already, working through the queue meanwhile
    #[arg(long, value_name = "JOB", conflicts_with_all = ["pairing", "spec", "detach"])]
    resume: Option<Uuid>,
    /// Every setting of `POST /jobs`, as a JSON file; the options below win over it
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// What is minimised; an objective's own settings, and `mixture`, go into --spec
    #[arg(long, value_name = "NAME", value_parser = builder::job::Objective::NAMES)]
    objective: Option<String>,
    /// Which parameters move
    #[arg(long, value_name = "KIND", value_parser = builder::job::Trainable::KINDS)]
    trainable: Option<String>,
    /// Steps
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Pairs a step
    #[arg(long, value_name = "N")]
    batch_size: Option<u64>,
    /// Peak of the learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Order of pairs, timesteps, noise
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only put it into the queue
    #[arg(long)]
    detach: bool,
}

impl Train {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let spec = match self.resume {
            Some(_) => None,
            None => Some(self.job_spec()?),
        };
        let job = session::with(global, async |session| {
            let context = session.context.clone();
            let id = match (&spec, self.resume) {
                (Some(spec), _) => train::create(&context, spec, &JobRequest::default()).await?.id,
                (None, Some(id)) => load(&context, id).await?.id,
                (None, None) => return Err(Usage("name a pairing or a job".to_owned()).into()),
            };
            if self.detach {
                return load(&context, id).await;
            }
            session.start_worker(1);
            wait::until(&context, async || {
                let job = load(&context, id).await?;
                let over = job.state.is_final() || job.state == JobState::Paused;
                Ok(Look { what: job.stage.clone(), done: job.done, total: job.total, end: over.then_some(job) })
            })
            .await
        })?;
        let failed = job.state == JobState::Failed;
        if global.json {
            output::json(&JobResponse::from(job))?;
        } else {
            output::line(&format!("job {} {}", job.id, job.state))?;
            if let Some(error) = &job.error {
                output::note(&format!("error: {}", error["message"].as_str().unwrap_or("unknown")));
            }
        }
        if failed { Err(super::Told.into()) } else { Ok(()) }
    }

    fn job_spec(&self) -> anyhow::Result<JobSpec> {
        let mut request: Value = match &self.spec {
            Some(file) => serde_json::from_str(&fs_err::read_to_string(file)?)
                .map_err(|error| Usage(format!("{}: {error}", file.display())))?,
            None => json!({}),
        };
        let Some(fields) = request.as_object_mut() else {
            return Err(Usage("the file of --spec holds no JSON object".to_owned()).into());
        };
        let options = [
            ("pairing_id", self.pairing.map(|id| json!(id))),
            ("objective", self.objective.as_ref().map(|name| json!(name))),
            ("trainable", self.trainable.as_ref().map(|kind| json!(kind))),
            ("max_steps", self.max_steps.map(|steps| json!(steps))),
            ("batch_size", self.batch_size.map(|size| json!(size))),
            ("learning_rate", self.learning_rate.map(|rate| json!(rate))),
            ("seed", self.seed.map(|seed| json!(seed))),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        }
        Ok(JobSpec::parse(&request).map_err(builder::Error::Invalid)?)
    }
}

async fn load(context: &TaskContext, id: Uuid) -> anyhow::Result<Job> {
    let row = job::find(&mut *context.pool.acquire().await?, id).await?;
    Ok(row.ok_or_else(|| builder::Error::not_found("job", id))?)
}
