//! A store, blobs and models, opened for the length of a command.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use builder::blob::BlobStore;
use builder::model_registry::{Compute, ModelRegistry};
use builder::store;
use builder::task::{TaskContext, queue};
use candle_core::Device;
use models::trainer::tensor_cache::CacheLimits;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Global;
use crate::embedded_model;
use crate::embedded_postgres::{self, EmbeddedPostgres};

/// How long a worker may take to let go of what it does, once it is told to.
const PATIENCE: Duration = Duration::from_secs(40);

/// Everything that a command works with.
pub(crate) struct Session {
    pub(crate) context: TaskContext,
    // Lives as long as the session: dropping it stops the server that this process started.
    postgres: Option<EmbeddedPostgres>,
    worker: Option<JoinHandle<()>>,
}

impl Session {
    /// Opens what `global` names: starts the embedded Postgres where no other is named, and brings the schema up to date.
    pub(crate) async fn open(global: &Global) -> anyhow::Result<Self> {
        let data = data_folder(global)?;
        fs_err::create_dir_all(&data)?;
        let (postgres, url) = match &global.database_url {
            Some(url) => (None, url.clone()),
            None => {
                let postgres = embedded_postgres::start(&data).await.context("starting the embedded Postgres")?;
                let url = postgres.url.clone();
                (Some(postgres), url)
            }
        };
        let pool = store::connect(&url).await.context("connecting to Postgres")?;
        store::migrate(&pool).await.context("bringing the schema up to date")?;
        queue::migrate(&pool).await.context("bringing the queue's schema up to date")?;
        let blobs = match &global.blobs {
            Some(location) => BlobStore::open(location)?,
            None => BlobStore::local(&data.join("blobs"))?,
        };
        let models = ModelRegistry::new(embedded_model::folder(&data)?, compute(global)?);
        let cache_limits = CacheLimits { max_bytes: global.cache_bytes, ..CacheLimits::default() };
        let context = TaskContext { pool, blobs, models, data, cache_limits, shutdown: CancellationToken::new() };
        stop_on_signals(context.shutdown.clone());
        Ok(Self { context, postgres, worker: None })
    }

    /// Works through the queue in this process, beside whatever else it does.
    pub(crate) fn start_worker(&mut self, concurrency: usize) {
        let context = self.context.clone();
        self.worker = Some(tokio::spawn(async move {
            if let Err(error) = queue::run(&context, concurrency).await {
                tracing::error!(error = builder::task::error_text(&error), "the worker ended");
            }
        }));
    }

    /// Lets the worker finish what cannot be left, closes the store and stops what this process started.
    pub(crate) async fn close(mut self) {
        self.context.shutdown.cancel();
        if let Some(worker) = self.worker.take()
            && tokio::time::timeout(PATIENCE, worker).await.is_err()
        {
            tracing::warn!("the worker did not let go in time; its work goes on at the next start");
        }
        self.context.pool.close().await;
        if let Some(postgres) = self.postgres.take()
            && let Err(error) = postgres.stop().await
        {
            tracing::warn!(error = format!("{error:#}"), "stopping the embedded Postgres failed");
        }
    }
}

/// Runs `work` with a session on a runtime of its own, and closes the session whatever becomes of the work.
pub(crate) fn with<T>(global: &Global, work: impl AsyncFnOnce(&mut Session) -> anyhow::Result<T>) -> anyhow::Result<T> {
    runtime(global)?.block_on(async {
        let mut session = Session::open(global).await?;
        let done = work(&mut session).await;
        session.close().await;
        done
    })
}

/// The runtime of a command; compute runs on its blocking threads.
pub(crate) fn runtime(global: &Global) -> anyhow::Result<tokio::runtime::Runtime> {
    limit_threads(global);
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Obeys `--threads`.
pub(crate) fn limit_threads(global: &Global) {
    if let Some(threads) = global.threads {
        // An error means that the pool exists already, in a test.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global();
    }
}

/// `--device`, or the first GPU, or the CPU.
pub(crate) fn device(global: &Global) -> anyhow::Result<Device> {
    Ok(match &global.device {
        Some(name) => models::run::device(name)?,
        None => Device::cuda_if_available(0)?,
    })
}

/// `--device` and `--compute-dtype`.
pub(crate) fn compute(global: &Global) -> anyhow::Result<Compute> {
    Ok(Compute { device: device(global)?, dtype: global.compute_dtype.dtype() })
}

/// `--data`, or the platform's folder for such things.
pub(crate) fn data_folder(global: &Global) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &global.data {
        return Ok(std::path::absolute(folder)?);
    }
    let folder = dirs::data_local_dir().context("this user has no data folder; name one with --data")?;
    Ok(folder.join("diptych"))
}

/// SIGTERM and SIGINT ask for a clean stop; a second SIGINT stops at once.
fn stop_on_signals(shutdown: CancellationToken) {
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("stopping; work that is under way goes on at the next start");
        shutdown.cancel();
        wait_for_signal().await;
        tracing::warn!("stopping at once");
        std::process::exit(1);
    });
}

#[cfg(unix)]
async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
