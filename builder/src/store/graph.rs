//! Scene graphs and what they are found by: tables `graph`, `object`, `relation`.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

pub use super::graph_search::{Facets, Filter, Histogram, Sort, facets, list, list_ids, page_ids, score_histogram};
use super::state::{self, Split};
use crate::scene_graph::SceneGraph;
use crate::{Error, Result};

/// A graph without its document.
#[derive(Clone, Debug)]
pub struct Graph {
    pub id: Uuid,
    pub img_id: String,
    pub name: String,
    pub caption: String,
    pub split: Split,
    pub content_hash: String,
    pub num_objects: i32,
    pub num_relations: i32,
    pub source_file: String,
    pub record: i64,
    pub created_at: DateTime<Utc>,
    pub tags: Vec<String>,
    /// Codes of the lint's warnings.
    pub lint_codes: Vec<String>,
    /// Whether no later revision has taken its place.
    pub is_current: bool,
    /// 1, 2, 3 … among the graphs of its `img_id`.
    pub revision: i32,
    /// The graph that this one is an edited copy of.
    pub revises: Option<Uuid>,
    /// Counts changes of what is mutable.
    pub version: i64,
}

/// A graph to be stored; `document` is the record's own text.
#[derive(Clone, Debug)]
pub struct NewGraph<'a> {
    pub graph: &'a SceneGraph,
    pub document: &'a str,
    /// Warnings, a JSON array.
    pub lint: String,
    /// Their codes, each once.
    pub lint_codes: Vec<&'static str>,
    pub source_file: &'a str,
    pub record: i64,
}

/// What became of a graph that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upserted {
    Accepted(Uuid),
    /// The same graph was there.
    Unchanged(Uuid),
    /// Another graph has this `img_id`; nothing was written.
    Duplicate(Uuid),
}

/// Stores graphs with their objects and relations, one outcome each, in order. Several statements: call it in a transaction.
pub async fn upsert(conn: &mut PgConnection, graphs: &[NewGraph<'_>]) -> Result<Vec<Upserted>> {
    let ids: Vec<Uuid> = graphs.iter().map(|_| crate::id::new()).collect();
    let hashes: Vec<String> = graphs.iter().map(|one| one.graph.content_hash()).collect();
    let inserted = insert(&mut *conn, graphs, &ids, &hashes).await?;
    insert_objects(&mut *conn, graphs, &ids, &inserted).await?;
    insert_relations(&mut *conn, graphs, &ids, &inserted).await?;
    let others: Vec<&str> =
        graphs.iter().zip(&ids).filter(|(_, id)| !inserted.contains(id)).map(|(one, _)| &*one.graph.img_id).collect();
    let mut known: HashMap<String, (Uuid, String)> = HashMap::new();
    if !others.is_empty() {
        let rows = sqlx::query!(
            "SELECT id, img_id, content_hash FROM graph WHERE is_current AND img_id = ANY ($1)",
            &others as &[&str]
        )
        .fetch_all(&mut *conn)
        .await?;
        known = rows.into_iter().map(|row| (row.img_id, (row.id, row.content_hash))).collect();
    }
    graphs
        .iter()
        .zip(ids.iter().zip(&hashes))
        .map(|(one, (id, hash))| match known.get(&one.graph.img_id) {
            _ if inserted.contains(id) => Ok(Upserted::Accepted(*id)),
            Some((other, its_hash)) if its_hash == hash => Ok(Upserted::Unchanged(*other)),
            Some((other, _)) => Ok(Upserted::Duplicate(*other)),
            None => {
                Err(Error::conflict("concurrent_delete", format!("graph {} was deleted meanwhile", one.graph.img_id)))
            }
        })
        .collect()
}

async fn insert(
    conn: &mut PgConnection,
    graphs: &[NewGraph<'_>],
    ids: &[Uuid],
    hashes: &[String],
) -> Result<HashSet<Uuid>> {
    let img_ids: Vec<&str> = graphs.iter().map(|one| &*one.graph.img_id).collect();
    let names: Vec<String> = graphs.iter().map(|one| without_nul(&one.graph.name)).collect();
    let captions: Vec<String> = graphs.iter().map(|one| without_nul(&one.graph.caption)).collect();
    let splits: Vec<&str> = graphs.iter().map(|one| one.graph.split().as_str()).collect();
    let documents: Vec<&str> = graphs.iter().map(|one| one.document).collect();
    let nums_objects: Vec<i32> = graphs.iter().map(|one| one.graph.num_objects() as i32).collect();
    let nums_relations: Vec<i32> = graphs.iter().map(|one| one.graph.num_relations() as i32).collect();
    let lints: Vec<&str> = graphs.iter().map(|one| &*one.lint).collect();
    let lint_codes: Vec<String> = graphs.iter().map(|one| array_literal(one.lint_codes.iter())).collect();
    let files: Vec<&str> = graphs.iter().map(|one| one.source_file).collect();
    let records: Vec<i64> = graphs.iter().map(|one| one.record).collect();
    let inserted = sqlx::query_scalar!(
        "INSERT INTO graph (id, img_id, name, caption, split, content_hash, document, num_objects, num_relations, lint,
                            source_file, record, lint_codes)
         SELECT id, img_id, name, caption, split::split, content_hash, document::json, num_objects, num_relations,
                lint::json, source_file, record, lint_codes::text[]
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[],
                     $9::integer[], $10::text[], $11::text[], $12::bigint[], $13::text[])
              AS t (id, img_id, name, caption, split, content_hash, document, num_objects, num_relations, lint,
                    source_file, record, lint_codes)
         ON CONFLICT (img_id) WHERE is_current DO NOTHING
         RETURNING id",
        ids,
        &img_ids as &[&str],
        &names,
        &captions,
        &splits as &[&str],
        hashes,
        &documents as &[&str],
        &nums_objects,
        &nums_relations,
        &lints as &[&str],
        &files as &[&str],
        &records,
        &lint_codes,
    )
    .fetch_all(conn)
    .await?;
    Ok(inserted.into_iter().collect())
}

