//! What curators do to graphs, each of it to be taken back: tags, collections, another wording.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use builder::curation::{self, Action};
use builder::error::Fault;
use builder::job::Fields;
use builder::store;
use builder::store::edit::{Edit, EditKind};
use builder::store::graph::Filter;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Acquire;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::graphs::{GraphQuery, GraphSummary, load, summarize};
use crate::extract::{self, Body, Id, Query};
use crate::page::{List, PageQuery};
use crate::precondition::{IfMatch, etag, failed};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// Graphs named one by one in a request.
const MOST_GRAPH_IDS: usize = 100_000;
/// Tags of one request.
const MOST_TAGS: usize = 50;
const ACTIONS: [&str; 4] = ["add_tags", "remove_tags", "add_to_collection", "remove_from_collection"];

/// A change that can be taken back.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Edit)]
pub struct EditResponse {
    /// Of the edit.
    pub id: Uuid,
    /// `add_tag`, `remove_tag`, `add_to_collection`, `remove_from_collection` or `revise`.
    #[schema(value_type = String, example = "add_tag")]
    pub kind: EditKind,
    /// The tag, the collection's id, or the graph's `img_id`.
    #[schema(example = "blurred")]
    pub subject: String,
    /// Graphs that it changed.
    pub num_graphs: usize,
    /// When it was taken back.
    pub undone_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl From<Edit> for EditResponse {
    fn from(edit: Edit) -> Self {
        let num_graphs = if edit.kind == EditKind::Revise { 1 } else { edit.graph_ids.len() };
        let Edit { id, kind, subject, graph_ids: _, undone_at, created_at } = edit;
        Self { id, kind, subject, num_graphs, undone_at, created_at }
    }
}

/// What to do with which graphs.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"filter": {"attribute": "red", "max_score": 0.5}, "action": "add_tags", "tags": ["look again"]}))]
pub struct BulkRequest {
    /// These graphs.
    #[schema(required = false)]
    pub graph_ids: Option<Vec<Uuid>>,
    /// Or the graphs of this list: the conditions of `GET /graphs` as an object.
    #[schema(required = false, value_type = Option<Object>)]
    pub filter: Option<GraphQuery>,
    /// `add_tags`, `remove_tags`, `add_to_collection` or `remove_from_collection`.
    #[schema(value_type = String)]
    pub action: Action,
    /// Of the first two.
    #[schema(required = false, value_type = Option<Vec<String>>)]
    pub tags: (),
    /// Of the last two.
    #[schema(required = false, value_type = Option<Uuid>)]
    pub collection_id: (),
}

impl Body for BulkRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let graph_ids = extract::optional_uuids(&mut fields, "graph_ids", MOST_GRAPH_IDS, faults);
        let filter = fields.take("filter").and_then(|value| read_filter(value, faults));
        let named = |key: &str| value.get(key).is_some_and(|value| !value.is_null());
        if named("graph_ids") == named("filter") {
            faults.push(Fault::new("", "names its graphs by either graph_ids or filter"));
        }
        let word = match fields.take("action") {
            None => {
                faults.push(Fault::new("/action", format!("is one of {}", ACTIONS.join(", "))));
                String::new()
            }
            Some(_) => fields.choice("action", "", &ACTIONS, faults),
        };
        let tags = fields.take("tags").map(|_| read_tags(&mut fields, faults));
        let collection_id = extract::optional_uuid(&mut fields, "collection_id", faults);
        let is_of_tags = word.ends_with("tags");
        let action = match (word.as_str(), tags, collection_id) {
            ("", ..) => None,
            ("add_tags", Some(tags), None) => Some(Action::AddTags(tags)),
            ("remove_tags", Some(tags), None) => Some(Action::RemoveTags(tags)),
            ("add_to_collection", None, Some(id)) => Some(Action::AddToCollection(id)),
            ("remove_from_collection", None, Some(id)) => Some(Action::RemoveFromCollection(id)),
            _ => {
                let (with, without) = if is_of_tags { ("tags", "collection_id") } else { ("collection_id", "tags") };
                if !named(with) {
                    faults.push(Fault::new(format!("/{with}"), format!("goes with {word}")));
                }
                if named(without) {
                    faults.push(Fault::new(format!("/{without}"), format!("does not go with {word}")));
                }
                None
            }
        };
        fields.finish(faults);
        Some(Self { graph_ids, filter, action: action?, tags: (), collection_id: () })
    }
}

