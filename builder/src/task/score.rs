//! Candidate → Answers → ScoreCard: asks what follows from each graph, and adds it up.
//!
//! A run works through the candidates that have no score card of its answerer yet; killed and started again, it goes on
//! with the rest. Answers and score cards of a candidate are written together.

use std::collections::HashMap;
use std::sync::Arc;

use image::RgbImage;
use rayon::prelude::*;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::queue::{self, Task};
use super::{TaskContext, error_json, get_blobs, on_thread, sampling};
use crate::answer::openai::{OpenAiAnswerer, OpenAiSettings};
use crate::answer::shapes::ShapesAnswerer;
use crate::answer::{Answer, Answerer, Inquiry};
use crate::question::{QuestionDag, derive};
use crate::scene_graph::SceneGraph;
use crate::score::score_card;
use crate::score_card::ScoreCard;
use crate::store::candidate::Unscored;
use crate::store::state::TaskState;
use crate::store::{answer, candidate, generation, graph, question, score_card as card, score_run};
use crate::{Error, Result};

const UNFINISHED: &[TaskState] = &[TaskState::Queued, TaskState::Running];
/// Candidates a transaction.
const CHUNK: i64 = 512;

/// Who can answer, by name.
pub fn answerer(name: &str) -> Result<Arc<dyn Answerer>> {
    match name {
        "shapes" => Ok(Arc::new(ShapesAnswerer::default())),
        "openai" => Ok(Arc::new(OpenAiAnswerer::new(OpenAiSettings::from_environment()?)?)),
        _ => Err(Error::not_found("scorer", name)),
    }
}

/// Writes a score run down and puts it into the queue. `generation`: only its candidates.
pub async fn create(context: &TaskContext, answerer_name: &str, generation: Option<Uuid>) -> Result<Uuid> {
    let mut transaction = context.pool.begin().await?;
    let id = create_in(&mut transaction, answerer_name, generation).await?;
    transaction.commit().await?;
    Ok(id)
}

/// As [`create`], within the caller's transaction.
pub async fn create_in(connection: &mut PgConnection, answerer_name: &str, generation: Option<Uuid>) -> Result<Uuid> {
    let answerer = answerer(answerer_name)?;
    if let Some(generation) = generation {
        generation_exists(connection, generation).await?;
    }
    let id = score_run::insert(connection, answerer.name(), answerer.version(), generation).await?;
    queue::enqueue(connection, Task::Score(id)).await?;
    Ok(id)
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
    let answerer = answerer(&run.answerer)?;
    if answerer.version() != run.answerer_version {
        return Err(Error::conflict(
            "answerer_changed",
            format!(
                "the run asked for version {} of {}, this program has {}",
                run.answerer_version,
                run.answerer,
                answerer.version()
            ),
        ));
    }
    score_run::update_state(&mut connection, id, UNFINISHED, TaskState::Running).await?;
    let total = candidate::count(&mut connection, run.generation_id).await?;
    let left =
        candidate::count_unscored(&mut connection, run.generation_id, &run.answerer, &run.answerer_version).await?;
    let mut done = total - left;
    score_run::set_progress(&mut connection, id, done, total).await?;
    let mut after = None;
    loop {
        context.check_shutdown()?;
        let chunk =
            candidate::unscored(&mut connection, run.generation_id, &run.answerer, &run.answerer_version, after, CHUNK)
                .await?;
        let Some(last) = chunk.last() else { break };
        after = Some((last.graph_id, last.id));
        done += chunk.len() as i64;
        let (rows, failed) = score_chunk(context, &answerer, chunk).await?;
        done -= failed.len() as i64;
        let mut transaction = context.pool.begin().await?;
        question::insert_many(&mut transaction, &rows.questions).await?;
        answer::upsert_many(&mut transaction, &rows.answers).await?;
        card::upsert_many(&mut transaction, &rows.cards).await?;
        score_run::set_progress(&mut transaction, id, done, total).await?;
        transaction.commit().await?;
        // What could not be asked has no score card, and is asked again when the run goes on; what was answered stands.
        if let Some(error) = failed.into_iter().next() {
            return Err(error);
        }
    }
    score_run::update_state(&mut connection, id, UNFINISHED, TaskState::Succeeded).await?;
    Ok(())
}

