//! Training jobs: made, watched, paused, stopped.

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use builder::error::Fault;
use builder::job::JobState;
use builder::store;
use builder::store::job::Job;
use builder::store::job_event::JobEvent;
use builder::task::train::{self, JobRequest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::generations::{Accepted, accepted};
use crate::api::graphs::captions;
use crate::api::image;
use crate::api::job_estimate::JobEstimate;
use crate::api::progress::Progress;
use crate::events;
use crate::extract::{self, Id, Query};
use crate::openapi::Octets;
use crate::page::{Limit, List, PageQuery};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// What to train, on what, how long. Everything but `pairing_id` has a default.
#[derive(Clone, Debug, ToSchema)]
#[schema(as = CreateJobRequest, example = json!({
    "pairing_id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "objective": {"name": "inversion-dpo", "path": "recorded"}, "max_steps": 300, "batch_size": 16}))]
#[expect(dead_code, reason = "the fields are the documentation; JobSpec::parse reads the request")]
pub struct CreateJobRequest {
    /// The frozen pairs.
    pairing_id: Uuid,
    /// For people.
    #[schema(required = false)]
    name: Option<String>,
    /// The reference, by name or hash. Default: the model that made the pairing's candidates.
    #[schema(required = false)]
    model: Option<String>,
    /// A name (`inversion-dpo`, `inversion-dpo-published`, `inversion-dpo-official`, `single-timestep`, `diffusion-dpo`,
    /// `inpo`, `d3po`, `sft`) or an object with `name` and its own settings. `inversion-dpo`: `path` (`auto`, `recorded`,
    /// `inverted`), `target` (`image`, `step`), `num_timesteps` (0: all), `timestep_reduction` (`each`, `sum`), `between_steps`, `eta`,
    /// `num_inversion_steps`, `inversion_guidance_scale`. Published forms: `start` (`none`, `{"perturb": 0.02}`,
    /// `{"warm_up": 20}`), `sign`, `weighting`, `reduction`, `num_inversion_steps`. `inpo`: `num_inversion_steps`, `eta`.
    /// `d3po`: `clip`, `num_inference_steps`, `guidance_scale`, `eta`. `mixture`: `first`, `second` (objectives, each with
    /// a `beta` of its own if wanted) and `weight` of the second.
    #[schema(required = false)]
    objective: Value,
    /// `"unet"`, `"lora"`, `"scene-graph-encoder"`, `"scene-graph-encoder-lora"`, or with settings
    /// `{"kind": "lora", "rank": 8, "alpha": 8, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}`.
    #[schema(required = false)]
    trainable: Value,
    /// `adamw` or `adafactor`.
    #[schema(required = false, default = "adamw")]
    optimizer: String,
    #[schema(required = false, default = 1e-4)]
    learning_rate: f64,
    /// `linear`, `constant` or `cosine`.
    #[schema(required = false, default = "linear")]
    learning_rate_schedule: String,
    #[schema(required = false, default = 10, minimum = 0)]
    warmup_steps: usize,
    #[schema(required = false, default = 300, minimum = 1)]
    max_steps: usize,
    /// Pairs in a batch.
    #[schema(required = false, default = 16, minimum = 1)]
    batch_size: usize,
    /// Batches a step.
    #[schema(required = false, default = 1, minimum = 1)]
    gradient_accumulation_steps: usize,
    /// Blocks of the UNet are computed again on the way back instead of kept: less memory for more time.
    #[schema(required = false, default = false)]
    gradient_checkpointing: bool,
    /// `no` or `bf16`: what policy and reference compute in; what learns, its gradients and the optimizer stay in f32.
    #[schema(required = false, default = "no")]
    mixed_precision: String,
    /// Share of pairs that are seen without their scene graph, winner and loser alike.
    #[schema(required = false, default = 0, minimum = 0)]
    caption_dropout: f64,
    /// Share of the pairs whose winner and loser are exchanged, by the seed: 0.5 is the control of random labels.
    #[schema(required = false, default = 0, minimum = 0, maximum = 1)]
    label_noise: f64,
    /// Of `d3po` the default is 0.1.
    #[schema(required = false, default = 2000)]
    beta: f64,
    /// Loss of a pair's logit: `sigmoid`, `hinge` or `ipo`.
    #[schema(required = false, default = "sigmoid")]
    loss: String,
    /// Taken off every logit first.
    #[schema(required = false, default = 0)]
    margin: f64,
    #[schema(required = false, default = 0.97)]
    ema_decay: f64,
    #[schema(required = false, default = 1)]
    max_grad_norm: f64,
    #[schema(required = false, default = 0)]
    weight_decay: f64,
    #[schema(required = false, default = 0, minimum = 0)]
    seed: i64,
    #[schema(required = false, default = 50, minimum = 1)]
    checkpoint_every: usize,
    /// 0: never.
    #[schema(required = false, default = 50, minimum = 0)]
    sample_every: usize,
    #[schema(required = false, default = 4, minimum = 0, maximum = 64)]
    sample_graphs: usize,
    /// Default: that of the pairing's candidates.
    #[schema(required = false, minimum = 1, maximum = 1000)]
    num_inference_steps: Option<usize>,
    /// Default: that of the pairing's candidates.
    #[schema(required = false, minimum = 0, maximum = 100)]
    guidance_scale: Option<f64>,
    /// The held-out comparison: `num_graphs`, `num_noises`, `every`, `selection_graphs`, `seed`, and `patience`:
    /// selections without a better one after which the training stops early (0: never).
    #[schema(required = false, value_type = Object)]
    evaluation: Value,
}

/// Whether to start it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CreateJobQuery {
    /// Only check the request and say what the job would cost.
    #[param(default = false)]
    pub dry_run: Option<bool>,
}

