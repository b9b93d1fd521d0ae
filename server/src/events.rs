//! Events of jobs, pushed to browsers: Server-Sent Events that go on where the last connection broke off.
//!
//! The rows of `job_event` are the truth. Postgres' NOTIFY only says that there are new ones, so a lost notification costs
//! a poll's delay and never an event.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use builder::store;
use futures::Stream;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::api::jobs::JobEventResponse;
use crate::state::AppState;

/// The channel that the store notifies.
const CHANNEL: &str = "diptych_event";
/// How long a stream waits for a notification before it looks by itself.
const POLL: Duration = Duration::from_secs(2);
/// Events read at once.
const BATCH: i64 = 500;

/// Tells streams which job has news.
#[derive(Clone, Debug)]
pub struct EventHub(broadcast::Sender<Uuid>);

impl Default for EventHub {
    fn default() -> Self {
        Self(broadcast::Sender::new(256))
    }
}

/// Listens to Postgres until the service stops. A lost connection is made again.
pub async fn listen(state: AppState) {
    let shutdown = state.context.shutdown.clone();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            ended = forward(&state) => if let Err(error) = ended {
                tracing::warn!(%error, "listening for events broke off; trying again");
            },
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

async fn forward(state: &AppState) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(&state.context.pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let notification = listener.recv().await?;
        let payload: serde_json::Value = serde_json::from_str(notification.payload()).unwrap_or_default();
        if let Some(job) = payload["job_id"].as_str().and_then(|id| Uuid::parse_str(id).ok()) {
            // Nobody listening is no failure.
            let _ = state.events.0.send(job);
        }
    }
}

/// The events of a job after `last`, and then each as it happens. Ends some time after the job's last event, and when the
/// service stops; the browser then comes again with `Last-Event-ID`.
pub fn stream(state: AppState, job: Uuid, last: i64) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = async_stream::stream! {
        let mut last = last;
        let mut news = state.events.0.subscribe();
        loop {
            match read(&state, job, last).await {
                Ok(found) => for event in found {
                    last = event.sequence;
                    yield Ok(event.into_sse());
                },
                // The stream breaks off, and the browser asks again.
                Err(()) => return,
            }
            tokio::select! {
                () = wait_for(&mut news, job) => {}
                () = tokio::time::sleep(POLL) => {}
                () = state.context.shutdown.cancelled() => return,
            }
        }
    };
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

async fn wait_for(news: &mut broadcast::Receiver<Uuid>, job: Uuid) {
    loop {
        match news.recv().await {
            Ok(id) if id == job => return,
            Ok(_) => {}
            // Too much news to keep: there may be some of ours among it.
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn read(state: &AppState, job: Uuid, after: i64) -> Result<Vec<JobEventResponse>, ()> {
    let mut connection = state.connection().await.map_err(|_| ())?;
    match store::job_event::list_after(&mut connection, job, after, BATCH).await {
        Ok(events) => Ok(events.into_iter().map(JobEventResponse::from).collect()),
        Err(error) => {
            tracing::error!(error = builder::task::error_text(&error), %job, "reading a job's events failed");
            Err(())
        }
    }
}
