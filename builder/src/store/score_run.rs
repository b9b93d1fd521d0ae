//! Runs of an answerer over candidates: table `score_run`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::state::TaskState;
use super::task_row::task_row;
use crate::Result;

task_row!("score_run": update_state, fail, set_progress);

#[derive(Clone, Debug)]
pub struct ScoreRun {
    pub id: Uuid,
    pub answerer: String,
    pub answerer_version: String,
    /// `None`: every candidate.
    pub generation_id: Option<Uuid>,
    /// What it writes.
    pub metrics: Vec<String>,
    /// The registered network, where the scorer needs one.
    pub network: Option<String>,
    /// 1, or the number of a repetition that only measures how stable the scorer is.
    pub repetition: i32,
    /// Answers are there already: nothing is asked.
    pub recorded: bool,
    /// What it cost to ask over the network: [`crate::endpoint::chat::Spent`].
    pub spent: Option<Value>,
    pub state: TaskState,
    /// Candidates scored.
    pub done: i64,
    pub total: i64,
    pub error: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct NewScoreRun {
    pub answerer: String,
    pub answerer_version: String,
    pub generation_id: Option<Uuid>,
    pub metrics: Vec<String>,
    pub network: Option<String>,
    pub repetition: i32,
    pub recorded: bool,
}

pub async fn insert(conn: &mut PgConnection, new: &NewScoreRun) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!(
        "INSERT INTO score_run (id, answerer, answerer_version, generation_id, metrics, network, repetition, recorded)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        id,
        new.answerer,
        new.answerer_version,
        new.generation_id,
        &new.metrics,
        new.network,
        new.repetition,
        new.recorded,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<ScoreRun>> {
    Ok(sqlx::query_as!(
        ScoreRun,
        r#"SELECT id, answerer, answerer_version, generation_id, metrics, network, repetition, recorded, spent,
                  state AS "state: TaskState", done, total, error,
                  created_at, started_at, finished_at
           FROM score_run WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<ScoreRun>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        ScoreRun,
        r#"SELECT id, answerer, answerer_version, generation_id, metrics, network, repetition, recorded, spent,
                  state AS "state: TaskState", done, total, error,
                  created_at, started_at, finished_at
           FROM score_run WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"#,
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM score_run"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Queued or running ones, oldest first.
pub async fn unfinished(conn: &mut PgConnection) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!("SELECT id FROM score_run WHERE state IN ('queued', 'running') ORDER BY id")
        .fetch_all(conn)
        .await?)
}

pub async fn set_spent(conn: &mut PgConnection, id: Uuid, spent: &Value) -> Result<()> {
    sqlx::query!("UPDATE score_run SET spent = $2 WHERE id = $1", id, spent).execute(conn).await?;
    Ok(())
}

/// A scorer, in one version, with what it scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunScorer {
    pub name: String,
    pub version: String,
    pub metrics: Vec<String>,
}

/// Every scorer that has run, in its newest version, by name; repetitions do not count.
pub async fn scorers(conn: &mut PgConnection) -> Result<Vec<RunScorer>> {
    Ok(sqlx::query_as!(
        RunScorer,
        "SELECT DISTINCT ON (answerer) answerer AS name, answerer_version AS version, metrics FROM score_run
         WHERE state <> 'queued' AND repetition = 1 ORDER BY answerer, id DESC"
    )
    .fetch_all(conn)
    .await?)
}

/// Name and version of the scorer that ran last for a metric; `answerer`: of this one's versions only.
pub async fn last_for(
    conn: &mut PgConnection,
    metric: &str,
    answerer: Option<&str>,
) -> Result<Option<(String, String)>> {
    let row = sqlx::query!(
        "SELECT answerer, answerer_version FROM score_run
         WHERE state <> 'queued' AND repetition = 1 AND $1 = ANY (metrics) AND ($2::text IS NULL OR answerer = $2)
         ORDER BY id DESC LIMIT 1",
        metric,
        answerer,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.answerer, row.answerer_version)))
}

/// The newest version of a scorer that has been repeated, with the versions of its repetitions, the first first.
pub async fn repetitions(conn: &mut PgConnection, answerer: &str) -> Result<Vec<(i32, String)>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (repetition) repetition, answerer_version FROM score_run
         WHERE answerer = $1 AND state = 'succeeded' ORDER BY repetition, id DESC",
        answerer,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.repetition, row.answerer_version)).collect())
}
