//! Changes that need to know what they change: `ETag` out, `If-Match` in.

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, HeaderName, IF_MATCH};
use axum::http::request::Parts;

use crate::problem::{Problem, Result};

/// The version that the caller has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(Option<i64>);

impl IfMatch {
    /// The version, asked for once it is known that there is something to change.
    ///
    /// # Errors
    /// Without it a change is refused: two curators must not undo each other unseen.
    pub fn version(self) -> Result<i64> {
        let missing = || Problem::new("precondition_required", "say in If-Match which ETag the change is made to");
        self.0.ok_or_else(missing)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        let version =
            text.strip_prefix("\"v").and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok());
        // Any other tag is one that nothing here ever had.
        Ok(Self(Some(version.unwrap_or(0))))
    }
}

/// The header that carries a version.
pub fn etag(version: i64) -> [(HeaderName, String); 1] {
    [(ETAG, format!("\"v{version}\""))]
}

/// The resource is at another version.
pub fn failed() -> Problem {
    Problem::new("precondition_failed", "it was changed since; fetch it again and look at what is new")
}
