//! Training jobs: table `job`. Which state may follow which is the business of `crate::job`; here a state changes only by
//! compare-and-set, so of two who want to change it one learns that it was too late.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{Acquire, PgConnection};
use uuid::Uuid;

use super::job_event;
use super::page::{self, Page};
use super::state::JobState;
use crate::{Error, Result};

#[derive(Clone, Debug)]
pub struct Job {
    pub id: Uuid,
    pub state: JobState,
    pub stage: String,
    pub spec: Value,
    pub idempotency_key: Option<String>,
    pub pairing_id: Option<Uuid>,
    pub done: i64,
    pub total: i64,
    pub unit: String,
    pub error: Option<Value>,
    pub worker: Option<String>,
    /// How often a worker took it up.
    pub attempt: i32,
    pub save_requested: bool,
    pub sample_requested: bool,
    /// The newest event's number.
    pub last_event: i64,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug)]
pub struct NewJob {
    pub state: JobState,
    pub spec: Value,
    pub pairing_id: Option<Uuid>,
    pub total: i64,
    pub unit: String,
    pub idempotency_key: Option<String>,
    /// The request as it came; what the key stands for.
    pub request: Value,
}

/// Adds a job with its first event. With an idempotency key that is known, returns the job that has it, and false.
///
/// # Errors
/// `Conflict` when the key was used with another request.
pub async fn insert(conn: &mut PgConnection, new: &NewJob) -> Result<(Job, bool)> {
    let mut tx = conn.begin().await?;
    let id = crate::id::new();
    let request_hash = crate::blob::hash(new.request.to_string().as_bytes());
    let inserted = sqlx::query!(
        "INSERT INTO job (id, state, spec, pairing_id, total, unit, idempotency_key, request_hash, finished_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $9 THEN now() END)
         ON CONFLICT ON CONSTRAINT job_idempotency_key_key DO NOTHING",
        id,
        new.state as JobState,
        new.spec,
        new.pairing_id,
        new.total,
        new.unit,
        new.idempotency_key,
        request_hash,
        new.state.is_final(),
    )
    .execute(&mut *tx)
    .await?;
    let is_new = inserted.rows_affected() == 1;
    let id = if is_new {
        job_event::append(&mut tx, id, "state", &json!({ "from": null, "to": new.state })).await?;
        id
    } else {
        let known = sqlx::query!("SELECT id, request_hash FROM job WHERE idempotency_key = $1", new.idempotency_key)
            .fetch_one(&mut *tx)
            .await?;
        if known.request_hash != request_hash {
            return Err(Error::conflict(
                "idempotency_key_in_use",
                format!("the idempotency key belongs to job {}, which was asked for differently", known.id),
            ));
        }
        known.id
    };
    let job = find(&mut tx, id).await?.ok_or_else(|| Error::not_found("job", id))?;
    tx.commit().await?;
    Ok((job, is_new))
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Job>> {
    Ok(sqlx::query_as!(
        Job,
        r#"SELECT id, state AS "state: JobState", stage, spec, idempotency_key, pairing_id, done, total, unit, error, worker,
                  attempt, save_requested, sample_requested, last_event, created_at, started_at, finished_at
           FROM job WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first; `states` empty means all.
pub async fn list(conn: &mut PgConnection, states: &[JobState], limit: i64, cursor: Option<&str>) -> Result<Page<Job>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let states: Vec<String> = states.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_as!(
        Job,
        r#"SELECT id, state AS "state: JobState", stage, spec, idempotency_key, pairing_id, done, total, unit, error, worker,
                  attempt, save_requested, sample_requested, last_event, created_at, started_at, finished_at
           FROM job
           WHERE ($1::uuid IS NULL OR id < $1) AND (cardinality($2::text[]) = 0 OR state::text = ANY ($2))
           ORDER BY id DESC LIMIT $3"#,
        before,
        &states,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM job WHERE cardinality($1::text[]) = 0 OR state::text = ANY ($1)"#,
        &states,
    )
    .fetch_one(conn)
    .await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Compare-and-set, with a `state` event; false when the state was none of `from`. Sets the times that belong to `to`, and
/// lets go of the lease where nobody works on it any more.
pub async fn update_state(conn: &mut PgConnection, id: Uuid, from: &[JobState], to: JobState) -> Result<bool> {
    let mut tx = conn.begin().await?;
    let from: Vec<String> = from.iter().map(ToString::to_string).collect();
    let is_held = !to.is_final() && !matches!(to, JobState::Validating | JobState::Queued | JobState::Paused);
    let changed = sqlx::query!(
        r#"WITH old AS (SELECT id, state FROM job WHERE id = $1 AND state::text = ANY ($2) FOR UPDATE)
           UPDATE job SET state = $3,
               started_at = CASE WHEN $3 = 'preparing'::job_state THEN coalesce(started_at, now()) ELSE started_at END,
               finished_at = CASE WHEN $4 THEN now() END,
               worker = CASE WHEN $5 THEN worker END,
               lease_until = CASE WHEN $5 THEN lease_until END
           FROM old WHERE job.id = old.id
           RETURNING old.state AS "from: JobState""#,
        id,
        &from,
        to as JobState,
        to.is_final(),
        is_held,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(changed) = changed else { return Ok(false) };
    job_event::append(&mut tx, id, "state", &json!({ "from": changed.from, "to": to })).await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends an unfinished job with its reason; false when it was finished already.
pub async fn fail(conn: &mut PgConnection, id: Uuid, error: &Value) -> Result<bool> {
    let mut tx = conn.begin().await?;
    let unfinished: Vec<JobState> = JobState::ALL.iter().copied().filter(|state| !state.is_final()).collect();
    let changed = update_state(&mut tx, id, &unfinished, JobState::Failed).await?;
    if changed {
        set_error(&mut tx, id, Some(error)).await?;
    }
    tx.commit().await?;
    Ok(changed)
}

pub async fn set_error(conn: &mut PgConnection, id: Uuid, error: Option<&Value>) -> Result<()> {
    sqlx::query!("UPDATE job SET error = $2 WHERE id = $1", id, error).execute(conn).await?;
    Ok(())
}

pub async fn set_progress(
    conn: &mut PgConnection,
    id: Uuid,
    stage: &str,
    done: i64,
    total: i64,
    unit: &str,
) -> Result<()> {
    sqlx::query!(
        "UPDATE job SET stage = $2, done = $3, total = $4, unit = $5 WHERE id = $1",
        id,
        stage,
        done,
        total,
        unit,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a job up, unless another worker holds a lease on it that still runs.
pub async fn claim(conn: &mut PgConnection, id: Uuid, worker: &str, lease: Duration) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE job SET attempt = attempt + 1, worker = $2, lease_until = now() + make_interval(secs => $3)
         WHERE id = $1 AND finished_at IS NULL AND (lease_until IS NULL OR lease_until < now() OR worker = $2)",
        id,
        worker,
        lease.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Renews the lease; false when the job is another's by now, and this worker must let go.
pub async fn heartbeat(conn: &mut PgConnection, id: Uuid, worker: &str, lease: Duration) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE job SET lease_until = now() + make_interval(secs => $3) WHERE id = $1 AND worker = $2 AND finished_at IS NULL",
        id,
        worker,
        lease.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub async fn release(conn: &mut PgConnection, id: Uuid, worker: &str) -> Result<()> {
    sqlx::query!("UPDATE job SET worker = NULL, lease_until = NULL WHERE id = $1 AND worker = $2", id, worker)
        .execute(conn)
        .await?;
    Ok(())
}

/// Frees the leases of a worker that is known to be dead, without waiting for them to run out.
pub async fn release_all_of(conn: &mut PgConnection, worker: &str) -> Result<u64> {
    let done = sqlx::query!("UPDATE job SET worker = NULL, lease_until = NULL WHERE worker = $1", worker)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// Jobs that want a worker and have none: waiting ones, and those whose worker stopped renewing its lease. Oldest first.
pub async fn unclaimed(conn: &mut PgConnection) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "SELECT id FROM job
         WHERE finished_at IS NULL AND state <> 'paused' AND (lease_until IS NULL OR lease_until < now())
         ORDER BY id"
    )
    .fetch_all(conn)
    .await?)
}

/// Every job that is not finished, oldest first.
pub async fn unfinished(conn: &mut PgConnection) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!("SELECT id FROM job WHERE finished_at IS NULL ORDER BY id").fetch_all(conn).await?)
}

pub async fn request_save(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("UPDATE job SET save_requested = true WHERE id = $1", id).execute(conn).await?;
    Ok(())
}

pub async fn request_sample(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("UPDATE job SET sample_requested = true WHERE id = $1", id).execute(conn).await?;
    Ok(())
}

pub async fn clear_save_request(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("UPDATE job SET save_requested = false WHERE id = $1", id).execute(conn).await?;
    Ok(())
}

pub async fn clear_sample_request(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("UPDATE job SET sample_requested = false WHERE id = $1", id).execute(conn).await?;
    Ok(())
}
