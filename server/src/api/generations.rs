//! Runs that make candidates.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use builder::error::Fault;
use builder::job::Fields;
use builder::store::state::{Split, TaskState};
use builder::store::{self, generation::Generation};
use builder::task::TaskContext;
use builder::task::generate::{self, GenerationRequest};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::progress::Progress;
use crate::extract::{self, Body, Id, Query};
use crate::page::{List, PageQuery};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// Graphs named one by one in a request.
const MOST_GRAPH_IDS: usize = 100_000;

/// What to make candidates of, and how.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"split": "train", "num_candidates": 4}))]
pub struct CreateGenerationRequest {
    /// These graphs. Without it: every graph of `split`.
    #[schema(required = false)]
    pub graph_ids: Option<Vec<Uuid>>,
    /// `train` or `held_out`; without it and without `graph_ids`: every graph.
    #[schema(required = false, value_type = Option<String>)]
    pub split: Option<Split>,
    /// By name, hash or folder. Default: the embedded one.
    #[schema(required = false)]
    pub model: Option<String>,
    /// What the candidates' seeds derive from.
    #[schema(required = false, default = 0, minimum = 0)]
    pub seed: i64,
    /// Candidates a graph.
    #[schema(required = false, default = 4, minimum = 1, maximum = 64)]
    pub num_candidates: u32,
    /// Sampling steps.
    #[schema(required = false, default = 20, minimum = 1, maximum = 1000)]
    pub num_inference_steps: u32,
    /// Classifier-free guidance.
    #[schema(required = false, minimum = 0, maximum = 100)]
    pub guidance_scale: f64,
}

impl Body for CreateGenerationRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let defaults = GenerationRequest::default();
        let mut fields = Fields::open(value, String::new(), faults)?;
        let graph_ids = extract::optional_uuids(&mut fields, "graph_ids", MOST_GRAPH_IDS, faults);
        let split = match fields.choice("split", "", &["train", "held_out"], faults).as_str() {
            "train" => Some(Split::Train),
            "held_out" => Some(Split::HeldOut),
            _ => None,
        };
        if value["graph_ids"].as_array().is_some_and(Vec::is_empty) {
            faults.push(Fault::new("/graph_ids", "names at least one graph"));
        }
        if graph_ids.is_some() && split.is_some() {
            faults.push(Fault::new("/split", "goes without graph_ids: they name the graphs already"));
        }
        let request = Self {
            graph_ids,
            split,
            model: fields.text("model", faults),
            seed: fields.seed("seed", defaults.seed, faults),
            num_candidates: fields.count("num_candidates", defaults.num_candidates as usize, 1..=64, faults) as u32,
            num_inference_steps: fields.count(
                "num_inference_steps",
                defaults.num_inference_steps as usize,
                1..=1000,
                faults,
            ) as u32,
            guidance_scale: fields.number("guidance_scale", defaults.guidance_scale, 0.0..=100.0, faults),
        };
        fields.finish(faults);
        Some(request)
    }
}

/// A run that makes candidates.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Generation)]
pub struct GenerationResponse {
    /// Of the generation.
    pub id: Uuid,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "running")]
    pub state: TaskState,
    /// Candidates made.
    pub progress: Progress,
    /// The model's identity.
    pub model_hash: String,
    /// What the candidates' seeds derive from.
    pub seed: i64,
    /// Candidates a graph.
    pub num_candidates: i32,
    /// Sampling steps.
    pub num_inference_steps: i32,
    /// Classifier-free guidance.
    pub guidance_scale: f64,
    /// The sampler.
    pub sampler: String,
    /// How the graphs were named.
    pub selection: Value,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker took it up.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<Generation> for GenerationResponse {
    fn from(generation: Generation) -> Self {
        Self {
            id: generation.id,
            state: generation.state,
            progress: Progress::new(generation.done, generation.total, "candidates"),
            model_hash: generation.model_hash,
            seed: generation.seed,
            num_candidates: generation.num_candidates,
            num_inference_steps: generation.num_inference_steps,
            guidance_scale: generation.guidance_scale,
            sampler: generation.sampler,
            selection: generation.selection,
            error: generation.error,
            created_at: generation.created_at,
            started_at: generation.started_at,
            finished_at: generation.finished_at,
        }
    }
}

/// What a 202 carries beside its body.
pub type Accepted<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

/// A 202 for the resource at `location`.
pub fn accepted<T>(location: String, body: T) -> Accepted<T> {
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body))
}

/// Turns a request into what the task wants.
pub async fn to_task(context: &TaskContext, request: CreateGenerationRequest) -> builder::Result<GenerationRequest> {
    let (graph_ids, selection) = match request.graph_ids {
        Some(ids) => {
            let selection = json!({ "graph_ids": ids.len() });
            (ids, selection)
        }
        None => {
            let refs = store::graph::list_refs(&mut *context.pool.acquire().await?, request.split).await?;
            (refs.into_iter().map(|(id, _)| id).collect(), json!({ "split": request.split.map(Split::as_str) }))
        }
    };
    Ok(GenerationRequest {
        graph_ids,
        selection,
        model: request.model,
        seed: request.seed,
        num_candidates: request.num_candidates,
        num_inference_steps: request.num_inference_steps,
        guidance_scale: request.guidance_scale,
    })
}

/// Makes candidates of graphs.
#[utoipa::path(post, path = "/generations", tag = "candidates", request_body = CreateGenerationRequest,
    responses((status = 202, description = "Queued", body = GenerationResponse,
        headers(("Location" = String, description = "The generation"))), Problems))]
pub async fn create_generation(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateGenerationRequest>,
) -> Result<Accepted<GenerationResponse>> {
    let request = to_task(&state.context, request).await?;
    let id = generate::create(&state.context, &request).await?;
    let generation = load(&state, id).await?;
    Ok(accepted(format!("/api/v1/generations/{id}"), generation.into()))
}

/// Generations, the newest first.
#[utoipa::path(get, path = "/generations", tag = "candidates", params(PageQuery),
    responses((status = 200, description = "A page", body = List<GenerationResponse>), Problems))]
pub async fn list_generations(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<GenerationResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::generation::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(GenerationResponse::from).into()))
}

/// One generation.
#[utoipa::path(get, path = "/generations/{id}", tag = "candidates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The generation", body = GenerationResponse), Problems))]
pub async fn find_generation(State(state): State<AppState>, Id(id): Id) -> Result<Json<GenerationResponse>> {
    Ok(Json(load(&state, id).await?.into()))
}

async fn load(state: &AppState, id: Uuid) -> Result<Generation> {
    let found = store::generation::find(&mut *state.connection().await?, id).await?;
    found.ok_or_else(|| Problem::not_found("generation", id))
}
