//! Checkpoint → Evaluation: the reference and the trained model on held-out graphs, with the same seeds.
//!
//! Every image is judged once and kept as an `evaluation_sample`, by (weights, graph, seed, settings, answerer). So an
//! evaluation goes on where it was killed, and the reference is sampled once however many jobs are compared with it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use models::pipeline::{Pipeline, SampleSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::queue::{self, Task};
use super::sampling::{self, BATCH, Shot};
use super::score::{self, can_judge, judge};
use super::{TaskContext, error_json, on_thread, put_blobs};
use crate::answer::Answerer;
use crate::candidate::{Purpose, seed};
use crate::conditioning::graph_text;
use crate::evaluation::{ImagePair, compare};
use crate::question::{QuestionKind, derive};
use crate::store::evaluation::{EvaluationImage, NewEvaluation, Sample, SampleKey};
use crate::store::graph::LoadedGraph;
use crate::store::state::{EvaluationKind, EvaluationRole, Split, TaskState};
use crate::store::{evaluation, graph, job};
use crate::{Error, Result};

/// Graphs whose images are kept for the page.
const SHOWN_GRAPHS: usize = 24;
const UNFINISHED: &[TaskState] = &[TaskState::Queued, TaskState::Running];

/// Everything that an evaluation depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSettings {
    /// The reference.
    pub base_model_hash: String,
    /// The trained weights, a safetensors file for [`Pipeline::with_unet`].
    pub trained_blob: String,
    /// Held-out graphs.
    pub graph_ids: Vec<Uuid>,
    /// Images a graph and a model.
    pub num_noises: u32,
    /// Where the noises come from.
    pub seed: i64,
    /// Sampling steps.
    pub num_inference_steps: u32,
    /// Guidance.
    pub guidance_scale: f64,
    /// Who judges.
    pub answerer: String,
    /// And which version.
    pub answerer_version: String,
}

impl EvaluationSettings {
    fn sampling(&self) -> SampleSettings {
        SampleSettings { num_inference_steps: self.num_inference_steps as usize, guidance_scale: self.guidance_scale }
    }

    /// Names the trained weights on their reference.
    pub fn trained_model_hash(&self) -> String {
        crate::blob::hash(format!("{}+{}", self.base_model_hash, self.trained_blob).as_bytes())
    }
}

/// Held-out graphs that `answerer` can judge, in an order that no store changes: those for the final comparison, and, apart
/// from them, those on which a training job chooses its checkpoint.
pub async fn held_out(context: &TaskContext, answerer: &dyn Answerer) -> Result<(Vec<LoadedGraph>, Vec<LoadedGraph>)> {
    let mut connection = context.pool.acquire().await?;
    let refs = graph::list_refs(&mut connection, Some(Split::HeldOut)).await?;
    let ids: Vec<Uuid> = refs.into_iter().map(|(id, _)| id).collect();
    let graphs = graph::scene_graphs(&mut connection, &ids).await?;
    let mut graphs: Vec<(String, LoadedGraph)> = graphs
        .into_iter()
        .filter(|one| can_judge(answerer, &one.graph))
        .map(|one| (one.graph.meaning_hash(), one))
        .collect();
    graphs.sort_by(|(a, first), (b, second)| (a, &first.content_hash).cmp(&(b, &second.content_hash)));
    // Two records that mean the same are one sample of what graphs there are.
    graphs.dedup_by(|(a, _), (b, _)| a == b);
    let (selection, comparison): (Vec<_>, Vec<_>) = graphs.into_iter().partition(|(hash, _)| is_for_selection(hash));
    let strip = |graphs: Vec<(String, LoadedGraph)>| graphs.into_iter().map(|(_, graph)| graph).collect();
    Ok((strip(comparison), strip(selection)))
}

/// Whether a held-out graph with this meaning hash serves the choice of checkpoints (one in four) and not the comparison.
/// By the hash's last digits; its first ones chose the split.
pub fn is_for_selection(meaning_hash: &str) -> bool {
    let last = meaning_hash.get(56..).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    last.is_some_and(|digits| digits % 4 == 0)
}

