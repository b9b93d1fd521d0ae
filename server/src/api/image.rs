//! Pictures out of the blobs. A blob never changes, so its hash is the tag and the copy in a cache is good for ever.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::embedded_web::matches_tag;
use crate::problem::Result;
use crate::state::AppState;

/// Answers with the PNG under `blob`, or with 304 where the caller has it.
pub async fn png(state: &AppState, headers: &HeaderMap, blob: &str) -> Result<Response> {
    let tag = format!("\"{blob}\"");
    let mut response = if matches_tag(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "image/png")], state.context.blobs.get(blob).await?).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}