fn read_tags(fields: &mut Fields<'_>, faults: &mut Vec<Fault>) -> Vec<String> {
    let pointer = fields.pointer("tags");
    let tags = fields.take("tags").and_then(Value::as_array).cloned().unwrap_or_default();
    if tags.len() > MOST_TAGS {
        faults.push(Fault::new(pointer, format!("has at most {MOST_TAGS} entries")));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(tags.len());
    for (place, tag) in tags.iter().enumerate() {
        match tag.as_str().map(|tag| (tag, curation::check_tag(tag))) {
            Some((tag, Ok(()))) => read.push(tag.to_owned()),
            Some((_, Err(message))) => faults.push(Fault::new(format!("{pointer}/{place}"), message)),
            None => faults.push(Fault::new(format!("{pointer}/{place}"), "is a text")),
        }
    }
    read.sort_unstable();
    read.dedup();
    read
}

/// The conditions of the list, written as JSON: each of them as its parameter would be.
fn read_filter(value: &Value, faults: &mut Vec<Fault>) -> Option<GraphQuery> {
    let fields = Fields::open(value, "/filter".to_owned(), faults)?;
    let mut pairs = url_pairs(value, &fields, faults)?;
    pairs.retain(|(name, _)| !name.is_empty());
    let query = pairs.iter().fold(String::new(), |mut query, (name, text)| {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(&extract::encode(name));
        query.push('=');
        query.push_str(&extract::encode(text));
        query
    });
    match extract::parse_query::<GraphQuery>(&query) {
        Ok(query) => Some(query),
        Err(found) => {
            faults
                .extend(found.into_iter().map(|fault| Fault::new(format!("/filter{}", fault.pointer), fault.message)));
            None
        }
    }
}

fn url_pairs(value: &Value, fields: &Fields<'_>, faults: &mut Vec<Fault>) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for (name, value) in value.as_object()? {
        match value {
            Value::String(text) => pairs.push((name.clone(), text.clone())),
            Value::Bool(_) | Value::Number(_) => pairs.push((name.clone(), value.to_string())),
            Value::Null => {}
            _ => faults.push(Fault::new(fields.pointer(name), "is a text, a number or a truth value")),
        }
    }
    Some(pairs)
}

/// What a bulk action did.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkResult {
    /// Graphs that were named or found.
    pub matched: usize,
    /// One a tag or collection; none where nothing changed.
    pub edits: Vec<EditResponse>,
}

/// Does something with many graphs at once, all of them or none.
#[utoipa::path(post, path = "/graphs/bulk", tag = "graphs", request_body = BulkRequest,
    responses((status = 200, description = "Done", body = BulkResult), Problems))]
pub async fn edit_graphs(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<BulkRequest>,
) -> Result<Json<BulkResult>> {
    let mut connection = state.connection().await?;
    let ids = match (request.graph_ids, request.filter) {
        (Some(ids), _) => {
            let found = store::graph::load_many(&mut connection, &ids).await?;
            let known: std::collections::HashSet<Uuid> = found.iter().map(|graph| graph.id).collect();
            let faults: Vec<Fault> = ids
                .iter()
                .enumerate()
                .filter(|(_, id)| !known.contains(id))
                .map(|(place, id)| Fault::new(format!("/graph_ids/{place}"), format!("there is no graph {id}")))
                .collect();
            if !faults.is_empty() {
                return Err(Problem::faults(&faults));
            }
            ids
        }
        (None, Some(query)) => store::graph::list_ids(&mut connection, &query.filter()?).await?,
        (None, None) => store::graph::list_ids(&mut connection, &Filter::default()).await?,
    };
    let edits = curation::apply(&mut connection, &ids, &request.action).await?;
    Ok(Json(BulkResult { matched: ids.len(), edits: edits.into_iter().map(EditResponse::from).collect() }))
}

/// The tags of a graph.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"tags": ["good", "two relations"]}))]
pub struct TagsRequest {
    /// All of them; others are taken off.
    pub tags: Vec<String>,
}

impl Body for TagsRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        if !value["tags"].is_array() {
            faults.push(Fault::new("/tags", "is a list of texts"));
        }
        let tags = read_tags(&mut fields, faults);
        fields.finish(faults);
        Some(Self { tags })
    }
}

/// A graph with its version.
pub type VersionedGraph = ([(HeaderName, String); 1], Json<GraphSummary>);

