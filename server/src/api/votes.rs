//! Votes: two pictures of a graph beside each other, blind, and what people said of them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use builder::error::Fault;
use builder::job::Fields;
use builder::metrics::calibration::{self, Calibration};
use builder::store;
use builder::store::score_card::Scope;
use builder::store::state::{Split, VoteChoice};
use builder::store::vote::Vote;
use builder::task::vote;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::candidates::image_url;
use crate::api::graphs::captions;
use crate::extract::{self, Body, Id, Query};
use crate::page::{Limit, List};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// Pairs that the queue gives when the caller does not say.
const QUEUE: i64 = 5;
const LONGEST_VOTER: usize = 100;

/// What a person says of two pictures of the same graph.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"left_id": "01890a5d-ac96-774b-bcce-b302099a8057",
                          "right_id": "01890a5d-ac96-774b-bcce-b302099a8058", "choice": "left", "voter": "ada"}))]
pub struct CreateVoteRequest {
    /// The candidate that was shown on the left.
    pub left_id: Uuid,
    /// The one on the right.
    pub right_id: Uuid,
    /// `left`, `right`, `both_good`, `both_bad` or `skip`.
    #[schema(value_type = String)]
    pub choice: VoteChoice,
    /// A name of one's own choice; "" (default) is nobody in particular.
    #[schema(required = false, max_length = 100)]
    pub voter: String,
}

impl Body for CreateVoteRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let mut candidate = |key: &str, faults: &mut Vec<Fault>| {
            if fields.take(key).is_none() {
                faults.push(Fault::new(format!("/{key}"), "is the id of a candidate"));
            }
            extract::optional_uuid(&mut fields, key, faults).unwrap_or_default()
        };
        let left_id = candidate("left_id", faults);
        let right_id = candidate("right_id", faults);
        let choice = match fields.take("choice").map(VoteChoice::deserialize) {
            Some(Ok(choice)) => choice,
            _ => {
                faults.push(Fault::new("/choice", "is left, right, both_good, both_bad or skip"));
                VoteChoice::Skip
            }
        };
        let voter = match fields.take("voter") {
            None => "",
            Some(Value::String(text)) if text.chars().count() <= LONGEST_VOTER => text.trim(),
            Some(_) => {
                faults.push(Fault::new("/voter", format!("is a text of at most {LONGEST_VOTER} characters")));
                ""
            }
        };
        fields.finish(faults);
        Some(Self { left_id, right_id, choice, voter: voter.to_owned() })
    }
}

/// A vote.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Vote)]
pub struct VoteResponse {
    /// Of the vote.
    pub id: Uuid,
    /// What both are pictures of.
    pub graph_id: Uuid,
    /// Shown on the left.
    pub left_id: Uuid,
    /// Shown on the right.
    pub right_id: Uuid,
    /// `left`, `right`, `both_good`, `both_bad` or `skip`.
    #[schema(value_type = String, example = "left")]
    pub choice: VoteChoice,
    /// Who; "" is nobody in particular.
    pub voter: String,
    /// When this was said.
    pub created_at: DateTime<Utc>,
}

impl From<Vote> for VoteResponse {
    fn from(vote: Vote) -> Self {
        let Vote { id, graph_id, left_id, right_id, voter, choice, created_at } = vote;
        Self { id, graph_id, left_id, right_id, choice, voter, created_at }
    }
}

/// Whose votes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListVotesQuery {
    /// This voter's; without it, everybody's.
    pub voter: Option<String>,
    /// Rows a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// For whom the queue is, and from what it is made.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VoteQueueQuery {
    /// Who votes; "" (default) is nobody in particular.
    #[serde(default)]
    pub voter: String,
    /// `train` or `held_out`; without it, both.
    #[param(value_type = Option<String>)]
    pub split: Option<Split>,
    /// Only this generation's candidates.
    pub generation_id: Option<Uuid>,
    /// With `b`: only pairs that these two metrics (`METRIC` or `SCORER/METRIC`) order differently, the surest first.
    pub a: Option<String>,
    /// See `a`.
    pub b: Option<String>,
    /// Pairs to give, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 5, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
}

/// Whose votes are compared.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VoteAgreementQuery {
    /// This voter's; without it, everybody's.
    pub voter: Option<String>,
}

/// Pairs to judge, the most disputed first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VoteQueue {
    /// The next pairs.
    pub items: Vec<Contest>,
    /// Pairs that this voter has not judged.
    pub remaining: usize,
    /// Of them, those about which two scorers disagree.
    pub disputed: usize,
    /// Pairs that this voter has judged or skipped.
    pub voted: usize,
}

