//! One request over HTTP, until it is answered or there is no hope.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::cache::Key;
use super::{Counters, Patience};
use crate::{Error, Result};

/// A server may not hold us back for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Of a message that a server sends with an error, so much is repeated.
const MAX_MESSAGE: usize = 300;

pub(super) struct Exchange {
    client: Client,
    url: String,
    api_key: Option<String>,
    patience: Patience,
    counters: Arc<Counters>,
    /// Nobody sends before: a server asked for it.
    not_before: Mutex<Instant>,
}

/// Why a try failed.
enum Failure {
    /// Trying again may help; so long to wait, if the server said it.
    Passing { message: String, pause: Option<Duration> },
    /// It will not.
    Final(String),
}

impl Exchange {
    pub(super) fn new(url: &str, api_key: Option<String>, patience: Patience, counters: Arc<Counters>) -> Result<Self> {
        let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if parsed.is_none() {
            return Err(Error::invalid("/base_url", format!("`{url}` is no http address")));
        }
        // The first call in a process decides; a second one changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(patience.timeout)
            .connect_timeout(patience.timeout.min(Duration::from_secs(10)))
            .pool_max_idle_per_host(patience.concurrency)
            .build()
            .map_err(|error| Error::Answerer { message: text_of(&error), passing: false })?;
        Ok(Self { client, url: url.to_owned(), api_key, patience, counters, not_before: Mutex::new(Instant::now()) })
    }

    /// Asks until there is a reply that `read` understands; `key` spreads the pauses, so that not everybody comes back at
    /// once.
    pub(super) async fn ask<T>(&self, body: &Value, key: &Key, read: impl Fn(&[u8]) -> Result<T, String>) -> Result<T> {
        let mut attempt = 1;
        loop {
            self.wait_for_turn().await;
            self.counters.requests.fetch_add(1, Ordering::Relaxed);
            let (message, pause) = match self.send(body, &read).await {
                Ok(given) => return Ok(given),
                Err(Failure::Final(message)) => return Err(Error::Answerer { message, passing: false }),
                Err(Failure::Passing { message, pause }) => (message, pause),
            };
            if attempt >= self.patience.max_attempts || pause.is_some_and(|pause| pause > LONGEST_PAUSE) {
                let message = format!("{message} (after {attempt} tries)");
                return Err(Error::Answerer { message, passing: true });
            }
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
            if let Some(pause) = pause {
                self.hold_back(pause);
            }
            tokio::time::sleep(self.pause_after(attempt, key)).await;
            attempt += 1;
        }
    }

    async fn send<T>(&self, body: &Value, read: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, Failure> {
        let mut request = self.client.post(&self.url).json(body);
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let passing = |error: &reqwest::Error| Failure::Passing { message: text_of(error), pause: None };
        let response = request.send().await.map_err(|error| passing(&error))?;
        let (status, pause) = (response.status(), retry_after(response.headers(), chrono::Utc::now()));
        let text = response.bytes().await.map_err(|error| passing(&error))?;
        if !status.is_success() {
            let message = format!("the server answered {status}: {}", shortened(&text));
            let again = status.is_server_error()
                || matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::REQUEST_TIMEOUT
                        | StatusCode::TOO_EARLY
                        | StatusCode::CONFLICT
                );
            return Err(if again { Failure::Passing { message, pause } } else { Failure::Final(message) });
        }
        read(&text).map_err(|message| Failure::Passing { message, pause: None })
    }

    async fn wait_for_turn(&self) {
        loop {
            let until = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn hold_back(&self, pause: Duration) {
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = (*not_before).max(Instant::now() + pause);
    }

    /// Doubles with every try, and lies between a half and all of it, by the question.
    fn pause_after(&self, attempt: u32, key: &Key) -> Duration {
        let whole = self.patience.first_pause * 2_u32.pow((attempt - 1).min(6));
        let share = f64::from(key[(attempt as usize) % key.len()]) / 255.0;
        whole.mul_f64(0.5 + 0.5 * share)
    }
}

/// What the server wants us to wait: `Retry-After` in seconds or as a date, or `retry-after-ms`.
fn retry_after(headers: &HeaderMap, now: chrono::DateTime<chrono::Utc>) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(milliseconds) = text("retry-after-ms").and_then(|text| text.parse::<u64>().ok()) {
        return Some(Duration::from_millis(milliseconds));
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.with_timezone(&chrono::Utc) - now).to_std().unwrap_or_default())
}

/// The beginning of a reply, for messages.
pub(crate) fn shortened(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut short: String = text.trim().chars().take(MAX_MESSAGE).collect();
    if short.len() < text.trim().len() {
        short.push('…');
    }
    short
}

/// An error with its causes; reqwest hides them.
fn text_of(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_how_long_to_wait() {
        let now =
            chrono::DateTime::parse_from_rfc2822("Tue, 24 Nov 2026 12:00:00 GMT").unwrap().with_timezone(&chrono::Utc);
        let after = |name: &'static str, value: &'static str| {
            retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]), now)
        };
        assert_eq!(after("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(after("retry-after-ms", "150"), Some(Duration::from_millis(150)));
        assert_eq!(after("retry-after", "Tue, 24 Nov 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("retry-after", "Tue, 24 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((after("retry-after", "soon"), after("x", "1")), (None, None));
    }
}
