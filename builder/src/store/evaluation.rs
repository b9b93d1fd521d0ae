//! Trained against base on held-out graphs: tables `evaluation`, `evaluation_image`, and the scored images by what made
//! them, `evaluation_sample`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::state::{EvaluationKind, EvaluationRole, TaskState};
use super::task_row::task_row;
use crate::Result;

task_row!("evaluation": update_state, fail, set_progress);

#[derive(Clone, Debug)]
pub struct Evaluation {
    pub id: Uuid,
    pub job_id: Option<Uuid>,
    pub name: String,
    pub kind: EvaluationKind,
    /// The training step whose weights are compared.
    pub step: Option<i32>,
    pub base_model_hash: Option<String>,
    pub trained_model_hash: Option<String>,
    pub state: TaskState,
    pub settings: Value,
    pub result: Option<Value>,
    pub done: i64,
    pub total: i64,
    pub error: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug)]
pub struct NewEvaluation {
    pub job_id: Option<Uuid>,
    pub name: String,
    pub kind: EvaluationKind,
    pub step: Option<i32>,
    pub base_model_hash: Option<String>,
    pub trained_model_hash: Option<String>,
    pub settings: Value,
    pub total: i64,
}

pub async fn insert(conn: &mut PgConnection, new: &NewEvaluation) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!(
        "INSERT INTO evaluation (id, job_id, name, kind, step, base_model_hash, trained_model_hash, settings, total)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id,
        new.job_id,
        new.name,
        new.kind as EvaluationKind,
        new.step,
        new.base_model_hash,
        new.trained_model_hash,
        new.settings,
        new.total,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Evaluation>> {
    Ok(sqlx::query_as!(
        Evaluation,
        r#"SELECT id, job_id, name, kind AS "kind: EvaluationKind", step, base_model_hash, trained_model_hash,
                  state AS "state: TaskState", settings, result, done, total, error, created_at, started_at, finished_at
           FROM evaluation WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(
    conn: &mut PgConnection,
    job_id: Option<Uuid>,
    kind: Option<EvaluationKind>,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<Evaluation>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let kind = kind.map(EvaluationKind::as_str);
    let rows = sqlx::query_as!(
        Evaluation,
        r#"SELECT id, job_id, name, kind AS "kind: EvaluationKind", step, base_model_hash, trained_model_hash,
                  state AS "state: TaskState", settings, result, done, total, error, created_at, started_at, finished_at
           FROM evaluation
           WHERE ($1::uuid IS NULL OR id < $1) AND ($2::uuid IS NULL OR job_id = $2)
             AND ($3::text IS NULL OR kind = $3::evaluation_kind)
           ORDER BY id DESC LIMIT $4"#,
        before,
        job_id,
        kind,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM evaluation
           WHERE ($1::uuid IS NULL OR job_id = $1) AND ($2::text IS NULL OR kind = $2::evaluation_kind)"#,
        job_id,
        kind,
    )
    .fetch_one(conn)
    .await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Every evaluation of a job, oldest first.
pub async fn of_job(conn: &mut PgConnection, job_id: Uuid) -> Result<Vec<Evaluation>> {
    Ok(sqlx::query_as!(
        Evaluation,
        r#"SELECT id, job_id, name, kind AS "kind: EvaluationKind", step, base_model_hash, trained_model_hash,
                  state AS "state: TaskState", settings, result, done, total, error, created_at, started_at, finished_at
           FROM evaluation WHERE job_id = $1 ORDER BY id"#,
        job_id,
    )
    .fetch_all(conn)
    .await?)
}

/// Queued or running ones that belong to no job, oldest first; a job looks after its own.
pub async fn unfinished(conn: &mut PgConnection) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "SELECT id FROM evaluation WHERE state IN ('queued', 'running') AND job_id IS NULL ORDER BY id"
    )
    .fetch_all(conn)
    .await?)
}

/// The result; the state is changed apart from it.
pub async fn set_result(conn: &mut PgConnection, id: Uuid, result: &Value) -> Result<()> {
    sqlx::query!("UPDATE evaluation SET result = $2 WHERE id = $1", id, result).execute(conn).await?;
    Ok(())
}

#[derive(Clone, Debug)]
pub struct EvaluationImage {
    pub graph_id: Uuid,
    pub index: i32,
    pub role: EvaluationRole,
    pub seed: i64,
    pub image_blob: String,
    pub score: f64,
    pub by_kind: Value,
}

/// Adds or replaces, by (graph, index, role).
pub async fn upsert_images(conn: &mut PgConnection, evaluation_id: Uuid, images: &[EvaluationImage]) -> Result<()> {
    let graph_ids: Vec<Uuid> = images.iter().map(|one| one.graph_id).collect();
    let indexes: Vec<i32> = images.iter().map(|one| one.index).collect();
    let roles: Vec<&str> = images.iter().map(|one| one.role.as_str()).collect();
    let seeds: Vec<i64> = images.iter().map(|one| one.seed).collect();
    let blobs: Vec<&str> = images.iter().map(|one| &*one.image_blob).collect();
    let scores: Vec<f64> = images.iter().map(|one| one.score).collect();
    let by_kinds: Vec<String> = images.iter().map(|one| one.by_kind.to_string()).collect();
    sqlx::query!(
        "INSERT INTO evaluation_image (evaluation_id, graph_id, index, role, seed, image_blob, score, by_kind)
         SELECT $1, graph_id, index, role::evaluation_role, seed, image_blob, score, by_kind::json
         FROM UNNEST($2::uuid[], $3::integer[], $4::text[], $5::bigint[], $6::text[], $7::double precision[], $8::text[])
              AS t (graph_id, index, role, seed, image_blob, score, by_kind)
         ON CONFLICT ON CONSTRAINT evaluation_image_pkey DO UPDATE
         SET seed = excluded.seed, image_blob = excluded.image_blob, score = excluded.score, by_kind = excluded.by_kind",
        evaluation_id,
        &graph_ids,
        &indexes,
        &roles as &[&str],
        &seeds,
        &blobs as &[&str],
        &scores,
        &by_kinds,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// All images, by graph, index and role (base first).
pub async fn images(conn: &mut PgConnection, evaluation_id: Uuid) -> Result<Vec<EvaluationImage>> {
    Ok(sqlx::query_as!(
        EvaluationImage,
        r#"SELECT graph_id, index, role AS "role: EvaluationRole", seed, image_blob, score, by_kind
           FROM evaluation_image WHERE evaluation_id = $1 ORDER BY graph_id, index, role"#,
        evaluation_id,
    )
    .fetch_all(conn)
    .await?)
}

/// Base and trained image of the same graph and seed.
#[derive(Clone, Debug)]
pub struct ImagePair {
    pub graph_id: Uuid,
    pub index: i32,
    pub seed: i64,
    pub base_blob: String,
    pub base_score: f64,
    pub trained_blob: String,
    pub trained_score: f64,
}

/// The pairs that are complete, by graph and index.
pub async fn list_image_pairs(
    conn: &mut PgConnection,
    evaluation_id: Uuid,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<ImagePair>> {
    let limit = page::clamp(limit);
    let (after_graph, after_index): (Uuid, i32) = page::decode(cursor)?.unwrap_or((Uuid::nil(), -1));
    let rows = sqlx::query_as!(
        ImagePair,
        "SELECT b.graph_id, b.index, b.seed, b.image_blob AS base_blob, b.score AS base_score,
                t.image_blob AS trained_blob, t.score AS trained_score
         FROM evaluation_image b
         JOIN evaluation_image t USING (evaluation_id, graph_id, index)
         WHERE evaluation_id = $1 AND b.role = 'base' AND t.role = 'trained' AND (graph_id, index) > ($2::uuid, $3::integer)
         ORDER BY graph_id, index LIMIT $4",
        evaluation_id,
        after_graph,
        after_index,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM evaluation_image b JOIN evaluation_image t USING (evaluation_id, graph_id, index)
           WHERE evaluation_id = $1 AND b.role = 'base' AND t.role = 'trained'"#,
        evaluation_id,
    )
    .fetch_one(conn)
    .await?;
    Page::new(rows, limit, total, |row| (row.graph_id, row.index))
}

pub async fn find_image(
    conn: &mut PgConnection,
    evaluation_id: Uuid,
    graph_id: Uuid,
    index: i32,
    role: EvaluationRole,
) -> Result<Option<EvaluationImage>> {
    Ok(sqlx::query_as!(
        EvaluationImage,
        r#"SELECT graph_id, index, role AS "role: EvaluationRole", seed, image_blob, score, by_kind
           FROM evaluation_image WHERE evaluation_id = $1 AND graph_id = $2 AND index = $3 AND role = $4"#,
        evaluation_id,
        graph_id,
        index,
        role as EvaluationRole,
    )
    .fetch_optional(conn)
    .await?)
}

/// What, beside graph and seed, made a scored image.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleKey {
    pub model_hash: String,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub answerer: String,
    pub answerer_version: String,
}

#[derive(Clone, Debug)]
pub struct Sample {
    pub graph_id: Uuid,
    pub seed: i64,
    pub score: f64,
    pub kinds: Value,
    pub image_blob: Option<String>,
}

/// Adds those that are not there yet.
pub async fn insert_samples(conn: &mut PgConnection, key: &SampleKey, samples: &[Sample]) -> Result<()> {
    let graph_ids: Vec<Uuid> = samples.iter().map(|one| one.graph_id).collect();
    let seeds: Vec<i64> = samples.iter().map(|one| one.seed).collect();
    let scores: Vec<f64> = samples.iter().map(|one| one.score).collect();
    let kinds: Vec<String> = samples.iter().map(|one| one.kinds.to_string()).collect();
    let blobs: Vec<Option<&str>> = samples.iter().map(|one| one.image_blob.as_deref()).collect();
    sqlx::query!(
        "INSERT INTO evaluation_sample (model_hash, num_inference_steps, guidance_scale, answerer, answerer_version,
                                        graph_id, seed, score, kinds, image_blob)
         SELECT $1, $2, $3, $4, $5, graph_id, seed, score, kinds::json, image_blob
         FROM UNNEST($6::uuid[], $7::bigint[], $8::double precision[], $9::text[], $10::text[])
              AS t (graph_id, seed, score, kinds, image_blob)
         ON CONFLICT ON CONSTRAINT evaluation_sample_pkey DO NOTHING",
        key.model_hash,
        key.num_inference_steps,
        key.guidance_scale,
        key.answerer,
        key.answerer_version,
        &graph_ids,
        &seeds,
        &scores,
        &kinds,
        &blobs as &[Option<&str>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of these graphs, by graph and seed.
pub async fn samples(conn: &mut PgConnection, key: &SampleKey, graph_ids: &[Uuid]) -> Result<Vec<Sample>> {
    Ok(sqlx::query_as!(
        Sample,
        "SELECT graph_id, seed, score, kinds, image_blob FROM evaluation_sample
         WHERE model_hash = $1 AND num_inference_steps = $2 AND guidance_scale = $3 AND answerer = $4
           AND answerer_version = $5 AND graph_id = ANY ($6)
         ORDER BY graph_id, seed",
        key.model_hash,
        key.num_inference_steps,
        key.guidance_scale,
        key.answerer,
        key.answerer_version,
        graph_ids,
    )
    .fetch_all(conn)
    .await?)
}
