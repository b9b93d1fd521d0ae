//! Votes on two candidates of a graph: table `vote`, one row a voter and pair.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use super::state::{Split, VoteChoice};
use crate::Result;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    pub id: Uuid,
    pub graph_id: Uuid,
    /// Shown on the left.
    pub left_id: Uuid,
    /// Shown on the right.
    pub right_id: Uuid,
    /// "" is nobody in particular.
    pub voter: String,
    pub choice: VoteChoice,
    pub created_at: DateTime<Utc>,
}

/// Writes a vote, or replaces what this voter said of the pair before (which keeps its id). The flag says whether the voter
/// had not voted on the pair yet.
pub async fn upsert(
    conn: &mut PgConnection,
    graph_id: Uuid,
    left_id: Uuid,
    right_id: Uuid,
    voter: &str,
    choice: VoteChoice,
) -> Result<(Vote, bool)> {
    // Rows that were updated have a transaction in xmax; the same vote again changes nothing, not even its time.
    let row = sqlx::query!(
        r#"INSERT INTO vote (id, graph_id, left_id, right_id, voter, choice) VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (voter, least(left_id, right_id), greatest(left_id, right_id)) DO UPDATE
           SET left_id = excluded.left_id, right_id = excluded.right_id, choice = excluded.choice,
               created_at = CASE WHEN (vote.left_id, vote.choice) = (excluded.left_id, excluded.choice)
                                 THEN vote.created_at ELSE now() END
           RETURNING id, graph_id, left_id, right_id, voter, choice AS "choice: VoteChoice", created_at,
                     xmax = 0 AS "is_new!""#,
        crate::id::new(),
        graph_id,
        left_id,
        right_id,
        voter,
        choice as VoteChoice,
    )
    .fetch_one(conn)
    .await?;
    let vote = Vote {
        id: row.id,
        graph_id: row.graph_id,
        left_id: row.left_id,
        right_id: row.right_id,
        voter: row.voter,
        choice: row.choice,
        created_at: row.created_at,
    };
    Ok((vote, row.is_new))
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Vote>> {
    Ok(sqlx::query_as!(
        Vote,
        r#"SELECT id, graph_id, left_id, right_id, voter, choice AS "choice: VoteChoice", created_at
           FROM vote WHERE id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Takes a vote back; false where there is none.
pub async fn delete(conn: &mut PgConnection, id: Uuid) -> Result<bool> {
    Ok(sqlx::query!("DELETE FROM vote WHERE id = $1", id).execute(conn).await?.rows_affected() == 1)
}

/// Newest first; of one voter, or of all.
pub async fn list(
    conn: &mut PgConnection,
    voter: Option<&str>,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<Vote>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Vote,
        r#"SELECT id, graph_id, left_id, right_id, voter, choice AS "choice: VoteChoice", created_at FROM vote
           WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR voter = $2) ORDER BY id DESC LIMIT $3"#,
        before,
        voter,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM vote WHERE $1::text IS NULL OR voter = $1"#, voter)
            .fetch_one(conn)
            .await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Every vote, of one voter or of all, in the order of their ids.
pub async fn all(conn: &mut PgConnection, voter: Option<&str>) -> Result<Vec<Vote>> {
    Ok(sqlx::query_as!(
        Vote,
        r#"SELECT id, graph_id, left_id, right_id, voter, choice AS "choice: VoteChoice", created_at FROM vote
           WHERE $1::text IS NULL OR voter = $1 ORDER BY id"#,
        voter,
    )
    .fetch_all(conn)
    .await?)
}

/// Every vote on graphs of a side of the split and candidates of a generation; `None`: any.
pub async fn in_scope(conn: &mut PgConnection, split: Option<Split>, generation_id: Option<Uuid>) -> Result<Vec<Vote>> {
    Ok(sqlx::query_as!(
        Vote,
        r#"SELECT v.id, v.graph_id, v.left_id, v.right_id, v.voter, v.choice AS "choice: VoteChoice", v.created_at
           FROM vote v JOIN graph g ON g.id = v.graph_id
                JOIN candidate l ON l.id = v.left_id JOIN candidate r ON r.id = v.right_id
           WHERE ($1::text IS NULL OR g.split = $1::split)
             AND ($2::uuid IS NULL OR (l.generation_id = $2 AND r.generation_id = $2))
           ORDER BY v.id"#,
        split.map(Split::as_str),
        generation_id,
    )
    .fetch_all(conn)
    .await?)
}