pub(super) async fn insert_objects(
    conn: &mut PgConnection,
    graphs: &[NewGraph<'_>],
    ids: &[Uuid],
    inserted: &HashSet<Uuid>,
) -> Result<()> {
    let (mut graph_ids, mut positions, mut item_ids) = (Vec::new(), Vec::<i32>::new(), Vec::<String>::new());
    let (mut labels, mut attributes) = (Vec::new(), Vec::<String>::new());
    for (one, id) in graphs.iter().zip(ids).filter(|(_, id)| inserted.contains(id)) {
        for (position, object) in one.graph.objects().enumerate() {
            graph_ids.push(*id);
            positions.push(position as i32);
            item_ids.push(object.item_id.to_string());
            labels.push(&*object.label);
            attributes.push(array_literal(object.attributes.iter().map(String::as_str)));
        }
    }
    sqlx::query!(
        "INSERT INTO object (graph_id, position, item_id, label, attributes)
         SELECT graph_id, position, item_id::numeric, label, attributes::text[]
         FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[])
              AS t (graph_id, position, item_id, label, attributes)",
        &graph_ids,
        &positions,
        &item_ids,
        &labels as &[&str],
        &attributes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert_relations(
    conn: &mut PgConnection,
    graphs: &[NewGraph<'_>],
    ids: &[Uuid],
    inserted: &HashSet<Uuid>,
) -> Result<()> {
    let (mut graph_ids, mut positions, mut subjects) = (Vec::new(), Vec::<i32>::new(), Vec::<i32>::new());
    let (mut predicates, mut objects) = (Vec::new(), Vec::<i32>::new());
    for (one, id) in graphs.iter().zip(ids).filter(|(_, id)| inserted.contains(id)) {
        for (position, (subject, relation, object)) in one.graph.relations().enumerate() {
            graph_ids.push(*id);
            positions.push(position as i32);
            subjects.push(subject as i32);
            predicates.push(&*relation.predicate);
            objects.push(object as i32);
        }
    }
    sqlx::query!(
        "INSERT INTO relation (graph_id, position, subject, predicate, object)
         SELECT * FROM UNNEST($1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::integer[])",
        &graph_ids,
        &positions,
        &subjects,
        &predicates as &[&str],
        &objects,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A Postgres array as text, for arrays inside UNNEST.
pub(super) fn array_literal(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::from("{");
    for (index, item) in items.enumerate() {
        text.push_str(if index == 0 { "\"" } else { ",\"" });
        for character in item.as_ref().chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    text.push('}');
    text
}

/// Postgres's text cannot hold U+0000; a caption may. The document keeps it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Graph>> {
    Ok(load_many(conn, &[id]).await?.pop())
}

pub async fn find_by_img_id(conn: &mut PgConnection, img_id: &str) -> Result<Option<Graph>> {
    let id = sqlx::query_scalar!("SELECT id FROM graph WHERE is_current AND img_id = $1", img_id)
        .fetch_optional(&mut *conn)
        .await?;
    match id {
        Some(id) => find(conn, id).await,
        None => Ok(None),
    }
}

/// Ids of the graphs with these `img_id`s, in their order; those that do not exist are left out.
pub async fn ids_of_img_ids(conn: &mut PgConnection, img_ids: &[String]) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "SELECT g.id FROM UNNEST($1::text[]) WITH ORDINALITY AS t (img_id, ordinality) JOIN graph g USING (img_id)
         WHERE g.is_current ORDER BY t.ordinality",
        img_ids,
    )
    .fetch_all(conn)
    .await?)
}

/// Those of `ids` that exist, in the order of `ids`.
pub async fn load_many(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Graph>> {
    let rows = sqlx::query!(
        r#"SELECT g.id, img_id, name, caption, split::text AS "split!", content_hash, num_objects, num_relations,
                  source_file, record, created_at, tags, lint_codes, is_current, revision, revises, version
           FROM UNNEST($1::uuid[]) WITH ORDINALITY AS t (id, ordinality) JOIN graph g ON g.id = t.id
           ORDER BY t.ordinality"#,
        ids,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Graph {
                id: row.id,
                img_id: row.img_id,
                name: row.name,
                caption: row.caption,
                split: state::split(&row.split)?,
                content_hash: row.content_hash,
                num_objects: row.num_objects,
                num_relations: row.num_relations,
                source_file: row.source_file,
                record: row.record,
                created_at: row.created_at,
                tags: row.tags,
                lint_codes: row.lint_codes,
                is_current: row.is_current,
                revision: row.revision,
                revises: row.revises,
                version: row.version,
            })
        })
        .collect()
}

/// The LAION-SG record as it was ingested.
pub async fn document(conn: &mut PgConnection, id: Uuid) -> Result<Option<Value>> {
    Ok(sqlx::query_scalar!("SELECT document FROM graph WHERE id = $1", id).fetch_optional(conn).await?)
}

/// The texts of these graphs' records, in the order of `ids`.
pub async fn documents(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        r#"SELECT g.document::text AS "document!"
           FROM UNNEST($1::uuid[]) WITH ORDINALITY AS t (id, ordinality) JOIN graph g ON g.id = t.id
           ORDER BY t.ordinality"#,
        ids,
    )
    .fetch_all(conn)
    .await?)
}

