//! Named sets of graphs.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use builder::error::Fault;
use builder::job::Fields;
use builder::store::{self, collection::Collection};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::extract::{self, Body, Id, Query};
use crate::page::{List, PageQuery};
use crate::precondition::{IfMatch, etag, failed};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// A named set of graphs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Collection)]
pub struct CollectionResponse {
    /// Of the collection.
    pub id: Uuid,
    /// Unique.
    #[schema(example = "hard relations")]
    pub name: String,
    /// For people.
    pub description: String,
    /// Graphs in it.
    pub num_graphs: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl From<Collection> for CollectionResponse {
    fn from(collection: Collection) -> Self {
        let Collection { id, name, description, num_graphs, version: _, created_at } = collection;
        Self { id, name, description, num_graphs, created_at }
    }
}

/// What to call a collection.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"name": "hard relations", "description": "Three relations and more"}))]
pub struct CreateCollectionRequest {
    /// Unique.
    pub name: String,
    /// For people.
    #[schema(required = false)]
    pub description: String,
}

/// What to change of a collection; what is not named stays.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"description": "Three relations and more"}))]
pub struct UpdateCollectionRequest {
    /// Unique.
    #[schema(required = false)]
    pub name: Option<String>,
    /// For people.
    #[schema(required = false)]
    pub description: Option<String>,
}

impl Body for UpdateCollectionRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let name = fields.text("name", faults);
        let description = fields.text("description", faults);
        fields.finish(faults);
        Some(Self { name, description })
    }
}

impl Body for CreateCollectionRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let UpdateCollectionRequest { name, description } = UpdateCollectionRequest::read(value, faults)?;
        if value.get("name").is_none_or(Value::is_null) {
            faults.push(Fault::new("/name", "is a text"));
        }
        Some(Self { name: name.unwrap_or_default(), description: description.unwrap_or_default() })
    }
}

/// A collection with its version.
pub type Versioned = ([(HeaderName, String); 1], Json<CollectionResponse>);

fn versioned(collection: Collection) -> Versioned {
    (etag(collection.version), Json(collection.into()))
}

async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Collection> {
    store::collection::find(connection, id).await?.ok_or_else(|| Problem::not_found("collection", id))
}

/// Collections, the newest first.
#[utoipa::path(get, path = "/collections", tag = "graphs", params(PageQuery),
    responses((status = 200, description = "A page", body = List<CollectionResponse>), Problems))]
pub async fn list_collections(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<CollectionResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::collection::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(CollectionResponse::from).into()))
}

/// Makes an empty collection; `POST /graphs/bulk` fills it.
#[utoipa::path(post, path = "/collections", tag = "graphs", request_body = CreateCollectionRequest,
    responses((status = 201, description = "Made", body = CollectionResponse,
        headers(("Location" = String, description = "The collection"))), Problems))]
pub async fn create_collection(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateCollectionRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<CollectionResponse>)> {
    let mut connection = state.connection().await?;
    let id = store::collection::insert(&mut connection, &request.name, &request.description).await?;
    let collection = load(&mut connection, id).await?;
    let location = [(header::LOCATION, format!("/api/v1/collections/{id}"))];
    Ok((StatusCode::CREATED, location, Json(collection.into())))
}

/// One collection; its `ETag` is what `If-Match` of a change must say.
#[utoipa::path(get, path = "/collections/{id}", tag = "graphs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The collection", body = CollectionResponse,
        headers(("ETag" = String, description = "Its version"))), Problems))]
pub async fn find_collection(State(state): State<AppState>, Id(id): Id) -> Result<Versioned> {
    Ok(versioned(load(&mut *state.connection().await?, id).await?))
}

/// Changes name or description.
#[utoipa::path(patch, path = "/collections/{id}", tag = "graphs", request_body = UpdateCollectionRequest,
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag that was seen")),
    responses((status = 200, description = "Changed", body = CollectionResponse,
        headers(("ETag" = String, description = "Its new version"))), Problems))]
pub async fn update_collection(
    State(state): State<AppState>,
    Id(id): Id,
    seen: IfMatch,
    extract::Json(request): extract::Json<UpdateCollectionRequest>,
) -> Result<Versioned> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let (name, description) = (request.name.as_deref(), request.description.as_deref());
    if !store::collection::update(&mut connection, id, seen.version()?, name, description).await? {
        return Err(failed());
    }
    Ok(versioned(load(&mut connection, id).await?))
}

/// Deletes the set, not its graphs.
#[utoipa::path(delete, path = "/collections/{id}", tag = "graphs",
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag that was seen")),
    responses((status = 204, description = "Deleted"), Problems))]
pub async fn delete_collection(State(state): State<AppState>, Id(id): Id, seen: IfMatch) -> Result<StatusCode> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    if !store::collection::delete(&mut connection, id, seen.version()?).await? {
        return Err(failed());
    }
    Ok(StatusCode::NO_CONTENT)
}
