//! Networks that judge images, as the operator has registered them (`diptych model register`).

use axum::Json;
use axum::extract::State;
use builder::store;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::page::List;
use crate::problem::{Problems, Result};
use crate::state::AppState;

/// A registered network.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetricNetwork)]
pub struct MetricNetworkResponse {
    /// What score runs call it.
    #[schema(example = "pick-score-v1")]
    pub name: String,
    /// The scorer that it is for.
    #[schema(example = "pick-score")]
    pub scorer: String,
    /// Version of the scores that it gives.
    pub version: String,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
}

/// Networks that score runs may name.
#[utoipa::path(get, path = "/metric-networks", tag = "scores",
    responses((status = 200, description = "All of them", body = List<MetricNetworkResponse>), Problems))]
pub async fn list_metric_networks(State(state): State<AppState>) -> Result<Json<List<MetricNetworkResponse>>> {
    let networks = store::metric_network::list(&mut *state.connection().await?).await?;
    // The path stays inside: it tells about the machine, not about the network.
    let items = networks.into_iter().map(|network| {
        let store::metric_network::MetricNetwork { name, scorer, version, created_at, .. } = network;
        MetricNetworkResponse { name, scorer, version, created_at }
    });
    Ok(Json(List::whole(items.collect())))
}
