//! Runs that answer questions and compute scores.

use axum::Json;
use axum::extract::State;
use builder::error::Fault;
use builder::job::Fields;
use builder::store::state::TaskState;
use builder::store::{self, score_run::ScoreRun};
use builder::task::score;
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

/// What to score.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"answerer": "shapes"}))]
pub struct CreateScoreRunRequest {
    /// Who answers.
    #[schema(required = false, default = "shapes")]
    pub answerer: String,
    /// Only this generation's candidates. Default: all.
    #[schema(required = false)]
    pub generation_id: Option<Uuid>,
}

impl Body for CreateScoreRunRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let answerer = fields.text("answerer", faults).unwrap_or_else(|| "shapes".to_owned());
        if let Err(error) = score::answerer(&answerer) {
            faults.push(Fault::new("/answerer", error.to_string()));
        }
        let generation_id = extract::optional_uuid(&mut fields, "generation_id", faults);
        fields.finish(faults);
        Some(Self { answerer, generation_id })
    }
}

/// A run that scores candidates.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ScoreRun)]
pub struct ScoreRunResponse {
    /// Of the run.
    pub id: Uuid,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "succeeded")]
    pub state: TaskState,
    /// Candidates scored.
    pub progress: Progress,
    /// Who answers.
    pub answerer: String,
    /// Which version.
    pub answerer_version: String,
    /// Only this generation's candidates.
    pub generation_id: Option<Uuid>,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker took it up.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<ScoreRun> for ScoreRunResponse {
    fn from(run: ScoreRun) -> Self {
        Self {
            id: run.id,
            state: run.state,
            progress: Progress::new(run.done, run.total, "candidates"),
            answerer: run.answerer,
            answerer_version: run.answerer_version,
            generation_id: run.generation_id,
            error: run.error,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

/// Scores the candidates that this answerer has not scored yet.
#[utoipa::path(post, path = "/score-runs", tag = "scores", request_body = CreateScoreRunRequest,
    responses((status = 202, description = "Queued", body = ScoreRunResponse,
        headers(("Location" = String, description = "The score run"))), Problems))]
pub async fn create_score_run(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateScoreRunRequest>,
) -> Result<Accepted<ScoreRunResponse>> {
    let id = score::create(&state.context, &request.answerer, request.generation_id).await?;
    let run = load(&state, id).await?;
    Ok(accepted(format!("/api/v1/score-runs/{id}"), run.into()))
}

/// Score runs, the newest first.
#[utoipa::path(get, path = "/score-runs", tag = "scores", params(PageQuery),
    responses((status = 200, description = "A page", body = List<ScoreRunResponse>), Problems))]
pub async fn list_score_runs(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<ScoreRunResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::score_run::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(ScoreRunResponse::from).into()))
}

/// One score run.
#[utoipa::path(get, path = "/score-runs/{id}", tag = "scores", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The score run", body = ScoreRunResponse), Problems))]
pub async fn find_score_run(State(state): State<AppState>, Id(id): Id) -> Result<Json<ScoreRunResponse>> {
    Ok(Json(load(&state, id).await?.into()))
}

async fn load(state: &AppState, id: Uuid) -> Result<ScoreRun> {
    let found = store::score_run::find(&mut *state.connection().await?, id).await?;
    found.ok_or_else(|| Problem::not_found("score run", id))
}