/// Writes an evaluation down. `queued`: a worker takes it up; else the caller runs it.
pub async fn create(
    context: &TaskContext,
    job_id: Option<Uuid>,
    name: &str,
    settings: &EvaluationSettings,
    queued: bool,
) -> Result<Uuid> {
    let mut transaction = context.pool.begin().await?;
    let document = serde_json::to_value(settings)
        .map_err(|source| Error::Json { context: "writing the evaluation's settings".to_owned(), source })?;
    let id = evaluation::insert(
        &mut transaction,
        &NewEvaluation {
            job_id,
            name: name.to_owned(),
            kind: EvaluationKind::Final,
            step: None,
            base_model_hash: Some(settings.base_model_hash.clone()),
            trained_model_hash: Some(settings.trained_model_hash()),
            settings: document,
            total: (settings.graph_ids.len() * settings.num_noises as usize * 2) as i64,
        },
    )
    .await?;
    if queued {
        queue::enqueue(&mut transaction, Task::Evaluate(id)).await?;
    }
    transaction.commit().await?;
    Ok(id)
}

/// Finishes the evaluation `id`, as a task of its own.
pub async fn run(context: &TaskContext, id: Uuid) -> Result<()> {
    run_until(context, id, &|| context.check_shutdown()).await?;
    Ok(())
}

/// Writes down that the evaluation cannot be finished.
pub async fn fail(context: &TaskContext, id: Uuid, error: &Error) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    evaluation::fail(&mut connection, id, &error_json(error)).await?;
    Ok(())
}

/// Finishes the evaluation `id` and gives its result; `check` is asked between batches whether to go on.
pub async fn run_until(
    context: &TaskContext,
    id: Uuid,
    check: &(dyn Fn() -> Result<()> + Send + Sync),
) -> Result<Value> {
    let mut connection = context.pool.acquire().await?;
    let row = evaluation::find(&mut connection, id).await?.ok_or_else(|| Error::not_found("evaluation", id))?;
    if let Some(result) = row.result {
        return Ok(result);
    }
    let settings: EvaluationSettings = serde_json::from_value(row.settings)
        .map_err(|source| Error::Json { context: format!("the settings of evaluation {id}"), source })?;
    evaluation::update_state(&mut connection, id, UNFINISHED, TaskState::Running).await?;
    let answerer = score::keeping_answerer(context, &settings.answerer, 1)?;
    let graphs = graph::scene_graphs(&mut connection, &settings.graph_ids).await?;
    let base = context.models.by_hash(&mut connection, &settings.base_model_hash).await?;
    drop(connection);
    let trained = load_trained(context, &base, &settings.trained_blob).await?;

    let mut comparison = Comparison { context, id, job_id: row.job_id, settings: &settings, answerer, graphs, check };
    let base = comparison.judge_all(&base, &settings.base_model_hash, 0).await?;
    let trained = comparison.judge_all(&trained, &settings.trained_model_hash(), base.len()).await?;
    let result = comparison.result(&base, &trained)?;

    let mut transaction = context.pool.begin().await?;
    for (role, samples) in [(EvaluationRole::Base, &base), (EvaluationRole::Trained, &trained)] {
        evaluation::upsert_images(&mut transaction, id, &comparison.images(role, samples)).await?;
    }
    evaluation::set_result(&mut transaction, id, &result).await?;
    evaluation::update_state(&mut transaction, id, UNFINISHED, TaskState::Succeeded).await?;
    transaction.commit().await?;
    Ok(result)
}

/// The reference with the trained weights `blob` in place of its own.
pub(crate) async fn load_trained(context: &TaskContext, base: &Arc<Pipeline>, blob: &str) -> Result<Arc<Pipeline>> {
    let content = context.blobs.get(blob).await?;
    let base = Arc::clone(base);
    let scratch = scratch_folder(context)?;
    on_thread(move || {
        let folder = tempfile::tempdir_in(scratch)?;
        let file = folder.path().join("unet.safetensors");
        fs_err::write(&file, content)?;
        Ok(Arc::new(base.with_unet(&file)?))
    })
    .await
}

/// Where files live that no crash needs again.
pub(crate) fn scratch_folder(context: &TaskContext) -> Result<PathBuf> {
    let folder = context.data.join("scratch");
    fs_err::create_dir_all(&folder)?;
    Ok(folder)
}