/// Two pictures of a graph, without a word about what scorers think of them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Contest {
    /// What both are pictures of.
    pub graph_id: Uuid,
    /// What both are pictures of, in words.
    pub caption: String,
    /// To be shown on the left.
    pub left: ContestSide,
    /// To be shown on the right.
    pub right: ContestSide,
}

/// One picture of a contest.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ContestSide {
    /// The candidate.
    pub id: Uuid,
    /// Its picture.
    pub image_url: String,
}

impl ContestSide {
    fn new(id: Uuid) -> Self {
        Self { id, image_url: image_url(id) }
    }
}

/// How far scorers agree with people.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VoteAgreement {
    /// Votes of each choice.
    pub choices: VoteChoices,
    /// Each metric; with several answerers `ANSWERER/METRIC`.
    pub scorers: Vec<ScorerAgreement>,
}

/// Votes of each choice.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct VoteChoices {
    /// For the left one.
    pub left: usize,
    /// For the right one.
    pub right: usize,
    /// Both alike, and good.
    pub both_good: usize,
    /// Both alike, and bad.
    pub both_bad: usize,
    /// Not judged.
    pub skip: usize,
}

/// A scorer's order against people's, over the votes for one side.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScorerAgreement {
    /// The metric.
    pub metric: String,
    /// It prefers the same picture.
    pub agreed: usize,
    /// It prefers the other one.
    pub disagreed: usize,
    /// It scores both alike.
    pub tied: usize,
    /// 95 % interval (Wilson) of agreed / (agreed + disagreed); null without any.
    pub ci95: Option<[f64; 2]>,
    /// How sure a difference of its scores makes one of the vote; null where it ties every vote.
    pub calibration: Option<ScorerCalibration>,
}

/// P(the one that the scorer prefers is chosen) = 1 / (1 + exp(−slope · difference of scores)), fitted to the votes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScorerCalibration {
    /// Votes that it does not tie.
    pub votes: usize,
    /// Of the log-odds; below 0 where people choose what it scores lower.
    pub slope: f64,
    /// Mean negative log-likelihood; a coin has 0.693.
    pub log_loss: f64,
    /// Mean squared error; a coin has 0.25.
    pub brier: f64,
    /// Mean distance of predicted from seen over the bins.
    pub expected_calibration_error: f64,
    /// Votes by the size of the difference, the smallest first.
    pub bins: Vec<ReliabilityBin>,
}

/// Votes on pairs of about the same difference of scores.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReliabilityBin {
    /// Smallest difference in it.
    pub from: f64,
    /// Largest difference in it.
    pub to: f64,
    /// Votes.
    pub votes: usize,
    /// Fitted probability that the preferred one is chosen.
    pub predicted: f64,
    /// How often it was.
    pub observed: f64,
}

impl From<Calibration> for ScorerCalibration {
    fn from(found: Calibration) -> Self {
        let Calibration { votes, slope, log_loss, brier, expected_calibration_error, bins } = found;
        let bin = |one: calibration::ReliabilityBin| {
            let calibration::ReliabilityBin { from, to, votes, predicted, observed } = one;
            ReliabilityBin { from, to, votes, predicted, observed }
        };
        Self { votes, slope, log_loss, brier, expected_calibration_error, bins: bins.into_iter().map(bin).collect() }
    }
}

impl From<vote::Agreement> for VoteAgreement {
    fn from(found: vote::Agreement) -> Self {
        let mut choices = VoteChoices::default();
        for (choice, count) in found.choices {
            *match choice {
                VoteChoice::Left => &mut choices.left,
                VoteChoice::Right => &mut choices.right,
                VoteChoice::BothGood => &mut choices.both_good,
                VoteChoice::BothBad => &mut choices.both_bad,
                VoteChoice::Skip => &mut choices.skip,
            } = count;
        }
        let scorers = found.scorers.into_iter().map(|one| ScorerAgreement {
            metric: one.metric,
            agreed: one.agreed,
            disagreed: one.disagreed,
            tied: one.tied,
            ci95: one.interval.map(|(low, high)| [low, high]),
            calibration: one.calibration.map(ScorerCalibration::from),
        });
        Self { choices, scorers: scorers.collect() }
    }
}

/// A 201 for the vote at its location, or a 200 where this voter had voted on the pair before.
type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

