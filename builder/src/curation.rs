//! What a curator does with graphs: tags, collections, another wording; and any of it taken back.

use serde_json::Value;
use sqlx::{Acquire, PgConnection};
use uuid::Uuid;

use crate::error::Fault;
use crate::lint;
use crate::scene_graph::SceneGraph;
use crate::store::edit::{self, Edit, EditKind};
use crate::store::graph::{self, Graph, NewGraph};
use crate::store::{collection, graph_revision};
use crate::{Error, Result};

/// Longest tag, in characters.
const TAG_CHARACTERS: usize = 64;

/// What to do with many graphs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    AddTags(Vec<String>),
    RemoveTags(Vec<String>),
    AddToCollection(Uuid),
    RemoveFromCollection(Uuid),
}

/// Whether `tag` can be one: it stands in addresses and in lists.
///
/// # Errors
/// What it must be.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let good = tag.trim() == tag && !tag.is_empty() && tag.chars().count() <= TAG_CHARACTERS;
    if good && !tag.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("a tag has 1 to {TAG_CHARACTERS} characters, none of them a control character or a blank at an end"))
}

/// Does `action` to these graphs, all or none, and writes down what it changed: one edit a tag or collection, none where
/// nothing changed.
///
/// # Errors
/// `Invalid` where the collection does not exist.
pub async fn apply(conn: &mut PgConnection, graph_ids: &[Uuid], action: &Action) -> Result<Vec<Edit>> {
    let mut tx = conn.begin().await?;
    let mut steps: Vec<(EditKind, String)> = Vec::new();
    match action {
        Action::AddTags(tags) => steps.extend(tags.iter().map(|tag| (EditKind::AddTag, tag.clone()))),
        Action::RemoveTags(tags) => steps.extend(tags.iter().map(|tag| (EditKind::RemoveTag, tag.clone()))),
        Action::AddToCollection(id) => steps.push((EditKind::AddToCollection, id.to_string())),
        Action::RemoveFromCollection(id) => steps.push((EditKind::RemoveFromCollection, id.to_string())),
    }
    if let Action::AddToCollection(id) | Action::RemoveFromCollection(id) = action
        && collection::find(&mut tx, *id).await?.is_none()
    {
        return Err(Error::invalid("/collection_id", format!("there is no collection {id}")));
    }
    let mut edits = Vec::new();
    for (kind, subject) in steps {
        let changed = step(&mut tx, kind, &subject, graph_ids).await?;
        if changed.is_empty() {
            continue;
        }
        let id = edit::insert(&mut tx, kind, &subject, &changed).await?;
        edits.extend(edit::find_locked(&mut tx, id).await?);
    }
    tx.commit().await?;
    Ok(edits)
}

async fn step(conn: &mut PgConnection, kind: EditKind, subject: &str, graph_ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let collection_id = || {
        Uuid::parse_str(subject).map_err(|_| Error::Row {
            table: "edit",
            column: "subject",
            message: format!("{subject:?} is the id of no collection"),
        })
    };
    match kind {
        EditKind::AddTag => edit::add_tag(conn, subject, graph_ids).await,
        EditKind::RemoveTag => edit::remove_tag(conn, subject, graph_ids).await,
        EditKind::AddToCollection => collection::add(conn, collection_id()?, graph_ids).await,
        EditKind::RemoveFromCollection => collection::remove(conn, collection_id()?, graph_ids).await,
        EditKind::Revise => Ok(Vec::new()),
    }
}

