//! What a job would cost, before it is asked for: `dry_run`.
//!
//! Rates are measured ones. How long a step takes comes from the latest jobs of the same kind, where there were any; else,
//! and for everything that only samples, from the time of one forward pass of the reference, which is measured once a
//! machine and kept in the store.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use models::pipeline::{GraphMode, Pipeline, SampleSettings};
use models::scene_graph_encoder::GraphText;
use serde::{Deserialize, Serialize};

use super::inputs::{is_replayable, path_bytes};
use crate::job::{JobSpec, OptimizerChoice, PathChoice, Trainable, estimate_seconds};
use crate::store::rate::{self, Origin};
use crate::store::{pairing, setting};
use crate::task::{TaskContext, on_thread};
use crate::{Error, Result};

/// Times that a forward pass is measured; the shortest counts.
const MEASUREMENTS: usize = 3;
/// Values that a channel's place leaves behind for the backward pass, a residual block and a transformer layer each.
const VALUES_A_RESNET: usize = 10;
const VALUES_A_TRANSFORMER: usize = 30;

/// The cost of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Wall-clock time on this machine, all stages together.
    pub seconds: f64,
    /// Largest working memory: weights, gradients, optimizer, one shard's activations, paths.
    pub memory_bytes: u64,
    /// What the trajectory cache grows by where nothing of it is kept yet.
    pub trajectory_cache_bytes: u64,
    pub num_pairs: i64,
    /// Distinct pictures in the pairs.
    pub num_images: i64,
    /// Pictures whose path is replayed from their seed, and whose is inverted.
    pub replayed: i64,
    pub inverted: i64,
    /// Of one image, without gradient.
    pub seconds_per_forward: f64,
    /// Of one pair within a step; from earlier jobs where `measured_jobs`.
    pub seconds_per_pair: f64,
    pub measured_jobs: bool,
    pub measured_at: DateTime<Utc>,
}

/// A forward pass of a model on a machine, as it is kept under a name of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ForwardRate {
    seconds: f64,
    at: DateTime<Utc>,
}

/// What `spec` would cost; it must have been validated.
pub async fn estimate(context: &TaskContext, spec: &JobSpec) -> Result<Estimate> {
    let mut connection = context.pool.acquire().await?;
    let frozen = pairing::find(&mut connection, spec.pairing_id).await?;
    let frozen = frozen.ok_or_else(|| Error::not_found("pairing", spec.pairing_id))?;
    let origins = rate::origins(&mut connection, spec.pairing_id).await?;
    let first = origins.first().ok_or_else(|| Error::invalid("/pairing_id", "this pairing holds no pairs"))?;
    let reference = match &spec.model {
        Some(name) => context.models.by_name(&mut connection, Some(name)).await?,
        None => context.models.by_hash(&mut connection, &first.model_hash).await?,
    };
    let steps = spec.num_inference_steps.unwrap_or(first.num_inference_steps as usize);
    let guidance = spec.guidance_scale.unwrap_or(first.guidance_scale);
    let forward = forward_rate(context, &reference).await?;
    let json = |value: serde_json::Result<serde_json::Value>| {
        value.map_err(|source| Error::Json { context: "writing the job's spec".to_owned(), source })
    };
    let objective = json(serde_json::to_value(&spec.objective))?;
    let trainable = json(serde_json::to_value(&spec.trainable))?;
    let measured = rate::seconds_a_pair(&mut connection, reference.hash(), &objective, &trainable).await?;

    let num_pairs = i64::from(frozen.num_pairs);
    let num_images: i64 = origins.iter().map(|origin| origin.num_images).sum();
    let replays = |origin: &&Origin| {
        spec.objective.path().is_some_and(|path| path != PathChoice::Inverted)
            && is_replayable(reference.hash(), steps, guidance, origin)
    };
    let replayed: i64 = origins.iter().filter(replays).map(|origin| origin.num_images).sum();
    let needs_paths = spec.objective.path().is_some();
    let inverted = if needs_paths { num_images - replayed } else { 0 };
    let cache = path_bytes(spec, &reference, steps, (replayed as usize, inverted as usize));

    let by_passes = estimate_seconds(spec, num_pairs as usize, steps, forward.seconds);
    let asked: f64 = spec.objective.parts().iter().map(|part| part.forwards_a_pair()).sum::<f64>() * forward.seconds;
    let seconds_per_pair = measured.unwrap_or(asked);
    let pairs = (spec.max_steps * spec.batch_size * spec.gradient_accumulation_steps) as f64;
    Ok(Estimate {
        seconds: by_passes + pairs * (seconds_per_pair - asked),
        memory_bytes: weight_bytes(spec, &reference) + activation_bytes(&reference) * threads() + cache,
        trajectory_cache_bytes: cache,
        num_pairs,
        num_images,
        replayed,
        inverted,
        seconds_per_forward: forward.seconds,
        seconds_per_pair,
        measured_jobs: measured.is_some(),
        measured_at: forward.at,
    })
}

