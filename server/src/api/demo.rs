//! The demo: how far it is, and starting it from the first page.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use builder::error::Fault;
use builder::job::Fields;
use builder::task::demo::{self, DemoPlan};
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::{self, Body};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// Which demo to run.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"size": "small"}))]
pub struct StartDemoRequest {
    /// `small` (seconds, shows that every part works), `normal` or `full` (2,785 graphs × 4 images).
    #[schema(required = false, default = "normal")]
    pub size: String,
    /// Of everything that is drawn at random.
    #[schema(required = false, default = 0, minimum = 0)]
    pub seed: i64,
}

impl Body for StartDemoRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let size = fields.choice("size", "normal", &["small", "normal", "full"], faults);
        let seed = fields.seed("seed", 0, faults);
        fields.finish(faults);
        Some(Self { size, seed })
    }
}

/// The demo's stages and, at its end, its summary; 404 in a store that never ran one.
#[utoipa::path(get, path = "/demo", tag = "service",
    responses((status = 200, description = "`running`, `stage`, `stages[]`, `summary`", body = Value), Problems))]
pub async fn show_demo(State(state): State<AppState>) -> Result<Json<Value>> {
    Ok(Json(status(&state).await?))
}

/// Starts the demo as `diptych demo` does: graphs, candidates, scores, pairs, training, evaluation. A demo that was stopped
/// goes on where it was. The work is done by this service's worker.
#[utoipa::path(post, path = "/demo", tag = "service", request_body = StartDemoRequest,
    responses((status = 202, description = "Its state", body = Value,
        headers(("Location" = String, description = "The demo"))), Problems))]
pub async fn start_demo(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<StartDemoRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Value>)> {
    let plan = match request.size.as_str() {
        "small" => DemoPlan::small(request.seed),
        "full" => DemoPlan::full(request.seed),
        _ => DemoPlan::normal(request.seed),
    };
    demo::start(&state.context, plan).await?;
    let location = [(header::LOCATION, "/api/v1/demo".to_owned())];
    Ok((StatusCode::ACCEPTED, location, Json(status(&state).await?)))
}

async fn status(state: &AppState) -> Result<Value> {
    let status = demo::status(&mut *state.connection().await?).await?;
    status.ok_or_else(|| Problem::new("not_found", "this store has run no demo"))
}