/// A training job.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobResponse {
    /// Of the job.
    pub id: Uuid,
    /// `validating`, `queued`, `preparing`, `running`, `pausing`, `paused`, `succeeded`, `failed`, `cancelling` or
    /// `cancelled`.
    #[schema(value_type = String, example = "running")]
    pub state: JobState,
    /// What it is at.
    #[schema(example = "train")]
    pub stage: String,
    /// How far that is.
    pub progress: Progress,
    /// The request, with every default written out.
    pub spec: Value,
    /// What it trains on.
    pub pairing_id: Option<Uuid>,
    /// Why it failed.
    pub error: Option<Value>,
    /// How often a worker took it up; more than once means that it was resumed.
    pub attempt: i32,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker took it up first.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<Job> for JobResponse {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            state: job.state,
            stage: job.stage,
            progress: Progress::new(job.done, job.total, job.unit),
            spec: job.spec,
            pairing_id: job.pairing_id,
            error: job.error,
            attempt: job.attempt,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
        }
    }
}

/// Something that happened to a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = JobEvent)]
pub struct JobEventResponse {
    /// 1, 2, 3 … within the job; the `id` of the event in a stream.
    pub sequence: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What kind of thing.
    #[schema(example = "state")]
    pub kind: String,
    /// What exactly.
    pub data: Value,
}

impl From<JobEvent> for JobEventResponse {
    fn from(event: JobEvent) -> Self {
        Self { sequence: event.sequence, at: event.at, kind: event.kind, data: event.data }
    }
}

impl JobEventResponse {
    /// As one event of a stream: its `event` is the kind, its `data` this document.
    pub fn into_sse(self) -> Event {
        let document = serde_json::to_string(&self).unwrap_or_default();
        Event::default().id(self.sequence.to_string()).event(self.kind).data(document)
    }
}

/// A picture that shows how a job goes.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = JobSample)]
pub struct JobSampleResponse {
    /// After this many steps; 0 is the reference.
    pub step: i32,
    /// What it is a picture of.
    pub graph_id: Uuid,
    /// What it is a picture of, in words.
    pub caption: String,
    /// Place among the pictures of its graph.
    pub index: i32,
    /// The noise that it was made from, the same at every step.
    pub seed: i64,
    /// The picture.
    pub image_url: String,
}

