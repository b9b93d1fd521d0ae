//! A graph edited: another row under the same `img_id`, the old one kept with its candidates.

use sqlx::PgConnection;
use uuid::Uuid;

use super::graph::{Graph, NewGraph, find, insert_objects, insert_relations, load_many};
use crate::{Error, Result};

/// The graph's version, locked until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar!("SELECT version FROM graph WHERE id = $1 FOR UPDATE", id).fetch_optional(conn).await?)
}

/// Puts `new` in the place of the current graph `old`, with its tags and collections, and on its side of the split: what
/// was trained on under one wording is not evaluated under another. Several statements: call it in a transaction.
pub async fn insert(conn: &mut PgConnection, old: &Graph, new: &NewGraph<'_>) -> Result<Graph> {
    let id = crate::id::new();
    let codes: Vec<String> = new.lint_codes.iter().map(|&code| code.to_owned()).collect();
    sqlx::query!("UPDATE graph SET is_current = false, version = version + 1 WHERE id = $1", old.id)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "INSERT INTO graph (id, img_id, name, caption, split, content_hash, document, num_objects, num_relations, lint,
                            source_file, record, lint_codes, tags, revises, revision)
         SELECT $1, img_id, $3, $4, split, $5, $6::text::json, $7, $8, $9::text::json, source_file, record, $10, tags, id,
                (SELECT max(revision) + 1 FROM graph WHERE img_id = old.img_id)
         FROM graph old WHERE id = $2",
        id,
        old.id,
        new.graph.name.replace('\0', "\u{fffd}"),
        new.graph.caption.replace('\0', "\u{fffd}"),
        new.graph.content_hash(),
        new.document,
        new.graph.num_objects() as i32,
        new.graph.num_relations() as i32,
        new.lint,
        &codes,
    )
    .execute(&mut *conn)
    .await?;
    let (graphs, ids) = (std::slice::from_ref(new), [id]);
    insert_objects(&mut *conn, graphs, &ids, &ids.into()).await?;
    insert_relations(&mut *conn, graphs, &ids, &ids.into()).await?;
    sqlx::query!(
        "INSERT INTO collection_graph (collection_id, graph_id)
         SELECT collection_id, $2 FROM collection_graph WHERE graph_id = $1",
        old.id,
        id,
    )
    .execute(&mut *conn)
    .await?;
    find(conn, id).await?.ok_or_else(|| Error::not_found("graph", id))
}

/// Makes the older of two revisions current again; false when the newer one is not current any more.
pub async fn restore(conn: &mut PgConnection, old: Uuid, new: Uuid) -> Result<bool> {
    let done =
        sqlx::query!("UPDATE graph SET is_current = false, version = version + 1 WHERE id = $1 AND is_current", new)
            .execute(&mut *conn)
            .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("UPDATE graph SET is_current = true, version = version + 1 WHERE id = $1", old).execute(conn).await?;
    Ok(true)
}

/// Every graph of an `img_id`, the newest revision first.
pub async fn list(conn: &mut PgConnection, img_id: &str) -> Result<Vec<Graph>> {
    let ids: Vec<Uuid> = sqlx::query_scalar!("SELECT id FROM graph WHERE img_id = $1 ORDER BY revision DESC", img_id)
        .fetch_all(&mut *conn)
        .await?;
    load_many(conn, &ids).await
}
