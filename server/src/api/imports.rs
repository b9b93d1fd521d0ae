//! Files of scene graphs, taken in; and what was wrong with the records that were not.

use std::path::PathBuf;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use builder::store::ingest::{Ingest, Reject};
use builder::store::{self, state::TaskState};
use builder::task::import::{self, ImportFormat};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use tokio::io::AsyncWriteExt;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::extract::{Id, Query};
use crate::openapi::{Octets, UploadForm};
use crate::page::{List, PageQuery};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// A file that was taken in.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Import)]
pub struct ImportResponse {
    /// Of the import.
    pub id: Uuid,
    /// The file's name.
    #[schema(example = "graphs.jsonl.gz")]
    pub file: String,
    /// `running`, `succeeded` or `failed`.
    #[schema(value_type = String, example = "succeeded")]
    pub state: TaskState,
    /// Records in the file.
    pub read: i64,
    /// New graphs.
    pub accepted: i64,
    /// Graphs that were here already.
    pub unchanged: i64,
    /// Records with errors.
    pub rejected: i64,
    /// Findings that do not keep a record out.
    pub warnings: i64,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// What the file was read as.
    #[schema(example = "laion-sg")]
    pub format: String,
    /// Of imported pairs: the frozen pairing that they are now.
    pub pairing_id: Option<Uuid>,
}

impl From<Ingest> for ImportResponse {
    fn from(ingest: Ingest) -> Self {
        Self {
            id: ingest.id,
            file: ingest.file,
            state: ingest.state,
            read: ingest.read,
            accepted: ingest.accepted,
            unchanged: ingest.unchanged,
            rejected: ingest.rejected,
            warnings: ingest.warnings,
            seconds: ingest.seconds,
            error: ingest.error,
            created_at: ingest.created_at,
            finished_at: ingest.finished_at,
            format: ingest.format,
            pairing_id: ingest.pairing_id,
        }
    }
}

/// Something that is wrong with a record.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Reject)]
pub struct RejectResponse {
    /// The file's name.
    pub file: String,
    /// Place in the file, from 0; null: the file as a whole.
    pub record: Option<i64>,
    /// RFC 6901 pointer from the file's root.
    #[schema(example = "/0/relations")]
    pub pointer: String,
    /// What is wrong, as one word.
    #[schema(example = "E_MISSING_FIELD")]
    pub code: String,
    /// `error` or `warning`.
    #[schema(example = "error")]
    pub severity: String,
    /// What is wrong.
    pub message: String,
    /// A way out.
    pub suggestion: Option<String>,
    /// The record's own text, cut where it is long; with its first finding only.
    pub raw: Option<String>,
}

impl From<Reject> for RejectResponse {
    fn from(reject: Reject) -> Self {
        let Reject { position: _, file, record, pointer, code, severity, message, suggestion, raw } = reject;
        Self { file, record, pointer, code, severity, message, suggestion, raw }
    }
}

/// What to call the file.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportQuery {
    /// Its ending says what it is: `.json` (an array), `.jsonl` or `.ndjson` (lines), any of them with `.gz`. A multipart
    /// upload brings its own name.
    #[param(example = "graphs.jsonl.gz")]
    pub name: Option<String>,
    /// What is in it. `laion-sg` (default): scene graphs. `visual-genome`: its original `scene_graphs.json`. `prompts`: a
    /// caption a line. `images`: a tar of pictures, each beside a `.txt` with its caption. `pick-a-pic`: parquet of pairs,
    /// which become a frozen pairing. `scores`, `answers`: JSON lines as exports have them. `detections`, `extractions`: JSON
    /// lines with what detectors found in candidates, or with the graphs that were read out of them; scored as they come in.
    #[param(value_type = Option<String>)]
    pub format: Option<ImportFormat>,
}

/// A 201 for the resource at its location.
type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

/// Takes in a file: the body itself, or the first file of a multipart form. A record with errors is rejected alone; what is
/// here already is unchanged.
#[utoipa::path(post, path = "/imports", tag = "graphs", params(ImportQuery),
    request_body(description = "The file", content((Value = "application/json"), (String = "application/x-ndjson"),
        (Octets = "application/gzip"), (String = "text/plain"), (Octets = "application/x-tar"),
        (Octets = "application/vnd.apache.parquet"), (Octets = "application/octet-stream"), (UploadForm = "multipart/form-data"))),
    responses((status = 201, description = "Taken in", body = ImportResponse,
        headers(("Location" = String, description = "The import"))), Problems))]
pub async fn create_import(
    State(state): State<AppState>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Created<ImportResponse>> {
    let upload = receive(&state, query.name.as_deref(), request).await?;
    let format = query.format.unwrap_or_default();
    let id = import::run(&state.context, &upload.path, &upload.name, format).await?;
    let import = load(&mut *state.connection().await?, id).await?;
    let location = format!("/api/v1/imports/{}", import.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(import.into())))
}

/// A received file, deleted when it is dropped.
struct Upload {
    path: PathBuf,
    name: String,
}

