//! A candidate's sampling path beside the path of its inversion.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use builder::error::Fault;
use builder::inversion::{InvertedPoint, Paths, SampledPoint};
use builder::job::Fields;
use builder::store;
use builder::store::inversion::Inversion;
use builder::store::state::{InverseLabel, TaskState};
use builder::task::invert::{self, InversionRequest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::generations::{Accepted, accepted};
use crate::api::image;
use crate::api::progress::Progress;
use crate::extract::{self, Body, Id, Query};
use crate::page::{Limit, List};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// Which picture to invert, and how.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"candidate_id": "01890a5d-ac96-774b-bcce-b302099a8057", "num_inference_steps": 50}))]
pub struct CreateInversionRequest {
    /// A candidate that was sampled here.
    pub candidate_id: Uuid,
    /// Steps from the image to the noise.
    #[schema(required = false, default = 50, minimum = 1, maximum = 1000)]
    pub num_inference_steps: u32,
    /// Classifier-free guidance on the way.
    #[schema(required = false, default = 1.0, minimum = 0, maximum = 100)]
    pub guidance_scale: f64,
    /// The timestep that the network is told: of the state that a step makes (`destination`, as the released script has it),
    /// or of the state that it looks at (`source`, as the paper reads).
    #[schema(required = false, value_type = String, default = "destination")]
    pub label: InverseLabel,
}

impl Body for CreateInversionRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let candidate_id = extract::optional_uuid(&mut fields, "candidate_id", faults);
        if value.get("candidate_id").is_none_or(Value::is_null) {
            faults.push(Fault::new("/candidate_id", "is the id of a candidate"));
        }
        let defaults = InversionRequest::new(candidate_id.unwrap_or_default());
        let steps = defaults.num_inference_steps as usize;
        let request = Self {
            candidate_id: defaults.candidate_id,
            num_inference_steps: fields.count("num_inference_steps", steps, 1..=1000, faults) as u32,
            guidance_scale: fields.number("guidance_scale", defaults.guidance_scale, 0.0..=100.0, faults),
            label: match fields.choice("label", "destination", &["destination", "source"], faults).as_str() {
                "source" => InverseLabel::Source,
                _ => InverseLabel::Destination,
            },
        };
        fields.finish(faults);
        Some(request)
    }
}

/// A candidate's two paths.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Inversion)]
pub struct InversionResponse {
    /// Of the inversion.
    pub id: Uuid,
    /// Whose paths these are.
    pub candidate_id: Uuid,
    /// Steps of the inversion.
    pub num_inference_steps: i32,
    /// Its guidance.
    pub guidance_scale: f64,
    /// The timestep that the network is told.
    #[schema(value_type = String, example = "destination")]
    pub label: InverseLabel,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "succeeded")]
    pub state: TaskState,
    /// Steps of sampling again, of inverting, and of sampling back.
    pub progress: Progress,
    /// What was found; null until it is done.
    pub result: Option<InversionPaths>,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker took it up.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Both paths, measured and drawn.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InversionPaths {
    /// Standard deviation of the inversion's last state; 1 for noise.
    pub terminal_std: f64,
    /// Correlation of its neighbouring elements; 0 for noise.
    pub terminal_autocorrelation: f64,
    /// Standard deviation of the noise that sampling began with.
    pub initial_std: f64,
    /// Correlation of its neighbouring elements.
    pub initial_autocorrelation: f64,
    /// Mean square of the difference between the latent and what sampling makes of the inversion's last state.
    pub reconstruction_error: f64,
    /// Variance of the latent, for comparison.
    pub latent_variance: f64,
    /// Shares of the states' variance that the axes x and y hold: the first two principal components of both paths.
    #[schema(value_type = Vec<f64>)]
    pub explained_variance: [f64; 2],
    /// Where sampling stopped, the noise first.
    pub sampled: Vec<SampledState>,
    /// Where the inversion stopped, the image first.
    pub inverted: Vec<InvertedState>,
    /// Decoded states at some noise levels, the image first.
    pub pictures: Vec<StatePictures>,
}

/// A state on the sampling path.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SampledState {
    /// Training timestep; 0 for the image.
    pub timestep: usize,
    /// On the first axis.
    pub x: f64,
    /// On the second.
    pub y: f64,
}

/// A state on the inversion's path.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InvertedState {
    /// Training timestep; 0 for the image.
    pub timestep: usize,
    /// On the first axis.
    pub x: f64,
    /// On the second.
    pub y: f64,
    /// ‖inverted − sampled‖ / ‖sampled‖ at this noise level; null where sampling began with less noise.
    pub deviation: Option<f64>,
}

/// Both paths at one noise level, decoded.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StatePictures {
    /// Training timestep.
    pub timestep: usize,
    /// On the sampling path; null where sampling began with less noise.
    pub sampled_url: Option<String>,
    /// On the inversion's.
    pub inverted_url: String,
}

