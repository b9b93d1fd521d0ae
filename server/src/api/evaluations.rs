//! The trained model against its reference, on held-out graphs.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use builder::store;
use builder::store::evaluation::{Evaluation, ImagePair};
use builder::store::state::{EvaluationRole, TaskState};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::graphs::captions;
use crate::api::image;
use crate::api::progress::Progress;
use crate::extract::{Id, Query};
use crate::openapi::Octets;
use crate::page::{Limit, List, PageQuery};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// A comparison of two models with the same graphs and noises.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Evaluation)]
pub struct EvaluationResponse {
    /// Of the evaluation.
    pub id: Uuid,
    /// The job whose result it compares.
    pub job_id: Option<Uuid>,
    /// For people.
    pub name: String,
    /// `final`, or `progress` while the job trains.
    #[schema(value_type = String, example = "final")]
    pub kind: Value,
    /// After this many steps.
    pub step: Option<i32>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "succeeded")]
    pub state: TaskState,
    /// Pictures made and judged.
    pub progress: Progress,
    /// Everything that the result depends on.
    pub settings: Value,
    /// `base_score`, `trained_score`, `delta`, `delta_se`, `delta_ci95`, `win_rate`, `evaluated_graphs`,
    /// `evaluated_images`, and the same under `by_kind` for each kind of question; null until it is done.
    pub result: Option<Value>,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<Evaluation> for EvaluationResponse {
    fn from(evaluation: Evaluation) -> Self {
        let mut settings = evaluation.settings;
        // Hundreds of ids that nobody reads in a list; the images name them.
        if let Some(map) = settings.as_object_mut() {
            let count = map.get("graph_ids").and_then(Value::as_array).map(Vec::len);
            if let Some(count) = count {
                map.insert("graph_ids".to_owned(), count.into());
            }
        }
        Self {
            id: evaluation.id,
            job_id: evaluation.job_id,
            name: evaluation.name,
            kind: serde_json::to_value(evaluation.kind).unwrap_or_default(),
            step: evaluation.step,
            state: evaluation.state,
            progress: Progress::new(evaluation.done, evaluation.total, "images"),
            settings,
            result: evaluation.result,
            error: evaluation.error,
            created_at: evaluation.created_at,
            started_at: evaluation.started_at,
            finished_at: evaluation.finished_at,
        }
    }
}

/// Which evaluations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EvaluationQuery {
    /// Only this job's.
    pub job_id: Option<Uuid>,
    /// Rows a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Both pictures of one graph and noise.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EvaluationImage)]
pub struct EvaluationImageResponse {
    /// What both are pictures of.
    pub graph_id: Uuid,
    /// What both are pictures of, in words.
    pub caption: String,
    /// Which noise.
    pub index: i32,
    /// The noise itself.
    pub seed: i64,
    /// Of the reference.
    pub base: EvaluationSide,
    /// Of the trained model.
    pub trained: EvaluationSide,
}

/// One picture of a comparison.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EvaluationSide {
    /// The picture.
    pub image_url: String,
    /// Its score.
    pub score: f64,
}

/// Evaluations, the newest first.
#[utoipa::path(get, path = "/evaluations", tag = "evaluations", params(EvaluationQuery),
    responses((status = 200, description = "A page", body = List<EvaluationResponse>), Problems))]
pub async fn list_evaluations(
    State(state): State<AppState>,
    Query(query): Query<EvaluationQuery>,
) -> Result<Json<List<EvaluationResponse>>> {
    let mut connection = state.connection().await?;
    let limit = query.limit.rows();
    let found = store::evaluation::list(&mut connection, query.job_id, None, limit, query.cursor.as_deref()).await?;
    Ok(Json(found.map(EvaluationResponse::from).into()))
}

/// One evaluation.
#[utoipa::path(get, path = "/evaluations/{id}", tag = "evaluations", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The evaluation", body = EvaluationResponse), Problems))]
pub async fn find_evaluation(State(state): State<AppState>, Id(id): Id) -> Result<Json<EvaluationResponse>> {
    Ok(Json(load(&mut *state.connection().await?, id).await?.into()))
}

/// Pictures of both models side by side, as many as were kept.
#[utoipa::path(get, path = "/evaluations/{id}/images", tag = "evaluations", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, description = "A page", body = List<EvaluationImageResponse>), Problems))]
pub async fn list_evaluation_images(
    State(state): State<AppState>,
    Id(id): Id,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<EvaluationImageResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let found = store::evaluation::list_image_pairs(&mut connection, id, page.limit(), page.cursor.as_deref()).await?;
    let graph_ids: Vec<Uuid> = found.items.iter().map(|pair| pair.graph_id).collect();
    let captions = captions(&mut connection, &graph_ids).await?;
    Ok(Json(
        found
            .map(|pair: ImagePair| {
                let url =
                    |role: &str| format!("/api/v1/evaluations/{id}/images/{}/{}/{role}", pair.graph_id, pair.index);
                EvaluationImageResponse {
                    graph_id: pair.graph_id,
                    caption: captions.get(&pair.graph_id).cloned().unwrap_or_default(),
                    index: pair.index,
                    seed: pair.seed,
                    base: EvaluationSide { image_url: url("base"), score: pair.base_score },
                    trained: EvaluationSide { image_url: url("trained"), score: pair.trained_score },
                }
            })
            .into(),
    ))
}

/// One picture of a comparison; `role` is `base` or `trained`.
#[utoipa::path(get, path = "/evaluations/{id}/images/{graph_id}/{index}/{role}", tag = "evaluations",
    params(("id" = Uuid, Path), ("graph_id" = Uuid, Path), ("index" = i32, Path), ("role" = String, Path)),
    responses((status = 200, description = "PNG", body = Octets, content_type = "image/png"),
        (status = 304, description = "The caller has it"), Problems))]
pub async fn find_evaluation_image(
    State(state): State<AppState>,
    path: std::result::Result<Path<(Uuid, Uuid, i32, String)>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response> {
    let Path((id, graph_id, index, role)) = path.map_err(|error| Problem::new("not_found", error.body_text()))?;
    let role: EvaluationRole = role.parse().map_err(|_| Problem::not_found("picture", &role))?;
    let mut connection = state.connection().await?;
    let found = store::evaluation::find_image(&mut connection, id, graph_id, index, role).await?;
    drop(connection);
    let found = found.ok_or_else(|| Problem::not_found("picture", format!("{graph_id}/{index}")))?;
    image::png(&state, &headers, &found.image_blob).await
}

async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Evaluation> {
    store::evaluation::find(connection, id).await?.ok_or_else(|| Problem::not_found("evaluation", id))
}
