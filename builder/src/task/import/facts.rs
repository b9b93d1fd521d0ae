//! Scores and answers in JSON lines, of candidates that are here.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use super::told::{Fault, Teller, Told, teller, text, wrong};
use super::{Import, ImportFormat};
use crate::Result;
use crate::store::answer::{self, Answer};
use crate::store::candidate;
use crate::store::score_card::{self, ScoreCard};
use crate::store::score_run::{self, NewScoreRun};
use crate::store::state::TaskState;

/// Lines a transaction.
const BATCH: usize = 1000;

enum Fact {
    Score(ScoreCard),
    Answer(Answer),
}

impl Fact {
    fn candidate_id(&self) -> Uuid {
        match self {
            Self::Score(one) => one.candidate_id,
            Self::Answer(one) => one.candidate_id,
        }
    }

    /// Two lines with one key in one statement are a fault of the file: the store could take either.
    fn key(&self) -> (Uuid, String) {
        match self {
            Self::Score(one) => {
                (one.candidate_id, format!("{}\n{}\n{}", one.metric, one.answerer, one.answerer_version))
            }
            Self::Answer(one) => {
                (one.candidate_id, format!("{}\n{}\n{}", one.question_id, one.answerer, one.answerer_version))
            }
        }
    }
}

pub(super) async fn run(import: &mut Import<'_>, path: &Path, format: ImportFormat) -> Result<()> {
    let mut told = Told::open(path, |value: &Value| fact(value, format).map(|fact| (fact.key(), fact)))?;
    while let Some(batch) = told.next(import, BATCH).await? {
        store(import, batch).await?;
    }
    tell_runs(import).await
}

/// Scores of elsewhere are those of a run of their scorer: policies and comparisons find them like any other.
pub(super) async fn tell_runs(import: &mut Import<'_>) -> Result<()> {
    let mut tx = import.context.pool.begin().await?;
    for ((answerer, answerer_version), metrics) in std::mem::take(&mut import.scorers) {
        let count = metrics.values().copied().max().unwrap_or_default();
        let new = NewScoreRun {
            answerer,
            answerer_version,
            generation_id: None,
            metrics: metrics.into_keys().collect(),
            network: None,
            repetition: 1,
            recorded: true,
        };
        let id = score_run::insert(&mut tx, &new).await?;
        score_run::set_progress(&mut tx, id, count, count).await?;
        score_run::update_state(&mut tx, id, &[TaskState::Queued], TaskState::Succeeded).await?;
    }
    tx.commit().await?;
    Ok(())
}

fn fact(value: &Value, format: ImportFormat) -> std::result::Result<Fact, Fault> {
    let Teller { candidate_id, answerer, answerer_version } = teller(value)?;
    if format == ImportFormat::Scores {
        let metric = text(value, "metric")?;
        let score = value["score"].as_f64().filter(|score| score.is_finite());
        let score = score.ok_or_else(|| wrong("score", "score is a number"))?;
        let parts = match &value["parts"] {
            Value::Null => serde_json::json!({}),
            Value::Object(parts) if parts.values().all(Value::is_number) => value["parts"].clone(),
            _ => return Err(wrong("parts", "parts is an object of numbers")),
        };
        return Ok(Fact::Score(ScoreCard { candidate_id, metric, answerer, answerer_version, score, parts }));
    }
    let question_id = value["question_id"].as_i64().and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 0);
    let question_id = question_id.ok_or_else(|| wrong("question_id", "question_id is a number above 0"))?;
    let word = text(value, "value")?;
    if !["yes", "no", "cannot_answer"].contains(&word.as_str()) {
        return Err(wrong("value", format!("{word:?} is not one of yes, no, cannot_answer")));
    }
    let probability = match &value["probability"] {
        Value::Null => 1.0,
        other => other
            .as_f64()
            .filter(|number| (0.0..=1.0).contains(number))
            .ok_or_else(|| wrong("probability", "probability is a number from 0 to 1"))?,
    };
    let latency_ms = match &value["latency_ms"] {
        Value::Null => None,
        other => Some(
            other
                .as_f64()
                .filter(|number| *number >= 0.0)
                .ok_or_else(|| wrong("latency_ms", "latency_ms is a number of at least 0"))? as f32,
        ),
    };
    Ok(Fact::Answer(Answer {
        candidate_id,
        question_id,
        answerer,
        answerer_version,
        value: word,
        probability: probability as f32,
        latency_ms,
    }))
}

async fn store(import: &mut Import<'_>, batch: Vec<(i64, Fact)>) -> Result<()> {
    let mut tx = import.context.pool.begin().await?;
    let ids: Vec<Uuid> = batch.iter().map(|(_, fact)| fact.candidate_id()).collect();
    let known: HashSet<Uuid> = candidate::load_many(&mut tx, &ids).await?.into_iter().map(|one| one.id).collect();
    let (mut scores, mut answers) = (Vec::new(), Vec::new());
    for (record, fact) in batch {
        if !known.contains(&fact.candidate_id()) {
            let message = format!("there is no candidate {}", fact.candidate_id());
            import.reject(record, "/candidate_id", "E_UNKNOWN_CANDIDATE", message);
            continue;
        }
        import.counts.accepted += 1;
        match fact {
            Fact::Score(one) => {
                let scorer = (one.answerer.clone(), one.answerer_version.clone());
                *import.scorers.entry(scorer).or_default().entry(one.metric.clone()).or_default() += 1;
                scores.push(one);
            }
            Fact::Answer(one) => answers.push(one),
        }
    }
    score_card::upsert_many(&mut tx, &scores).await?;
    answer::upsert_many(&mut tx, &answers).await?;
    tx.commit().await?;
    Ok(())
}
