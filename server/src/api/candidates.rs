//! Pictures of a graph: how they were made, what was answered about them, and their scores.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use builder::detect::Detected;
use builder::store;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::image;
use crate::extract::Id;
use crate::openapi::Octets;
use crate::page::List;
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// Metric → score in 0..=1. A metric that says nothing about the graph is absent.
pub type Scores = BTreeMap<String, f64>;

/// A picture, as lists show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CandidateSummary {
    /// Of the candidate.
    pub id: Uuid,
    /// Place among the pictures of its graph and generation.
    pub index: i32,
    /// The picture.
    #[schema(example = "/api/v1/candidates/01890a5d-ac96-774b-bcce-b302099a8057/image")]
    pub image_url: String,
    /// By metric, of whoever answered last; null before the first score run.
    pub scores: Option<Scores>,
}

/// A picture, with everything about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Candidate)]
pub struct CandidateResponse {
    /// Of the candidate.
    pub id: Uuid,
    /// What it is a picture of.
    pub graph_id: Uuid,
    /// Place among the pictures of its graph and generation.
    pub index: i32,
    /// The noise that it was made from; with the generation's settings it makes the same pixels again.
    pub seed: i64,
    /// The picture.
    pub image_url: String,
    /// How it was made.
    pub generation: GenerationFacts,
    /// By metric, of whoever answered last; null before the first score run.
    pub scores: Option<Scores>,
    /// Answers of whoever answered last.
    pub answers: Vec<AnswerResponse>,
    /// What a detector found, where one looked; the surest first.
    pub detections: Vec<DetectionResponse>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// One thing that a detector found in a picture.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Detection)]
pub struct DetectionResponse {
    /// The detector's word for it.
    #[schema(example = "circle")]
    pub label: String,
    /// x₁, y₁, x₂, y₂ in shares of the picture; x grows to the right, y downwards.
    #[serde(rename = "box")]
    #[schema(value_type = Vec<f64>, min_items = 4, max_items = 4)]
    pub bounds: [f64; 4],
    /// How sure the detector is.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub confidence: f64,
    /// Who looked.
    #[schema(example = "shapes-boxes")]
    pub answerer: String,
    /// Which version of it.
    pub answerer_version: String,
}

impl DetectionResponse {
    fn of(row: &store::detection::Detection) -> Result<Vec<Self>> {
        let one = |found: Detected| Self {
            label: found.label,
            bounds: found.detection.bounds,
            confidence: found.detection.confidence,
            answerer: row.answerer.clone(),
            answerer_version: row.answerer_version.clone(),
        };
        Ok(row.read()?.into_iter().map(one).collect())
    }
}

/// How a candidate was made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GenerationFacts {
    /// Of the generation.
    pub id: Uuid,
    /// The model's identity.
    pub model_hash: String,
    /// Sampling steps.
    pub num_inference_steps: i32,
    /// Classifier-free guidance.
    pub guidance_scale: f64,
    /// The sampler.
    #[schema(example = "ddim")]
    pub sampler: String,
}

/// One answer about a picture.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Answer)]
pub struct AnswerResponse {
    /// Of the graph's questions.
    pub question_id: i32,
    /// `yes`, `no` or `cannot_answer`.
    #[schema(example = "yes")]
    pub answer: String,
    /// How sure the answerer is of "yes".
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub probability: f32,
    /// Milliseconds from asking to having it, of the whole picture where its questions were asked together; null where nobody
    /// knows.
    pub latency_ms: Option<f32>,
    /// Who answered.
    pub answerer: String,
    /// Which version of it.
    pub answerer_version: String,
}

impl From<store::answer::Answer> for AnswerResponse {
    fn from(answer: store::answer::Answer) -> Self {
        let store::answer::Answer {
            candidate_id: _,
            question_id,
            answerer,
            answerer_version,
            value,
            probability,
            latency_ms,
        } = answer;
        Self { question_id, answer: value, probability, latency_ms, answerer, answerer_version }
    }
}

/// One score of a picture.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Score)]
pub struct ScoreResponse {
    /// What was computed.
    #[schema(example = "dpg")]
    pub metric: String,
    /// In 0..=1, but for metrics with a scale of their own (`aesthetic`, `clip_score`, `pick_score`).
    pub score: f64,
    /// What it is made of.
    pub parts: Value,
    /// Whose answers it is computed from.
    pub answerer: String,
    /// Which version.
    pub answerer_version: String,
}

