//! Named sets of graphs: tables `collection`, `collection_graph`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use crate::Result;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    pub id: Uuid,
    pub name: String,
    pub description: String,
    pub num_graphs: i64,
    /// Counts changes of name and description.
    pub version: i64,
    pub created_at: DateTime<Utc>,
}

/// # Errors
/// `Conflict` where another collection has the name.
pub async fn insert(conn: &mut PgConnection, name: &str, description: &str) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!("INSERT INTO collection (id, name, description) VALUES ($1, $2, $3)", id, name, description)
        .execute(conn)
        .await?;
    Ok(id)
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Collection>> {
    Ok(sqlx::query_as!(
        Collection,
        r#"SELECT k.id, k.name, k.description, k.version, k.created_at,
                  (SELECT count(*) FROM collection_graph WHERE collection_id = k.id) AS "num_graphs!"
           FROM collection k WHERE k.id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<Collection>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Collection,
        r#"SELECT k.id, k.name, k.description, k.version, k.created_at,
                  (SELECT count(*) FROM collection_graph WHERE collection_id = k.id) AS "num_graphs!"
           FROM collection k WHERE $1::uuid IS NULL OR k.id < $1 ORDER BY k.id DESC LIMIT $2"#,
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM collection"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// Compare-and-set by the version; false when it is another one by now.
pub async fn update(
    conn: &mut PgConnection,
    id: Uuid,
    version: i64,
    name: Option<&str>,
    description: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE collection SET name = coalesce($3, name), description = coalesce($4, description), version = version + 1
         WHERE id = $1 AND version = $2",
        id,
        version,
        name,
        description,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes the set, not its graphs; false when the version is another one by now.
pub async fn delete(conn: &mut PgConnection, id: Uuid, version: i64) -> Result<bool> {
    let done = sqlx::query!("DELETE FROM collection WHERE id = $1 AND version = $2", id, version).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Adds graphs; those that were not there before.
pub async fn add(conn: &mut PgConnection, id: Uuid, graph_ids: &[Uuid]) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO collection_graph (collection_id, graph_id) SELECT $1, g.id FROM graph g WHERE g.id = ANY ($2)
         ON CONFLICT ON CONSTRAINT collection_graph_pkey DO NOTHING RETURNING graph_id",
        id,
        graph_ids,
    )
    .fetch_all(conn)
    .await?)
}

/// Takes graphs out; those that were there.
pub async fn remove(conn: &mut PgConnection, id: Uuid, graph_ids: &[Uuid]) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "DELETE FROM collection_graph WHERE collection_id = $1 AND graph_id = ANY ($2) RETURNING graph_id",
        id,
        graph_ids,
    )
    .fetch_all(conn)
    .await?)
}
