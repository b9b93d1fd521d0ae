//! Runs that answer questions and compute scores.

use axum::Json;
use axum::extract::State;
use builder::error::Fault;
use builder::job::Fields;
use builder::store::page::Page;
use builder::store::score_failure::ScoreFailure;
use builder::store::state::TaskState;
use builder::store::{self, score_run::ScoreRun};
use builder::task::score::{self, ScoreRequest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
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
    /// Who scores: `shapes`, `openai`, `blip-vqa`, `clip-score`, `pick-score`, `aesthetic`, `shapes-boxes`, `http-boxes`,
    /// `openai-graph` or `human` (the votes as they are now); with `recorded`, whoever gave answers that were imported.
    #[schema(required = false, default = "shapes")]
    pub answerer: String,
    /// With `recorded`, which version of the answerer, where there are answers of several.
    #[schema(required = false)]
    pub answerer_version: Option<String>,
    /// A registered network (`/metric-networks`), for `blip-vqa`, `clip-score`, `pick-score` and `aesthetic`.
    #[schema(required = false)]
    pub network: Option<String>,
    /// Only this generation's candidates. Default: all.
    #[schema(required = false)]
    pub generation_id: Option<Uuid>,
    /// 2 or more: everything once more, to see how stable the scorer is (`/agreement/retest`). Makes no pairs.
    #[schema(required = false, default = 1, minimum = 1, maximum = 9)]
    pub repetition: u32,
    /// Compute the scores from answers that are here (imported ones); nothing is asked.
    #[schema(required = false, default = false)]
    pub recorded: bool,
}

impl Body for CreateScoreRunRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let answerer = fields.text("answerer", faults).unwrap_or_else(|| "shapes".to_owned());
        let answerer_version = fields.text("answerer_version", faults);
        let network = fields.text("network", faults);
        let recorded = match fields.take("recorded") {
            None => false,
            Some(Value::Bool(recorded)) => *recorded,
            Some(_) => {
                faults.push(Fault::new("/recorded", "is true or false"));
                false
            }
        };
        let repetition = fields.count("repetition", 1, 1..=9, faults) as u32;
        let generation_id = extract::optional_uuid(&mut fields, "generation_id", faults);
        if !recorded && !score::SCORERS.contains(&answerer.as_str()) {
            let message = format!("{answerer:?} is not one of {}", score::SCORERS.join(", "));
            faults.push(Fault::new("/answerer", message));
        }
        if !recorded && answerer_version.is_some() {
            faults.push(Fault::new("/answerer_version", "goes with recorded answers alone"));
        }
        if recorded && repetition > 1 {
            faults.push(Fault::new("/repetition", "recorded answers are not asked again"));
        }
        fields.finish(faults);
        Some(Self { answerer, answerer_version, network, generation_id, repetition, recorded })
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
    /// What it scores.
    pub metrics: Vec<String>,
    /// The registered network that it uses.
    pub network: Option<String>,
    /// 1, or the number of a repetition.
    pub repetition: i32,
    /// Whether the answers were there already.
    pub recorded: bool,
    /// What it cost to ask over the network; null where nobody was.
    pub spent: Option<SpentResponse>,
    /// Candidates that this scorer could not score, or not in full; `/failures` says why.
    pub failed: i64,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker took it up.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl ScoreRunResponse {
    /// `failed`: candidates that could not be scored.
    pub fn new(run: ScoreRun, failed: i64) -> Self {
        Self {
            id: run.id,
            state: run.state,
            progress: Progress::new(run.done, run.total, "candidates"),
            answerer: run.answerer,
            answerer_version: run.answerer_version,
            generation_id: run.generation_id,
            metrics: run.metrics,
            network: run.network,
            repetition: run.repetition,
            recorded: run.recorded,
            spent: run.spent.and_then(|spent| serde_json::from_value(spent).ok()),
            failed,
            error: run.error,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }

    async fn of(connection: &mut PgConnection, run: ScoreRun) -> Result<Self> {
        let failed = store::score_failure::count(connection, &run).await?;
        Ok(Self::new(run, failed))
    }
}

/// What a run spent on whoever it asked over the network, broken off and taken up again included.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Spent)]
pub struct SpentResponse {
    /// Requests sent, tries included.
    pub requests: u64,
    /// Requests that had to be sent again.
    pub retries: u64,
    /// What was known already and not asked for.
    pub cached: u64,
    /// As the server counts them.
    pub prompt_tokens: u64,
    /// As the server counts them.
    pub completion_tokens: u64,
    /// In the currency of the operator's prices; null without prices.
    #[serde(default)]
    pub cost: Option<f64>,
}

/// Why a candidate was not scored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ScoreFailure)]
pub struct ScoreFailureResponse {
    /// The candidate.
    pub candidate_id: Uuid,
    /// What it was made of.
    pub graph_id: Uuid,
    /// For people.
    pub reason: String,
    /// Tries so far. The next run of this scorer tries again.
    pub attempts: i32,
    /// The last of them.
    pub failed_at: DateTime<Utc>,
}

impl From<ScoreFailure> for ScoreFailureResponse {
    fn from(failure: ScoreFailure) -> Self {
        let ScoreFailure { candidate_id, graph_id, reason, attempts, failed_at } = failure;
        Self { candidate_id, graph_id, reason, attempts, failed_at }
    }
}

/// Scores the candidates that this scorer has not scored yet, and those that it could not score before. Where answers of its
/// version are here, nothing is asked.
#[utoipa::path(post, path = "/score-runs", tag = "scores", request_body = CreateScoreRunRequest,
    responses((status = 202, description = "Queued", body = ScoreRunResponse,
        headers(("Location" = String, description = "The score run"))), Problems))]
