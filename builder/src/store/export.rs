//! Data on its way out: tables `export`, `export_file`, `export_piece`, and the rows that are written.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::state::TaskState;
use super::task_row::task_row;
use crate::Result;

task_row!("export": set_progress);

#[derive(Clone, Debug)]
pub struct Export {
    pub id: Uuid,
    pub format: String,
    pub pairing_id: Option<Uuid>,
    pub request: Value,
    pub state: TaskState,
    /// Rows written, of all.
    pub done: i64,
    pub total: i64,
    pub error: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// A finished file of an export.
#[derive(Clone, Debug)]
pub struct ExportFile {
    pub name: String,
    pub media_type: String,
    pub bytes: i64,
    pub sha256: String,
}

/// A part of a file, as a blob.
#[derive(Clone, Debug)]
pub struct Piece {
    pub blob: String,
    pub bytes: i64,
}

pub async fn insert(conn: &mut PgConnection, format: &str, pairing_id: Option<Uuid>, request: &Value) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!(
        "INSERT INTO export (id, format, pairing_id, request) VALUES ($1, $2, $3, $4)",
        id,
        format,
        pairing_id,
        request,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Export>> {
    Ok(sqlx::query_as!(
        Export,
        r#"SELECT id, format, pairing_id, request, state AS "state: TaskState", done, total, error, created_at, started_at,
                  finished_at
           FROM export WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<Export>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Export,
        r#"SELECT id, format, pairing_id, request, state AS "state: TaskState", done, total, error, created_at, started_at,
                  finished_at
           FROM export WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"#,
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM export"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Begins, or begins again: what a killed worker has written of it is forgotten. False where it is through.
pub async fn start(conn: &mut PgConnection, id: Uuid) -> Result<bool> {
    sqlx::query!("DELETE FROM export_piece WHERE export_id = $1", id).execute(&mut *conn).await?;
    sqlx::query!("DELETE FROM export_file WHERE export_id = $1", id).execute(&mut *conn).await?;
    let done = sqlx::query!(
        "UPDATE export SET state = 'running', done = 0, started_at = coalesce(started_at, now())
         WHERE id = $1 AND state IN ('queued', 'running')",
        id,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub async fn finish(conn: &mut PgConnection, id: Uuid, state: TaskState, error: Option<&Value>) -> Result<()> {
    sqlx::query!(
        "UPDATE export SET state = $2, error = $3, finished_at = now() WHERE id = $1 AND state IN ('queued', 'running')",
        id,
        state as TaskState,
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn insert_piece(conn: &mut PgConnection, id: Uuid, file: &str, position: i32, piece: &Piece) -> Result<()> {
    sqlx::query!(
        "INSERT INTO export_piece (export_id, file, position, blob, bytes) VALUES ($1, $2, $3, $4, $5)",
        id,
        file,
        position,
        piece.blob,
        piece.bytes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says that a file is whole.
pub async fn insert_file(conn: &mut PgConnection, id: Uuid, file: &ExportFile) -> Result<()> {
    sqlx::query!(
        "INSERT INTO export_file (export_id, name, media_type, bytes, sha256) VALUES ($1, $2, $3, $4, $5)",
        id,
        file.name,
        file.media_type,
        file.bytes,
        file.sha256,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The finished files of these exports, by name.
pub async fn files(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(Uuid, ExportFile)>> {
    let rows = sqlx::query!(
        "SELECT export_id, name, media_type, bytes, sha256 FROM export_file WHERE export_id = ANY ($1) ORDER BY name",
        ids,
    )
    .fetch_all(conn)
    .await?;
    let file =
        |row: (String, String, i64, String)| ExportFile { name: row.0, media_type: row.1, bytes: row.2, sha256: row.3 };
    Ok(rows.into_iter().map(|row| (row.export_id, file((row.name, row.media_type, row.bytes, row.sha256)))).collect())
}

/// The pieces of a file, in order.
pub async fn pieces(conn: &mut PgConnection, id: Uuid, file: &str) -> Result<Vec<Piece>> {
    Ok(sqlx::query_as!(
        Piece,
        "SELECT blob, bytes FROM export_piece WHERE export_id = $1 AND file = $2 ORDER BY position",
        id,
        file,
    )
    .fetch_all(conn)
    .await?)
}

/// A candidate as an export tells it.
#[derive(Clone, Debug)]
pub struct ExportedCandidate {
    pub id: Uuid,
    pub graph_id: Uuid,
    pub image_blob: String,
    pub seed: i64,
    pub model_hash: String,
    pub model_name: String,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub sampler: String,
}

/// Those of `ids` that exist, in no particular order.
pub async fn candidates(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<ExportedCandidate>> {
    Ok(sqlx::query_as!(
        ExportedCandidate,
        "SELECT c.id, c.graph_id, c.image_blob, c.seed, g.model_hash, m.name AS model_name, g.num_inference_steps,
                g.guidance_scale, g.sampler
         FROM candidate c JOIN generation g ON g.id = c.generation_id JOIN model m ON m.hash = g.model_hash
         WHERE c.id = ANY ($1)",
        ids,
    )
    .fetch_all(conn)
    .await?)
}

/// A score card or an answer as one JSON document, in a fixed order.
#[derive(Clone, Debug)]
pub struct Line {
    pub key: (Uuid, String),
    pub document: Value,
}

/// Score cards after `after`, by candidate and then by the rest of their key.
pub async fn scores(conn: &mut PgConnection, after: &(Uuid, String), limit: i64) -> Result<Vec<Line>> {
    let rows = sqlx::query!(
        r#"SELECT candidate_id, metric || chr(31) || answerer || chr(31) || answerer_version AS "rest!", metric, answerer,
                  answerer_version, score, parts
           FROM score_card
           WHERE (candidate_id, metric || chr(31) || answerer || chr(31) || answerer_version) > ($1, $2)
           ORDER BY 1, 2 LIMIT $3"#,
        after.0,
        after.1,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let line = |candidate_id: Uuid, metric: &str, answerer: &str, version: &str, score: f64, parts: Value| {
        serde_json::json!({ "candidate_id": candidate_id, "metric": metric, "answerer": answerer,
            "answerer_version": version, "score": score, "parts": parts })
    };
    Ok(rows
        .into_iter()
        .map(|row| Line {
            document: line(row.candidate_id, &row.metric, &row.answerer, &row.answerer_version, row.score, row.parts),
            key: (row.candidate_id, row.rest),
        })
        .collect())
}

/// Answers after `after`, by candidate and then by the rest of their key.
pub async fn answers(conn: &mut PgConnection, after: &(Uuid, String), limit: i64) -> Result<Vec<Line>> {
    let rows = sqlx::query!(
        r#"SELECT candidate_id,
                  answerer || chr(31) || answerer_version || chr(31) || lpad(question_id::text, 10, '0') AS "rest!",
                  question_id, answerer, answerer_version, value::text AS "value!", probability,
                  latency_ms
           FROM answer
           WHERE (candidate_id, answerer || chr(31) || answerer_version || chr(31) || lpad(question_id::text, 10, '0'))
                 > ($1, $2)
           ORDER BY 1, 2 LIMIT $3"#,
        after.0,
        after.1,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Line {
            document: serde_json::json!({ "candidate_id": row.candidate_id, "question_id": row.question_id,
                "answerer": row.answerer, "answerer_version": row.answerer_version, "value": row.value,
                "probability": row.probability, "latency_ms": row.latency_ms }),
            key: (row.candidate_id, row.rest),
        })
        .collect())
}

/// Files that these graphs came from, and how many came from each.
pub async fn sources(conn: &mut PgConnection, graph_ids: &[Uuid]) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT source_file, count(*) AS "count!" FROM graph WHERE id = ANY ($1) GROUP BY 1 ORDER BY 2 DESC, 1"#,
        graph_ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.source_file, row.count)).collect())
}