/// Takes an edit back: the graphs that it changed are as they were before it, whatever was done to others since.
///
/// # Errors
/// `NotFound`; `Conflict` where it was taken back before, or what it made was changed again.
pub async fn undo(conn: &mut PgConnection, id: Uuid) -> Result<Edit> {
    let mut tx = conn.begin().await?;
    let edit = edit::find_locked(&mut tx, id).await?.ok_or_else(|| Error::not_found("edit", id))?;
    if edit.undone_at.is_some() {
        return Err(Error::conflict("undone_already", "this edit was taken back before"));
    }
    match (edit.kind, edit.graph_ids.as_slice()) {
        (EditKind::Revise, &[old, new]) => {
            if !graph_revision::restore(&mut tx, old, new).await? {
                return Err(Error::conflict("edited_since", "the graph was edited again; take that edit back first"));
            }
        }
        (EditKind::AddTag, ids) => drop(step(&mut tx, EditKind::RemoveTag, &edit.subject, ids).await?),
        (EditKind::RemoveTag, ids) => drop(step(&mut tx, EditKind::AddTag, &edit.subject, ids).await?),
        (EditKind::AddToCollection, ids) => {
            drop(step(&mut tx, EditKind::RemoveFromCollection, &edit.subject, ids).await?);
        }
        (EditKind::RemoveFromCollection, ids) => {
            let there = Uuid::parse_str(&edit.subject).unwrap_or_default();
            if collection::find(&mut tx, there).await?.is_none() {
                return Err(Error::conflict("collection_deleted", "the collection is not there any more"));
            }
            drop(step(&mut tx, EditKind::AddToCollection, &edit.subject, ids).await?);
        }
        (EditKind::Revise, _) => {
            let message = format!("edit {id} names no two revisions");
            return Err(Error::Row { table: "edit", column: "graph_ids", message });
        }
    }
    edit::mark_undone(&mut tx, id).await?;
    let edit = edit::find_locked(&mut tx, id).await?.ok_or_else(|| Error::not_found("edit", id))?;
    tx.commit().await?;
    Ok(edit)
}

/// Puts another wording in the place of a graph: a LAION-SG record with the same `img_id`.
///
/// # Errors
/// `Invalid` with everything that the lint calls an error, by its pointer; `Conflict` where the graph is not current or
/// says this already, `version_changed` where its version is not `version` any more.
pub async fn revise(conn: &mut PgConnection, id: Uuid, version: i64, record: &Value) -> Result<(Graph, Edit)> {
    let found = lint::check(record);
    let errors = found.iter().filter(|fault| fault.code.is_error());
    let mut faults: Vec<Fault> = errors.map(|fault| Fault::new(fault.pointer.clone(), fault.message.clone())).collect();
    let mut tx = conn.begin().await?;
    let at = graph_revision::lock(&mut tx, id).await?.ok_or_else(|| Error::not_found("graph", id))?;
    let old = graph::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("graph", id))?;
    if record["img_id"].as_str().is_some_and(|img_id| img_id != old.img_id) {
        faults.push(Fault::new("/img_id", format!("stays {:?}", old.img_id)));
    }
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    if at != version {
        return Err(Error::conflict("version_changed", "the graph was changed meanwhile"));
    }
    if !old.is_current {
        return Err(Error::conflict("not_current", "a later revision of this graph is there; edit that one"));
    }
    let graph = SceneGraph::from_laion_sg(record).map_err(|error| Error::invalid("", error.to_string()))?;
    if graph.content_hash() == old.content_hash {
        return Err(Error::conflict("unchanged", "the graph says this already"));
    }
    let findings: Vec<_> = found.into_iter().map(|fault| fault.at("", None)).collect();
    let json = |source| Error::Json { context: "writing the lint's findings".to_owned(), source };
    let new = NewGraph {
        graph: &graph,
        document: &record.to_string(),
        lint: serde_json::to_string(&findings).map_err(json)?,
        lint_codes: crate::task::ingest::lint_codes(&findings),
        source_file: &old.source_file,
        record: old.record,
    };
    let new = graph_revision::insert(&mut tx, &old, &new).await?;
    let edit_id = edit::insert(&mut tx, EditKind::Revise, &new.img_id, &[old.id, new.id]).await?;
    let edit = edit::find_locked(&mut tx, edit_id).await?.ok_or_else(|| Error::not_found("edit", edit_id))?;
    tx.commit().await?;
    Ok((new, edit))
}
