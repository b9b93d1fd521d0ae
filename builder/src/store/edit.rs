//! Changes that can be taken back: table `edit`, and the tags that some of them change.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use crate::Result;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "edit_kind", rename_all = "snake_case")]
pub enum EditKind {
    AddTag,
    RemoveTag,
    AddToCollection,
    RemoveFromCollection,
    Revise,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub id: Uuid,
    pub kind: EditKind,
    /// The tag, the collection's id, or the `img_id`.
    pub subject: String,
    /// The graphs that it really changed; of a revision the old one and the new one.
    pub graph_ids: Vec<Uuid>,
    pub undone_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

pub async fn insert(conn: &mut PgConnection, kind: EditKind, subject: &str, graph_ids: &[Uuid]) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!(
        "INSERT INTO edit (id, kind, subject, graph_ids) VALUES ($1, $2, $3, $4)",
        id,
        kind as EditKind,
        subject,
        graph_ids,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

/// Locked until the transaction ends: nobody else undoes it meanwhile.
pub async fn find_locked(conn: &mut PgConnection, id: Uuid) -> Result<Option<Edit>> {
    Ok(sqlx::query_as!(
        Edit,
        r#"SELECT id, kind AS "kind: EditKind", subject, graph_ids, undone_at, created_at FROM edit
           WHERE id = $1 FOR UPDATE"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<Edit>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Edit,
        r#"SELECT id, kind AS "kind: EditKind", subject, graph_ids, undone_at, created_at FROM edit
           WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"#,
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM edit"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

pub async fn mark_undone(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("UPDATE edit SET undone_at = now() WHERE id = $1", id).execute(conn).await?;
    Ok(())
}

/// Tags graphs; those that did not have the tag. A graph's tags stay sorted.
pub async fn add_tag(conn: &mut PgConnection, tag: &str, graph_ids: &[Uuid]) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "UPDATE graph SET tags = ARRAY(SELECT word FROM UNNEST(tags || $1::text) AS word ORDER BY 1), version = version + 1
         WHERE id = ANY ($2) AND NOT tags @> ARRAY[$1::text] RETURNING id",
        tag,
        graph_ids,
    )
    .fetch_all(conn)
    .await?)
}

/// Takes a tag off graphs; those that had it.
pub async fn remove_tag(conn: &mut PgConnection, tag: &str, graph_ids: &[Uuid]) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "UPDATE graph SET tags = array_remove(tags, $1::text), version = version + 1
         WHERE id = ANY ($2) AND tags @> ARRAY[$1::text] RETURNING id",
        tag,
        graph_ids,
    )
    .fetch_all(conn)
    .await?)
}
