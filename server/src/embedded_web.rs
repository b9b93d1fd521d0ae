//! The pages, out of the binary. An address without a file is a page of the single-page application.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;

use crate::problem::Problem;

#[derive(Embed)]
#[folder = "$OUT_DIR/web"]
struct Web;

/// Nothing from elsewhere, no inline script, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Answers whatever no route took.
pub async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Problem::new("no_such_route", format!("nothing is at {}", uri.path())).into_response();
    }
    match Web::get(path) {
        Some(file) if !path.is_empty() => answer(path, &file, &headers),
        // A missing file is missing; only addresses without an extension are pages.
        None if path.rsplit('/').next().is_some_and(|name| name.contains('.')) => {
            Problem::new("no_such_route", format!("nothing is at {}", uri.path())).into_response()
        }
        _ => match Web::get("index.html") {
            Some(file) => answer("index.html", &file, &headers),
            None => Problem::new("no_such_route", "this binary has no pages").into_response(),
        },
    }
}

/// The headers that every page of ours has.
pub fn page_headers(response: &mut Response) {
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
}

fn answer(path: &str, file: &rust_embed::EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", builder::blob::hash(&file.data));
    // Vite puts a hash of the content into the names of what it builds.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = if matches_tag(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, file.metadata.mimetype())], file.data.clone().into_owned()).into_response()
    };
    page_headers(&mut response);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Whether the caller has what `tag` names already (RFC 9110, 13.1.2: weak comparison).
pub fn matches_tag(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}
