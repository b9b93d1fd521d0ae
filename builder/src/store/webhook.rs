//! Who is told of the events of jobs, and what came of it: tables `webhook`, `delivery`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use crate::Result;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub id: Uuid,
    pub url: String,
    /// Kinds of events; none: all.
    pub events: Vec<String>,
    pub active: bool,
    /// Counts changes.
    pub version: i64,
    pub created_at: DateTime<Utc>,
}

pub async fn insert(conn: &mut PgConnection, url: &str, events: &[String], secret: &str) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!("INSERT INTO webhook (id, url, events, secret) VALUES ($1, $2, $3, $4)", id, url, events, secret)
        .execute(conn)
        .await?;
    Ok(id)
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Webhook>> {
    Ok(sqlx::query_as!(Webhook, "SELECT id, url, events, active, version, created_at FROM webhook WHERE id = $1", id)
        .fetch_optional(conn)
        .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<Webhook>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Webhook,
        "SELECT id, url, events, active, version, created_at FROM webhook
         WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM webhook"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Compare-and-set by the version; false when it is another one by now.
pub async fn delete(conn: &mut PgConnection, id: Uuid, version: i64) -> Result<bool> {
    let done = sqlx::query!("DELETE FROM webhook WHERE id = $1 AND version = $2", id, version).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// An event on its way to a webhook.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: Uuid,
    pub job_id: Uuid,
    /// Of the event.
    pub sequence: i64,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    pub attempts: i32,
    pub next_attempt_at: DateTime<Utc>,
    /// HTTP status of the last answer.
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
    pub delivered_at: Option<DateTime<Utc>>,
}

/// Of a webhook, newest event first.
pub async fn deliveries(
    conn: &mut PgConnection,
    webhook_id: Uuid,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<Delivery>> {
    let limit = page::clamp(limit);
    let before: Option<(DateTime<Utc>, Uuid)> = page::decode(cursor)?;
    let (before_at, before_id) = before.unzip();
    let rows = sqlx::query!(
        "SELECT id, job_id, sequence, state, attempts, next_attempt_at, last_status, last_error, delivered_at, created_at
         FROM delivery
         WHERE webhook_id = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
         ORDER BY created_at DESC, id DESC LIMIT $4",
        webhook_id,
        before_at,
        before_id,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM delivery WHERE webhook_id = $1"#, webhook_id)
        .fetch_one(conn)
        .await?;
    let page = Page::new(rows, limit, total, |row| (row.created_at, row.id))?;
    Ok(page.map(|row| Delivery {
        id: row.id,
        job_id: row.job_id,
        sequence: row.sequence,
        state: row.state,
        attempts: row.attempts,
        next_attempt_at: row.next_attempt_at,
        last_status: row.last_status,
        last_error: row.last_error,
        delivered_at: row.delivered_at,
    }))
}

/// What there is to send, and where to.
#[derive(Clone, Debug)]
pub struct Due {
    pub id: Uuid,
    /// With the one that this is.
    pub attempts: i32,
    pub url: String,
    pub secret: String,
    pub job_id: Uuid,
    pub sequence: i64,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub data: Value,
}

/// Takes deliveries whose time has come, for a minute: whoever takes one and dies leaves it to the next.
pub async fn take_due(conn: &mut PgConnection, limit: i64) -> Result<Vec<Due>> {
    Ok(sqlx::query_as!(
        Due,
        "WITH taken AS (
             UPDATE delivery SET attempts = attempts + 1, next_attempt_at = now() + interval '1 minute'
             WHERE id IN (SELECT id FROM delivery WHERE state = 'waiting' AND next_attempt_at <= now()
                          ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING id, webhook_id, job_id, sequence, attempts
         )
         SELECT t.id, t.attempts, w.url, w.secret, t.job_id, t.sequence, e.at, e.kind, e.data
         FROM taken t JOIN webhook w ON w.id = t.webhook_id
              JOIN job_event e ON e.job_id = t.job_id AND e.sequence = t.sequence
         ORDER BY t.job_id, t.sequence",
        limit,
    )
    .fetch_all(conn)
    .await?)
}

pub async fn delivered(conn: &mut PgConnection, id: Uuid, status: i32) -> Result<()> {
    sqlx::query!(
        "UPDATE delivery SET state = 'delivered', last_status = $2, last_error = NULL, delivered_at = now() WHERE id = $1",
        id,
        status,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes down what went wrong; tries again after `retry_after` seconds, or never where it is `None`.
pub async fn not_delivered(
    conn: &mut PgConnection,
    id: Uuid,
    status: Option<i32>,
    error: &str,
    retry_after: Option<f64>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE delivery
         SET last_status = $2, last_error = $3, state = CASE WHEN $4::double precision IS NULL THEN 'failed' ELSE state END,
             next_attempt_at = now() + coalesce($4, 0) * interval '1 second'
         WHERE id = $1",
        id,
        status,
        error,
        retry_after,
    )
    .execute(conn)
    .await?;
    Ok(())
}
