//! Candidate → ScoreCard: asks what follows from each graph and adds it up, or has a network or a detector judge.
//!
//! A run works through the candidates that have no score card of its scorer yet; killed and started again, it goes on with
//! the rest. What was answered once is not asked again: a score is computed from the answers that are there. Answers and score
//! cards of a candidate are written together, and for one that could not be scored the reason.

mod chunk;
mod scorer;

use sqlx::PgConnection;
use uuid::Uuid;

use super::queue::{self, Task};
use super::{TaskContext, error_json, error_text};
use crate::endpoint::chat::Spent;
use crate::score::DPG_REFERENCE;
use crate::store::score_run::{NewScoreRun, ScoreRun};
use crate::store::state::TaskState;
use crate::store::{
    answer, candidate, detection, generation, question, score_card as card, score_failure, score_run, vote,
};
use crate::{Error, Result};
use chunk::Outcome;
pub(crate) use chunk::{can_judge, judge};
pub use scorer::{HUMAN, SCORERS, answerer, is_registrable, needs_network, register};
pub(crate) use scorer::{Scorer, answering_version, keeping_answerer, load};

const UNFINISHED: &[TaskState] = &[TaskState::Queued, TaskState::Running];
/// Candidates a transaction.
const CHUNK: i64 = 512;

/// What is asked of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreRequest {
    /// One of [`SCORERS`]; with `recorded`, whoever gave the answers that were imported.
    pub answerer: String,
    /// With `recorded`, which version, where there are several.
    pub answerer_version: Option<String>,
    /// Name of a registered network, where the scorer is made of one.
    pub network: Option<String>,
    /// Only its candidates.
    pub generation_id: Option<Uuid>,
    /// 2 or more: once more from the beginning, to see how stable the scorer is. Such scores make no pairs.
    pub repetition: u32,
    /// Scores are computed from answers that are here; nothing is asked.
    pub recorded: bool,
}

impl ScoreRequest {
    /// Every candidate, by a scorer that needs nothing else.
    pub fn new(answerer: &str) -> Self {
        Self {
            answerer: answerer.to_owned(),
            answerer_version: None,
            network: None,
            generation_id: None,
            repetition: 1,
            recorded: false,
        }
    }
}

/// Writes a score run down and puts it into the queue. `generation`: only its candidates.
pub async fn create(context: &TaskContext, request: &ScoreRequest) -> Result<Uuid> {
    let mut transaction = context.pool.begin().await?;
    let id = create_in(context, &mut transaction, request).await?;
    transaction.commit().await?;
    Ok(id)
}

/// As [`create`], within the caller's transaction.
///
/// # Errors
/// `Invalid`, with every field that is wrong; `NotFound` for a scorer that nobody knows.
pub async fn create_in(context: &TaskContext, connection: &mut PgConnection, request: &ScoreRequest) -> Result<Uuid> {
    let name = request.answerer.as_str();
    if let Some(generation) = request.generation_id {
        generation_exists(connection, generation).await?;
    }
    let version = if request.recorded {
        recorded_version(connection, name, request.answerer_version.as_deref()).await?
    } else {
        scorer::version_of(context, connection, name, request.network.as_deref()).await?
    };
    let repetition = i32::try_from(request.repetition).unwrap_or(i32::MAX);
    let new = NewScoreRun {
        answerer: name.to_owned(),
        answerer_version: format!("{version}{}", repetition_suffix(repetition)),
        generation_id: request.generation_id,
        metrics: scorer::metrics_of(if request.recorded { "" } else { name }),
        network: request.network.clone(),
        repetition,
        recorded: request.recorded,
    };
    let id = score_run::insert(connection, &new).await?;
    queue::enqueue(connection, Task::Score(id)).await?;
    Ok(id)
}

/// Version of the scorer that recorded answers make.
async fn recorded_version(connection: &mut PgConnection, name: &str, version: Option<&str>) -> Result<String> {
    let versions = answer::versions(connection, name).await?;
    let known = versions.join(", ");
    let version = match (version, versions.as_slice()) {
        (_, []) => return Err(Error::invalid("/answerer", format!("there are no answers of {name}; import some"))),
        (Some(version), _) if versions.iter().any(|known| known == version) => version,
        (Some(_), _) => {
            return Err(Error::invalid("/answerer_version", format!("the answers of {name} are of {known}")));
        }
        (None, [one]) => one,
        (None, _) => return Err(Error::invalid("/answerer_version", format!("is one of {known}"))),
    };
    Ok(crate::score::scorer_version(version))
}

/// # Errors
/// `Invalid` at `/generation_id` when there is no such generation.
pub async fn generation_exists(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    match generation::find(connection, id).await? {
        Some(_) => Ok(()),
        None => Err(Error::invalid("/generation_id", format!("there is no generation {id}"))),
    }
}

