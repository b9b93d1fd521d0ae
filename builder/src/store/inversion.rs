//! A candidate's inversion beside its sampling path: table `inversion`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::state::{InverseLabel, TaskState};
use super::task_row::task_row;
use crate::Result;

task_row!("inversion": fail, set_progress);

#[derive(Clone, Debug)]
pub struct Inversion {
    pub id: Uuid,
    pub candidate_id: Uuid,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub label: InverseLabel,
    pub state: TaskState,
    /// Steps taken.
    pub done: i64,
    pub total: i64,
    pub result: Option<Value>,
    pub error: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// What is asked for; the same again is the same row.
#[derive(Clone, Debug, PartialEq)]
pub struct NewInversion {
    pub candidate_id: Uuid,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub label: InverseLabel,
    /// Steps of the whole work.
    pub total: i64,
}

/// The row of this request, new or old; one that has failed is queued again.
pub async fn upsert(conn: &mut PgConnection, new: &NewInversion) -> Result<Uuid> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO inversion (id, candidate_id, num_inference_steps, guidance_scale, label, total)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT inversion_request_key DO UPDATE
         SET state = CASE WHEN inversion.state = 'failed' THEN 'queued' ELSE inversion.state END,
             error = NULL,
             finished_at = CASE WHEN inversion.state = 'failed' THEN NULL ELSE inversion.finished_at END
         RETURNING id",
        crate::id::new(),
        new.candidate_id,
        new.num_inference_steps,
        new.guidance_scale,
        new.label as InverseLabel,
        new.total,
    )
    .fetch_one(conn)
    .await?)
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Inversion>> {
    Ok(sqlx::query_as!(
        Inversion,
        r#"SELECT id, candidate_id, num_inference_steps, guidance_scale, label AS "label: InverseLabel",
                  state AS "state: TaskState", done, total, result, error, created_at, started_at, finished_at
           FROM inversion WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(
    conn: &mut PgConnection,
    candidate_id: Option<Uuid>,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<Inversion>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Inversion,
        r#"SELECT id, candidate_id, num_inference_steps, guidance_scale, label AS "label: InverseLabel",
                  state AS "state: TaskState", done, total, result, error, created_at, started_at, finished_at
           FROM inversion
           WHERE ($1::uuid IS NULL OR id < $1) AND ($2::uuid IS NULL OR candidate_id = $2)
           ORDER BY id DESC LIMIT $3"#,
        before,
        candidate_id,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM inversion WHERE $1::uuid IS NULL OR candidate_id = $1"#,
        candidate_id,
    )
    .fetch_one(conn)
    .await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Takes up an unfinished one; false when it is finished or gone.
pub async fn start(conn: &mut PgConnection, id: Uuid) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE inversion SET state = 'running', started_at = coalesce(started_at, now())
         WHERE id = $1 AND state IN ('queued', 'running')",
        id,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends an unfinished one with its result.
pub async fn succeed(conn: &mut PgConnection, id: Uuid, result: &Value) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE inversion SET state = 'succeeded', result = $2, done = total, finished_at = now()
         WHERE id = $1 AND state IN ('queued', 'running')",
        id,
        result,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
