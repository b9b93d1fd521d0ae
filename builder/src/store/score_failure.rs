//! Candidates that could not be scored, and why: table `score_failure`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::score_run::ScoreRun;
use crate::Result;

/// Why a candidate has no score of a scorer's version.
#[derive(Clone, Debug)]
pub struct ScoreFailure {
    pub candidate_id: Uuid,
    pub graph_id: Uuid,
    pub reason: String,
    /// Tries so far.
    pub attempts: i32,
    pub failed_at: DateTime<Utc>,
}

/// Writes down why these candidates could not be scored, now or again.
pub async fn upsert_many(
    conn: &mut PgConnection,
    (answerer, answerer_version): (&str, &str),
    failures: &[(Uuid, String)],
) -> Result<()> {
    let ids: Vec<Uuid> = failures.iter().map(|(id, _)| *id).collect();
    // The store's text has no U+0000; a server's message may.
    let reasons: Vec<String> = failures.iter().map(|(_, reason)| reason.replace('\0', "\u{fffd}")).collect();
    sqlx::query!(
        "INSERT INTO score_failure (candidate_id, answerer, answerer_version, reason)
         SELECT id, $1, $2, reason FROM UNNEST($3::uuid[], $4::text[]) AS t (id, reason)
         ON CONFLICT ON CONSTRAINT score_failure_pkey
         DO UPDATE SET reason = excluded.reason, attempts = score_failure.attempts + 1, failed_at = now()",
        answerer,
        answerer_version,
        &ids,
        &reasons,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// These have been scored.
pub async fn delete_many(
    conn: &mut PgConnection,
    (answerer, answerer_version): (&str, &str),
    candidate_ids: &[Uuid],
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM score_failure WHERE answerer = $1 AND answerer_version = $2 AND candidate_id = ANY ($3)",
        answerer,
        answerer_version,
        candidate_ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many candidates of a run's scope its scorer could not score.
pub async fn count(conn: &mut PgConnection, run: &ScoreRun) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM score_failure f JOIN candidate c ON c.id = f.candidate_id
           WHERE f.answerer = $1 AND f.answerer_version = $2 AND ($3::uuid IS NULL OR c.generation_id = $3)"#,
        run.answerer,
        run.answerer_version,
        run.generation_id,
    )
    .fetch_one(conn)
    .await?)
}

/// The same candidates, by id.
pub async fn list(
    conn: &mut PgConnection,
    run: &ScoreRun,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<ScoreFailure>> {
    let limit = page::clamp(limit);
    let after: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        ScoreFailure,
        "SELECT f.candidate_id, c.graph_id, f.reason, f.attempts, f.failed_at
         FROM score_failure f JOIN candidate c ON c.id = f.candidate_id
         WHERE f.answerer = $1 AND f.answerer_version = $2 AND ($3::uuid IS NULL OR c.generation_id = $3)
           AND ($4::uuid IS NULL OR f.candidate_id > $4)
         ORDER BY f.candidate_id LIMIT $5",
        run.answerer,
        run.answerer_version,
        run.generation_id,
        after,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = count(conn, run).await?;
    Page::new(rows, limit, total, |row| row.candidate_id)
}
