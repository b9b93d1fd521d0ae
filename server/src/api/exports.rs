//! Data out: files that are written by a worker and fetched whole or by ranges.

use std::collections::HashMap;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use builder::error::Fault;
use builder::export::{ExportFormat, ExportRequest};
use builder::store;
use builder::store::export::{Export, ExportFile, Piece};
use builder::store::state::{Split, TaskState};
use builder::task::export;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::generations::{Accepted, accepted};
use crate::api::progress::Progress;
use crate::embedded_web::matches_tag;
use crate::extract::{self, Body, Id, Query};
use crate::page::{List, PageQuery};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// What to export, and as what.
#[derive(Clone, Debug, ToSchema)]
#[schema(as = CreateExportRequest, example = json!({"format": "laion-sg", "split": "train", "license": "CC-BY-4.0"}))]
#[expect(dead_code, reason = "the fields are the documentation; ExportRequest::read reads the request")]
pub struct CreateExportRequest {
    /// Pairs as `pick-a-pic`, `web-dataset`, `kohya` or `jsonl`; graphs as `laion-sg`; `scores` and `answers` as JSON lines.
    #[schema(value_type = String)]
    format: ExportFormat,
    /// The frozen pairs.
    #[schema(required = false)]
    pairing_id: Option<Uuid>,
    /// Of graphs: `train` or `held_out`. Default: both.
    #[schema(required = false, value_type = Option<String>)]
    split: Option<Split>,
    /// Of graphs: those of a collection.
    #[schema(required = false)]
    collection_id: Option<Uuid>,
    /// SPDX name of the licence that the whole is given under.
    #[schema(required = false, default = "other")]
    license: String,
}

impl Body for ExportRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        Self::read(value, faults)
    }
}

/// An export.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Export)]
pub struct ExportResponse {
    /// Of the export.
    pub id: Uuid,
    /// `queued`, `running`, `succeeded` or `failed`.
    #[schema(value_type = String, example = "succeeded")]
    pub state: TaskState,
    /// Rows written.
    pub progress: Progress,
    /// What it is written as.
    #[schema(example = "pick-a-pic")]
    pub format: String,
    /// The frozen pairs.
    pub pairing_id: Option<Uuid>,
    /// The request, with every default written out.
    pub request: Value,
    /// What is whole so far: the rows, a data card, Croissant metadata, the licences.
    pub files: Vec<ExportFileResponse>,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker took it up.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A file of an export.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ExportFile)]
pub struct ExportFileResponse {
    /// Within the export.
    #[schema(example = "train-00000-of-00001.parquet")]
    pub name: String,
    /// What it is.
    pub media_type: String,
    /// Size.
    pub bytes: i64,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Where to fetch it.
    pub url: String,
}

async fn describe(connection: &mut PgConnection, exports: Vec<Export>) -> Result<Vec<ExportResponse>> {
    let ids: Vec<Uuid> = exports.iter().map(|export| export.id).collect();
    let mut files: HashMap<Uuid, Vec<ExportFileResponse>> = HashMap::new();
    for (id, file) in store::export::files(connection, &ids).await? {
        let url = format!("/api/v1/exports/{id}/files/{}", file.name);
        let ExportFile { name, media_type, bytes, sha256 } = file;
        files.entry(id).or_default().push(ExportFileResponse { name, media_type, bytes, sha256, url });
    }
    let responses = exports.into_iter().map(|export| ExportResponse {
        files: files.remove(&export.id).unwrap_or_default(),
        id: export.id,
        state: export.state,
        progress: Progress::new(export.done, export.total, "rows"),
        format: export.format,
        pairing_id: export.pairing_id,
        request: export.request,
        error: export.error,
        created_at: export.created_at,
        started_at: export.started_at,
        finished_at: export.finished_at,
    });
    Ok(responses.collect())
}

async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Export> {
    store::export::find(connection, id).await?.ok_or_else(|| Problem::not_found("export", id))
}

/// Asks for an export.
#[utoipa::path(post, path = "/exports", tag = "exchange", request_body = CreateExportRequest,
    responses((status = 202, description = "Queued", body = ExportResponse,
        headers(("Location" = String, description = "The export"))), Problems))]
pub async fn create_export(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<ExportRequest>,
) -> Result<Accepted<ExportResponse>> {
    let export = export::create(&state.context, &request).await?;
    let location = format!("/api/v1/exports/{}", export.id);
    let response = describe(&mut *state.connection().await?, vec![export]).await?.pop();
    Ok(accepted(location, response.ok_or_else(|| Problem::not_found("export", ""))?))
}

/// Exports, the newest first.
#[utoipa::path(get, path = "/exports", tag = "exchange", params(PageQuery),
    responses((status = 200, description = "A page", body = List<ExportResponse>), Problems))]
pub async fn list_exports(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<ExportResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::export::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    let (next_cursor, total) = (found.next_cursor, found.total);
    Ok(Json(List { items: describe(&mut connection, found.items).await?, next_cursor, total }))
}

/// One export.
#[utoipa::path(get, path = "/exports/{id}", tag = "exchange", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The export", body = ExportResponse), Problems))]
pub async fn find_export(State(state): State<AppState>, Id(id): Id) -> Result<Json<ExportResponse>> {
    let mut connection = state.connection().await?;
    let export = load(&mut connection, id).await?;
    let response = describe(&mut connection, vec![export]).await?.pop();
    Ok(Json(response.ok_or_else(|| Problem::not_found("export", id))?))
}

