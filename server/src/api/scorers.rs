//! Who answers questions, and what is computed from the answers.

use axum::Json;
use axum::extract::State;
use builder::store;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::page::List;
use crate::problem::{Problems, Result};
use crate::state::AppState;

/// An answerer that has scored candidates here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Scorer)]
pub struct ScorerResponse {
    /// Its name.
    #[schema(example = "shapes")]
    pub name: String,
    /// Answers of another version are other answers.
    pub version: String,
    /// Candidates it has scored.
    pub num_candidates: i64,
    /// When it did so last.
    pub last_scored_at: DateTime<Utc>,
}

/// Answerers that have scored something.
#[utoipa::path(get, path = "/scorers", tag = "scores",
    responses((status = 200, description = "All of them", body = List<ScorerResponse>), Problems))]
pub async fn list_scorers(State(state): State<AppState>) -> Result<Json<List<ScorerResponse>>> {
    let answerers = store::score_card::answerers(&mut *state.connection().await?).await?;
    let items = answerers.into_iter().map(|answerer| {
        let store::score_card::Answerer { name, version, num_candidates, last_scored_at } = answerer;
        ScorerResponse { name, version, num_candidates, last_scored_at }
    });
    Ok(Json(List::whole(items.collect())))
}
