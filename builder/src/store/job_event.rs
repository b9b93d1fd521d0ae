//! What happened to a job, in a gapless order of its own: table `job_event`. Each event is announced on the channel
//! [`CHANNEL`], so that a stream of events need not poll.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// The payload is `{"job_id","sequence","kind"}`; what the event says is read from the table.
pub const CHANNEL: &str = "diptych_event";

#[derive(Clone, Debug)]
pub struct JobEvent {
    pub job_id: Uuid,
    /// From 1.
    pub sequence: i64,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub data: Value,
}

/// Adds an event and returns its number. The job's row is locked until the transaction ends, so numbers follow commits:
/// whoever has seen number n has seen all before it.
pub async fn append(conn: &mut PgConnection, job_id: Uuid, kind: &str, data: &Value) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"WITH next AS (UPDATE job SET last_event = last_event + 1 WHERE id = $1 RETURNING last_event),
                new AS (INSERT INTO job_event (job_id, sequence, kind, data)
                        SELECT $1, last_event, $2, $3 FROM next RETURNING sequence)
           SELECT new.sequence AS "sequence!"
           FROM new, pg_notify($4, json_build_object('job_id', $1::uuid, 'sequence', new.sequence, 'kind', $2::text)::text)"#,
        job_id,
        kind,
        data,
        CHANNEL,
    )
    .fetch_one(conn)
    .await?)
}

/// After number `after` (0: from the start), in order, at most `limit`.
pub async fn list_after(conn: &mut PgConnection, job_id: Uuid, after: i64, limit: i64) -> Result<Vec<JobEvent>> {
    Ok(sqlx::query_as!(
        JobEvent,
        "SELECT job_id, sequence, at, kind, data FROM job_event
         WHERE job_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
        job_id,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?)
}

/// How many events the job has.
pub async fn count(conn: &mut PgConnection, job_id: Uuid) -> Result<i64> {
    Ok(sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM job_event WHERE job_id = $1"#, job_id)
        .fetch_one(conn)
        .await?)
}
