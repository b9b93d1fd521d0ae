//! Some candidates at a time: pictures, what is there of answers, what is asked, and the rows that follow.

use std::collections::HashMap;

use image::RgbImage;
use rayon::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::{Scorer, repetition_suffix};
use crate::answer::{Answer, AnswerValue, Answerer, Inquiry};
use crate::question::{QuestionDag, TEMPLATE_VERSION, derive};
use crate::scene_graph::SceneGraph;
use crate::score::score_card;
use crate::score_card::{MetricScore, ScoreCard};
use crate::scorer::{ImageScorer, Subject};
use crate::store::candidate::Unscored;
use crate::store::score_run::ScoreRun;
use crate::store::{answer, detection, graph, question, score_card as card};
use crate::task::{TaskContext, get_blobs, on_thread, sampling};
use crate::{Error, Result};

/// The rows of some candidates.
#[derive(Default)]
pub(super) struct Rows {
    pub questions: Vec<question::Question>,
    pub answers: Vec<answer::Answer>,
    pub cards: Vec<card::ScoreCard>,
    pub detections: Vec<detection::Detection>,
    /// Why a candidate has not every score, though somebody looked at it.
    pub refused: Vec<(Uuid, String)>,
}

/// What came of some candidates.
#[derive(Default)]
pub(super) struct Outcome {
    pub rows: Rows,
    /// Those that were looked at.
    pub scored: Vec<Uuid>,
    /// Why the others were not.
    pub failures: Vec<(Uuid, Error)>,
}

type Asked = HashMap<Uuid, (SceneGraph, QuestionDag)>;
/// Answers by candidate.
type Known = HashMap<Uuid, Vec<Answer>>;

/// Scores a chunk; without a scorer, from answers that are there alone.
pub(super) async fn score(
    context: &TaskContext,
    run: &ScoreRun,
    scorer: Option<&Scorer>,
    chunk: Vec<Unscored>,
) -> Result<Outcome> {
    let mut ids: Vec<Uuid> = chunk.iter().map(|one| one.graph_id).collect();
    ids.dedup(); // they come ordered by graph
    let mut connection = context.pool.acquire().await?;
    let graphs = graph::scene_graphs(&mut connection, &ids).await?;
    let candidates: Vec<Uuid> = chunk.iter().map(|one| one.id).collect();
    let mut known = Known::new();
    if !matches!(scorer, Some(Scorer::Pictures(_))) {
        for row in answer::of_answerer(&mut connection, &candidates, &run.answerer, &answers_version(run)).await? {
            known.entry(row.candidate_id).or_default().extend(recorded(&row));
        }
    }
    drop(connection);
    let asked: Asked = graphs
        .into_iter()
        .map(|one| {
            let questions = derive(&one.graph);
            (one.id, (one.graph, questions))
        })
        .collect();
    let complete = |one: &Unscored| match (known.get(&one.id), asked.get(&one.graph_id)) {
        (Some(answers), Some((_, questions))) => {
            let told = answers.iter().filter(|one| one.value != AnswerValue::CannotAnswer);
            told.count() == questions.len()
        }
        _ => false,
    };
    let (answered, open): (Vec<Unscored>, Vec<Unscored>) =
        chunk.into_iter().partition(|one| scorer.is_none() || complete(one));
    let files = match scorer {
        Some(_) => get_blobs(&context.blobs, open.iter().map(|one| one.image_blob.clone()).collect()).await?,
        None => Vec::new(),
    };
    let (run, scorer) = (run.clone(), scorer.cloned());
    on_thread(move || {
        let mut outcome = Outcome::default();
        if !matches!(scorer, Some(Scorer::Pictures(_))) {
            outcome.rows.questions = asked.iter().flat_map(|(id, (_, one))| question_rows(*id, one)).collect();
        }
        from_known(&mut outcome, &run, &answered, &asked, &known);
        let (mut seen, mut images) = (Vec::new(), Vec::new());
        let decoded: Vec<Result<RgbImage>> = files.par_iter().map(|file| sampling::decode_image(file)).collect();
        for (one, image) in open.into_iter().zip(decoded) {
            match image {
                Ok(image) => {
                    images.push(image);
                    seen.push(one);
                }
                Err(error) => outcome.failures.push((one.id, error)),
            }
        }
        match &scorer {
            Some(Scorer::Answers(answerer)) => ask(&mut outcome, &run, &**answerer, &seen, &images, &asked)?,
            Some(Scorer::Pictures(scorer)) => look(&mut outcome, &run, &**scorer, &seen, &images, &asked)?,
            None => {}
        }
        Ok(outcome)
    })
    .await
}