/// Everything for going on from a step.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Checkpoint)]
pub struct CheckpointResponse {
    /// After this many steps.
    pub step: i32,
    /// Size of all its files.
    pub bytes: i64,
    /// Its files: `name`, `bytes`, `blob` (the SHA-256).
    pub files: Value,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// What a job leaves: weights, reports.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Artifact)]
pub struct ArtifactResponse {
    /// Within the job.
    #[schema(example = "unet.safetensors")]
    pub name: String,
    /// Size.
    pub bytes: i64,
    /// SHA-256 of its content.
    pub sha256: String,
    /// What it is.
    #[schema(example = "application/octet-stream")]
    pub media_type: String,
    /// Where to fetch it.
    pub url: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Job> {
    store::job::find(connection, id).await?.ok_or_else(|| Problem::not_found("job", id))
}

/// Starts a training job. With an `Idempotency-Key`, a repeated request is the same job; with `dry_run=true` nothing is
/// started, and the answer says what it would cost.
#[utoipa::path(post, path = "/jobs", tag = "jobs", request_body = CreateJobRequest,
    params(CreateJobQuery, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters; the same key with another \
        request is a conflict")),
    responses((status = 202, description = "Queued", body = JobResponse,
        headers(("Location" = String, description = "The job"))),
        (status = 200, description = "A dry run", body = JobEstimate), Problems))]
pub async fn create_job(
    State(state): State<AppState>,
    Query(query): Query<CreateJobQuery>,
    headers: HeaderMap,
    extract::Json(request): extract::Json<Value>,
) -> Result<Response> {
    let key = idempotency_key(&headers)?;
    let spec = train::validate(&state.context, &request).await?;
    if query.dry_run == Some(true) {
        let estimate = train::estimate(&state.context, &spec).await?;
        let spec = serde_json::to_value(&spec).unwrap_or_default();
        return Ok(Json(JobEstimate::new(spec, estimate)).into_response());
    }
    let job = train::create(&state.context, &spec, &JobRequest { idempotency_key: key }).await?;
    Ok(accepted(format!("/api/v1/jobs/{}", job.id), JobResponse::from(job)).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.trim().is_empty() && key.len() <= 255 => Ok(Some(key.to_owned())),
        _ => Err(Problem::new("malformed_header", "Idempotency-Key has 1 to 255 visible ASCII characters")),
    }
}

/// Jobs, the newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(PageQuery),
    responses((status = 200, description = "A page", body = List<JobResponse>), Problems))]
pub async fn list_jobs(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<JobResponse>>> {
    let found = store::job::list(&mut *state.connection().await?, &[], page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(JobResponse::from).into()))
}

/// One job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The job", body = JobResponse), Problems))]
pub async fn find_job(State(state): State<AppState>, Id(id): Id) -> Result<Json<JobResponse>> {
    Ok(Json(load(&mut *state.connection().await?, id).await?.into()))
}

/// Stops a job at its next step, for good.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 202, description = "Asked for", body = JobResponse), Problems))]
pub async fn cancel_job(State(state): State<AppState>, Id(id): Id) -> Result<Accepted<JobResponse>> {
    Ok(asked(train::cancel(&state.context, id).await?))
}

/// Stops a job at its next step, so that it can go on later.
#[utoipa::path(post, path = "/jobs/{id}/pause", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 202, description = "Asked for", body = JobResponse), Problems))]
pub async fn pause_job(State(state): State<AppState>, Id(id): Id) -> Result<Accepted<JobResponse>> {
    Ok(asked(train::pause(&state.context, id).await?))
}

/// Goes on with a paused job.
#[utoipa::path(post, path = "/jobs/{id}/resume", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 202, description = "Asked for", body = JobResponse), Problems))]
pub async fn resume_job(State(state): State<AppState>, Id(id): Id) -> Result<Accepted<JobResponse>> {
    Ok(asked(train::resume(&state.context, id).await?))
}

/// Writes a checkpoint after the present step.
#[utoipa::path(post, path = "/jobs/{id}/save", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 202, description = "Asked for", body = JobResponse), Problems))]
pub async fn save_job(State(state): State<AppState>, Id(id): Id) -> Result<Accepted<JobResponse>> {
    Ok(asked(train::request(&state.context, id, train::JobAction::Save).await?))
}

