//! A job's curves: table `job_metric`, one row a step.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

#[derive(Clone, Debug)]
pub struct JobMetric {
    pub step: i32,
    pub metrics: Value,
}

/// Adds or replaces: after a kill, the steps since the last checkpoint are taken again.
pub async fn upsert_many(conn: &mut PgConnection, job_id: Uuid, metrics: &[(i32, Value)]) -> Result<()> {
    let steps: Vec<i32> = metrics.iter().map(|(step, _)| *step).collect();
    let values: Vec<String> = metrics.iter().map(|(_, value)| value.to_string()).collect();
    sqlx::query!(
        "INSERT INTO job_metric (job_id, step, metrics)
         SELECT $1, step, metrics::json FROM UNNEST($2::integer[], $3::text[]) AS t (step, metrics)
         ON CONFLICT ON CONSTRAINT job_metric_pkey DO UPDATE SET metrics = excluded.metrics",
        job_id,
        &steps,
        &values,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Steps from `since_step` on, each `stride`-th (and always the newest), in order.
pub async fn list(conn: &mut PgConnection, job_id: Uuid, since_step: i32, stride: i32) -> Result<Vec<JobMetric>> {
    Ok(sqlx::query_as!(
        JobMetric,
        "SELECT step, metrics FROM job_metric
         WHERE job_id = $1 AND step >= $2
           AND (step % $3 = 0 OR step = (SELECT max(step) FROM job_metric WHERE job_id = $1))
         ORDER BY step",
        job_id,
        since_step,
        stride.max(1),
    )
    .fetch_all(conn)
    .await?)
}

/// Forgets the steps after `step`, when a job goes back to a checkpoint.
pub async fn delete_after(conn: &mut PgConnection, job_id: Uuid, step: i32) -> Result<u64> {
    let done =
        sqlx::query!("DELETE FROM job_metric WHERE job_id = $1 AND step > $2", job_id, step).execute(conn).await?;
    Ok(done.rows_affected())
}
