//! What every handler reaches.

use std::path::PathBuf;
use std::sync::Arc;

use builder::task::TaskContext;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

use crate::auth::RateLimiter;
use crate::events::EventHub;
use crate::kept_index::KeptIndex;
use crate::kept_summaries::KeptSummaries;
use crate::problem::Result;
use crate::unchanged::KeptAnswers;

/// Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Store, blobs and models.
    pub context: TaskContext,
    /// Wakes the streams of events.
    pub events: EventHub,
    /// What is allowed.
    pub limits: Arc<Limits>,
    /// Requests that each token may still make.
    pub rates: RateLimiter,
    /// Answers that are given again while nothing has changed.
    pub kept: KeptAnswers,
    /// What lists are found by, likewise.
    pub index: KeptIndex,
    /// Rows of lists, likewise.
    pub summaries: KeptSummaries,
}

/// How much a caller may ask for at once.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a JSON body.
    pub body_bytes: usize,
    /// Bytes of an uploaded file.
    pub import_bytes: u64,
    /// Seconds that a request other than an upload may take.
    pub seconds: u64,
    /// Whether requests need a token.
    pub auth: bool,
    /// Requests a second of one token, on the average of a few seconds.
    pub requests_per_second: f64,
    /// Whether webhooks may call addresses of this machine and of private networks.
    pub private_webhooks: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            import_bytes: 1 << 30,
            seconds: 60,
            auth: false,
            requests_per_second: 50.0,
            private_webhooks: false,
        }
    }
}

impl AppState {
    /// `events` is told of new events by [`crate::events::listen`].
    pub fn new(context: TaskContext, limits: Limits) -> Self {
        Self {
            context,
            events: EventHub::default(),
            limits: Arc::new(limits),
            rates: RateLimiter::default(),
            kept: KeptAnswers::default(),
            index: KeptIndex::default(),
            summaries: KeptSummaries::default(),
        }
    }

    /// A connection to the store.
    pub async fn connection(&self) -> Result<Connection> {
        let connection = self.context.pool.acquire().await.map_err(builder::Error::from)?;
        Ok(Connection(connection))
    }

    /// Where uploads lie while they are read.
    pub fn uploads(&self) -> PathBuf {
        self.context.data.join("uploads")
    }
}

/// A connection out of the pool, which goes back there when it is dropped.
pub struct Connection(PoolConnection<Postgres>);

impl std::ops::Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl std::ops::DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
