//! Pairing → TrainingExample → Checkpoint → Evaluation: a training job, from the request to its artifacts.
//!
//! The row in `job` is the truth. A worker that takes the job up finds where it stands: the last checkpoint, or the trained
//! weights when only the evaluation is missing. Requests from outside (pause, cancel, save, sample) are written to the row
//! or as an event, and seen within one step. A killed worker leaves the state `preparing` or `running`; the queue gives the
//! job to the next one.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::queue::{self, Task};
use super::{TaskContext, error_json};
use crate::error::Fault;
use crate::job::{JobChange, JobSpec, JobState};
use crate::store::job::{Job, NewJob};
use crate::store::{job, pairing, rate};
use crate::task::import::IMPORTED;
use crate::{Error, Result};

mod artifacts;
mod card;
mod checkpoint;
mod control;
mod estimate;
mod inputs;
mod label_noise;
mod report;
mod runner;
mod settings;

use control::Control;
pub use estimate::{Estimate, estimate};
use runner::Runner;
pub use runner::{REPORT, WEIGHTS};

/// What a request may carry beside its spec.
#[derive(Clone, Debug, Default)]
pub struct JobRequest {
    /// A retried request with the same key is the same job.
    pub idempotency_key: Option<String>,
}

/// What may be asked of a running job beside its states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobAction {
    /// A checkpoint after the present step.
    Save,
    /// Pictures after the present step.
    Sample,
}

/// Reads a request and checks it against the store.
///
/// # Errors
/// `Invalid` with every fault at once: those of the text, and those that the store knows of what can be read.
pub async fn validate(context: &TaskContext, request: &Value) -> Result<JobSpec> {
    let mut connection = context.pool.acquire().await?;
    match JobSpec::parse(request) {
        Ok(spec) => {
            check(context, &mut connection, &spec).await?;
            Ok(spec)
        }
        Err(mut faults) => {
            let pairing_id = request["pairing_id"].as_str().and_then(|text| Uuid::parse_str(text).ok());
            if let Some(id) = pairing_id {
                faults.extend(pairing_faults(&mut connection, id).await?);
            }
            let model = request["model"].as_str();
            faults.extend(model_faults(context, &mut connection, pairing_id.unwrap_or_default(), model).await?);
            Err(Error::Invalid(faults))
        }
    }
}

/// Whether there is a reference: the one that is named, or the one that made every candidate of the pairing.
async fn model_faults(
    context: &TaskContext,
    connection: &mut PgConnection,
    pairing_id: Uuid,
    model: Option<&str>,
) -> Result<Vec<Fault>> {
    if let Some(name) = model {
        return match context.models.by_name(connection, Some(name)).await {
            Err(error @ Error::NotFound { .. }) => Ok(vec![Fault::new("/model", error.to_string())]),
            found => found.map(|_| Vec::new()),
        };
    }
    let mut hashes: Vec<String> =
        rate::origins(connection, pairing_id).await?.into_iter().map(|one| one.model_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    match hashes.as_slice() {
        [] => Ok(Vec::new()),
        [hash] if !hash.starts_with(IMPORTED) => match context.models.by_hash(connection, hash).await {
            Err(error @ (Error::NotFound { .. } | Error::Conflict { .. })) => {
                Ok(vec![Fault::new("/model", format!("the candidates' own model cannot be had: {error}"))])
            }
            found => found.map(|_| Vec::new()),
        },
        _ => Ok(vec![Fault::new(
            "/model",
            "the pairing's candidates were imported or come from several models: say which is the reference",
        )]),
    }
}

/// Checks a spec against the store, writes the job down and puts it into the queue.
///
/// # Errors
/// `Invalid` with every fault that the store knows of; `Conflict` when the idempotency key was used for another request.
pub async fn create(context: &TaskContext, spec: &JobSpec, request: &JobRequest) -> Result<Job> {
    let mut transaction = context.pool.begin().await?;
    check(context, &mut transaction, spec).await?;
    let job = insert(&mut transaction, spec, request).await?;
    transaction.commit().await?;
    Ok(job)
}

/// As [`create`], within the caller's transaction, of a caller that knows the reference to be there.
pub async fn create_in(connection: &mut PgConnection, spec: &JobSpec, request: &JobRequest) -> Result<Job> {
    let faults = store_faults(connection, spec).await?;
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    insert(connection, spec, request).await
}

/// Everything that the store and the models know against `spec`, at once.
async fn check(context: &TaskContext, connection: &mut PgConnection, spec: &JobSpec) -> Result<()> {
    let mut faults = store_faults(connection, spec).await?;
    faults.extend(model_faults(context, connection, spec.pairing_id, spec.model.as_deref()).await?);
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) }
}

