//! Scores and answers in JSON lines, of candidates that are here.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use super::{Import, ImportFormat, lines};
use crate::store::answer::{self, Answer};
use crate::store::candidate;
use crate::store::score_card::{self, ScoreCard};
use crate::store::score_run::{self, NewScoreRun};
use crate::store::state::TaskState;
use crate::{Error, Result};

/// Longest line, in bytes.
const MOST_LINE: usize = 1 << 20;
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
    let mut batch: Vec<(i64, Fact)> = Vec::new();
    let mut keys = HashSet::new();
    for line in lines(path, MOST_LINE)? {
        let line = line.map_err(|error| Error::Format(error.to_string()))?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record = import.counts.read;
        import.counts.read += 1;
        let read = serde_json::from_slice::<Value>(&line)
            .map_err(|error| (String::new(), "E_JSON_SYNTAX", error.to_string()))
            .and_then(|value| fact(&value, format));
        match read {
            Ok(fact) if !keys.insert(fact.key()) => {
                import.reject(record, "", "E_DUP_KEY", "an earlier line says this of the same candidate");
            }
            Ok(fact) => batch.push((record, fact)),
            Err((pointer, code, message)) => import.reject(record, &pointer, code, message),
        }
        import.write_many_rejects().await?;
        if batch.len() == BATCH {
            store(import, std::mem::take(&mut batch)).await?;
        }
    }
    store(import, batch).await?;
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

/// Pointer within the line, code, message.
pub(super) type Fault = (String, &'static str, String);

/// Of which candidate a line tells, and who says it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Teller {
    pub candidate_id: Uuid,
    pub answerer: String,
    pub answerer_version: String,
}

fn text(value: &Value, key: &str) -> std::result::Result<String, Fault> {
    match value[key].as_str() {
        Some(text) if !text.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
        Some(_) => Err((format!("/{key}"), "E_WRONG_TYPE", format!("{key} is a text that is not empty"))),
        None => Err((format!("/{key}"), "E_MISSING_FIELD", format!("{key} is a text"))),
    }
}

fn wrong(key: &str, message: impl Into<String>) -> Fault {
    (format!("/{key}"), "E_WRONG_TYPE", message.into())
}

pub(super) fn teller(value: &Value) -> std::result::Result<Teller, Fault> {
    let candidate_id = text(value, "candidate_id")?;
    Ok(Teller {
        candidate_id: Uuid::parse_str(&candidate_id)
            .map_err(|_| wrong("candidate_id", format!("{candidate_id:?} is no UUID")))?,
        answerer: text(value, "answerer")?,
        answerer_version: text(value, "answerer_version")?,
    })
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
    if batch.is_empty() {
        return Ok(());
    }
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
