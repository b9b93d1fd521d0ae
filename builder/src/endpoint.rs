//! HTTP endpoints that judge pictures, asked patiently.
//!
//! Many requests are under way at once; what is busy (429), broken (5xx, a reply that cannot be read) or away is tried again
//! with growing pauses, and a server's `Retry-After` holds all requests back. What was replied is kept by everything that it
//! depends on, in memory and, if wished, in a file, and never asked again: a run that failed half-way goes on where it was.

mod cache;
pub mod chat;
mod exchange;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use futures::StreamExt;
use image::RgbImage;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Error, Result};
use cache::Cache;
pub(crate) use cache::Key;
use chat::Spent;
use exchange::Exchange;
pub(crate) use exchange::shortened;

/// How much is asked at once, how long is waited, how often it is tried again.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Requests under way at most.
    pub concurrency: usize,
    /// Of one request, from connecting to the end of the reply.
    pub timeout: Duration,
    /// Tries of one request.
    pub max_attempts: u32,
    /// Pause before the second try; doubles with each, up to 64 times.
    pub first_pause: Duration,
    /// File that replies are kept in.
    pub cache: Option<PathBuf>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            concurrency: 64,
            timeout: Duration::from_secs(60),
            max_attempts: 8,
            first_pause: Duration::from_millis(500),
            cache: None,
        }
    }
}

/// What was sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Requests, tries included.
    pub requests: u64,
    /// Requests that had to be sent again.
    pub retries: u64,
    /// Replies that were known.
    pub cached: u64,
}

impl From<Sent> for Spent {
    fn from(sent: Sent) -> Self {
        let Sent { requests, retries, cached } = sent;
        Self { requests, retries, cached, ..Self::default() }
    }
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    retries: AtomicU64,
    cached: AtomicU64,
}

/// One address with replies of one kind.
pub(crate) struct Endpoint<T> {
    exchange: Exchange,
    cache: Cache<T>,
    counters: Arc<Counters>,
    concurrency: usize,
    // Taken on drop only.
    runtime: Option<tokio::runtime::Runtime>,
}

impl<T: Clone + Serialize + DeserializeOwned> Endpoint<T> {
    /// Makes ready to ask; sends nothing yet.
    ///
    /// # Errors
    /// The address is none, or the file of kept replies cannot be read.
    pub(crate) fn new(url: &str, api_key: Option<String>, patience: Patience) -> Result<Self> {
        let cache = Cache::open(patience.cache.as_deref())?;
        let counters = Arc::new(Counters::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name("endpoint")
            .build()?;
        let concurrency = patience.concurrency.max(1);
        let exchange = Exchange::new(url, api_key, patience, Arc::clone(&counters))?;
        Ok(Self { exchange, cache, counters, concurrency, runtime: Some(runtime) })
    }

    pub(crate) fn sent(&self) -> Sent {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Sent {
            requests: read(&self.counters.requests),
            retries: read(&self.counters.retries),
            cached: read(&self.counters.cached),
        }
    }

    /// The reply to `body`, from what is kept under `key` or from the server. Whoever asks the same at the same time waits for
    /// the one reply. `keep`: whether a reply is one that will not be asked for again.
    pub(crate) async fn ask(
        &self,
        key: Key,
        body: impl FnOnce() -> Result<Value>,
        read: impl Fn(&[u8]) -> Result<T, String>,
        keep: impl Fn(&T) -> bool,
    ) -> Result<T> {
        let cell = self.cache.cell(key);
        if cell.initialized() {
            self.counters.cached.fetch_add(1, Ordering::Relaxed);
        }
        let ask = async || -> Result<T> {
            let given = self.exchange.ask(&body()?, &key, read).await?;
            if keep(&given) {
                self.cache.keep(&key, &given)?;
            }
            Ok(given)
        };
        Ok(cell.get_or_try_init(ask).await?.clone())
    }

    /// Waits for many requests, as many at once as is allowed; outcomes in their order.
    pub(crate) fn wait_for_all<O>(&self, work: Vec<impl Future<Output = Result<O>>>) -> Vec<Result<O>> {
        let Some(runtime) = self.runtime.as_ref() else {
            let gone = |_| Err(Error::Thread("the endpoint was taken down".to_owned()));
            return work.into_iter().map(gone).collect();
        };
        let numbered: Vec<_> = work.into_iter().enumerate().map(|(i, one)| async move { (i, one.await) }).collect();
        let mut outcomes: Vec<(usize, Result<O>)> = runtime
            .block_on(async { futures::stream::iter(numbered).buffer_unordered(self.concurrency).collect().await });
        outcomes.sort_by_key(|(i, _)| *i);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

impl<T> Drop for Endpoint<T> {
    fn drop(&mut self) {
        // A runtime may not be waited for where another one runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Pixels with their hash; their PNG is made when it is first sent.
pub(crate) struct Picture<'a> {
    image: &'a RgbImage,
    pub(crate) hash: [u8; 32],
    url: OnceLock<Arc<str>>,
}

impl<'a> Picture<'a> {
    pub(crate) fn of(image: &'a RgbImage) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(image.width().to_le_bytes());
        hasher.update(image.height().to_le_bytes());
        hasher.update(image.as_raw());
        Self { image, hash: hasher.finalize().into(), url: OnceLock::new() }
    }

    /// `data:image/png;base64,…`
    pub(crate) fn url(&self) -> Result<Arc<str>> {
        if let Some(url) = self.url.get() {
            return Ok(Arc::clone(url));
        }
        let mut png = std::io::Cursor::new(Vec::new());
        self.image.write_to(&mut png, image::ImageFormat::Png).map_err(|error| Error::Image(error.to_string()))?;
        let text = base64::engine::general_purpose::STANDARD.encode(png.into_inner());
        Ok(Arc::clone(self.url.get_or_init(|| format!("data:image/png;base64,{text}").into())))
    }
}

/// SHA-256 of some parts, kept apart by their lengths.
pub(crate) fn key_of(parts: &[&[u8]]) -> Key {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
