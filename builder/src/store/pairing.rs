//! Frozen pairs: tables `pairing`, `pair`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{Acquire, PgConnection};
use uuid::Uuid;

use super::page::{self, Page};
use crate::Result;

#[derive(Clone, Debug)]
pub struct Pairing {
    pub id: Uuid,
    pub name: String,
    pub policy: Value,
    /// Over the policy and the pairs.
    pub hash: String,
    pub num_pairs: i32,
    pub num_graphs: i32,
    pub mean_margin: f64,
    pub created_at: DateTime<Utc>,
}

/// A pair of a frozen pairing; its place is its place in the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub graph_id: Uuid,
    pub winner_id: Uuid,
    pub loser_id: Uuid,
    pub winner_score: f64,
    pub loser_score: f64,
    pub margin: f64,
}

#[derive(Clone, Debug)]
pub struct PositionedPair {
    pub position: i32,
    pub pair: Pair,
}

/// Freezes pairs, all of them or none. Returns the pairing and whether it is new: one with the same hash is the same, and
/// keeps its first name.
pub async fn insert(
    conn: &mut PgConnection,
    name: &str,
    policy: &Value,
    hash: &str,
    pairs: &[Pair],
) -> Result<(Pairing, bool)> {
    let mut tx = conn.begin().await?;
    let id = crate::id::new();
    let graphs: std::collections::HashSet<Uuid> = pairs.iter().map(|pair| pair.graph_id).collect();
    let margin: f64 = pairs.iter().map(|pair| pair.margin).sum();
    let inserted = sqlx::query!(
        "INSERT INTO pairing (id, name, policy, hash, num_pairs, num_graphs, mean_margin) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT ON CONSTRAINT pairing_hash_key DO NOTHING",
        id,
        name,
        policy,
        hash,
        i32::try_from(pairs.len()).unwrap_or(i32::MAX),
        i32::try_from(graphs.len()).unwrap_or(i32::MAX),
        if pairs.is_empty() { 0.0 } else { margin / pairs.len() as f64 },
    )
    .execute(&mut *tx)
    .await?;
    let is_new = inserted.rows_affected() == 1;
    if is_new {
        let graph_ids: Vec<Uuid> = pairs.iter().map(|pair| pair.graph_id).collect();
        let winner_ids: Vec<Uuid> = pairs.iter().map(|pair| pair.winner_id).collect();
        let loser_ids: Vec<Uuid> = pairs.iter().map(|pair| pair.loser_id).collect();
        let winner_scores: Vec<f64> = pairs.iter().map(|pair| pair.winner_score).collect();
        let loser_scores: Vec<f64> = pairs.iter().map(|pair| pair.loser_score).collect();
        let margins: Vec<f64> = pairs.iter().map(|pair| pair.margin).collect();
        sqlx::query!(
            "INSERT INTO pair (pairing_id, position, graph_id, winner_id, loser_id, winner_score, loser_score, margin)
             SELECT $1, (ordinality - 1)::integer, graph_id, winner_id, loser_id, winner_score, loser_score, margin
             FROM UNNEST($2::uuid[], $3::uuid[], $4::uuid[], $5::double precision[], $6::double precision[],
                         $7::double precision[])
                  WITH ORDINALITY AS t (graph_id, winner_id, loser_id, winner_score, loser_score, margin, ordinality)",
            id,
            &graph_ids,
            &winner_ids,
            &loser_ids,
            &winner_scores,
            &loser_scores,
            &margins,
        )
        .execute(&mut *tx)
        .await?;
    }
    let pairing = sqlx::query_as!(
        Pairing,
        "SELECT id, name, policy, hash, num_pairs, num_graphs, mean_margin, created_at FROM pairing WHERE hash = $1",
        hash,
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok((pairing, is_new))
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Pairing>> {
    Ok(sqlx::query_as!(
        Pairing,
        "SELECT id, name, policy, hash, num_pairs, num_graphs, mean_margin, created_at FROM pairing WHERE id = $1",
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<Pairing>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Pairing,
        "SELECT id, name, policy, hash, num_pairs, num_graphs, mean_margin, created_at FROM pairing
         WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM pairing"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// All pairs, in their order.
pub async fn pairs(conn: &mut PgConnection, pairing_id: Uuid) -> Result<Vec<Pair>> {
    Ok(sqlx::query_as!(
        Pair,
        "SELECT graph_id, winner_id, loser_id, winner_score, loser_score, margin FROM pair
         WHERE pairing_id = $1 ORDER BY position",
        pairing_id,
    )
    .fetch_all(conn)
    .await?)
}

/// A page of pairs, in their order.
pub async fn list_pairs(
    conn: &mut PgConnection,
    pairing_id: Uuid,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<PositionedPair>> {
    list_pairs_from(conn, pairing_id, 0, limit, cursor).await
}

/// As [`list_pairs`], the first page from the position `from` on.
pub async fn list_pairs_from(
    conn: &mut PgConnection,
    pairing_id: Uuid,
    from: i32,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<PositionedPair>> {
    let limit = page::clamp(limit);
    let after: i32 = page::decode(cursor)?.unwrap_or(from - 1);
    let rows = sqlx::query!(
        "SELECT position, graph_id, winner_id, loser_id, winner_score, loser_score, margin FROM pair
         WHERE pairing_id = $1 AND position > $2 ORDER BY position LIMIT $3",
        pairing_id,
        after,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let rows: Vec<PositionedPair> = rows
        .into_iter()
        .map(|row| PositionedPair {
            position: row.position,
            pair: Pair {
                graph_id: row.graph_id,
                winner_id: row.winner_id,
                loser_id: row.loser_id,
                winner_score: row.winner_score,
                loser_score: row.loser_score,
                margin: row.margin,
            },
        })
        .collect();
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM pair WHERE pairing_id = $1"#, pairing_id)
        .fetch_one(conn)
        .await?;
    Page::new(rows, limit, total, |row| row.position)
}
