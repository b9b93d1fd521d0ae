//! Whether the service works.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// The service works.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`; anything else is a problem document.
    #[schema(example = "ok")]
    pub status: String,
    /// Of the program.
    #[schema(example = "0.1.0")]
    pub version: String,
}

/// Whether the service and its store answer.
#[utoipa::path(get, path = "/health", tag = "service",
    responses((status = 200, description = "Ready", body = Health), Problems))]
pub async fn show_health(State(state): State<AppState>) -> Result<Json<Health>> {
    let alive = sqlx::Connection::ping(&mut *state.connection().await?).await;
    if alive.is_err() {
        return Err(Problem::new("unavailable", "The store does not answer."));
    }
    Ok(Json(Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }))
}