async fn insert(connection: &mut PgConnection, spec: &JobSpec, request: &JobRequest) -> Result<Job> {
    let document = serde_json::to_value(spec)
        .map_err(|source| Error::Json { context: "writing the job's spec".to_owned(), source })?;
    let new = NewJob {
        state: JobState::Validating,
        spec: document.clone(),
        pairing_id: Some(spec.pairing_id),
        total: spec.max_steps as i64,
        unit: "steps".to_owned(),
        idempotency_key: request.idempotency_key.clone(),
        request: document,
    };
    let (job, is_new) = job::insert(connection, &new).await?;
    if is_new {
        change(connection, job.id, JobChange::Validate).await?;
        queue::enqueue(connection, Task::Train(job.id)).await?;
    }
    find(connection, job.id).await
}

/// What is wrong with a spec in the light of the store.
async fn store_faults(connection: &mut PgConnection, spec: &JobSpec) -> Result<Vec<Fault>> {
    let mut faults = pairing_faults(connection, spec.pairing_id).await?;
    if spec.warmup_steps > spec.max_steps {
        faults.push(Fault::new("/warmup_steps", "is not more than max_steps"));
    }
    Ok(faults)
}

async fn pairing_faults(connection: &mut PgConnection, id: Uuid) -> Result<Vec<Fault>> {
    Ok(match pairing::find(connection, id).await? {
        None => vec![Fault::new("/pairing_id", format!("there is no pairing {id}"))],
        Some(pairing) if pairing.num_pairs == 0 => vec![Fault::new("/pairing_id", "this pairing holds no pairs")],
        Some(_) => Vec::new(),
    })
}

/// Stops the job at its next step and keeps everything; [`resume`] goes on.
pub async fn pause(context: &TaskContext, id: Uuid) -> Result<Job> {
    ask(context, id, JobChange::Pause).await
}

/// Goes on with a paused job.
pub async fn resume(context: &TaskContext, id: Uuid) -> Result<Job> {
    ask(context, id, JobChange::Resume).await
}

/// Stops the job at its next step for good.
pub async fn cancel(context: &TaskContext, id: Uuid) -> Result<Job> {
    ask(context, id, JobChange::Cancel).await
}

/// Asks the worker of a running job to `save` a checkpoint or make a `sample` after the present step.
pub async fn request(context: &TaskContext, id: Uuid, action: JobAction) -> Result<Job> {
    let mut transaction = context.pool.begin().await?;
    let job = find(&mut transaction, id).await?;
    if !matches!(job.state, JobState::Preparing | JobState::Running) {
        return Err(Error::conflict("job_not_running", format!("the job is {}", job.state)));
    }
    match action {
        JobAction::Save => job::request_save(&mut transaction, id).await?,
        JobAction::Sample => job::request_sample(&mut transaction, id).await?,
    }
    transaction.commit().await?;
    Ok(job)
}

