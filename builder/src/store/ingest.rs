//! Files that were read and records that were not taken: tables `ingest`, `reject`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::state::TaskState;
use crate::Result;

#[derive(Clone, Debug)]
pub struct Ingest {
    pub id: Uuid,
    pub file: String,
    pub state: TaskState,
    pub read: i64,
    pub accepted: i64,
    pub unchanged: i64,
    pub rejected: i64,
    pub warnings: i64,
    pub seconds: f64,
    pub error: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// What the file was read as.
    pub format: String,
    /// The pairing that its pairs became.
    pub pairing_id: Option<Uuid>,
}

/// Counts of an ingest so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub read: i64,
    pub accepted: i64,
    pub unchanged: i64,
    pub rejected: i64,
    pub warnings: i64,
    pub seconds: f64,
}

pub async fn insert(conn: &mut PgConnection, file: &str) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!("INSERT INTO ingest (id, file) VALUES ($1, $2)", id, file).execute(conn).await?;
    Ok(id)
}

pub async fn set_counts(conn: &mut PgConnection, id: Uuid, counts: &Counts) -> Result<()> {
    sqlx::query!(
        "UPDATE ingest SET read = $2, accepted = $3, unchanged = $4, rejected = $5, warnings = $6, seconds = $7 WHERE id = $1",
        id,
        counts.read,
        counts.accepted,
        counts.unchanged,
        counts.rejected,
        counts.warnings,
        counts.seconds,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn set_format(conn: &mut PgConnection, id: Uuid, format: &str, pairing_id: Option<Uuid>) -> Result<()> {
    sqlx::query!("UPDATE ingest SET format = $2, pairing_id = $3 WHERE id = $1", id, format, pairing_id)
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn finish(conn: &mut PgConnection, id: Uuid, state: TaskState, error: Option<&Value>) -> Result<()> {
    sqlx::query!(
        "UPDATE ingest SET state = $2, error = $3, finished_at = now() WHERE id = $1",
        id,
        state as TaskState,
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Ingest>> {
    Ok(sqlx::query_as!(
        Ingest,
        r#"SELECT id, file, state AS "state: TaskState", read, accepted, unchanged, rejected, warnings, seconds, error,
                  created_at, finished_at, format, pairing_id
           FROM ingest WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<Ingest>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Ingest,
        r#"SELECT id, file, state AS "state: TaskState", read, accepted, unchanged, rejected, warnings, seconds, error,
                  created_at, finished_at, format, pairing_id
           FROM ingest WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"#,
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM ingest"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// A finding about a record that was not taken; `severity` is `error` or `warning`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub position: i64,
    pub file: String,
    pub record: Option<i64>,
    pub pointer: String,
    pub code: String,
    pub severity: String,
    pub message: String,
    pub suggestion: Option<String>,
    /// With the record's first finding only.
    pub raw: Option<String>,
}

pub async fn insert_rejects(conn: &mut PgConnection, ingest_id: Uuid, rejects: &[Reject]) -> Result<()> {
    let positions: Vec<i64> = rejects.iter().map(|one| one.position).collect();
    let files: Vec<&str> = rejects.iter().map(|one| &*one.file).collect();
    let records: Vec<Option<i64>> = rejects.iter().map(|one| one.record).collect();
    let pointers: Vec<&str> = rejects.iter().map(|one| &*one.pointer).collect();
    let codes: Vec<&str> = rejects.iter().map(|one| &*one.code).collect();
    let severities: Vec<&str> = rejects.iter().map(|one| &*one.severity).collect();
    let messages: Vec<&str> = rejects.iter().map(|one| &*one.message).collect();
    let suggestions: Vec<Option<&str>> = rejects.iter().map(|one| one.suggestion.as_deref()).collect();
    let raws: Vec<Option<&str>> = rejects.iter().map(|one| one.raw.as_deref()).collect();
    sqlx::query!(
        "INSERT INTO reject (ingest_id, position, file, record, pointer, code, severity, message, suggestion, raw)
         SELECT $1, position, file, record, pointer, code, severity::severity, message, suggestion, raw
         FROM UNNEST($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                     $10::text[])
              AS t (position, file, record, pointer, code, severity, message, suggestion, raw)",
        ingest_id,
        &positions,
        &files as &[&str],
        &records as &[Option<i64>],
        &pointers as &[&str],
        &codes as &[&str],
        &severities as &[&str],
        &messages as &[&str],
        &suggestions as &[Option<&str>],
        &raws as &[Option<&str>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// In the order of the file.
pub async fn list_rejects(
    conn: &mut PgConnection,
    ingest_id: Uuid,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<Reject>> {
    let limit = page::clamp(limit);
    let after: i64 = page::decode(cursor)?.unwrap_or(-1);
    let rows = sqlx::query_as!(
        Reject,
        r#"SELECT position, file, record, pointer, code, severity::text AS "severity!", message, suggestion, raw
           FROM reject WHERE ingest_id = $1 AND position > $2 ORDER BY position LIMIT $3"#,
        ingest_id,
        after,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM reject WHERE ingest_id = $1"#, ingest_id)
        .fetch_one(conn)
        .await?;
    Page::new(rows, limit, total, |row| row.position)
}
