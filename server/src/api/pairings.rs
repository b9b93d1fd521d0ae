//! Pairs: live under a policy, and frozen.

use std::collections::{BTreeSet, HashMap};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use builder::error::Fault;
use builder::job::Fields;
use builder::policy::Policy;
use builder::store;
use builder::store::pairing::{Pair, Pairing, PositionedPair};
use builder::store::score_card::Scope;
use builder::store::state::Split;
use builder::task::{TaskContext, freeze};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::candidates::image_url;
use crate::api::graphs::captions;
use crate::extract::{self, Body, Id, Query};
use crate::page::{Limit, List, PageQuery};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// Pairs that a preview shows.
const PREVIEW_PAIRS: usize = 20;
/// Bars of a preview's histogram.
const BINS: usize = 20;

/// Which pairs to look at.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"policy": {"weights": {"dpg": 1.0}, "margin": 0.1, "select": "best_worst"}}))]
pub struct PreviewPairingRequest {
    /// How scores become pairs.
    #[schema(value_type = Object)]
    pub policy: Policy,
    /// `train` (default) or `held_out`.
    #[schema(required = false, value_type = Option<String>)]
    pub split: Option<Split>,
    /// Only this generation's candidates.
    #[schema(required = false)]
    pub generation_id: Option<Uuid>,
}

impl PreviewPairingRequest {
    fn scope(&self) -> Scope {
        Scope { split: self.split, generation_id: self.generation_id, answerer: None }
    }

    fn read_from(fields: &mut Fields<'_>, faults: &mut Vec<Fault>) -> Self {
        let policy = match fields.take("policy") {
            None => {
                faults.push(Fault::new("/policy", "says how scores become pairs"));
                Policy::default()
            }
            Some(value) => read_policy(value, faults),
        };
        let split = match fields.choice("split", "train", &["train", "held_out"], faults).as_str() {
            "held_out" => Some(Split::HeldOut),
            _ => Some(Split::Train),
        };
        Self { policy, split, generation_id: extract::optional_uuid(fields, "generation_id", faults) }
    }
}

fn read_policy(value: &Value, faults: &mut Vec<Fault>) -> Policy {
    match Policy::parse(value) {
        Ok(policy) => policy,
        Err(found) => {
            let moved = found.into_iter().map(|(pointer, message)| Fault::new(format!("/policy{pointer}"), message));
            faults.extend(moved);
            Policy::default()
        }
    }
}

impl Body for PreviewPairingRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let request = Self::read_from(&mut fields, faults);
        fields.finish(faults);
        Some(request)
    }
}

/// Which pairs to freeze, and under what name.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"name": "best against worst", "policy": {"weights": {"dpg": 1.0}, "margin": 0.1}}))]
pub struct CreatePairingRequest {
    /// For people.
    pub name: String,
    /// How scores become pairs.
    #[schema(value_type = Object)]
    pub policy: Policy,
    /// `train` (default) or `held_out`.
    #[schema(required = false, value_type = Option<String>)]
    pub split: Option<Split>,
    /// Only this generation's candidates.
    #[schema(required = false)]
    pub generation_id: Option<Uuid>,
}

impl Body for CreatePairingRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let name = fields.text("name", faults).unwrap_or_else(|| "pairing".to_owned());
        let PreviewPairingRequest { policy, split, generation_id } =
            PreviewPairingRequest::read_from(&mut fields, faults);
        fields.finish(faults);
        Some(Self { name, policy, split, generation_id })
    }
}

/// The pairs under a policy as they are now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PairingPreview {
    /// Pairs.
    pub num_pairs: usize,
    /// Graphs that give at least one.
    pub num_graphs: usize,
    /// Mean difference of scores; null without pairs.
    pub mean_margin: Option<f64>,
    /// Margins, counted.
    pub histogram: Vec<HistogramBin>,
    /// The first of them.
    pub pairs: Vec<PairResponse>,
}

/// One bar: margins in `from..to` (the last includes its end).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HistogramBin {
    /// Lower border.
    pub from: f64,
    /// Upper border.
    pub to: f64,
    /// Pairs in between.
    pub count: usize,
}

/// A frozen set of pairs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Pairing)]
pub struct PairingResponse {
    /// Of the pairing.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// SHA-256 over policy and pairs.
    pub hash: String,
    /// How scores became pairs.
    pub policy: Value,
    /// Pairs.
    pub num_pairs: i32,
    /// Graphs that give at least one.
    pub num_graphs: i32,
    /// Mean difference of scores.
    pub mean_margin: f64,
    /// When it was frozen.
    pub created_at: DateTime<Utc>,
}