/// One image of the comparison, judged.
#[derive(Clone, Debug)]
struct Judged {
    graph: usize,
    index: u32,
    seed: i64,
    score: f64,
    kinds: BTreeMap<String, f64>,
    image_blob: Option<String>,
}

struct Comparison<'a> {
    context: &'a TaskContext,
    id: Uuid,
    job_id: Option<Uuid>,
    settings: &'a EvaluationSettings,
    answerer: Arc<dyn Answerer>,
    graphs: Vec<LoadedGraph>,
    check: &'a (dyn Fn() -> Result<()> + Send + Sync),
}

impl Comparison<'_> {
    /// Every image of one model, from the store where it was judged before. `before`: images done by the other model.
    async fn judge_all(&mut self, pipeline: &Arc<Pipeline>, model_hash: &str, before: usize) -> Result<Vec<Judged>> {
        let known = self.known(model_hash).await?;
        let mut judged = Vec::new();
        let mut missing = Vec::new();
        for (place, graph) in self.graphs.iter().enumerate() {
            for index in 0..self.settings.num_noises {
                let seed = seed(Purpose::Evaluation, self.settings.seed, &graph.content_hash, index);
                match known.get(&(graph.id, seed)) {
                    Some(sample) => judged.push(Judged {
                        graph: place,
                        index,
                        seed,
                        score: sample.score,
                        kinds: kinds_from_json(&sample.kinds),
                        image_blob: sample.image_blob.clone(),
                    }),
                    None => missing.push((place, index, seed)),
                }
            }
        }
        self.report(before + judged.len()).await?;
        for batch in missing.chunks(BATCH) {
            (self.check)()?;
            let made = self.judge_batch(pipeline, model_hash, batch).await?;
            judged.extend(made);
            self.report(before + judged.len()).await?;
        }
        judged.sort_by_key(|one| (one.graph, one.index));
        Ok(judged)
    }

    fn key(&self, model_hash: &str) -> SampleKey {
        SampleKey {
            model_hash: model_hash.to_owned(),
            num_inference_steps: self.settings.num_inference_steps as i32,
            guidance_scale: self.settings.guidance_scale,
            answerer: self.settings.answerer.clone(),
            answerer_version: self.settings.answerer_version.clone(),
        }
    }

    async fn known(&self, model_hash: &str) -> Result<HashMap<(Uuid, i64), Sample>> {
        let mut connection = self.context.pool.acquire().await?;
        let samples = evaluation::samples(&mut connection, &self.key(model_hash), &self.settings.graph_ids).await?;
        Ok(samples.into_iter().map(|sample| ((sample.graph_id, sample.seed), sample)).collect())
    }

    async fn judge_batch(
        &self,
        pipeline: &Arc<Pipeline>,
        model_hash: &str,
        batch: &[(usize, u32, i64)],
    ) -> Result<Vec<Judged>> {
        let shots: Vec<(usize, i64)> = batch.iter().map(|(graph, _, seed)| (*graph, *seed)).collect();
        let scored = sample_and_judge(pipeline, &self.answerer, &self.graphs, &shots, self.settings.sampling()).await?;
        let shown: Vec<Vec<u8>> = batch
            .iter()
            .zip(&scored)
            .filter(|((graph, ..), _)| *graph < SHOWN_GRAPHS)
            .map(|(_, scored)| scored.png.clone())
            .collect();
        let mut blobs = put_blobs(&self.context.blobs, shown).await?.into_iter();
        let judged: Vec<Judged> = batch
            .iter()
            .zip(scored)
            .map(|(&(graph, index, seed), scored)| Judged {
                graph,
                index,
                seed,
                score: scored.score,
                kinds: scored.kinds,
                image_blob: if graph < SHOWN_GRAPHS { blobs.next() } else { None },
            })
            .collect();
        let rows: Vec<Sample> = judged
            .iter()
            .map(|one| Sample {
                graph_id: self.graphs[one.graph].id,
                seed: one.seed,
                score: one.score,
                kinds: kinds_to_json(&one.kinds),
                image_blob: one.image_blob.clone(),
            })
            .collect();
        let mut connection = self.context.pool.acquire().await?;
        evaluation::insert_samples(&mut connection, &self.key(model_hash), &rows).await?;
        Ok(judged)
    }

    async fn report(&self, done: usize) -> Result<()> {
        let mut connection = self.context.pool.acquire().await?;
        let total = self.settings.graph_ids.len() * self.settings.num_noises as usize * 2;
        evaluation::set_progress(&mut connection, self.id, done as i64, total as i64).await?;
        if let Some(job_id) = self.job_id {
            job::set_progress(&mut connection, job_id, "evaluate", done as i64, total as i64, "images").await?;
        }
        Ok(())
    }

    /// The paired statistics of all images.
    fn result(&self, base: &[Judged], trained: &[Judged]) -> Result<Value> {
        let pairs: Vec<ImagePair> = base
            .iter()
            .zip(trained)
            .map(|(base, trained)| ImagePair {
                graph: self.graphs[base.graph].id,
                base: base.score,
                trained: trained.score,
                base_by_kind: base.kinds.clone(),
                trained_by_kind: trained.kinds.clone(),
            })
            .collect();
        let comparison = compare(&pairs, self.settings.seed as u64)
            .ok_or_else(|| Error::conflict("nothing_to_compare", "the evaluation has no graph that can be judged"))?;
        serde_json::to_value(comparison)
            .map_err(|source| Error::Json { context: "writing the evaluation's result".to_owned(), source })
    }

    fn images(&self, role: EvaluationRole, judged: &[Judged]) -> Vec<EvaluationImage> {
        judged
            .iter()
            .filter_map(|one| {
                Some(EvaluationImage {
                    graph_id: self.graphs[one.graph].id,
                    index: one.index as i32,
                    role,
                    seed: one.seed,
                    image_blob: one.image_blob.clone()?,
                    score: one.score,
                    by_kind: kinds_to_json(&one.kinds),
                })
            })
            .collect()
    }
}

