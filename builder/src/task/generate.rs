//! SceneGraph → Candidate: images of every graph of a generation.
//!
//! A candidate is a function of (model hash, graph, seed, steps, guidance): killed at any point and started again, a
//! generation makes exactly the candidates that are missing, with the same pixels.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use models::pipeline::{Pipeline, SampleSettings};
use models::scene_graph_encoder::GraphText;
use sqlx::PgConnection;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::queue::{self, Task};
use super::sampling::{self, BATCH, Picture, Shot};
use super::{TaskContext, error_json, on_thread, put_blobs};
use crate::candidate::{Purpose, seed};
use crate::conditioning::graph_text;
use crate::error::Fault;
use crate::store::candidate::NewCandidate;
use crate::store::generation::{Generation, NewGeneration};
use crate::store::state::TaskState;
use crate::store::{candidate, generation, graph};
use crate::{Error, Result, id};

/// Faults that are told of one request; nobody reads more.
const MOST_FAULTS: usize = 100;
const UNFINISHED: &[TaskState] = &[TaskState::Queued, TaskState::Running];

/// What is asked of a generation.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// The graphs, in the order in which they are worked through.
    pub graph_ids: Vec<Uuid>,
    /// How the graphs were named, for people to read.
    pub selection: serde_json::Value,
    /// By name or folder; `None`: the default.
    pub model: Option<String>,
    /// What the candidates' seeds derive from.
    pub seed: i64,
    /// Candidates a graph.
    pub num_candidates: u32,
    /// Sampling steps.
    pub num_inference_steps: u32,
    /// Classifier-free guidance.
    pub guidance_scale: f64,
}

impl Default for GenerationRequest {
    fn default() -> Self {
        Self {
            graph_ids: Vec::new(),
            selection: serde_json::Value::Null,
            model: None,
            seed: 0,
            num_candidates: 4,
            num_inference_steps: 20,
            guidance_scale: 4.0,
        }
    }
}

/// Writes a generation down and puts it into the queue.
///
/// # Errors
/// `Invalid` with every fault that the store knows of: a model or graphs that do not exist, a graph named twice.
pub async fn create(context: &TaskContext, request: &GenerationRequest) -> Result<Uuid> {
    let mut transaction = context.pool.begin().await?;
    let id = create_in(&mut transaction, context, request).await?;
    transaction.commit().await?;
    Ok(id)
}

/// As [`create`], within the caller's transaction.
pub async fn create_in(
    connection: &mut PgConnection,
    context: &TaskContext,
    request: &GenerationRequest,
) -> Result<Uuid> {
    let mut faults = graph_faults(connection, &request.graph_ids).await?;
    let pipeline = match context.models.by_name(connection, request.model.as_deref()).await {
        Err(error @ Error::NotFound { .. }) if request.model.is_some() => {
            faults.push(Fault::new("/model", error.to_string()));
            return Err(Error::Invalid(faults));
        }
        found => found?,
    };
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let new = NewGeneration {
        model_hash: pipeline.hash().to_owned(),
        seed: request.seed,
        num_inference_steps: request.num_inference_steps as i32,
        guidance_scale: request.guidance_scale,
        sampler: sampling::SAMPLER.to_owned(),
        num_candidates: request.num_candidates as i32,
        selection: request.selection.clone(),
        graph_ids: request.graph_ids.clone(),
    };
    let id = generation::insert(connection, &new).await?;
    queue::enqueue(connection, Task::Generate(id)).await?;
    Ok(id)
}

/// Graphs that do not exist, and such as are named twice.
async fn graph_faults(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Fault>> {
    let there: HashSet<Uuid> = graph::load_many(connection, ids).await?.into_iter().map(|graph| graph.id).collect();
    let mut seen = HashSet::new();
    let faults = ids.iter().enumerate().filter_map(|(place, id)| {
        let pointer = format!("/graph_ids/{place}");
        if !there.contains(id) {
            return Some(Fault::new(pointer, format!("there is no graph {id}")));
        }
        (!seen.insert(*id)).then(|| Fault::new(pointer, format!("graph {id} is named twice")))
    });
    Ok(faults.take(MOST_FAULTS).collect())
}

/// Makes the candidates that the generation `id` still lacks.
pub async fn run(context: &TaskContext, id: Uuid) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    let Some(generation) = generation::find(&mut connection, id).await? else {
        return Ok(()); // deleted while it waited
    };
    if generation.state.is_final() {
        return Ok(());
    }
    generation::update_state(&mut connection, id, UNFINISHED, TaskState::Running).await?;
    let pipeline = context.models.by_hash(&mut connection, &generation.model_hash).await?;
    let work = missing(&mut connection, &generation).await?;
    drop(connection);

    // The files of one batch are written while the next is computed.
    let mut writing: Option<JoinHandle<Result<()>>> = None;
    for batch in work.chunks(BATCH) {
        context.check_shutdown()?;
        let made = make(context, &pipeline, &generation, batch).await?;
        finish(writing.take()).await?;
        writing = Some(tokio::spawn(write(context.clone(), id, made)));
    }
    finish(writing).await?;
    let mut connection = context.pool.acquire().await?;
    generation::count_done(&mut connection, id).await?;
    generation::update_state(&mut connection, id, UNFINISHED, TaskState::Succeeded).await?;
    Ok(())
}

