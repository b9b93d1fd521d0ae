//! What a job resumes from and what it leaves behind: tables `checkpoint`, `artifact`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::Result;

/// A file of a checkpoint; the blob's key is the SHA-256 of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFile {
    /// Relative to the checkpoint's folder.
    pub name: String,
    pub blob: String,
    pub bytes: i64,
}

#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub job_id: Uuid,
    pub step: i32,
    pub files: Json<Vec<CheckpointFile>>,
    /// Of all files.
    pub bytes: i64,
    pub created_at: DateTime<Utc>,
}

/// Adds or replaces the checkpoint of a step. The blobs must be written before.
pub async fn upsert(conn: &mut PgConnection, job_id: Uuid, step: i32, files: &[CheckpointFile]) -> Result<()> {
    let bytes: i64 = files.iter().map(|file| file.bytes).sum();
    sqlx::query!(
        "INSERT INTO checkpoint (job_id, step, files, bytes) VALUES ($1, $2, $3, $4)
         ON CONFLICT ON CONSTRAINT checkpoint_pkey
         DO UPDATE SET files = excluded.files, bytes = excluded.bytes, created_at = now()",
        job_id,
        step,
        Json(files) as _,
        bytes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn latest(conn: &mut PgConnection, job_id: Uuid) -> Result<Option<Checkpoint>> {
    Ok(sqlx::query_as!(
        Checkpoint,
        r#"SELECT job_id, step, files AS "files: Json<Vec<CheckpointFile>>", bytes, created_at
           FROM checkpoint WHERE job_id = $1 ORDER BY step DESC LIMIT 1"#,
        job_id,
    )
    .fetch_optional(conn)
    .await?)
}

/// By step.
pub async fn list(conn: &mut PgConnection, job_id: Uuid) -> Result<Vec<Checkpoint>> {
    Ok(sqlx::query_as!(
        Checkpoint,
        r#"SELECT job_id, step, files AS "files: Json<Vec<CheckpointFile>>", bytes, created_at
           FROM checkpoint WHERE job_id = $1 ORDER BY step"#,
        job_id,
    )
    .fetch_all(conn)
    .await?)
}

/// Forgets one; its blobs stay until nobody names them.
pub async fn delete(conn: &mut PgConnection, job_id: Uuid, step: i32) -> Result<bool> {
    let done =
        sqlx::query!("DELETE FROM checkpoint WHERE job_id = $1 AND step = $2", job_id, step).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a checkpoint or an artifact of any job names this blob.
pub async fn names_blob(conn: &mut PgConnection, blob: &str) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM artifact WHERE blob = $1)
               OR EXISTS (SELECT FROM checkpoint, json_array_elements(files) AS file WHERE file ->> 'blob' = $1) AS "is!""#,
        blob,
    )
    .fetch_one(conn)
    .await?)
}

#[derive(Clone, Debug)]
pub struct Artifact {
    pub job_id: Uuid,
    pub name: String,
    /// Its key is the SHA-256 of the content.
    pub blob: String,
    pub bytes: i64,
    pub media_type: String,
    pub created_at: DateTime<Utc>,
}

/// Adds or replaces the artifact of this name.
pub async fn upsert_artifact(
    conn: &mut PgConnection,
    job_id: Uuid,
    name: &str,
    blob: &str,
    bytes: i64,
    media_type: &str,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO artifact (job_id, name, blob, bytes, media_type) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT artifact_pkey DO UPDATE
         SET blob = excluded.blob, bytes = excluded.bytes, media_type = excluded.media_type, created_at = now()",
        job_id,
        name,
        blob,
        bytes,
        media_type,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// By name.
pub async fn artifacts(conn: &mut PgConnection, job_id: Uuid) -> Result<Vec<Artifact>> {
    Ok(sqlx::query_as!(
        Artifact,
        "SELECT job_id, name, blob, bytes, media_type, created_at FROM artifact WHERE job_id = $1 ORDER BY name",
        job_id,
    )
    .fetch_all(conn)
    .await?)
}

pub async fn find_artifact(conn: &mut PgConnection, job_id: Uuid, name: &str) -> Result<Option<Artifact>> {
    Ok(sqlx::query_as!(
        Artifact,
        "SELECT job_id, name, blob, bytes, media_type, created_at FROM artifact WHERE job_id = $1 AND name = $2",
        job_id,
        name,
    )
    .fetch_optional(conn)
    .await?)
}