impl From<Pairing> for PairingResponse {
    fn from(pairing: Pairing) -> Self {
        let Pairing { id, name, policy, hash, num_pairs, num_graphs, mean_margin, created_at } = pairing;
        Self { id, name, hash, policy, num_pairs, num_graphs, mean_margin, created_at }
    }
}

/// Two pictures of one graph, one better.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Pair)]
pub struct PairResponse {
    /// Place in its pairing.
    pub position: i32,
    /// What both are pictures of.
    pub graph_id: Uuid,
    /// What both are pictures of, in words.
    pub caption: String,
    /// The better one.
    pub winner: PairSide,
    /// The other one.
    pub loser: PairSide,
    /// Difference of the scores.
    pub margin: f64,
    /// Questions that the two were answered differently.
    pub differing_questions: Vec<DifferingQuestion>,
}

/// One picture of a pair.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PairSide {
    /// The candidate.
    pub id: Uuid,
    /// Its picture.
    pub image_url: String,
    /// Its score under the policy.
    pub score: f64,
}

/// A question that tells a pair's pictures apart.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DifferingQuestion {
    /// Of the graph's questions.
    pub question_id: i32,
    /// The question.
    pub text: String,
    /// Answer about the better picture.
    pub winner: String,
    /// Answer about the other one.
    pub loser: String,
}

/// The pairs that a policy gives now; nothing is written.
#[utoipa::path(post, path = "/pairings/preview", tag = "pairs", request_body = PreviewPairingRequest,
    responses((status = 200, description = "Counts and the first pairs", body = PairingPreview), Problems))]
pub async fn preview_pairing(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<PreviewPairingRequest>,
) -> Result<Json<PairingPreview>> {
    Ok(Json(preview(&state.context, &request.policy, &request.scope()).await?))
}

/// The pairs under `policy` as they are now.
pub async fn preview(context: &TaskContext, policy: &Policy, scope: &Scope) -> builder::Result<PairingPreview> {
    let mut connection = context.pool.acquire().await?;
    let pairs = freeze::pairs(&mut connection, policy, scope).await?;
    let margins: Vec<f64> = pairs.iter().map(|pair| pair.margin).collect();
    let graphs: BTreeSet<Uuid> = pairs.iter().map(|pair| pair.graph).collect();
    let first = pairs.iter().take(PREVIEW_PAIRS).enumerate().map(|(position, pair)| PositionedPair {
        position: position as i32,
        pair: Pair {
            graph_id: pair.graph,
            winner_id: pair.winner,
            loser_id: pair.loser,
            winner_score: pair.winner_score,
            loser_score: pair.loser_score,
            margin: pair.margin,
        },
    });
    Ok(PairingPreview {
        num_pairs: pairs.len(),
        num_graphs: graphs.len(),
        mean_margin: (!margins.is_empty()).then(|| margins.iter().sum::<f64>() / margins.len() as f64),
        histogram: histogram(&margins),
        pairs: describe(&mut connection, first.collect()).await?,
    })
}

fn histogram(margins: &[f64]) -> Vec<HistogramBin> {
    let end = margins.iter().copied().fold(1.0, f64::max);
    let width = end / BINS as f64;
    let mut counts = [0; BINS];
    for margin in margins {
        // A negative or odd margin falls into the first bar: `as` saturates.
        let bin = ((margin / width) as usize).min(BINS - 1);
        counts[bin] += 1;
    }
    let bars = counts.into_iter().enumerate();
    bars.map(|(bin, count)| HistogramBin { from: width * bin as f64, to: width * (bin + 1) as f64, count }).collect()
}

/// A 201 for the resource at its location, or a 200 where it was there already.
type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

/// Freezes the pairs that a policy gives now. The same pairs under the same policy are the same pairing.
#[utoipa::path(post, path = "/pairings", tag = "pairs", request_body = CreatePairingRequest,
    responses((status = 201, description = "Frozen", body = PairingResponse,
        headers(("Location" = String, description = "The pairing"))),
        (status = 200, description = "It was frozen before, perhaps under another name", body = PairingResponse,
        headers(("Location" = String, description = "The pairing"))), Problems))]
pub async fn create_pairing(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreatePairingRequest>,
) -> Result<Created<PairingResponse>> {
    let scope = Scope { split: request.split, generation_id: request.generation_id, answerer: None };
    let (pairing, new) = freeze::freeze(&state.context, &request.name, &request.policy, &scope).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/api/v1/pairings/{}", pairing.id);
    Ok((status, [(header::LOCATION, location)], Json(pairing.into())))
}