fn threads() -> u64 {
    models::trainer::data_parallel::num_threads() as u64
}

/// As it was measured on this machine, or as it is measured now.
async fn forward_rate(context: &TaskContext, reference: &Arc<Pipeline>) -> Result<ForwardRate> {
    let key = format!("rate/forward/{}/{}", reference.hash(), threads());
    let kept = setting::get(&mut *context.pool.acquire().await?, &key).await?;
    if let Some(kept) = kept.and_then(|value| serde_json::from_value(value).ok()) {
        return Ok(kept);
    }
    let measured = Arc::clone(reference);
    let seconds = on_thread(move || measure(&measured)).await?;
    let rate = ForwardRate { seconds, at: Utc::now() };
    let value =
        serde_json::to_value(&rate).map_err(|source| Error::Json { context: "writing a rate".to_owned(), source })?;
    setting::put(&mut *context.pool.acquire().await?, &key, &value).await?;
    Ok(rate)
}

/// Seconds of one image's forward pass, one thread an image as in training; the first pass, which warms caches, does not count.
fn measure(reference: &Pipeline) -> Result<f64> {
    let images = threads() as usize;
    let graph = GraphText { triples: vec![["a".into(), "beside".into(), "a".into()]], isolated: Vec::new() };
    let conditioning = reference.encode_graphs(&[graph], GraphMode::SceneGraph)?.select(&vec![0; images])?;
    let seeds: Vec<u64> = (0..images as u64).collect();
    // One unguided step is one forward pass.
    let once = SampleSettings { num_inference_steps: 1, guidance_scale: 1.0 };
    let mut best = f64::INFINITY;
    for round in 0..=MEASUREMENTS {
        let begun = Instant::now();
        reference.sample(&conditioning, &seeds, once)?;
        if round > 0 {
            best = best.min(begun.elapsed().as_secs_f64() / images as f64);
        }
    }
    Ok(best)
}

fn num_values(weights: &models::weights::TensorMap) -> u64 {
    weights.values().map(|tensor| tensor.elem_count() as u64).sum()
}

/// The reference once, and of what is trained: weights, gradient, optimizer and running mean, all in f32.
fn weight_bytes(spec: &JobSpec, reference: &Pipeline) -> u64 {
    let unet = num_values(reference.unet_weights());
    let encoder = reference.scene_graph_encoder_weights().map_or(0, |(_, weights)| num_values(weights));
    let adapted = |weights: u64, rank: usize, map: &models::weights::TensorMap, targets: Option<&[String]>| {
        let hit = |name: &str| targets.is_none_or(|all| all.iter().any(|one| name.contains(one.as_str())));
        let low_rank: u64 = map
            .iter()
            .filter(|(name, tensor)| tensor.rank() == 2 && hit(name))
            .map(|(_, tensor)| tensor.dims().iter().map(|one| (one * rank) as u64).sum::<u64>())
            .sum();
        low_rank.min(weights)
    };
    let trained = match &spec.trainable {
        Trainable::Unet {} => unet,
        Trainable::SceneGraphEncoder {} => encoder,
        Trainable::Lora { rank, targets, .. } => adapted(unet, *rank, reference.unet_weights(), targets.as_deref()),
        Trainable::SceneGraphEncoderLora { rank, targets, .. } => reference
            .scene_graph_encoder_weights()
            .map_or(0, |(_, map)| adapted(encoder, *rank, map, targets.as_deref())),
    };
    let moments = match spec.optimizer {
        OptimizerChoice::Adamw => 2,
        OptimizerChoice::Adafactor => 0,
    };
    4 * (unet + encoder + trained * (3 + moments))
}

/// What one image's forward pass through the UNet keeps for the way back.
fn activation_bytes(reference: &Pipeline) -> u64 {
    let config = reference.unet().config();
    let levels = config.block_out_channels.len();
    let values: usize = config
        .block_out_channels
        .iter()
        .enumerate()
        .map(|(level, channels)| {
            let side = (reference.latent_size() >> level).max(1);
            let blocks = 2 * config.layers_per_block.get(level).unwrap_or(1) + 1 + usize::from(level + 1 == levels) * 2;
            let layers = if config.down_block_types.get(level).is_some_and(|name| name.contains("CrossAttn")) {
                config.transformer_layers_per_block.get(level).unwrap_or(1)
            } else {
                0
            };
            side * side * channels * blocks * (VALUES_A_RESNET + VALUES_A_TRANSFORMER * layers)
        })
        .sum();
    // Winner and loser are in memory together.
    2 * 4 * values as u64
}