impl From<store::score_card::ScoreCard> for ScoreResponse {
    fn from(card: store::score_card::ScoreCard) -> Self {
        let store::score_card::ScoreCard { candidate_id: _, metric, answerer, answerer_version, score, parts } = card;
        Self { metric, score, parts, answerer, answerer_version }
    }
}

/// Where the picture of a candidate is.
pub fn image_url(id: Uuid) -> String {
    format!("/api/v1/candidates/{id}/image")
}

/// Scores of these candidates, of whoever answered last about each.
pub async fn scores_of(connection: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Scores>> {
    let mut scores: HashMap<Uuid, Scores> = HashMap::new();
    for card in store::score_card::of_candidates(connection, ids).await? {
        scores.entry(card.candidate_id).or_default().insert(card.metric, card.score);
    }
    Ok(scores)
}

/// These candidates with their scores and answers.
pub async fn describe(
    connection: &mut PgConnection,
    candidates: Vec<store::candidate::Candidate>,
) -> Result<Vec<CandidateResponse>> {
    let ids: Vec<Uuid> = candidates.iter().map(|candidate| candidate.id).collect();
    let mut scores = scores_of(&mut *connection, &ids).await?;
    let mut answers: HashMap<Uuid, Vec<AnswerResponse>> = HashMap::new();
    for answer in store::answer::of_candidates(&mut *connection, &ids).await? {
        answers.entry(answer.candidate_id).or_default().push(answer.into());
    }
    let mut detections: HashMap<Uuid, Vec<DetectionResponse>> = HashMap::new();
    for row in store::detection::of_candidates(connection, &ids).await? {
        detections.insert(row.candidate_id, DetectionResponse::of(&row)?);
    }
    let described = candidates.into_iter().map(|candidate| {
        let store::candidate::Candidate {
            id,
            generation_id,
            graph_id,
            index,
            seed,
            image_blob: _,
            latent_blob: _,
            created_at,
            model_hash,
            num_inference_steps,
            guidance_scale,
            sampler,
        } = candidate;
        CandidateResponse {
            id,
            graph_id,
            index,
            seed,
            image_url: image_url(id),
            generation: GenerationFacts { id: generation_id, model_hash, num_inference_steps, guidance_scale, sampler },
            scores: scores.remove(&id),
            answers: answers.remove(&id).unwrap_or_default(),
            detections: detections.remove(&id).unwrap_or_default(),
            created_at,
        }
    });
    Ok(described.collect())
}

async fn load(connection: &mut PgConnection, id: Uuid) -> Result<store::candidate::Candidate> {
    store::candidate::find(connection, id).await?.ok_or_else(|| Problem::not_found("candidate", id))
}

/// One picture with everything about it.
#[utoipa::path(get, path = "/candidates/{id}", tag = "candidates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The candidate", body = CandidateResponse), Problems))]
pub async fn find_candidate(State(state): State<AppState>, Id(id): Id) -> Result<Json<CandidateResponse>> {
    let mut connection = state.connection().await?;
    let candidate = load(&mut connection, id).await?;
    let described = describe(&mut connection, vec![candidate]).await?.pop();
    described.map(Json).ok_or_else(|| Problem::not_found("candidate", id))
}

/// The picture itself. It never changes: keep it.
#[utoipa::path(get, path = "/candidates/{id}/image", tag = "candidates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "PNG", body = Octets, content_type = "image/png"),
        (status = 304, description = "The caller has it"), Problems))]
pub async fn find_candidate_image(State(state): State<AppState>, Id(id): Id, headers: HeaderMap) -> Result<Response> {
    let candidate = load(&mut *state.connection().await?, id).await?;
    image::png(&state, &headers, &candidate.image_blob).await
}

/// Scores of the picture, with what they are made of.
#[utoipa::path(get, path = "/candidates/{id}/scores", tag = "candidates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "One a metric", body = List<ScoreResponse>), Problems))]
pub async fn list_candidate_scores(State(state): State<AppState>, Id(id): Id) -> Result<Json<List<ScoreResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let cards = store::score_card::of_candidates(&mut connection, &[id]).await?;
    Ok(Json(List::whole(cards.into_iter().map(ScoreResponse::from).collect())))
}

/// Answers about the picture.
#[utoipa::path(get, path = "/candidates/{id}/answers", tag = "candidates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "One a question", body = List<AnswerResponse>), Problems))]
pub async fn list_candidate_answers(State(state): State<AppState>, Id(id): Id) -> Result<Json<List<AnswerResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let answers = store::answer::of_candidates(&mut connection, &[id]).await?;
    Ok(Json(List::whole(answers.into_iter().map(AnswerResponse::from).collect())))
}