impl Drop for Upload {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Streams the body to a file, whatever its size: memory holds one chunk.
async fn receive(state: &AppState, name: Option<&str>, request: Request) -> Result<Upload> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let default_name = match media_type.as_str() {
        "multipart/form-data" => return receive_form(state, name, request).await,
        "" | "application/octet-stream" => "upload",
        "text/plain" => "upload.txt",
        "application/x-tar" => "upload.tar",
        "application/vnd.apache.parquet" => "upload.parquet",
        "application/json" => "upload.json",
        "application/x-ndjson" | "application/jsonl" | "application/jsonlines" => "upload.jsonl",
        "application/gzip" | "application/x-gzip" => "upload.gz",
        _ => {
            let detail = format!(
                "{media_type} is none of application/json, application/x-ndjson, application/gzip, text/plain, \
                 application/x-tar, application/vnd.apache.parquet, application/octet-stream"
            );
            return Err(Problem::new("unsupported_media_type", detail));
        }
    };
    let mut file = File::create(state, name.unwrap_or(default_name)).await?;
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        file.write(&chunk.map_err(|_| broke_off())?).await?;
    }
    file.finish().await
}

async fn receive_form(state: &AppState, name: Option<&str>, request: Request) -> Result<Upload> {
    let mut form = Multipart::from_request(request, state)
        .await
        .map_err(|error| Problem::new("malformed_body", error.body_text()))?;
    while let Some(mut field) =
        form.next_field().await.map_err(|error| Problem::new("malformed_body", error.body_text()))?
    {
        let Some(its_name) = field.file_name().map(str::to_owned) else { continue };
        let mut file = File::create(state, name.unwrap_or(&its_name)).await?;
        while let Some(chunk) = field.chunk().await.map_err(|_| broke_off())? {
            file.write(&chunk).await?;
        }
        return file.finish().await;
    }
    Err(Problem::new("malformed_body", "the form has no file"))
}

fn broke_off() -> Problem {
    Problem::new("malformed_body", "The body broke off.")
}

/// A file that is being received.
struct File {
    upload: Upload,
    file: tokio::fs::File,
    left: u64,
    limit: u64,
}

impl File {
    async fn create(state: &AppState, name: &str) -> Result<Self> {
        // The folder's own name for it: nothing of the caller's reaches the file system.
        let folder = state.uploads();
        fs_err::tokio::create_dir_all(&folder).await.map_err(builder::Error::from)?;
        let upload = Upload { path: folder.join(Uuid::now_v7().simple().to_string()), name: plain(name) };
        let file = fs_err::tokio::File::create_new(&upload.path).await.map_err(builder::Error::from)?;
        let limit = state.limits.import_bytes;
        Ok(Self { upload, file: file.into_parts().0, left: limit, limit })
    }

    async fn write(&mut self, chunk: &Bytes) -> Result<()> {
        let Some(left) = self.left.checked_sub(chunk.len() as u64) else {
            return Err(Problem::new("too_large", format!("a file has at most {} MiB", self.limit >> 20)));
        };
        self.left = left;
        Ok(self.file.write_all(chunk).await.map_err(builder::Error::from)?)
    }

    async fn finish(mut self) -> Result<Upload> {
        self.file.flush().await.map_err(builder::Error::from)?;
        Ok(self.upload)
    }
}

/// The last part of a path, without what no file name has.
fn plain(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
    let kept = kept.trim();
    if kept.is_empty() || kept == "." || kept == ".." { "upload".to_owned() } else { kept.to_owned() }
}

/// Imports, the newest first.
#[utoipa::path(get, path = "/imports", tag = "graphs", params(PageQuery),
    responses((status = 200, description = "A page", body = List<ImportResponse>), Problems))]
pub async fn list_imports(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<ImportResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::ingest::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(ImportResponse::from).into()))
}

/// One import.
#[utoipa::path(get, path = "/imports/{id}", tag = "graphs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The import", body = ImportResponse), Problems))]
pub async fn find_import(State(state): State<AppState>, Id(id): Id) -> Result<Json<ImportResponse>> {
    Ok(Json(load(&mut *state.connection().await?, id).await?.into()))
}

/// What was wrong with the records that were not taken in, in the order of the file.
#[utoipa::path(get, path = "/imports/{id}/rejects", tag = "graphs", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, description = "A page", body = List<RejectResponse>), Problems))]
pub async fn list_rejects(
    State(state): State<AppState>,
    Id(id): Id,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<RejectResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let found = store::ingest::list_rejects(&mut connection, id, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(RejectResponse::from).into()))
}

async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Ingest> {
    store::ingest::find(connection, id).await?.ok_or_else(|| Problem::not_found("import", id))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_are_the_last_part_of_a_path() {
        for (name, expected) in [
            ("graphs.json", "graphs.json"),
            ("../../etc/passwd", "passwd"),
            ("C:\\graphs\\a.json", "a.json"),
            ("..", "upload"),
            ("a/", "upload"),
            ("\u{0}a\n", "a"),
        ] {
            assert_eq!(plain(name), expected);
        }
    }
}