/// An answer that is there already; a refusal is asked again.
fn recorded(row: &answer::Answer) -> Option<Answer> {
    let value = match row.value.as_str() {
        "yes" => AnswerValue::Yes,
        "no" => AnswerValue::No,
        _ => AnswerValue::CannotAnswer,
    };
    let question = u32::try_from(row.question_id).ok()?;
    Some(Answer { question, value, probability: row.probability, seconds: row.latency_ms.map(|ms| ms / 1000.0) })
}

fn from_known(outcome: &mut Outcome, run: &ScoreRun, answered: &[Unscored], asked: &Asked, known: &Known) {
    for one in answered {
        match (known.get(&one.id), asked.get(&one.graph_id)) {
            (Some(answers), Some((_, questions))) => {
                let judged = Judged { answers: answers.clone(), card: score_card(questions, answers) };
                candidate_rows(&mut outcome.rows, one.id, run, &judged, false);
                outcome.scored.push(one.id);
            }
            _ => {
                let reason = format!("there are no answers of {} about it", run.answerer);
                outcome.rows.refused.push((one.id, reason));
            }
        }
    }
}

fn ask(
    outcome: &mut Outcome,
    run: &ScoreRun,
    answerer: &dyn Answerer,
    seen: &[Unscored],
    images: &[RgbImage],
    asked: &Asked,
) -> Result<()> {
    let mut inquiries = Vec::with_capacity(seen.len());
    for (one, image) in seen.iter().zip(images) {
        let (graph, questions) = asked.get(&one.graph_id).ok_or_else(|| Error::not_found("graph", one.graph_id))?;
        inquiries.push(Inquiry { image, questions: &[], graph: Some((graph, questions)) });
    }
    for ((one, inquiry), answers) in seen.iter().zip(&inquiries).zip(answerer.answer_many(&inquiries)) {
        match (answers, inquiry.graph) {
            (Ok(answers), Some((_, questions))) => {
                let card = score_card(questions, &answers);
                candidate_rows(&mut outcome.rows, one.id, run, &Judged { answers, card }, true);
                outcome.scored.push(one.id);
            }
            (Ok(_), None) => {}
            (Err(error), _) => outcome.failures.push((one.id, error)),
        }
    }
    Ok(())
}

fn look(
    outcome: &mut Outcome,
    run: &ScoreRun,
    scorer: &dyn ImageScorer,
    seen: &[Unscored],
    images: &[RgbImage],
    asked: &Asked,
) -> Result<()> {
    let names: Vec<String> = seen.iter().map(|one| one.id.to_string()).collect();
    let mut subjects = Vec::with_capacity(seen.len());
    for ((one, image), name) in seen.iter().zip(images).zip(&names) {
        let (graph, _) = asked.get(&one.graph_id).ok_or_else(|| Error::not_found("graph", one.graph_id))?;
        subjects.push(Subject { name, image, graph });
    }
    for (one, verdicts) in seen.iter().zip(scorer.score_many(&subjects)) {
        match verdicts {
            Ok(verdicts) => {
                let cards = verdicts.scores.iter().filter_map(|(metric, verdict)| row(one.id, run, metric, verdict));
                outcome.rows.cards.extend(cards);
                outcome.rows.detections.extend(verdicts.detections.map(|found| detection::Detection {
                    candidate_id: one.id,
                    answerer: run.answerer.clone(),
                    answerer_version: run.answerer_version.clone(),
                    found: json!(found),
                }));
                outcome.scored.push(one.id);
            }
            Err(error) => outcome.failures.push((one.id, error)),
        }
    }
    Ok(())
}

