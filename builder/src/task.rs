//! What workers do: each arrow of the data's way is one file with one `run`, which may be killed at any point and started
//! again: it looks at what is stored, does what is missing, and writes blobs before the rows that name them.
//!
//! Compute runs on blocking threads, so that the runtime stays free for heartbeats, events and requests.

use std::path::PathBuf;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use models::trainer::tensor_cache::{CacheLimits, TensorCache};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::blob::BlobStore;
use crate::model_registry::ModelRegistry;
use crate::{Error, Result};

pub mod agreement;
pub mod demo;
pub mod evaluate;
pub mod experiment;
pub mod export;
pub mod frechet;
pub mod freeze;
pub mod generate;
pub mod import;
pub mod ingest;
pub mod invert;
pub mod queue;
pub mod sampling;
pub mod score;
pub mod train;
pub mod vote;

/// Everything that a task reaches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskContext {
    /// The store.
    pub pool: PgPool,
    /// Pixels and tensors.
    pub blobs: BlobStore,
    /// Loaded models.
    pub models: ModelRegistry,
    /// Caches and scratch folders.
    pub data: PathBuf,
    /// Room for what frozen networks say.
    pub cache_limits: CacheLimits,
    /// Set when the process stops; tasks then let go at the next safe place.
    pub shutdown: CancellationToken,
}

impl TaskContext {
    /// What frozen networks say, kept for all jobs.
    pub fn cache(&self) -> TensorCache {
        TensorCache::new(&self.data.join("cache").join("trajectories"), self.cache_limits)
    }

    /// # Errors
    /// `Stopped` once the process is stopping.
    pub fn check_shutdown(&self) -> Result<()> {
        if self.shutdown.is_cancelled() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Blobs read or written at a time: each waits for the disk, and the disk likes company.
const CONCURRENT_BLOBS: usize = 32;

/// The blobs under `keys`, in order.
pub(crate) async fn get_blobs(blobs: &BlobStore, keys: Vec<String>) -> Result<Vec<Bytes>> {
    futures::stream::iter(keys)
        .map(|key| {
            let blobs = blobs.clone();
            async move { blobs.get(&key).await }
        })
        .buffered(CONCURRENT_BLOBS)
        .try_collect()
        .await
}

/// Stores each of `contents`; their keys, in order.
pub(crate) async fn put_blobs(blobs: &BlobStore, contents: Vec<Vec<u8>>) -> Result<Vec<String>> {
    futures::stream::iter(contents)
        .map(|content| {
            let blobs = blobs.clone();
            async move { blobs.put(content).await }
        })
        .buffered(CONCURRENT_BLOBS)
        .try_collect()
        .await
}

/// Runs `work` on a thread that may block and compute.
///
/// # Errors
/// Those of `work`; `Thread` when it panicked.
pub async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Thread(panic_text(error))),
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "it panicked".to_owned()),
        Err(error) => error.to_string(),
    }
}

/// An error with its causes, as one line and as JSON for a row's `error` column.
pub fn error_json(error: &Error) -> serde_json::Value {
    serde_json::json!({ "message": error_text(error), "retryable": error.is_transient() })
}

/// An error with its causes as one line.
pub fn error_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