/// Writes down that the run cannot be finished.
pub async fn fail(context: &TaskContext, id: Uuid, error: &Error) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    score_run::fail(&mut connection, id, &error_json(error)).await?;
    Ok(())
}

/// The rows of some candidates.
#[derive(Default)]
struct Rows {
    questions: Vec<question::Question>,
    answers: Vec<answer::Answer>,
    cards: Vec<card::ScoreCard>,
}

impl Rows {
    fn add(mut self, other: Self) -> Self {
        self.questions.extend(other.questions);
        self.answers.extend(other.answers);
        self.cards.extend(other.cards);
        self
    }
}

/// The rows of those that were answered about, and why the others were not.
async fn score_chunk(
    context: &TaskContext,
    answerer: &Arc<dyn Answerer>,
    chunk: Vec<Unscored>,
) -> Result<(Rows, Vec<Error>)> {
    let mut ids: Vec<Uuid> = chunk.iter().map(|one| one.graph_id).collect();
    ids.dedup(); // they come ordered by graph
    let graphs = graph::scene_graphs(&mut *context.pool.acquire().await?, &ids).await?;
    let files = get_blobs(&context.blobs, chunk.iter().map(|one| one.image_blob.clone()).collect()).await?;
    let answerer = Arc::clone(answerer);
    on_thread(move || {
        let asked: HashMap<Uuid, (SceneGraph, QuestionDag)> = graphs
            .into_par_iter()
            .map(|one| {
                let questions = derive(&one.graph);
                (one.id, (one.graph, questions))
            })
            .collect();
        let images: Vec<RgbImage> =
            files.par_iter().map(|file| sampling::decode_image(file)).collect::<Result<Vec<_>>>()?;
        let mut inquiries = Vec::with_capacity(chunk.len());
        for (one, image) in chunk.iter().zip(&images) {
            let (graph, questions) = asked.get(&one.graph_id).ok_or_else(|| Error::not_found("graph", one.graph_id))?;
            inquiries.push(Inquiry { image, questions: &[], graph: Some((graph, questions)) });
        }
        let questions = asked.iter().flat_map(|(id, (_, questions))| question_rows(*id, questions)).collect();
        let mut rows = Rows { questions, ..Rows::default() };
        let mut failed = Vec::new();
        for ((one, inquiry), outcome) in chunk.iter().zip(&inquiries).zip(answerer.answer_many(&inquiries)) {
            match (outcome, inquiry.graph) {
                (Ok(answers), Some((_, questions))) => {
                    let card = score_card(questions, &answers);
                    rows = rows.add(candidate_rows(one.id, &*answerer, &Judged { answers, card }));
                }
                (Ok(_), None) => {}
                (Err(error), _) => failed.push(error),
            }
        }
        Ok((rows, failed))
    })
    .await
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

fn candidate_rows(candidate_id: Uuid, answerer: &dyn Answerer, judged: &Judged) -> Rows {
    let (name, version) = (answerer.name(), answerer.version());
    Rows {
        questions: Vec::new(),
        answers: judged
            .answers
            .iter()
            .map(|one| answer::Answer {
                candidate_id,
                question_id: one.question as i32,
                answerer: name.to_owned(),
                answerer_version: version.to_owned(),
                value: one.value.as_str().to_owned(),
                probability: one.probability,
            })
            .collect(),
        // A metric without a score (a refusal, or nothing that it measures) leaves no row.
        cards: judged
            .card
            .metrics()
            .into_iter()
            .filter_map(|(metric, verdict)| {
                Some(card::ScoreCard {
                    candidate_id,
                    metric: metric.to_owned(),
                    answerer: name.to_owned(),
                    answerer_version: version.to_owned(),
                    score: verdict.score?,
                    parts: json!(verdict.parts),
                })
            })
            .collect(),
    }
}

/// Whether `answerer` knows everything that a graph's questions speak of: asked about an empty picture, it says no and
/// refuses nothing.
pub(crate) fn can_judge(answerer: &dyn Answerer, graph: &SceneGraph) -> bool {
    let questions = derive(graph);
    let judged = judge(answerer, graph, &questions, &RgbImage::new(64, 64));
    !questions.is_empty() && judged.is_ok_and(|judged| judged.card.refused == 0)
}