/// Frozen pairings, the newest first.
#[utoipa::path(get, path = "/pairings", tag = "pairs", params(PageQuery),
    responses((status = 200, description = "A page", body = List<PairingResponse>), Problems))]
pub async fn list_pairings(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<PairingResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::pairing::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(PairingResponse::from).into()))
}

/// One frozen pairing.
#[utoipa::path(get, path = "/pairings/{id}", tag = "pairs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The pairing", body = PairingResponse), Problems))]
pub async fn find_pairing(State(state): State<AppState>, Id(id): Id) -> Result<Json<PairingResponse>> {
    Ok(Json(load(&mut *state.connection().await?, id).await?.into()))
}

/// Which pairs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PairQuery {
    /// The position that the first page begins with.
    #[param(minimum = 0, default = 0)]
    #[serde(default)]
    pub from: u32,
    /// Rows a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The pairs of a frozen pairing, in their order.
#[utoipa::path(get, path = "/pairings/{id}/pairs", tag = "pairs", params(("id" = Uuid, Path), PairQuery),
    responses((status = 200, description = "A page", body = List<PairResponse>), Problems))]
pub async fn list_pairs(
    State(state): State<AppState>,
    Id(id): Id,
    Query(query): Query<PairQuery>,
) -> Result<Json<List<PairResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let from = i32::try_from(query.from).unwrap_or(i32::MAX);
    let (limit, cursor) = (query.limit.rows(), query.cursor.as_deref());
    let found = store::pairing::list_pairs_from(&mut connection, id, from, limit, cursor).await?;
    let items = describe(&mut connection, found.items).await?;
    Ok(Json(List { items, next_cursor: found.next_cursor, total: found.total }))
}

pub(super) async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Pairing> {
    store::pairing::find(connection, id).await?.ok_or_else(|| Problem::not_found("pairing", id))
}

/// What a page shows of these pairs.
pub(super) async fn describe(
    connection: &mut PgConnection,
    pairs: Vec<PositionedPair>,
) -> builder::Result<Vec<PairResponse>> {
    let graph_ids: Vec<Uuid> = pairs.iter().map(|one| one.pair.graph_id).collect::<BTreeSet<_>>().into_iter().collect();
    let candidate_ids: Vec<Uuid> = pairs.iter().flat_map(|one| [one.pair.winner_id, one.pair.loser_id]).collect();
    let captions = captions(&mut *connection, &graph_ids).await?;
    let mut questions: HashMap<Uuid, Vec<store::question::Question>> = HashMap::new();
    for question in store::question::of_graphs(&mut *connection, &graph_ids).await? {
        questions.entry(question.graph_id).or_default().push(question);
    }
    let mut answers: HashMap<(Uuid, i32), String> = HashMap::new();
    for answer in store::answer::of_candidates(connection, &candidate_ids).await? {
        answers.insert((answer.candidate_id, answer.question_id), answer.value);
    }
    let described = pairs.into_iter().map(|PositionedPair { position, pair }| {
        let asked = questions.get(&pair.graph_id).map_or(&[][..], Vec::as_slice);
        let differing = asked.iter().filter_map(|question| {
            let winner = answers.get(&(pair.winner_id, question.question_id))?;
            let loser = answers.get(&(pair.loser_id, question.question_id))?;
            (winner != loser).then(|| DifferingQuestion {
                question_id: question.question_id,
                text: question.text.clone(),
                winner: winner.clone(),
                loser: loser.clone(),
            })
        });
        PairResponse {
            position,
            graph_id: pair.graph_id,
            caption: captions.get(&pair.graph_id).cloned().unwrap_or_default(),
            differing_questions: differing.collect(),
            winner: PairSide { id: pair.winner_id, image_url: image_url(pair.winner_id), score: pair.winner_score },
            loser: PairSide { id: pair.loser_id, image_url: image_url(pair.loser_id), score: pair.loser_score },
            margin: pair.margin,
        }
    });
    Ok(described.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_margin_is_counted_once() {
        let margins = [0.0, 0.05, 0.5, 1.0, 1.7, -0.1];
        let bars = histogram(&margins);
        assert_eq!(bars.iter().map(|bar| bar.count).sum::<usize>(), margins.len());
        assert_eq!(bars.last().map(|bar| bar.count), Some(1));
        assert!(histogram(&[]).iter().all(|bar| bar.count == 0));
    }
}
