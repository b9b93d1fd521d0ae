//! Fréchet distances (FID) of a generation's pictures from those of another, or from registered features.

use axum::Json;
use axum::extract::State;
use builder::error::Fault;
use builder::job::Fields;
use builder::metrics::Mode;
use builder::store::state::TaskState;
use builder::store::{self, frechet_distance::FrechetDistance};
use builder::task::frechet::{self, FrechetRequest};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::generations::{Accepted, accepted};
use crate::api::progress::Progress;
use crate::extract::{self, Body, Id, Query};
use crate::page::{List, PageQuery};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// What to compare with what: one of `reference_generation_id` and `reference_features`.
#[derive(Clone, Debug, ToSchema)]
#[schema(as = CreateFrechetDistanceRequest, example = json!({
    "generation_id": "01890a5d-ac96-774b-bcce-b302099a8057", "reference_features": "coco-val", "network": "fid"}))]
pub struct CreateFrechetDistanceRequest {
    /// Whose pictures.
    pub generation_id: Uuid,
    /// Compare with the pictures of this generation; imported pictures are one too.
    #[schema(required = false)]
    pub reference_generation_id: Option<Uuid>,
    /// Compare with features that an operator has registered (`diptych model register --scorer features`).
    #[schema(required = false)]
    pub reference_features: Option<String>,
    /// A registered Inception (`/metric-networks`).
    pub network: String,
    /// `corrected`, or `reference`: as published, which may come out just below 0.
    #[schema(required = false, value_type = String, default = "corrected")]
    pub mode: Mode,
}

impl Body for CreateFrechetDistanceRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let had_generation = value.get("generation_id").is_some_and(|id| !id.is_null());
        let generation_id = extract::optional_uuid(&mut fields, "generation_id", faults);
        if !had_generation {
            faults.push(Fault::new("/generation_id", "is missing"));
        }
        let reference_generation_id = extract::optional_uuid(&mut fields, "reference_generation_id", faults);
        let reference_features = fields.text("reference_features", faults);
        let had_network = value.get("network").is_some_and(|name| !name.is_null());
        let network = fields.text("network", faults);
        if !had_network {
            faults.push(Fault::new("/network", "is missing"));
        }
        let mode = match fields.text("mode", faults).map(|word| word.parse::<Mode>()) {
            None => Mode::Corrected,
            Some(Ok(mode)) => mode,
            Some(Err(message)) => {
                faults.push(Fault::new("/mode", message));
                Mode::Corrected
            }
        };
        fields.finish(faults);
        Some(Self {
            generation_id: generation_id.unwrap_or_default(),
            reference_generation_id,
            reference_features,
            network: network.unwrap_or_default(),
            mode,
        })
    }
}

/// A Fréchet distance.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = FrechetDistance)]
pub struct FrechetDistanceResponse {
    /// Of the distance.
    pub id: Uuid,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "succeeded")]
    pub state: TaskState,
    /// Pictures looked at.
    pub progress: Progress,
    /// Whose pictures.
    pub generation_id: Uuid,
    /// Compared with those of this generation,
    pub reference_generation_id: Option<Uuid>,
    /// or with these registered features.
    pub reference_features: Option<String>,
    /// The registered Inception.
    pub network: String,
    /// Of its preparation and its weights.
    pub network_version: String,
    /// `reference` or `corrected`.
    pub mode: String,
    /// The distance; null until it has succeeded.
    pub distance: Option<f64>,
    /// Pictures of the generation. The distance is biased by the sizes: compare at equal ones only.
    pub num_images: Option<u64>,
    /// Pictures that they are compared with.
    pub num_reference: Option<u64>,
    /// Of the features. A set of no more pictures has a singular covariance.
    pub dimensions: Option<u64>,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker took it up.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<FrechetDistance> for FrechetDistanceResponse {
    fn from(row: FrechetDistance) -> Self {
        let count = |key: &str| row.result.as_ref().and_then(|result| result[key].as_u64());
        Self {
            id: row.id,
            state: row.state,
            progress: Progress::new(row.done, row.total, "images"),
            generation_id: row.generation_id,
            reference_generation_id: row.reference_generation_id,
            distance: row.result.as_ref().and_then(|result| result["distance"].as_f64()),
            num_images: count("num_images"),
            num_reference: count("num_reference"),
            dimensions: count("dimensions"),
            reference_features: row.reference_features,
            network: row.network,
            network_version: row.network_version,
            mode: row.mode,
            error: row.error,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }
}

/// Measures how far a generation's pictures are from others as a whole (FID).
#[utoipa::path(post, path = "/frechet-distances", tag = "scores", request_body = CreateFrechetDistanceRequest,
    responses((status = 202, description = "Queued", body = FrechetDistanceResponse,
        headers(("Location" = String, description = "The distance"))), Problems))]
pub async fn create_frechet_distance(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateFrechetDistanceRequest>,
) -> Result<Accepted<FrechetDistanceResponse>> {
    let CreateFrechetDistanceRequest { generation_id, reference_generation_id, reference_features, network, mode } =
        request;
    let request = FrechetRequest { generation_id, reference_generation_id, reference_features, network, mode };
    let id = frechet::create(&state.context, &request).await?;
    Ok(accepted(format!("/api/v1/frechet-distances/{id}"), load(&state, id).await?.into()))
}

/// Fréchet distances, the newest first.
#[utoipa::path(get, path = "/frechet-distances", tag = "scores", params(PageQuery),
    responses((status = 200, description = "A page", body = List<FrechetDistanceResponse>), Problems))]
pub async fn list_frechet_distances(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<FrechetDistanceResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::frechet_distance::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(FrechetDistanceResponse::from).into()))
}

/// One Fréchet distance.
#[utoipa::path(get, path = "/frechet-distances/{id}", tag = "scores", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The distance", body = FrechetDistanceResponse), Problems))]
pub async fn find_frechet_distance(State(state): State<AppState>, Id(id): Id) -> Result<Json<FrechetDistanceResponse>> {
    Ok(Json(load(&state, id).await?.into()))
}

async fn load(state: &AppState, id: Uuid) -> Result<FrechetDistance> {
    let found = store::frechet_distance::find(&mut *state.connection().await?, id).await?;
    found.ok_or_else(|| Problem::not_found("Fréchet distance", id))
}
