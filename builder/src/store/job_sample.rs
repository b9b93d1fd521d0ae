//! Pictures along the way of a job: table `job_sample`.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

#[derive(Clone, Debug)]
pub struct JobSample {
    pub job_id: Uuid,
    pub step: i32,
    pub graph_id: Uuid,
    pub index: i32,
    pub seed: i64,
    pub image_blob: String,
}

/// Adds or replaces.
pub async fn upsert(conn: &mut PgConnection, sample: &JobSample) -> Result<()> {
    sqlx::query!(
        "INSERT INTO job_sample (job_id, step, graph_id, index, seed, image_blob) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT job_sample_pkey DO UPDATE SET seed = excluded.seed, image_blob = excluded.image_blob",
        sample.job_id,
        sample.step,
        sample.graph_id,
        sample.index,
        sample.seed,
        sample.image_blob,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// By step, graph and index.
pub async fn list(conn: &mut PgConnection, job_id: Uuid) -> Result<Vec<JobSample>> {
    Ok(sqlx::query_as!(
        JobSample,
        "SELECT job_id, step, graph_id, index, seed, image_blob FROM job_sample
         WHERE job_id = $1 ORDER BY step, graph_id, index",
        job_id,
    )
    .fetch_all(conn)
    .await?)
}

pub async fn find(
    conn: &mut PgConnection,
    job_id: Uuid,
    step: i32,
    graph_id: Uuid,
    index: i32,
) -> Result<Option<JobSample>> {
    Ok(sqlx::query_as!(
        JobSample,
        "SELECT job_id, step, graph_id, index, seed, image_blob FROM job_sample
         WHERE job_id = $1 AND step = $2 AND graph_id = $3 AND index = $4",
        job_id,
        step,
        graph_id,
        index,
    )
    .fetch_optional(conn)
    .await?)
}