pub async fn create_score_run(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateScoreRunRequest>,
) -> Result<Accepted<ScoreRunResponse>> {
    let CreateScoreRunRequest { answerer, answerer_version, network, generation_id, repetition, recorded } = request;
    let request = ScoreRequest { answerer, answerer_version, network, generation_id, repetition, recorded };
    let id = score::create(&state.context, &request).await?;
    Ok(accepted(format!("/api/v1/score-runs/{id}"), describe(&state, id).await?))
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
    let Page { items, next_cursor, total } = found;
    let mut runs = Vec::with_capacity(items.len());
    for run in items {
        runs.push(ScoreRunResponse::of(&mut connection, run).await?);
    }
    Ok(Json(Page { items: runs, next_cursor, total }.into()))
}

/// One score run.
#[utoipa::path(get, path = "/score-runs/{id}", tag = "scores", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The score run", body = ScoreRunResponse), Problems))]
pub async fn find_score_run(State(state): State<AppState>, Id(id): Id) -> Result<Json<ScoreRunResponse>> {
    Ok(Json(describe(&state, id).await?))
}

/// Candidates that this run's scorer could not score, or not in full, and why.
#[utoipa::path(get, path = "/score-runs/{id}/failures", tag = "scores", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, description = "A page", body = List<ScoreFailureResponse>), Problems))]
pub async fn list_score_failures(
    State(state): State<AppState>,
    Id(id): Id,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<ScoreFailureResponse>>> {
    let run = load(&state, id).await?;
    let mut connection = state.connection().await?;
    let found = store::score_failure::list(&mut connection, &run, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(ScoreFailureResponse::from).into()))
}

async fn describe(state: &AppState, id: Uuid) -> Result<ScoreRunResponse> {
    let run = load(state, id).await?;
    ScoreRunResponse::of(&mut *state.connection().await?, run).await
}

async fn load(state: &AppState, id: Uuid) -> Result<ScoreRun> {
    let found = store::score_run::find(&mut *state.connection().await?, id).await?;
    found.ok_or_else(|| Problem::not_found("score run", id))
}
