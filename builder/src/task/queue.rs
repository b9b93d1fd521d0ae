//! The queue: who does what, when.
//!
//! # The choice
//! `graphile_worker` 0.14 (a Rust port of Graphile Worker, on sqlx 0.9 like ours) rather than `apalis-postgres` 1.0; the
//! others (`underway`, `pgmq`, `sqlxmq`) still need sqlx 0.8, which would mean two pools. What decided:
//! - Retries: exponential backoff and a limit of attempts, in SQL. An attempt is counted when a job is *taken*, so a task
//!   that kills its process is given up after 25 takes instead of killing every worker for ever. apalis re-enqueues an
//!   orphan by age (its `reenqueue_orphaned_after`, five minutes by default, has handed long-running work out twice:
//!   apalis #530), and our tasks run for minutes to hours.
//! - Adding a job is an SQL function, so it joins the transaction of the fact that caused it, from any client; a job key
//!   makes that idempotent, and a named queue per noun keeps two workers off the same thing.
//! - `LISTEN`/`NOTIFY` wake-up: a job starts milliseconds after its commit. Cron is there (`with_cron`), for later.
//! - Throughput is not our question (a job is minutes of work), but its batching is far beyond it.
//!
//! Its weak side is what a dead worker leaves behind. The classic rule frees a lock after four hours; the newer heartbeats
//! (0.13) after `sweep_threshold`, which must be minutes. We want seconds, and not to guess: each of our workers holds a
//! Postgres advisory lock on its id for as long as its connection lives. A killed process loses its connection at once, so
//! whoever can take that lock knows that the worker is dead, and frees its jobs (`force_unlock_workers`). That is done when
//! a worker starts and every few seconds after. Heartbeats stay on as a second line, for machines that vanish without
//! closing their connections.
//!
//! A worker's run ends when the database goes away for a moment; [`run`] starts it again.

use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, TaskHandler, WorkerContext, WorkerOptions, WorkerRecoveryConfig, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::{TaskContext, error_text, evaluate, export, frechet, generate, invert, score, train};
use crate::store::queue;
use crate::{Error, Result};

/// How soon the jobs of a killed worker are found while another one lives.
const REAP_EVERY: Duration = Duration::from_secs(3);
/// How long a task may go on after the process was asked to stop. Tasks look at every step, batch or chunk.
const GRACE: Duration = Duration::from_secs(30);

/// A piece of work, by the row that describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A generation.
    Generate(Uuid),
    /// A score run.
    Score(Uuid),
    /// A training job.
    Train(Uuid),
    /// An evaluation without a job.
    Evaluate(Uuid),
    /// An export.
    Export(Uuid),
    /// A candidate's inversion.
    Invert(Uuid),
    /// A Fréchet distance.
    Frechet(Uuid),
}

impl Task {
    fn parts(self) -> (&'static str, Uuid) {
        match self {
            Self::Generate(id) => (GenerateTask::IDENTIFIER, id),
            Self::Score(id) => (ScoreTask::IDENTIFIER, id),
            Self::Train(id) => (TrainTask::IDENTIFIER, id),
            Self::Evaluate(id) => (EvaluateTask::IDENTIFIER, id),
            Self::Export(id) => (ExportTask::IDENTIFIER, id),
            Self::Invert(id) => (InvertTask::IDENTIFIER, id),
            Self::Frechet(id) => (FrechetTask::IDENTIFIER, id),
        }
    }

    fn from_parts(identifier: &str, id: Uuid) -> Option<Self> {
        match identifier {
            GenerateTask::IDENTIFIER => Some(Self::Generate(id)),
            ScoreTask::IDENTIFIER => Some(Self::Score(id)),
            TrainTask::IDENTIFIER => Some(Self::Train(id)),
            EvaluateTask::IDENTIFIER => Some(Self::Evaluate(id)),
            ExportTask::IDENTIFIER => Some(Self::Export(id)),
            InvertTask::IDENTIFIER => Some(Self::Invert(id)),
            FrechetTask::IDENTIFIER => Some(Self::Frechet(id)),
            _ => None,
        }
    }