async fn ask(context: &TaskContext, id: Uuid, wanted: JobChange) -> Result<Job> {
    let mut transaction = context.pool.begin().await?;
    let state = change(&mut transaction, id, wanted).await?;
    if state == JobState::Queued {
        queue::enqueue(&mut transaction, Task::Train(id)).await?;
    }
    let job = find(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(job)
}

async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Job> {
    job::find(connection, id).await?.ok_or_else(|| Error::not_found("job", id))
}

/// Applies `change` to the job's state and writes the event.
///
/// # Errors
/// `Conflict` when the state does not allow it.
async fn change(connection: &mut PgConnection, id: Uuid, change: JobChange) -> Result<JobState> {
    loop {
        let from = find(connection, id).await?.state;
        let to = from.next(change).ok_or_else(|| {
            Error::conflict("illegal_transition", format!("a job that is {from} cannot {}", word(change)))
        })?;
        // Somebody else may have changed it in between: then look again.
        if job::update_state(connection, id, &[from], to).await? {
            return Ok(to);
        }
    }
}

fn word(change: JobChange) -> &'static str {
    match change {
        JobChange::Validate => "be validated",
        JobChange::Prepare | JobChange::Run => "be worked on",
        JobChange::Release => "be put back",
        JobChange::Pause | JobChange::Paused => "be paused",
        JobChange::Resume => "be resumed",
        JobChange::Cancel | JobChange::Cancelled => "be cancelled",
        JobChange::Succeed => "succeed",
        JobChange::Fail => "fail",
    }
}

/// Works on the job until it is through, or until somebody wants otherwise.
pub async fn run(context: &TaskContext, id: Uuid) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    let Some(job) = job::find(&mut connection, id).await? else {
        return Ok(());
    };
    match job.state {
        JobState::Queued | JobState::Preparing | JobState::Running => {
            match change(&mut connection, id, JobChange::Prepare).await {
                // A wish was faster.
                Err(Error::Conflict { code: "illegal_transition", .. }) => return let_go(context, id).await,
                changed => changed?,
            };
        }
        // The worker before was killed between the wish and its fulfilment.
        JobState::Pausing => return end(context, id, JobChange::Paused).await,
        JobState::Cancelling => return end(context, id, JobChange::Cancelled).await,
        _ => return Ok(()),
    }
    // No lease: the queue hands a job to one worker at a time, and takes it from a dead one at once.
    job::claim(&mut connection, id, &worker_name(), std::time::Duration::ZERO).await?;
    let spec: JobSpec = serde_json::from_value(job.spec.clone())
        .map_err(|source| Error::Json { context: format!("the spec of job {id}"), source })?;
    drop(connection);
    let control = Control::watch(context, id);
    let result = Runner::new(context, id, spec, &control).run().await;
    control.stop();
    match result {
        Ok(()) => end(context, id, JobChange::Succeed).await,
        // Stopped by a wish, or by the row itself, where the wish came between two looks at it.
        Err(Error::Stopped | Error::Conflict { code: "illegal_transition", .. }) => let_go(context, id).await,
        Err(error) => Err(error),
    }
}

fn worker_name() -> String {
    format!("{}:{}", std::env::var("HOSTNAME").unwrap_or_else(|_| "worker".to_owned()), std::process::id())
}

/// The work stopped short: the row says why, whatever was wished while it stopped.
async fn let_go(context: &TaskContext, id: Uuid) -> Result<()> {
    let state = find(&mut *context.pool.acquire().await?, id).await?.state;
    match state {
        JobState::Pausing => end(context, id, JobChange::Paused).await,
        JobState::Cancelling => end(context, id, JobChange::Cancelled).await,
        JobState::Preparing | JobState::Running => {
            end(context, id, JobChange::Release).await?;
            Err(Error::Stopped)
        }
        _ => Ok(()),
    }
}

async fn end(context: &TaskContext, id: Uuid, how: JobChange) -> Result<()> {
    let mut transaction = context.pool.begin().await?;
    change(&mut transaction, id, how).await?;
    transaction.commit().await?;
    Ok(())
}

/// Writes down that the job cannot be finished, and why.
pub async fn fail(context: &TaskContext, id: Uuid, error: &Error) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    job::fail(&mut connection, id, &error_json(error)).await?;
    Ok(())
}
