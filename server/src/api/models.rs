//! Model folders that the store knows.

use axum::Json;
use axum::extract::State;
use builder::store;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::page::List;
use crate::problem::{Problems, Result};
use crate::state::AppState;

/// A model folder.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub struct ModelResponse {
    /// SHA-256 over all its weights and settings: its identity.
    pub hash: String,
    /// What people call it.
    #[schema(example = "tiny")]
    pub name: String,
    /// The settings that matter here.
    pub config: Value,
    /// When it was first used.
    pub created_at: DateTime<Utc>,
}

impl From<store::model::Model> for ModelResponse {
    fn from(model: store::model::Model) -> Self {
        // The path stays inside: it tells about the machine, not about the model.
        let store::model::Model { hash, name, path: _, config, created_at } = model;
        Self { hash, name, config, created_at }
    }
}

/// Models that something was made with.
#[utoipa::path(get, path = "/models", tag = "models",
    responses((status = 200, description = "All of them", body = List<ModelResponse>), Problems))]
pub async fn list_models(State(state): State<AppState>) -> Result<Json<List<ModelResponse>>> {
    let models = store::model::list(&mut *state.connection().await?).await?;
    Ok(Json(List::whole(models.into_iter().map(ModelResponse::from).collect())))
}