    async fn run(self, context: &TaskContext) -> Result<()> {
        match self {
            Self::Generate(id) => generate::run(context, id).await,
            Self::Score(id) => score::run(context, id).await,
            Self::Train(id) => train::run(context, id).await,
            Self::Evaluate(id) => evaluate::run(context, id).await,
            Self::Export(id) => export::run(context, id).await,
            Self::Invert(id) => invert::run(context, id).await,
            Self::Frechet(id) => frechet::run(context, id).await,
        }
    }

    async fn fail(self, context: &TaskContext, error: &Error) -> Result<()> {
        match self {
            Self::Generate(id) => generate::fail(context, id, error).await,
            Self::Score(id) => score::fail(context, id, error).await,
            Self::Train(id) => train::fail(context, id, error).await,
            Self::Evaluate(id) => evaluate::fail(context, id, error).await,
            Self::Export(id) => export::fail(context, id, error).await,
            Self::Invert(id) => invert::fail(context, id, error).await,
            Self::Frechet(id) => frechet::fail(context, id, error).await,
        }
    }

    /// Runs the task and writes a failure that no repetition mends into its row.
    ///
    /// # Errors
    /// Only such as a later attempt may not meet.
    async fn run_to_its_end(self, context: &TaskContext, last_attempt: bool) -> Result<()> {
        match self.run(context).await {
            Ok(()) => Ok(()),
            Err(Error::Stopped) => {
                // A fresh queue job instead of a failed attempt: no backoff, and no attempt used up.
                tracing::info!(task = ?self, "task put back: the process stops");
                enqueue(&mut *context.pool.acquire().await?, self).await
            }
            Err(error) if error.is_transient() && !last_attempt => Err(error),
            Err(error) => {
                tracing::error!(task = ?self, error = error_text(&error), "task failed");
                self.fail(context, &error).await
            }
        }
    }
}

/// Brings the queue's schema up to date.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    WorkerUtils::new(pool.clone(), queue::SCHEMA).migrate().await.map_err(|error| Error::Queue(error.to_string()))
}

/// Puts `task` into the queue, within the caller's transaction. A task that waits already is not added twice; one that runs
/// is followed by another run, never joined by one.
pub async fn enqueue(connection: &mut PgConnection, task: Task) -> Result<()> {
    let (identifier, id) = task.parts();
    queue::add_job(connection, identifier, id).await
}

/// Says that a task has come further: the deaths of its workers before count no more, so that a long one may outlive many
/// while one that takes its process down each time still ends.
pub async fn made_progress(connection: &mut PgConnection, task: Task) -> Result<()> {
    let (identifier, id) = task.parts();
    queue::count_anew(connection, identifier, id).await
}

/// Who waits for whom: a task waits for those of its own lane alone.
#[derive(Clone, Copy, Debug)]
enum Lane {
    /// What uses every core by itself, for minutes to hours: a machine wants one at a time.
    Long,
    /// What somebody waits for: files, one picture's inversion.
    Short,
}

/// Works through the queue, `concurrency` long tasks at a time and one short one beside them, until the context is told to
/// stop.
pub async fn run(context: &TaskContext, concurrency: usize) -> Result<()> {
    migrate(&context.pool).await?;
    let lanes = tokio::join!(run_lane(context, Lane::Long, concurrency.max(1)), run_lane(context, Lane::Short, 1));
    lanes.0.and(lanes.1)
}

async fn run_lane(context: &TaskContext, lane: Lane, concurrency: usize) -> Result<()> {
    while !context.shutdown.is_cancelled() {
        let ended = run_worker(context, lane, concurrency).await;
        if context.shutdown.is_cancelled() {
            return ended;
        }
        if let Err(error) = ended {
            tracing::warn!(error = error_text(&error), "worker ended; starting another");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = context.shutdown.cancelled() => {}
        }
    }
    Ok(())
}