impl InversionPaths {
    fn of(id: Uuid, paths: Paths) -> Self {
        let url = |place: usize, path: &str| format!("/api/v1/inversions/{id}/images/{place}/{path}");
        Self {
            terminal_std: paths.terminal_std,
            terminal_autocorrelation: paths.terminal_autocorrelation,
            initial_std: paths.initial_std,
            initial_autocorrelation: paths.initial_autocorrelation,
            reconstruction_error: paths.reconstruction_error,
            latent_variance: paths.latent_variance,
            explained_variance: paths.explained_variance,
            sampled: paths.sampled.into_iter().map(SampledState::from).collect(),
            inverted: paths.inverted.into_iter().map(InvertedState::from).collect(),
            pictures: paths
                .pictures
                .into_iter()
                .enumerate()
                .map(|(place, pictures)| StatePictures {
                    timestep: pictures.timestep,
                    sampled_url: pictures.sampled_blob.map(|_| url(place, "sampled")),
                    inverted_url: url(place, "inverted"),
                })
                .collect(),
        }
    }
}

impl From<SampledPoint> for SampledState {
    fn from(SampledPoint { timestep, x, y }: SampledPoint) -> Self {
        Self { timestep, x, y }
    }
}

impl From<InvertedPoint> for InvertedState {
    fn from(InvertedPoint { timestep, x, y, deviation }: InvertedPoint) -> Self {
        Self { timestep, x, y, deviation }
    }
}

impl InversionResponse {
    fn new(inversion: Inversion) -> Result<Self> {
        let paths = invert::result(&inversion)?;
        let id = inversion.id;
        Ok(Self {
            id,
            candidate_id: inversion.candidate_id,
            num_inference_steps: inversion.num_inference_steps,
            guidance_scale: inversion.guidance_scale,
            label: inversion.label,
            state: inversion.state,
            progress: Progress::new(inversion.done, inversion.total, "steps"),
            result: paths.map(|paths| InversionPaths::of(id, paths)),
            error: inversion.error,
            created_at: inversion.created_at,
            started_at: inversion.started_at,
            finished_at: inversion.finished_at,
        })
    }
}

/// Which inversions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct InversionQuery {
    /// Only this candidate's.
    pub candidate_id: Option<Uuid>,
    /// Rows a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Inverts a picture and puts the path beside the one it was sampled on. The same request again is the same inversion.
#[utoipa::path(post, path = "/inversions", tag = "candidates", request_body = CreateInversionRequest,
    responses((status = 202, description = "Queued, or there already", body = InversionResponse,
        headers(("Location" = String, description = "The inversion"))), Problems))]
pub async fn create_inversion(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateInversionRequest>,
) -> Result<Accepted<InversionResponse>> {
    let CreateInversionRequest { candidate_id, num_inference_steps, guidance_scale, label } = request;
    let request = InversionRequest { candidate_id, num_inference_steps, guidance_scale, label };
    let id = invert::create(&state.context, &request).await?;
    Ok(accepted(format!("/api/v1/inversions/{id}"), InversionResponse::new(load(&state, id).await?)?))
}

/// Inversions, the newest first.
#[utoipa::path(get, path = "/inversions", tag = "candidates", params(InversionQuery),
    responses((status = 200, description = "A page", body = List<InversionResponse>), Problems))]
pub async fn list_inversions(
    State(state): State<AppState>,
    Query(query): Query<InversionQuery>,
) -> Result<Json<List<InversionResponse>>> {
    let mut connection = state.connection().await?;
    let (limit, cursor) = (query.limit.rows(), query.cursor.as_deref());
    let found = store::inversion::list(&mut connection, query.candidate_id, limit, cursor).await?;
    let items = found.items.into_iter().map(InversionResponse::new).collect::<Result<_>>()?;
    Ok(Json(List { items, next_cursor: found.next_cursor, total: found.total }))
}

/// One inversion.
#[utoipa::path(get, path = "/inversions/{id}", tag = "candidates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The inversion", body = InversionResponse), Problems))]
pub async fn find_inversion(State(state): State<AppState>, Id(id): Id) -> Result<Json<InversionResponse>> {
    Ok(Json(InversionResponse::new(load(&state, id).await?)?))
}

/// One decoded state; `path` is `sampled` or `inverted`.
#[utoipa::path(get, path = "/inversions/{id}/images/{index}/{path}", tag = "candidates",
    params(("id" = Uuid, Path), ("index" = usize, Path), ("path" = String, Path)),
    responses((status = 200, description = "PNG", body = Vec<u8>, content_type = "image/png"),
        (status = 304, description = "The caller has it"), Problems))]
pub async fn find_inversion_image(
    State(state): State<AppState>,
    path: std::result::Result<Path<(Uuid, usize, String)>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response> {
    let Path((id, index, path)) = path.map_err(|error| Problem::new("not_found", error.body_text()))?;
    let paths = invert::result(&load(&state, id).await?)?;
    let pictures = paths.and_then(|paths| paths.pictures.into_iter().nth(index));
    let blob = pictures.and_then(|pictures| match &*path {
        "sampled" => pictures.sampled_blob,
        "inverted" => Some(pictures.inverted_blob),
        _ => None,
    });
    let blob = blob.ok_or_else(|| Problem::not_found("picture", format!("{index}/{path}")))?;
    image::png(&state, &headers, &blob).await
}

async fn load(state: &AppState, id: Uuid) -> Result<Inversion> {
    let found = store::inversion::find(&mut *state.connection().await?, id).await?;
    found.ok_or_else(|| Problem::not_found("inversion", id))
}