fn kinds_to_json(kinds: &BTreeMap<String, f64>) -> Value {
    kinds.iter().map(|(kind, score)| (kind.clone(), Value::from(*score))).collect()
}

fn kinds_from_json(kinds: &Value) -> BTreeMap<String, f64> {
    let fields = kinds.as_object().into_iter().flatten();
    fields.filter_map(|(kind, score)| Some((kind.clone(), score.as_f64()?))).collect()
}

/// An image that was made, and what it scores.
pub(crate) struct Scored {
    pub png: Vec<u8>,
    pub score: f64,
    pub kinds: BTreeMap<String, f64>,
}

/// Makes and judges images: `shots` are (place in `graphs`, seed).
pub(crate) async fn sample_and_judge(
    pipeline: &Arc<Pipeline>,
    answerer: &Arc<dyn Answerer>,
    graphs: &[LoadedGraph],
    shots: &[(usize, i64)],
    settings: SampleSettings,
) -> Result<Vec<Scored>> {
    let mut used: Vec<usize> = shots.iter().map(|(graph, _)| *graph).collect();
    used.sort_unstable();
    used.dedup();
    let graphs: Vec<_> = used.iter().map(|&place| graphs[place].graph.clone()).collect();
    let shots: Vec<Shot> = shots
        .iter()
        .map(|&(graph, seed)| Shot { graph: used.binary_search(&graph).unwrap_or_default(), seed })
        .collect();
    let (pipeline, answerer) = (Arc::clone(pipeline), Arc::clone(answerer));
    on_thread(move || {
        let texts: Vec<_> = graphs.iter().map(graph_text).collect();
        let questions: Vec<_> = graphs.iter().map(derive).collect();
        let pictures = sampling::sample(&pipeline, &texts, &shots, settings)?;
        shots
            .iter()
            .zip(pictures)
            .map(|(shot, picture)| {
                let judged = judge(&*answerer, &graphs[shot.graph], &questions[shot.graph], &picture.image)?;
                let verdict = judged.card.dpg;
                // Only graphs that the answerer knows come here.
                let score = verdict.score.ok_or_else(|| {
                    Error::conflict(
                        "cannot_judge",
                        format!("{} cannot judge graph {}", answerer.name(), graphs[shot.graph].img_id),
                    )
                })?;
                let mut kinds = verdict.parts;
                kinds.retain(|kind, _| QuestionKind::ALL.iter().any(|known| known.as_str() == kind));
                Ok(Scored { png: picture.png, score, kinds })
            })
            .collect()
    })
    .await
}