/// Scores what the run `id` still lacks.
pub async fn run(context: &TaskContext, id: Uuid) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    let Some(run) = score_run::find(&mut connection, id).await? else {
        return Ok(());
    };
    if run.state.is_final() {
        return Ok(());
    }
    if run.answerer == HUMAN && !run.recorded {
        return count_votes(context, &run).await;
    }
    let scorer = if run.recorded { None } else { Some(open(context, &mut connection, &run).await?) };
    score_run::update_state(&mut connection, id, UNFINISHED, TaskState::Running).await?;
    let (name, version) = (run.answerer.as_str(), run.answerer_version.as_str());
    // Whoever answers gives every candidate this one, so that a store from before it gets it from the answers that are there.
    let metric = if matches!(scorer, Some(Scorer::Pictures(_))) { None } else { Some(DPG_REFERENCE) };
    let by = candidate::ScoredBy { answerer: name, answerer_version: version, metric };
    let spent_before = run.spent.clone().and_then(|spent| serde_json::from_value::<Spent>(spent).ok());
    let total = candidate::count(&mut connection, run.generation_id).await?;
    let left = candidate::count_unscored(&mut connection, run.generation_id, by).await?;
    let mut done = total - left;
    score_run::set_progress(&mut connection, id, done, total).await?;
    let mut after = None;
    let mut failed: Vec<String> = Vec::new();
    loop {
        context.check_shutdown()?;
        let chunk = candidate::unscored(&mut connection, run.generation_id, by, after, CHUNK).await?;
        let Some(last) = chunk.last() else { break };
        after = Some((last.graph_id, last.id));
        let Outcome { rows, scored, failures } = chunk::score(context, &run, scorer.as_ref(), chunk).await?;
        done += scored.len() as i64;
        let mut transaction = context.pool.begin().await?;
        question::insert_many(&mut transaction, &rows.questions).await?;
        answer::upsert_many(&mut transaction, &rows.answers).await?;
        card::upsert_many(&mut transaction, &rows.cards).await?;
        detection::upsert_many(&mut transaction, &rows.detections).await?;
        score_failure::delete_many(&mut transaction, (name, version), &scored).await?;
        let reasons: Vec<(Uuid, String)> = rows
            .refused
            .into_iter()
            .chain(failures.iter().map(|(candidate, error)| (*candidate, error_text(error))))
            .collect();
        score_failure::upsert_many(&mut transaction, (name, version), &reasons).await?;
        score_run::set_progress(&mut transaction, id, done, total).await?;
        if let Some(spent) = scorer.as_ref().and_then(Scorer::spent) {
            let spent = spent_before.unwrap_or_default().plus(spent);
            score_run::set_spent(&mut transaction, id, &serde_json::json!(spent)).await?;
        }
        queue::made_progress(&mut transaction, Task::Score(id)).await?;
        transaction.commit().await?;
        failed.extend(failures.iter().map(|(_, error)| error_text(error)));
        // Somebody who is away for now is asked again when the run goes on; what was answered stands.
        if let Some((_, error)) = failures.into_iter().find(|(_, error)| error.is_transient()) {
            return Err(error);
        }
    }
    if let Some(first) = failed.first() {
        let message = format!("{} of {total} candidates could not be scored; the first: {first}", failed.len());
        return Err(Error::Answerer { message, passing: false });
    }
    score_run::update_state(&mut connection, id, UNFINISHED, TaskState::Succeeded).await?;
    Ok(())
}

async fn open(context: &TaskContext, connection: &mut PgConnection, run: &ScoreRun) -> Result<Scorer> {
    let repetition = u32::try_from(run.repetition).unwrap_or(1);
    let scorer = scorer::open(context, connection, &run.answerer, run.network.as_deref(), repetition).await?;
    let asked = run.answerer_version.strip_suffix(&repetition_suffix(run.repetition)).unwrap_or(&run.answerer_version);
    let found = scorer.version();
    if found == asked {
        return Ok(scorer);
    }
    let name = &run.answerer;
    let message = format!("the run asked for version {asked} of {name}, this program has {found}");
    Err(Error::conflict("answerer_changed", message))
}

/// What sets a repetition's version apart; nothing of the first.
fn repetition_suffix(repetition: i32) -> String {
    if repetition > 1 { format!("#{repetition}") } else { String::new() }
}

/// People's votes as they are now, as score cards.
async fn count_votes(context: &TaskContext, run: &ScoreRun) -> Result<()> {
    let mut transaction = context.pool.begin().await?;
    let votes = vote::in_scope(&mut transaction, None, run.generation_id).await?;
    let cards: Vec<card::ScoreCard> = crate::vote::win_shares(&votes)
        .into_iter()
        .map(|(candidate_id, score)| card::ScoreCard {
            candidate_id,
            metric: crate::vote::METRIC.to_owned(),
            answerer: HUMAN.to_owned(),
            answerer_version: run.answerer_version.clone(),
            score,
            parts: serde_json::json!({}),
        })
        .collect();
    card::upsert_many(&mut transaction, &cards).await?;
    let total = candidate::count(&mut transaction, run.generation_id).await?;
    score_run::set_progress(&mut transaction, run.id, cards.len() as i64, total).await?;
    score_run::update_state(&mut transaction, run.id, UNFINISHED, TaskState::Succeeded).await?;
    transaction.commit().await?;
    Ok(())
}

/// Writes down that the run cannot be finished.
pub async fn fail(context: &TaskContext, id: Uuid, error: &Error) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    score_run::fail(&mut connection, id, &error_json(error)).await?;
    Ok(())
}