/// Gives a graph exactly these tags.
#[utoipa::path(put, path = "/graphs/{id}/tags", tag = "graphs", request_body = TagsRequest,
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag that was seen")),
    responses((status = 200, description = "The graph", body = GraphSummary,
        headers(("ETag" = String, description = "Its new version"))), Problems))]
pub async fn set_graph_tags(
    State(state): State<AppState>,
    Id(id): Id,
    seen: IfMatch,
    extract::Json(request): extract::Json<Value>,
) -> Result<VersionedGraph> {
    let mut connection = state.connection().await?;
    let mut tx = connection.begin().await.map_err(builder::Error::from)?;
    let at = store::graph_revision::lock(&mut tx, id).await?.ok_or_else(|| Problem::not_found("graph", id))?;
    if at != seen.version()? {
        return Err(failed());
    }
    let request: TagsRequest = extract::from_value(&request)?;
    let graph = load(&mut tx, id).await?;
    let (wanted, there) = (&request.tags, &graph.tags);
    let added: Vec<String> = wanted.iter().filter(|tag| !there.contains(tag)).cloned().collect();
    let removed: Vec<String> = there.iter().filter(|tag| !wanted.contains(tag)).cloned().collect();
    curation::apply(&mut tx, &[id], &Action::AddTags(added)).await?;
    curation::apply(&mut tx, &[id], &Action::RemoveTags(removed)).await?;
    let graph = load(&mut tx, id).await?;
    let version = graph.version;
    let summary = summarize(&mut tx, vec![graph]).await?.pop().ok_or_else(|| Problem::not_found("graph", id))?;
    tx.commit().await.map_err(builder::Error::from)?;
    Ok((etag(version), Json(summary)))
}

/// A graph that took another's place.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Revision {
    /// The new graph.
    pub graph: GraphSummary,
    /// Takes it back.
    pub edit: EditResponse,
}

/// Edits a graph: the LAION-SG record becomes a new graph in its place, and the old one keeps its candidates. The tags, the
/// collections and the side of the split stay.
#[utoipa::path(put, path = "/graphs/{id}/document", tag = "graphs",
    request_body(content = Value, description = "A LAION-SG record with the same img_id"),
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag that was seen")),
    responses((status = 201, description = "The new revision", body = Revision,
        headers(("Location" = String, description = "The new graph"))), Problems))]
pub async fn revise_graph(
    State(state): State<AppState>,
    Id(id): Id,
    seen: IfMatch,
    extract::Json(record): extract::Json<Value>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Revision>)> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let (graph, edit) = match curation::revise(&mut connection, id, seen.version()?, &record).await {
        Err(builder::Error::Conflict { code: "version_changed", .. }) => return Err(failed()),
        done => done?,
    };
    let location = [(header::LOCATION, format!("/api/v1/graphs/{}", graph.id))];
    let graph = summarize(&mut connection, vec![graph]).await?.pop();
    let graph = graph.ok_or_else(|| Problem::not_found("graph", id))?;
    Ok((StatusCode::CREATED, location, Json(Revision { graph, edit: edit.into() })))
}

/// All revisions of a graph, the newest first.
#[utoipa::path(get, path = "/graphs/{id}/revisions", tag = "graphs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "All of them", body = List<GraphSummary>), Problems))]
pub async fn list_graph_revisions(State(state): State<AppState>, Id(id): Id) -> Result<Json<List<GraphSummary>>> {
    let mut connection = state.connection().await?;
    let graph = load(&mut connection, id).await?;
    let found = store::graph_revision::list(&mut connection, &graph.img_id).await?;
    Ok(Json(List::whole(summarize(&mut connection, found).await?)))
}

/// What was done to graphs, the newest first.
#[utoipa::path(get, path = "/edits", tag = "graphs", params(PageQuery),
    responses((status = 200, description = "A page", body = List<EditResponse>), Problems))]
pub async fn list_edits(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<EditResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::edit::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(EditResponse::from).into()))
}

/// Takes an edit back: exactly the graphs that it changed are as they were before.
#[utoipa::path(post, path = "/edits/{id}/undo", tag = "graphs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "Taken back", body = EditResponse), Problems))]
pub async fn undo_edit(State(state): State<AppState>, Id(id): Id) -> Result<Json<EditResponse>> {
    Ok(Json(curation::undo(&mut *state.connection().await?, id).await?.into()))
}
