//! How far `diptych demo` is.

use axum::Json;
use axum::extract::State;
use builder::task::demo;
use serde_json::Value;

use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// The demo's stages and, at its end, its summary; 404 in a store that never ran one.
#[utoipa::path(get, path = "/demo", tag = "service",
    responses((status = 200, description = "`running`, `stage`, `stages[]`, `summary`", body = Value), Problems))]
pub async fn show_demo(State(state): State<AppState>) -> Result<Json<Value>> {
    let status = demo::status(&mut *state.connection().await?).await?;
    match status {
        Some(status) => Ok(Json(
            serde_json::to_value(status)
                .map_err(|source| builder::Error::Json { context: "writing the demo's status".to_owned(), source })?,
        )),
        None => Err(Problem::new("not_found", "this store has run no demo")),
    }
}