/// Takes a vote. A voter has one vote on a pair, whichever side each picture was shown on: the same again changes nothing,
/// another choice replaces the first.
#[utoipa::path(post, path = "/votes", tag = "votes", request_body = CreateVoteRequest,
    responses((status = 201, description = "Taken", body = VoteResponse,
        headers(("Location" = String, description = "The vote"))),
        (status = 200, description = "The voter's vote on this pair, now with this choice", body = VoteResponse,
        headers(("Location" = String, description = "The vote"))), Problems))]
pub async fn create_vote(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateVoteRequest>,
) -> Result<Created<VoteResponse>> {
    let CreateVoteRequest { left_id, right_id, choice, voter } = request;
    let (vote, new) = vote::cast(&mut *state.connection().await?, (left_id, right_id), &voter, choice).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, format!("/api/v1/votes/{}", vote.id))], Json(vote.into())))
}

/// Votes, the newest first.
#[utoipa::path(get, path = "/votes", tag = "votes", params(ListVotesQuery),
    responses((status = 200, description = "A page", body = List<VoteResponse>), Problems))]
pub async fn list_votes(
    State(state): State<AppState>,
    Query(query): Query<ListVotesQuery>,
) -> Result<Json<List<VoteResponse>>> {
    let mut connection = state.connection().await?;
    let (voter, cursor) = (query.voter.as_deref(), query.cursor.as_deref());
    let found = store::vote::list(&mut connection, voter, query.limit.rows(), cursor).await?;
    Ok(Json(found.map(VoteResponse::from).into()))
}

/// The pairs that a voter has not judged, those first about which scorers disagree most.
#[utoipa::path(get, path = "/votes/queue", tag = "votes", params(VoteQueueQuery),
    responses((status = 200, description = "The next pairs", body = VoteQueue), Problems))]
pub async fn show_vote_queue(
    State(state): State<AppState>,
    Query(query): Query<VoteQueueQuery>,
) -> Result<Json<VoteQueue>> {
    let VoteQueueQuery { voter, split, generation_id, a, b, limit } = query;
    let between = match (&a, &b) {
        (Some(a), Some(b)) => Some((a.as_str(), b.as_str())),
        (None, None) => None,
        (given, _) => {
            let missing = if given.is_some() { "/b" } else { "/a" };
            return Err(Problem::query_faults(&[Fault::new(missing, "a and b go together")]));
        }
    };
    let mut connection = state.connection().await?;
    let scope = Scope { split, generation_id, answerer: None };
    let limit = usize::try_from(limit.rows_or(QUEUE)).unwrap_or_default();
    let vote::Queue { contests, remaining, disputed, voted } =
        vote::queue(&mut connection, voter.trim(), &scope, between, limit).await?;
    let graph_ids: Vec<Uuid> = contests.iter().map(|contest| contest.graph).collect();
    let captions = captions(&mut connection, &graph_ids).await?;
    let items = contests.into_iter().map(|contest| Contest {
        graph_id: contest.graph,
        caption: captions.get(&contest.graph).cloned().unwrap_or_default(),
        left: ContestSide::new(contest.left),
        right: ContestSide::new(contest.right),
    });
    Ok(Json(VoteQueue { items: items.collect(), remaining, disputed, voted }))
}

/// How far scorers agree with people.
#[utoipa::path(get, path = "/votes/agreement", tag = "votes", params(VoteAgreementQuery),
    responses((status = 200, description = "Each scorer against the votes", body = VoteAgreement), Problems))]
pub async fn show_vote_agreement(
    State(state): State<AppState>,
    Query(query): Query<VoteAgreementQuery>,
) -> Result<Json<VoteAgreement>> {
    let found = vote::agreement(&mut *state.connection().await?, query.voter.as_deref()).await?;
    Ok(Json(found.into()))
}

/// One vote.
#[utoipa::path(get, path = "/votes/{id}", tag = "votes", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The vote", body = VoteResponse), Problems))]
pub async fn find_vote(State(state): State<AppState>, Id(id): Id) -> Result<Json<VoteResponse>> {
    let found = store::vote::find(&mut *state.connection().await?, id).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found("vote", id))?.into()))
}

/// Takes a vote back: the pair is in the queue again.
#[utoipa::path(delete, path = "/votes/{id}", tag = "votes", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Gone"), Problems))]
pub async fn delete_vote(State(state): State<AppState>, Id(id): Id) -> Result<StatusCode> {
    if store::vote::delete(&mut *state.connection().await?, id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::not_found("vote", id))
}
