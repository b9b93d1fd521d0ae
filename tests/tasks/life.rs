//! A process that can be killed: a runtime of its own with a pool and a worker on one of the stores of this test binary.
//!
//! `kill` drops every async task where it stands and closes every connection, as SIGKILL does to a process; a computation on
//! a blocking thread goes on for a moment, but its result reaches nobody.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::database::TestDatabase;
use builder::blob::BlobStore;
use builder::model_registry::{Compute, ModelRegistry};
use builder::store;
use builder::task::{TaskContext, queue};
use models::trainer::tensor_cache::CacheLimits;
use tokio_util::sync::CancellationToken;

/// A complete, valid and untrained model; made in a few seconds, once.
fn model() -> PathBuf {
    static MODEL: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = MODEL.get_or_init(|| {
        models::threads::keep_candle_single_threaded();
        let folder = tempfile::tempdir().unwrap();
        let settings = builder::pretrain::PretrainSettings {
            output: folder.path().to_path_buf(),
            seed: 0,
            scale: 0.0,
            only: None,
        };
        builder::pretrain::run(&settings, &mut |_| {}).unwrap();
        folder
    });
    folder.path().to_path_buf()
}

/// A database and a data folder, which outlive every process on them.
pub struct World {
    folder: tempfile::TempDir,
    database: Option<TestDatabase>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let database = runtime.block_on(TestDatabase::new()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), database: Some(database), runtime }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a process without a worker.
    pub fn start(&self) -> Life {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let context = runtime.block_on(async {
            let pool = store::connect(&self.database.as_ref().unwrap().url).await.unwrap();
            store::migrate(&pool).await.unwrap();
            queue::migrate(&pool).await.unwrap();
            TaskContext {
                pool,
                blobs: BlobStore::local(&self.folder.path().join("blobs")).unwrap(),
                models: ModelRegistry::new(model(), Compute::default()),
                data: self.folder.path().to_path_buf(),
                cache_limits: CacheLimits::default(),
                shutdown: CancellationToken::new(),
            }
        });
        Life { runtime, context, worker: None }
    }

    /// Starts a process with a worker.
    pub fn start_with_worker(&self) -> Life {
        let mut life = self.start();
        let context = life.context.clone();
        life.worker = Some(life.runtime.spawn(async move { queue::run(&context, 1).await }));
        life
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            self.runtime.block_on(database.close()).unwrap();
        }
    }
}

/// A process.
pub struct Life {
    runtime: tokio::runtime::Runtime,
    pub context: TaskContext,
    worker: Option<tokio::task::JoinHandle<builder::Result<()>>>,
}

impl Life {
    pub fn run<T>(&self, work: impl Future<Output = builder::Result<T>>) -> T {
        self.runtime.block_on(work).unwrap_or_else(|error| panic!("{}", builder::task::error_text(&error)))
    }

    pub fn try_run<T>(&self, work: impl Future<Output = builder::Result<T>>) -> builder::Result<T> {
        self.runtime.block_on(work)
    }

    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(work)
    }

    /// Waits until `probe` gives something.
    pub fn wait_for<T>(&self, what: &str, mut probe: impl AsyncFnMut(&TaskContext) -> Option<T>) -> T {
        let begun = Instant::now();
        self.runtime.block_on(async {
            loop {
                if let Some(found) = probe(&self.context).await {
                    return found;
                }
                assert!(begun.elapsed() < Duration::from_secs(120), "waited two minutes for {what}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }

    /// Ends the process as SIGKILL does.
    pub fn kill(self) {
        self.runtime.shutdown_background();
    }

    /// Ends the process as SIGTERM does.
    pub fn stop(self) {
        self.context.shutdown.cancel();
        if let Some(worker) = self.worker {
            self.runtime.block_on(worker).unwrap().unwrap();
        }
    }
}
