//! How far a generation's pictures are from others as a whole: table `frechet_distance`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::state::TaskState;
use super::task_row::task_row;
use crate::Result;

task_row!("frechet_distance": fail);

#[derive(Clone, Debug)]
pub struct FrechetDistance {
    pub id: Uuid,
    pub generation_id: Uuid,
    /// Either this, or `reference_features`.
    pub reference_generation_id: Option<Uuid>,
    /// Name of registered features.
    pub reference_features: Option<String>,
    /// Name of the registered Inception.
    pub network: String,
    pub network_version: String,
    /// `reference` or `corrected`.
    pub mode: String,
    pub result: Option<Value>,
    pub state: TaskState,
    /// Pictures looked at.
    pub done: i64,
    pub total: i64,
    pub error: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewFrechetDistance {
    pub generation_id: Uuid,
    pub reference_generation_id: Option<Uuid>,
    pub reference_features: Option<String>,
    pub network: String,
    pub network_version: String,
    pub mode: String,
}

pub async fn insert(conn: &mut PgConnection, new: &NewFrechetDistance) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!(
        "INSERT INTO frechet_distance (id, generation_id, reference_generation_id, reference_features, network,
                                       network_version, mode)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        id,
        new.generation_id,
        new.reference_generation_id,
        new.reference_features,
        new.network,
        new.network_version,
        new.mode,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<FrechetDistance>> {
    Ok(sqlx::query_as!(
        FrechetDistance,
        r#"SELECT id, generation_id, reference_generation_id, reference_features, network, network_version, mode, result,
                  state AS "state: TaskState", done, total, error, created_at, started_at, finished_at
           FROM frechet_distance WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<FrechetDistance>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        FrechetDistance,
        r#"SELECT id, generation_id, reference_generation_id, reference_features, network, network_version, mode, result,
                  state AS "state: TaskState", done, total, error, created_at, started_at, finished_at
           FROM frechet_distance WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"#,
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM frechet_distance"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Somebody has taken it up: from its beginning, whoever was at it before.
pub async fn start(conn: &mut PgConnection, id: Uuid, total: i64) -> Result<()> {
    sqlx::query!(
        "UPDATE frechet_distance
         SET state = 'running', started_at = coalesce(started_at, now()), done = 0, total = $2
         WHERE id = $1 AND state IN ('queued', 'running')",
        id,
        total,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn set_done(conn: &mut PgConnection, id: Uuid, done: i64) -> Result<()> {
    sqlx::query!("UPDATE frechet_distance SET done = $2 WHERE id = $1", id, done).execute(conn).await?;
    Ok(())
}

/// Ends an unfinished one with its result.
pub async fn succeed(conn: &mut PgConnection, id: Uuid, result: &Value) -> Result<()> {
    sqlx::query!(
        "UPDATE frechet_distance SET state = 'succeeded', result = $2, finished_at = now()
         WHERE id = $1 AND state IN ('queued', 'running')",
        id,
        result,
    )
    .execute(conn)
    .await?;
    Ok(())
}