async fn run_worker(context: &TaskContext, lane: Lane, concurrency: usize) -> Result<()> {
    let options = WorkerOptions::default()
        .schema(queue::SCHEMA)
        .pg_pool(context.pool.clone())
        .concurrency(concurrency)
        .poll_interval(Duration::from_secs(1))
        .listen_os_shutdown_signals(false)
        .shutdown_signal(context.shutdown.clone().cancelled_owned())
        .shutdown_grace_period(GRACE)
        .shutdown_interrupted_job_retry_delay(Duration::ZERO)
        .worker_recovery(
            WorkerRecoveryConfig::default()
                .heartbeat_interval(Duration::from_secs(15))
                .sweep_threshold(Duration::from_mins(5))
                .recovery_delay(Duration::ZERO),
        )
        .add_extension(context.clone());
    let options = match lane {
        Lane::Long => options
            .define_job::<GenerateTask>()
            .define_job::<ScoreTask>()
            .define_job::<TrainTask>()
            .define_job::<EvaluateTask>()
            .define_job::<FrechetTask>(),
        Lane::Short => options.define_job::<ExportTask>().define_job::<InvertTask>(),
    };
    let worker = options.init().await.map_err(|error| Error::Queue(error.to_string()))?;
    // Held before the first job is taken, and until the last is released.
    let mut alive = hold_life_lock(&context.pool, worker.worker_id()).await?;
    free_jobs_of_dead_workers(context, &mut alive).await?;
    tracing::info!(worker = worker.worker_id(), ?lane, concurrency, "worker started");
    let ended = {
        let work = worker.run();
        tokio::pin!(work);
        let mut reap = tokio::time::interval(REAP_EVERY);
        loop {
            tokio::select! {
                ended = &mut work => break ended.map_err(|error| Error::Queue(error.to_string())),
                _ = reap.tick() => {
                    if let Err(error) = free_jobs_of_dead_workers(context, &mut alive).await {
                        tracing::warn!(error = error_text(&error), "life lock lost; taking it again");
                        if let Ok(again) = hold_life_lock(&context.pool, worker.worker_id()).await {
                            alive = again;
                        }
                    }
                }
            }
        }
    };
    let _ = alive.close().await;
    ended
}

/// A connection that says by its existence that the worker lives.
async fn hold_life_lock(pool: &PgPool, worker_id: &str) -> Result<PgConnection> {
    let mut connection = pool.acquire().await?.detach();
    queue::hold_life_lock(&mut connection, worker_id).await?;
    Ok(connection)
}

async fn free_jobs_of_dead_workers(context: &TaskContext, connection: &mut PgConnection) -> Result<()> {
    for worker in queue::dead_workers(connection).await? {
        tracing::warn!(worker, "freeing the jobs of a dead worker");
        queue::free_jobs_of(connection, &worker).await?;
    }
    // A task that took its process down each time: say so in its row instead of waiting for ever.
    for (identifier, id) in queue::exhausted(connection).await? {
        if let Some(task) = Task::from_parts(&identifier, id) {
            let error = Error::Thread("the worker died each time it took this up".to_owned());
            task.fail(context, &error).await?;
        }
    }
    Ok(())
}

macro_rules! handler {
    ($name:ident, $identifier:literal, $variant:ident) => {
        #[derive(Debug, Serialize, Deserialize)]
        struct $name {
            id: Uuid,
        }

        impl TaskHandler for $name {
            const IDENTIFIER: &'static str = $identifier;

            async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
                let last_attempt = context.job().attempts() >= context.job().max_attempts();
                match context.get_ext::<TaskContext>() {
                    Some(ours) => Task::$variant(self.id)
                        .run_to_its_end(ours, last_attempt)
                        .await
                        .map_err(|error| error_text(&error)),
                    None => Err("the worker was started without its context".to_owned()),
                }
            }
        }
    };
}

handler!(GenerateTask, "generate", Generate);
handler!(ScoreTask, "score", Score);
handler!(TrainTask, "train", Train);
handler!(EvaluateTask, "evaluate", Evaluate);
handler!(ExportTask, "export", Export);
handler!(InvertTask, "invert", Invert);
handler!(FrechetTask, "frechet", Frechet);