/// Writes down that the generation cannot be finished.
pub async fn fail(context: &TaskContext, id: Uuid, error: &Error) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    generation::fail(&mut connection, id, &error_json(error)).await?;
    Ok(())
}

/// One candidate that is not there yet.
#[derive(Clone, Debug)]
struct Missing {
    graph_id: Uuid,
    index: u32,
    seed: i64,
}

async fn missing(connection: &mut PgConnection, generation: &Generation) -> Result<Vec<Missing>> {
    let graphs = generation::graphs(connection, generation.id).await?;
    let there: HashSet<(Uuid, i32)> = candidate::keys(connection, generation.id).await?.into_iter().collect();
    generation::set_progress(connection, generation.id, there.len() as i64).await?;
    Ok(graphs
        .iter()
        .flat_map(|graph| {
            (0..generation.num_candidates as u32).map(|index| Missing {
                graph_id: graph.graph_id,
                index,
                seed: seed(Purpose::Candidate, generation.seed, &graph.content_hash, index),
            })
        })
        .filter(|one| !there.contains(&(one.graph_id, one.index as i32)))
        .collect())
}

struct Made {
    missing: Missing,
    picture: Picture,
}

async fn make(
    context: &TaskContext,
    pipeline: &Arc<Pipeline>,
    generation: &Generation,
    batch: &[Missing],
) -> Result<Vec<Made>> {
    let mut ids: Vec<Uuid> = batch.iter().map(|one| one.graph_id).collect();
    ids.dedup();
    let graphs = {
        let mut connection = context.pool.acquire().await?;
        graph::scene_graphs(&mut connection, &ids).await?
    };
    let places: HashMap<Uuid, usize> = graphs.iter().enumerate().map(|(place, graph)| (graph.id, place)).collect();
    let shots = batch
        .iter()
        .map(|one| {
            let place = *places.get(&one.graph_id).ok_or_else(|| Error::not_found("graph", one.graph_id))?;
            Ok(Shot { graph: place, seed: one.seed })
        })
        .collect::<Result<Vec<_>>>()?;
    let texts: Vec<GraphText> = graphs.iter().map(|one| graph_text(&one.graph)).collect();
    let settings = SampleSettings {
        num_inference_steps: generation.num_inference_steps as usize,
        guidance_scale: generation.guidance_scale,
    };
    let pipeline = Arc::clone(pipeline);
    let batch = batch.to_vec();
    on_thread(move || {
        let pictures = sampling::sample(&pipeline, &texts, &shots, settings)?;
        Ok(batch.into_iter().zip(pictures).map(|(missing, picture)| Made { missing, picture }).collect())
    })
    .await
}

async fn write(context: TaskContext, id: Uuid, made: Vec<Made>) -> Result<()> {
    let (missing, pictures): (Vec<_>, Vec<_>) = made.into_iter().map(|one| (one.missing, one.picture)).unzip();
    let latents = pictures.iter().map(|one| sampling::latent_to_bytes(&one.latent)).collect();
    let images = pictures.into_iter().map(|one| one.png).collect();
    let (images, latents) = tokio::try_join!(put_blobs(&context.blobs, images), put_blobs(&context.blobs, latents))?;
    let rows: Vec<NewCandidate> = missing
        .into_iter()
        .zip(images.into_iter().zip(latents))
        .map(|(one, (image_blob, latent_blob))| NewCandidate {
            id: id::new(),
            generation_id: id,
            graph_id: one.graph_id,
            index: one.index as i32,
            seed: one.seed,
            image_blob,
            latent_blob: Some(latent_blob),
        })
        .collect();
    let mut transaction = context.pool.begin().await?;
    candidate::insert_many(&mut transaction, &rows).await?;
    generation::count_done(&mut transaction, id).await?;
    queue::made_progress(&mut transaction, Task::Generate(id)).await?;
    transaction.commit().await?;
    Ok(())
}

async fn finish(writing: Option<JoinHandle<Result<()>>>) -> Result<()> {
    match writing {
        None => Ok(()),
        Some(handle) => handle.await.map_err(|error| Error::Thread(error.to_string()))?,
    }
}