/// What an image was found to show.
pub(crate) struct Judged {
    pub answers: Vec<Answer>,
    pub card: ScoreCard,
}

/// Asks `answerer` everything about one image.
pub(crate) fn judge(
    answerer: &dyn Answerer,
    graph: &SceneGraph,
    questions: &QuestionDag,
    image: &RgbImage,
) -> Result<Judged> {
    let answers = answerer.answer(image, graph, questions)?;
    let card = score_card(questions, &answers);
    Ok(Judged { answers, card })
}

fn question_rows(graph_id: Uuid, questions: &QuestionDag) -> Vec<question::Question> {
    questions
        .questions()
        .map(|one| question::Question {
            graph_id,
            template_version: TEMPLATE_VERSION.to_owned(),
            question_id: one.id as i32,
            kind: one.kind.as_str().to_owned(),
            category: one.category.as_str().to_owned(),
            text: one.text.clone(),
            tuple: one.tuple.clone(),
            parents: one.parents.iter().map(|&parent| parent as i32).collect(),
            target: json!(one.target),
        })
        .collect()
}

/// Answers and score cards of one candidate; why it has no DPG score, where something was refused.
fn candidate_rows(rows: &mut Rows, candidate_id: Uuid, run: &ScoreRun, judged: &Judged, is_new: bool) {
    let name = run.answerer.as_str();
    if is_new {
        let version = answers_version(run);
        rows.answers.extend(judged.answers.iter().map(|one| answer::Answer {
            candidate_id,
            question_id: one.question as i32,
            answerer: name.to_owned(),
            answerer_version: version.clone(),
            value: one.value.as_str().to_owned(),
            probability: one.probability,
            latency_ms: one.seconds.map(|seconds| 1000.0 * seconds),
        }));
    }
    // A metric without a score (a refusal, or nothing that it measures) leaves no row.
    let metrics = judged.card.metrics();
    rows.cards.extend(metrics.into_iter().filter_map(|(metric, verdict)| row(candidate_id, run, metric, verdict)));
    if judged.card.refused > 0 {
        let reason = format!("{} of its questions were not answered", judged.card.refused);
        rows.refused.push((candidate_id, reason));
    }
}

fn row(candidate_id: Uuid, run: &ScoreRun, metric: &str, verdict: &MetricScore) -> Option<card::ScoreCard> {
    Some(card::ScoreCard {
        candidate_id,
        metric: metric.to_owned(),
        answerer: run.answerer.clone(),
        answerer_version: run.answerer_version.clone(),
        score: verdict.score?,
        parts: json!(verdict.parts),
    })
}

/// Under which version the answers are kept: that of who answered, whatever is computed from them.
fn answers_version(run: &ScoreRun) -> String {
    let repetition = repetition_suffix(run.repetition);
    let version = run.answerer_version.strip_suffix(&repetition).unwrap_or(&run.answerer_version);
    let answerer = version.rsplit_once("+formula-").map_or(version, |(answerer, _)| answerer);
    format!("{answerer}{repetition}")
}

/// Whether `answerer` knows everything that a graph's questions speak of: asked about an empty picture, it says no and
/// refuses nothing.
pub(crate) fn can_judge(answerer: &dyn Answerer, graph: &SceneGraph) -> bool {
    let questions = derive(graph);
    let judged = judge(answerer, graph, &questions, &RgbImage::new(64, 64));
    !questions.is_empty() && judged.is_ok_and(|judged| judged.card.refused == 0)
}