/// A file of an export. A download that broke off goes on with `Range`; with `If-Range` only while the file is the same.
#[utoipa::path(get, path = "/exports/{id}/files/{name}", tag = "exchange",
    params(("id" = Uuid, Path), ("name" = String, Path),
        ("Range" = Option<String>, Header, description = "`bytes=FROM-TO`, `bytes=FROM-` or `bytes=-LAST`")),
    responses((status = 200, description = "The file", body = Value, content_type = "*/*"),
        (status = 206, description = "The range", body = Value, content_type = "*/*"), Problems))]
pub async fn find_export_file(
    State(state): State<AppState>,
    path: std::result::Result<Path<(Uuid, String)>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response> {
    let Path((id, name)) = path.map_err(|error| Problem::new("not_found", error.body_text()))?;
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let files = store::export::files(&mut connection, &[id]).await?;
    let file = files.into_iter().map(|(_, file)| file).find(|file| file.name == name);
    let file = file.ok_or_else(|| Problem::not_found("file of this export", &name))?;
    let pieces = store::export::pieces(&mut connection, id, &name).await?;
    drop(connection);
    let tag = format!("\"{}\"", file.sha256);
    if matches_tag(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let total = file.bytes as u64;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same = text(header::IF_RANGE).is_none_or(|seen| seen == tag);
    let range = match text(header::RANGE).filter(|_| same) {
        None => None,
        Some(range) => match byte_range(range, total) {
            Ok(range) => range,
            Err(()) => {
                let problem = Problem::new("range_not_satisfiable", format!("the file has {total} bytes"));
                let content_range = [(header::CONTENT_RANGE, format!("bytes */{total}"))];
                return Ok((content_range, problem).into_response());
            }
        },
    };
    let (from, to) = range.unwrap_or((0, total));
    let mut response = HttpBody::from_stream(content(state, pieces, from, to)).into_response();
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut response, header::CONTENT_RANGE, format!("bytes {from}-{}/{total}", to.saturating_sub(1)));
    }
    set(&mut response, header::CONTENT_LENGTH, (to - from).to_string());
    set(&mut response, header::CONTENT_TYPE, file.media_type);
    set(&mut response, header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", file.name));
    set(&mut response, header::ACCEPT_RANGES, "bytes".to_owned());
    set(&mut response, header::CACHE_CONTROL, "private, max-age=31536000, immutable".to_owned());
    set(&mut response, header::ETAG, tag);
    // Ranges are of these very bytes.
    set(&mut response, header::CONTENT_ENCODING, "identity".to_owned());
    Ok(response)
}

fn set(response: &mut Response, name: header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().insert(name, value);
    }
}

/// The bytes `from..to` of a file, a piece in memory at a time.
fn content(
    state: AppState,
    pieces: Vec<Piece>,
    from: u64,
    to: u64,
) -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> {
    async_stream::stream! {
        let mut at = 0_u64;
        for piece in pieces {
            let (begin, end) = (at, at + piece.bytes as u64);
            at = end;
            if end <= from || begin >= to {
                continue;
            }
            match state.context.blobs.get(&piece.blob).await {
                Ok(bytes) => {
                    let (first, last) = (from.saturating_sub(begin) as usize, (to.min(end) - begin) as usize);
                    yield Ok(bytes.slice(first.min(bytes.len())..last.min(bytes.len())));
                }
                Err(error) => {
                    tracing::error!(error = builder::task::error_text(&error), "a piece of an export is missing");
                    yield Err(std::io::Error::other("a piece of the file is missing"));
                    return;
                }
            }
        }
    }
}

/// The one range that `header` asks for, as `from..to`; `None` where it is to be ignored (RFC 9110, 14.2).
fn byte_range(header: &str, total: u64) -> std::result::Result<Option<(u64, u64)>, ()> {
    let Some((from, to)) = header.trim().strip_prefix("bytes=").and_then(|set| set.split_once('-')) else {
        return Ok(None);
    };
    let range = match (from.trim().parse::<u64>(), to.trim().parse::<u64>()) {
        (Ok(from), Ok(to)) if to >= from => (from, to.saturating_add(1).min(total)),
        (Ok(from), Err(_)) if to.trim().is_empty() => (from, total),
        (Err(_), Ok(last)) if from.trim().is_empty() => (total.saturating_sub(last), total),
        // Several ranges, or none: the whole file answers them as well.
        _ => return Ok(None),
    };
    if range.0 < range.1 { Ok(Some(range)) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::byte_range;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        for (header, expected) in [
            ("bytes=0-9", Ok(Some((0, 10)))),
            ("bytes=90-", Ok(Some((90, 100)))),
            ("bytes=-5", Ok(Some((95, 100)))),
            ("bytes=50-1000", Ok(Some((50, 100)))),
            ("bytes=100-", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=9-1", Ok(None)),
            ("bytes=0-1,5-6", Ok(None)),
            ("lines=0-1", Ok(None)),
        ] {
            assert_eq!(byte_range(header, 100), expected, "{header}");
        }
    }
}
