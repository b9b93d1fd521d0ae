//! Two frozen pairings beside each other: what both have, what was turned round, what only one has.

use axum::Json;
use axum::extract::State;
use builder::error::Fault;
use builder::store;
use builder::store::pairing::{Pair, PositionedPair};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::pairings::{self, PairResponse};
use crate::extract::{Id, Query};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// Pairs that are shown of each part.
const EXAMPLES: usize = 12;

/// What to compare with.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ComparePairingsQuery {
    /// The other pairing.
    #[param(required = true, value_type = Uuid)]
    pub with: Option<Uuid>,
}

/// What two frozen pairings have in common.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PairingComparison {
    /// Pairs with the same winner and loser in both.
    pub same: usize,
    /// Pairs of the same two candidates that the other one wins there.
    pub flipped: PairPart,
    /// Pairs that only this pairing has.
    pub only_here: PairPart,
    /// Pairs that only the other one has.
    pub only_there: PairPart,
}

/// Some pairs of a pairing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PairPart {
    /// How many.
    pub count: usize,
    /// The first of them, with their places and scores.
    pub examples: Vec<PairResponse>,
}

/// Compares a frozen pairing with another one.
#[utoipa::path(get, path = "/pairings/{id}/comparison", tag = "pairs", params(("id" = Uuid, Path), ComparePairingsQuery),
    responses((status = 200, description = "Counts and examples", body = PairingComparison), Problems))]
pub async fn compare_pairings(
    State(state): State<AppState>,
    Id(id): Id,
    Query(query): Query<ComparePairingsQuery>,
) -> Result<Json<PairingComparison>> {
    let mut connection = state.connection().await?;
    pairings::load(&mut connection, id).await?;
    let with =
        query.with.ok_or_else(|| Problem::query_faults(&[Fault::new("/with", "is the id of another pairing")]))?;
    pairings::load(&mut connection, with).await?;
    let here = store::pairing::pairs(&mut connection, id).await?;
    let there = store::pairing::pairs(&mut connection, with).await?;
    let ends =
        |pairs: &[Pair]| -> Vec<(Uuid, Uuid)> { pairs.iter().map(|one| (one.winner_id, one.loser_id)).collect() };
    let found = builder::pairing::compare(&ends(&here), &ends(&there));
    Ok(Json(PairingComparison {
        same: found.same.len(),
        flipped: part(&mut connection, &here, &found.flipped).await?,
        only_here: part(&mut connection, &here, &found.only_first).await?,
        only_there: part(&mut connection, &there, &found.only_second).await?,
    }))
}

async fn part(connection: &mut PgConnection, pairs: &[Pair], places: &[usize]) -> builder::Result<PairPart> {
    let examples = places.iter().take(EXAMPLES).map(|place| PositionedPair {
        position: i32::try_from(*place).unwrap_or(i32::MAX),
        pair: pairs[*place].clone(),
    });
    Ok(PairPart { count: places.len(), examples: pairings::describe(connection, examples.collect()).await? })
}
