//! Runs that make candidates, and the graphs each was asked for: tables `generation`, `generation_graph`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::state::TaskState;
use super::task_row::task_row;
use crate::Result;

task_row!("generation": update_state, fail);

#[derive(Clone, Debug)]
pub struct Generation {
    pub id: Uuid,
    pub model_hash: String,
    /// Of the run; each candidate's own is derived from it.
    pub seed: i64,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub sampler: String,
    /// Of each graph.
    pub num_candidates: i32,
    pub selection: Value,
    pub state: TaskState,
    /// Candidates made.
    pub done: i64,
    pub total: i64,
    pub error: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug)]
pub struct NewGeneration {
    pub model_hash: String,
    pub seed: i64,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub sampler: String,
    pub num_candidates: i32,
    /// How the graphs were named, for people to read.
    pub selection: Value,
    /// In the order they are to be worked through.
    pub graph_ids: Vec<Uuid>,
}

/// Two statements: call it in a transaction.
pub async fn insert(conn: &mut PgConnection, new: &NewGeneration) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!(
        "INSERT INTO generation
             (id, model_hash, seed, num_inference_steps, guidance_scale, sampler, num_candidates, selection, total)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id,
        new.model_hash,
        new.seed,
        new.num_inference_steps,
        new.guidance_scale,
        new.sampler,
        new.num_candidates,
        new.selection,
        new.graph_ids.len() as i64 * i64::from(new.num_candidates),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO generation_graph (generation_id, position, graph_id)
         SELECT $1, (ordinality - 1)::integer, graph_id FROM UNNEST($2::uuid[]) WITH ORDINALITY AS t (graph_id, ordinality)",
        id,
        &new.graph_ids,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

/// Adds a graph at the end of a generation's list, unless it is there.
pub async fn add_graph(conn: &mut PgConnection, id: Uuid, graph_id: Uuid) -> Result<()> {
    sqlx::query!(
        "INSERT INTO generation_graph (generation_id, position, graph_id)
         SELECT $1, (SELECT coalesce(max(position) + 1, 0) FROM generation_graph WHERE generation_id = $1), $2
         ON CONFLICT ON CONSTRAINT generation_graph_graph_id_key DO NOTHING",
        id,
        graph_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Generation>> {
    Ok(sqlx::query_as!(
        Generation,
        r#"SELECT id, model_hash, seed, num_inference_steps, guidance_scale, sampler, num_candidates, selection,
                  state AS "state: TaskState", done, total, error, created_at, started_at, finished_at
           FROM generation WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<Generation>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Generation,
        r#"SELECT id, model_hash, seed, num_inference_steps, guidance_scale, sampler, num_candidates, selection,
                  state AS "state: TaskState", done, total, error, created_at, started_at, finished_at
           FROM generation WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"#,
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM generation"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Queued or running ones, oldest first: what a restarted service has to take up again.
pub async fn unfinished(conn: &mut PgConnection) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!("SELECT id FROM generation WHERE state IN ('queued', 'running') ORDER BY id")
        .fetch_all(conn)
        .await?)
}

/// Sets `done` to the number of candidates there are, and returns it.
pub async fn count_done(conn: &mut PgConnection, id: Uuid) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        "UPDATE generation SET done = (SELECT count(*) FROM candidate WHERE generation_id = $1) WHERE id = $1 RETURNING done",
        id,
    )
    .fetch_one(conn)
    .await?)
}

pub async fn set_progress(conn: &mut PgConnection, id: Uuid, done: i64) -> Result<()> {
    sqlx::query!("UPDATE generation SET done = $2 WHERE id = $1", id, done).execute(conn).await?;
    Ok(())
}

/// A graph that a generation has to work on.
#[derive(Clone, Debug)]
pub struct GraphRef {
    pub graph_id: Uuid,
    pub content_hash: String,
}

/// All graphs of a generation, in its order.
pub async fn graphs(conn: &mut PgConnection, id: Uuid) -> Result<Vec<GraphRef>> {
    Ok(sqlx::query_as!(
        GraphRef,
        "SELECT gg.graph_id, g.content_hash FROM generation_graph gg JOIN graph g ON g.id = gg.graph_id
         WHERE gg.generation_id = $1 ORDER BY gg.position",
        id,
    )
    .fetch_all(conn)
    .await?)
}
