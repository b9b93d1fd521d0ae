//! Who may do what: tokens with scopes, a limit of requests for each, and a log of who changed what.
//!
//! Off unless asked for: a service on its own machine knows its one user. A token comes as `Authorization: Bearer …`, or, for
//! pages, whose pictures and streams carry no headers, in the cookie that `POST /session` sets (`HttpOnly`, `SameSite=Strict`;
//! requests of other origins change nothing in any case, see the router).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use builder::store::token::{self, Token};
use uuid::Uuid;

use crate::problem::{Problem, Result};
use crate::state::AppState;

/// Name of the cookie of a page's session.
pub const COOKIE: &str = "diptych_session";
/// Every scope, the weakest first. `curate`, `train` and `admin` may also read; `admin` may everything.
pub const SCOPES: [&str; 4] = ["read", "curate", "train", "admin"];
/// What begins a secret, so that scanners of leaked secrets know it.
const PREFIX: &str = "diptych_";

/// A new secret: 256 random bits, as it is shown once.
pub fn new_secret() -> String {
    // Two random UUIDs have 244 random bits; a third makes up for what their version takes.
    let random = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    format!("{PREFIX}{}", builder::blob::hash(&random.iter().flat_map(|one| *one.as_bytes()).collect::<Vec<u8>>()))
}

/// What is kept of a secret.
pub fn hash(secret: &str) -> String {
    builder::blob::hash(secret.as_bytes())
}

/// What a request needs; `None`: nothing.
fn needed(method: &Method, path: &str) -> Option<&'static str> {
    let path = if path == "/jobs" { "/api/v1/jobs" } else { path };
    let noun = path.strip_prefix("/api/v1/")?.split('/').next().unwrap_or_default();
    match noun {
        "health" | "openapi.json" | "session" => None,
        "tokens" | "audit" | "webhooks" => Some("admin"),
        _ if method.is_safe() => Some("read"),
        "jobs" | "generations" | "evaluations" | "inversions" => Some("train"),
        // A preview writes nothing.
        "pairings" if path.ends_with("/preview") => Some("read"),
        _ => Some("curate"),
    }
}

fn allows(token: &Token, scope: &str) -> bool {
    scope == "read" || token.scopes.iter().any(|one| one == scope || one == "admin")
}

/// Requests that each token may still make.
#[derive(Clone, Debug, Default)]
pub struct RateLimiter(Arc<Mutex<HashMap<Uuid, (f64, Instant)>>>);

impl RateLimiter {
    /// Takes one request out of the token's bucket, which fills by `rate` a second up to four seconds' worth.
    ///
    /// # Errors
    /// Seconds to wait.
    fn take(&self, token: Uuid, rate: f64) -> std::result::Result<(), f64> {
        let now = Instant::now();
        let most = (rate * 4.0).max(1.0);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = buckets.entry(token).or_insert((most, now));
        *left = (*left + now.duration_since(*at).as_secs_f64() * rate).min(most);
        *at = now;
        if *left < 1.0 {
            return Err((1.0 - *left) / rate);
        }
        *left -= 1.0;
        Ok(())
    }
}

/// Lets a request through, or not; and writes down what changes something.
pub async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = text(request.headers(), "x-request-id").unwrap_or_default().to_owned();
    let mut token = None;
    let mut response = match admit(&state, &method, &path, request.headers()).await {
        Ok(found) => {
            token = found;
            next.run(request).await
        }
        Err((found, response)) => {
            token = found.or(token);
            response
        }
    };
    // A POST that only reads, a preview, changes nothing.
    let reads = method.is_safe() || needed(&method, &path) == Some("read");
    if !reads && (path.starts_with("/api/") || path == "/jobs") {
        let status = i32::from(response.status().as_u16());
        let who = token.as_ref().map(|token| (token.id, &*token.name));
        let written = async {
            let mut connection = state.connection().await.map_err(|_| builder::Error::Stopped)?;
            token::insert_audit(&mut connection, who, method.as_str(), &path, status, &request_id).await
        };
        if let Err(error) = written.await {
            tracing::error!(error = builder::task::error_text(&error), %method, path, status, "the audit log was not written");
        }
    }
    if response.status() == axum::http::StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"diptych\""));
    }
    response
}

async fn admit(
    state: &AppState,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> std::result::Result<Option<Token>, (Option<Token>, Response)> {
    let scope = match needed(method, path) {
        Some(scope) if state.limits.auth => scope,
        _ => return Ok(None),
    };
    let token = authenticate(state, headers).await.map_err(|problem| (None, problem.into_response()))?;
    if let Err(seconds) = state.rates.take(token.id, state.limits.requests_per_second) {
        let problem = Problem::new("rate_limited", "this token made too many requests; wait a moment");
        let retry = [(header::RETRY_AFTER, (seconds.ceil() as u64).max(1).to_string())];
        return Err((Some(token), (retry, problem).into_response()));
    }
    if !allows(&token, scope) {
        let problem = Problem::new("forbidden", format!("this needs a token with the scope {scope}"));
        return Err((Some(token), problem.into_response()));
    }
    Ok(Some(token))
}

/// The token of a request.
pub async fn authenticate(state: &AppState, headers: &HeaderMap) -> Result<Token> {
    let secret = secret(headers).ok_or_else(|| {
        Problem::new(
            "unauthenticated",
            "say who you are: Authorization: Bearer TOKEN (`diptych token create` makes one)",
        )
    })?;
    check(state, secret).await
}

/// The token with this secret.
pub async fn check(state: &AppState, secret: &str) -> Result<Token> {
    let mut connection = state.connection().await?;
    let found = token::find_valid(&mut connection, &hash(secret)).await?;
    let found = found.ok_or_else(|| Problem::new("unauthenticated", "the token is unknown, revoked or has expired"))?;
    token::touch(&mut connection, found.id).await?;
    Ok(found)
}

fn secret(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = text(headers, "authorization") {
        let (scheme, rest) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim());
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|one| one.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_follow_the_deed() {
        for (method, path, expected) in [
            (Method::GET, "/api/v1/graphs", Some("read")),
            (Method::GET, "/api/v1/health", None),
            (Method::GET, "/graphs", None),
            (Method::POST, "/api/v1/graphs/bulk", Some("curate")),
            (Method::POST, "/api/v1/imports", Some("curate")),
            (Method::POST, "/jobs", Some("train")),
            (Method::POST, "/api/v1/inversions", Some("train")),
            (Method::POST, "/api/v1/jobs/x/cancel", Some("train")),
            (Method::POST, "/api/v1/pairings/preview", Some("read")),
            (Method::GET, "/api/v1/tokens", Some("admin")),
            (Method::DELETE, "/api/v1/webhooks/x", Some("admin")),
        ] {
            assert_eq!(needed(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_bucket_runs_dry_and_fills_again() {
        let (limiter, token) = (RateLimiter::default(), Uuid::from_u128(1));
        let granted = (0..100).filter(|_| limiter.take(token, 5.0).is_ok()).count();
        assert!((20..=21).contains(&granted), "{granted}");
        assert!(limiter.take(token, 5.0).is_err_and(|seconds| seconds > 0.0 && seconds <= 0.2));
        assert!(limiter.take(Uuid::from_u128(2), 5.0).is_ok(), "another token has a bucket of its own");
    }

    #[test]
    fn secrets_differ_and_are_found_in_both_places() {
        assert_ne!(new_secret(), new_secret());
        for (name, value) in [("authorization", "bearer  abc"), ("cookie", "a=b; diptych_session=abc")] {
            let headers: HeaderMap = [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect();
            assert_eq!(secret(&headers), Some("abc"));
        }
    }
}