/// Makes sample pictures after the present step.
#[utoipa::path(post, path = "/jobs/{id}/sample", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 202, description = "Asked for", body = JobResponse), Problems))]
pub async fn sample_job(State(state): State<AppState>, Id(id): Id) -> Result<Accepted<JobResponse>> {
    Ok(asked(train::request(&state.context, id, train::JobAction::Sample).await?))
}

fn asked(job: Job) -> Accepted<JobResponse> {
    accepted(format!("/api/v1/jobs/{}", job.id), job.into())
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JobEventQuery {
    /// Events after this one. A stream takes it from `Last-Event-ID` first.
    #[param(minimum = 0)]
    pub after: Option<i64>,
    /// Rows a page, 1 to 200; a stream has no pages.
    #[param(minimum = 1, maximum = 200, default = 200, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What happened to a job, the oldest first; as a stream with `Accept: text/event-stream`.
#[utoipa::path(get, path = "/jobs/{id}/events", tag = "jobs",
    params(("id" = Uuid, Path), JobEventQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Streams only: where the last one broke off")),
    responses((status = 200, description = "A page, or a stream of the same documents",
        content((List<JobEventResponse> = "application/json"), (String = "text/event-stream"))), Problems))]
pub async fn list_job_events(
    State(state): State<AppState>,
    Id(id): Id,
    Query(query): Query<JobEventQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        let last = match headers.get("last-event-id") {
            None => query.after.unwrap_or(0),
            Some(value) => value
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| Problem::new("malformed_header", "Last-Event-ID is the number of an event"))?,
        };
        drop(connection);
        return Ok(events::stream(state, id, last).into_response());
    }
    let after = match &query.cursor {
        Some(cursor) => cursor
            .parse()
            .map_err(|_| Problem::query_faults(&[Fault::new("/cursor", "this is not a cursor of this list")]))?,
        None => query.after.unwrap_or(0),
    };
    let limit = query.limit.rows_or(200);
    let mut found = store::job_event::list_after(&mut connection, id, after, limit + 1).await?;
    let more = found.len() as i64 > limit;
    found.truncate(limit as usize);
    let total = store::job_event::count(&mut connection, id).await?;
    let next_cursor = found.last().filter(|_| more).map(|event| event.sequence.to_string());
    let items = found.into_iter().map(JobEventResponse::from).collect();
    Ok(Json(List { items, next_cursor, total }).into_response())
}

/// Which metrics.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JobMetricQuery {
    /// Steps from this one on.
    #[param(minimum = 0)]
    pub since_step: Option<i32>,
    /// Every n-th step, and the newest.
    #[param(minimum = 1, default = 1)]
    pub stride: Option<i32>,
}

/// The curve of a job: one object a step, with `step`, `loss`, `implicit_reward_margin`, `pair_accuracy`, `grad_norm`,
/// `drift`, `seconds`, `learning_rate`.
#[utoipa::path(get, path = "/jobs/{id}/metrics", tag = "jobs", params(("id" = Uuid, Path), JobMetricQuery),
    responses((status = 200, description = "By step", body = List<Value>), Problems))]
pub async fn list_job_metrics(
    State(state): State<AppState>,
    Id(id): Id,
    Query(query): Query<JobMetricQuery>,
) -> Result<Json<List<Value>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let since = query.since_step.unwrap_or(-1);
    let stride = query.stride.unwrap_or(1).max(1);
    let found = store::job_metric::list(&mut connection, id, since, stride).await?;
    let items = found.into_iter().map(|metric| {
        let mut point = Map::new();
        point.insert("step".to_owned(), metric.step.into());
        if let Value::Object(values) = metric.metrics {
            point.extend(values.into_iter().filter(|(name, _)| name != "step"));
        }
        Value::Object(point)
    });
    Ok(Json(List::whole(items.collect())))
}

