//! Answers of lists that are given again while nothing in the store has changed.
//!
//! Postgres says which transactions a reader sees (`pg_current_snapshot`); as long as that is the same, so is everything that
//! is read. An answer is kept under what was seen before it was made: a commit in between makes it one that is never given
//! again, not a wrong one. Nothing needs to be told of changes, whoever makes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use builder::store;

use crate::problem::{Problem, Result};
use crate::state::AppState;

/// Bytes of all kept answers.
const MOST_BYTES: usize = 64 << 20;

struct Kept {
    snapshot: String,
    headers: HeaderMap,
    body: Bytes,
}

/// What a reader saw before its request was answered: equal ones saw the same store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(pub String);

/// The kept answers, by path and query.
#[derive(Clone, Default)]
pub struct KeptAnswers(Arc<Mutex<HashMap<String, Kept>>>);

impl KeptAnswers {
    fn find(&self, address: &str, snapshot: &str) -> Option<Response> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = kept.get(address).filter(|one| one.snapshot == snapshot)?;
        Some((one.headers.clone(), one.body.clone()).into_response())
    }

    fn keep(&self, address: String, one: Kept) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |kept: &HashMap<String, Kept>| kept.values().map(|one| one.body.len()).sum::<usize>();
        if bytes(&kept) + one.body.len() > MOST_BYTES {
            kept.retain(|_, other| other.snapshot == one.snapshot);
        }
        if bytes(&kept) + one.body.len() > MOST_BYTES {
            kept.clear();
        }
        kept.insert(address, one);
    }
}

/// Gives a kept answer, or lets the request through and keeps what comes back.
pub async fn layer(State(state): State<AppState>, mut request: Request, next: Next) -> Result<Response> {
    if request.method() != Method::GET {
        return Ok(next.run(request).await);
    }
    let snapshot = store::snapshot(&mut *state.connection().await?).await?;
    let address = request.uri().to_string();
    if let Some(response) = state.kept.find(&address, &snapshot) {
        return Ok(response);
    }
    request.extensions_mut().insert(Snapshot(snapshot.clone()));
    let (head, body) = next.run(request).await.into_parts();
    if head.status != StatusCode::OK {
        return Ok(Response::from_parts(head, body));
    }
    let body = to_bytes(body, usize::MAX).await.map_err(|error| Problem::new("internal", error.to_string()))?;
    if body.len() < MOST_BYTES / 16 {
        state.kept.keep(address, Kept { snapshot, headers: head.headers.clone(), body: body.clone() });
    }
    Ok(Response::from_parts(head, Body::from(body)))
}
