//! The queue's own tables, in its own schema. They belong to `graphile_worker`, not to our migrations, so these few
//! statements are the only ones that are not checked at compile time.

use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::Result;

/// Apart from any other application's graphile_worker in the same database.
pub const SCHEMA: &str = "diptych_queue";
/// First half of our advisory locks' keys: "Dipt".
const LOCK_CLASS: i32 = 0x4469_7074;

/// Adds a job under the key `IDENTIFIER:ID`, in the queue of that name: one that waits is not added twice, one that runs is
/// followed by another, and no two run at once.
pub async fn add_job(conn: &mut PgConnection, identifier: &str, id: Uuid) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!(
        "SELECT {SCHEMA}.add_job(identifier => $1, payload => json_build_object('id', $2::text), queue_name => $3, job_key => $3)"
    )))
    .bind(identifier)
    .bind(id.to_string())
    .bind(format!("{identifier}:{id}"))
    .execute(conn)
    .await?;
    Ok(())
}

/// Counts anew how often the job under this key was taken.
pub async fn count_anew(conn: &mut PgConnection, identifier: &str, id: Uuid) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE {SCHEMA}._private_jobs SET attempts = 1 WHERE key = $1 AND attempts > 1"
    )))
    .bind(format!("{identifier}:{id}"))
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks `worker` as alive for as long as this connection lives.
pub async fn hold_life_lock(conn: &mut PgConnection, worker: &str) -> Result<()> {
    sqlx::query("SELECT pg_advisory_lock($1, hashtext($2))").bind(LOCK_CLASS).bind(worker).execute(conn).await?;
    Ok(())
}

/// Workers that hold jobs and whose life lock nobody holds.
pub async fn dead_workers(conn: &mut PgConnection) -> Result<Vec<String>> {
    // pg_locks shows the two halves of the key as unsigned numbers; objsubid 2 says that there are two.
    Ok(sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT holder FROM (
             SELECT locked_by AS holder FROM {SCHEMA}._private_jobs WHERE locked_by IS NOT NULL
             UNION SELECT locked_by FROM {SCHEMA}._private_job_queues WHERE locked_by IS NOT NULL) AS holders
         WHERE NOT EXISTS (
             SELECT FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND objsubid = 2
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND classid::bigint = $1::bigint AND objid::bigint = (hashtext(holder)::bigint & 4294967295))"
    )))
    .bind(i64::from(LOCK_CLASS))
    .fetch_all(conn)
    .await?)
}

/// Gives the jobs that `worker` held to whoever comes next, at once.
pub async fn free_jobs_of(conn: &mut PgConnection, worker: &str) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!("SELECT {SCHEMA}.force_unlock_workers(ARRAY[$1])")))
        .bind(worker)
        .execute(conn)
        .await?;
    Ok(())
}

/// Jobs that nobody will take any more, having been taken too often: (identifier, id of the row).
pub async fn exhausted(conn: &mut PgConnection) -> Result<Vec<(String, Uuid)>> {
    let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT t.identifier, j.payload ->> 'id' FROM {SCHEMA}._private_jobs j JOIN {SCHEMA}._private_tasks t ON t.id = j.task_id
         WHERE j.attempts >= j.max_attempts AND j.locked_by IS NULL AND j.payload ->> 'id' IS NOT NULL"
    )))
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(|(identifier, id)| Some((identifier, id.parse().ok()?))).collect())
}