/// The warnings of the lint, as it prints them.
pub async fn lint(conn: &mut PgConnection, id: Uuid) -> Result<Option<Value>> {
    Ok(sqlx::query_scalar!("SELECT lint FROM graph WHERE id = $1", id).fetch_optional(conn).await?)
}

/// A graph as the domain knows it.
#[derive(Clone, Debug)]
pub struct LoadedGraph {
    pub id: Uuid,
    pub content_hash: String,
    pub graph: SceneGraph,
}

/// Those of `ids` that exist, read from their documents, in the order of `ids`.
pub async fn scene_graphs(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<LoadedGraph>> {
    let rows = sqlx::query!(
        "SELECT g.id, g.content_hash, g.document
         FROM UNNEST($1::uuid[]) WITH ORDINALITY AS t (id, ordinality) JOIN graph g ON g.id = t.id
         ORDER BY t.ordinality",
        ids,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let graph = SceneGraph::from_laion_sg(&row.document).map_err(|error| Error::Row {
                table: "graph",
                column: "document",
                message: format!("graph {}: {error}", row.id),
            })?;
            Ok(LoadedGraph { id: row.id, content_hash: row.content_hash, graph })
        })
        .collect()
}

/// Id and content hash of every graph (of one side of the split), by id.
pub async fn list_refs(conn: &mut PgConnection, split: Option<Split>) -> Result<Vec<(Uuid, String)>> {
    let rows = sqlx::query!(
        "SELECT id, content_hash FROM graph WHERE is_current AND ($1::text IS NULL OR split = $1::split) ORDER BY id",
        split.map(Split::as_str),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.content_hash)).collect())
}

pub async fn count(conn: &mut PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM graph WHERE is_current"#).fetch_one(conn).await?)
}

/// An object's row.
#[derive(Clone, Debug)]
pub struct ObjectRow {
    pub graph_id: Uuid,
    pub position: i32,
    pub label: String,
    pub attributes: Vec<String>,
}

/// Of these graphs, by graph and position.
pub async fn objects(conn: &mut PgConnection, graph_ids: &[Uuid]) -> Result<Vec<ObjectRow>> {
    Ok(sqlx::query_as!(
        ObjectRow,
        "SELECT graph_id, position, label, attributes FROM object
         WHERE graph_id = ANY ($1) ORDER BY graph_id, position",
        graph_ids,
    )
    .fetch_all(conn)
    .await?)
}

/// A relation's row; subject and object are positions of objects.
#[derive(Clone, Debug)]
pub struct RelationRow {
    pub graph_id: Uuid,
    pub position: i32,
    pub subject: i32,
    pub predicate: String,
    pub object: i32,
}

/// Of these graphs, by graph and position.
pub async fn relations(conn: &mut PgConnection, graph_ids: &[Uuid]) -> Result<Vec<RelationRow>> {
    Ok(sqlx::query_as!(
        RelationRow,
        "SELECT graph_id, position, subject, predicate, object FROM relation
         WHERE graph_id = ANY ($1) ORDER BY graph_id, position",
        graph_ids,
    )
    .fetch_all(conn)
    .await?)
}