/// Pictures of the same graphs and noises after more and more steps.
#[utoipa::path(get, path = "/jobs/{id}/samples", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "By step", body = List<JobSampleResponse>), Problems))]
pub async fn list_job_samples(State(state): State<AppState>, Id(id): Id) -> Result<Json<List<JobSampleResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let samples = store::job_sample::list(&mut connection, id).await?;
    let graph_ids: Vec<Uuid> = samples.iter().map(|sample| sample.graph_id).collect();
    let captions = captions(&mut connection, &graph_ids).await?;
    let items = samples.into_iter().map(|sample| JobSampleResponse {
        step: sample.step,
        graph_id: sample.graph_id,
        caption: captions.get(&sample.graph_id).cloned().unwrap_or_default(),
        index: sample.index,
        seed: sample.seed,
        image_url: format!("/api/v1/jobs/{id}/samples/{}/{}/{}", sample.step, sample.graph_id, sample.index),
    });
    Ok(Json(List::whole(items.collect())))
}

/// One sample picture.
#[utoipa::path(get, path = "/jobs/{id}/samples/{step}/{graph_id}/{index}", tag = "jobs",
    params(("id" = Uuid, Path), ("step" = i32, Path), ("graph_id" = Uuid, Path), ("index" = i32, Path)),
    responses((status = 200, description = "PNG", body = Octets, content_type = "image/png"),
        (status = 304, description = "The caller has it"), Problems))]
pub async fn find_job_sample(
    State(state): State<AppState>,
    path: std::result::Result<Path<(Uuid, i32, Uuid, i32)>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response> {
    let Path((id, step, graph_id, index)) = path.map_err(|error| Problem::new("not_found", error.body_text()))?;
    let found = store::job_sample::find(&mut *state.connection().await?, id, step, graph_id, index)
        .await?
        .ok_or_else(|| Problem::not_found("sample", format!("{step}/{graph_id}/{index}")))?;
    image::png(&state, &headers, &found.image_blob).await
}

/// Checkpoints that the job can go on from.
#[utoipa::path(get, path = "/jobs/{id}/checkpoints", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "By step", body = List<CheckpointResponse>), Problems))]
pub async fn list_job_checkpoints(State(state): State<AppState>, Id(id): Id) -> Result<Json<List<CheckpointResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let items = store::checkpoint::list(&mut connection, id).await?.into_iter().map(|checkpoint| CheckpointResponse {
        step: checkpoint.step,
        bytes: checkpoint.bytes,
        files: serde_json::to_value(&*checkpoint.files).unwrap_or_default(),
        created_at: checkpoint.created_at,
    });
    Ok(Json(List::whole(items.collect())))
}

/// What the job leaves: trained weights, reports.
#[utoipa::path(get, path = "/jobs/{id}/artifacts", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "By name", body = List<ArtifactResponse>), Problems))]
pub async fn list_job_artifacts(State(state): State<AppState>, Id(id): Id) -> Result<Json<List<ArtifactResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let items = store::checkpoint::artifacts(&mut connection, id).await?.into_iter().map(|artifact| ArtifactResponse {
        url: format!("/api/v1/jobs/{id}/artifacts/{}", artifact.name),
        name: artifact.name,
        bytes: artifact.bytes,
        sha256: artifact.blob,
        media_type: artifact.media_type,
        created_at: artifact.created_at,
    });
    Ok(Json(List::whole(items.collect())))
}

/// One artifact's content.
#[utoipa::path(get, path = "/jobs/{id}/artifacts/{name}", tag = "jobs",
    params(("id" = Uuid, Path), ("name" = String, Path)),
    responses((status = 200, description = "The file", body = Octets, content_type = "application/octet-stream"),
        Problems))]
pub async fn find_job_artifact(
    State(state): State<AppState>,
    path: std::result::Result<Path<(Uuid, String)>, axum::extract::rejection::PathRejection>,
) -> Result<Response> {
    let Path((id, name)) = path.map_err(|error| Problem::new("not_found", error.body_text()))?;
    let missing = || Problem::not_found("artifact", &name);
    if name.contains('\0') {
        return Err(missing());
    }
    let found = store::checkpoint::find_artifact(&mut *state.connection().await?, id, &name).await?;
    let found = found.ok_or_else(missing)?;
    let content = state.context.blobs.get(&found.blob).await?;
    let mut response = (StatusCode::OK, HttpBody::from(content)).into_response();
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_str(&found.media_type);
    let media_type = media_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    let file_name: String =
        found.name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
