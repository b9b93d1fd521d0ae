//! The loop that all stages share: shards, gradients, clip, AdamW with a moving average, checkpoint, resume.

use super::PretrainProgress;
use candle_core::{DType, Device, Tensor};
use models::trainer::data_parallel;
use models::trainer::learning_rate::LearningRateSchedule;
use models::trainer::optimizer::{Optimizer, OptimizerKind};
use models::weights::{TensorMap, VarMap, read_file, write_file};
use models::{Error, Result};
use std::path::Path;
use std::time::Instant;

/// How a stage trains.
#[derive(Clone, Copy, Debug)]
pub(super) struct FitSettings {
    pub stage: &'static str,
    pub steps: usize,
    /// Shards a step; the batch is cut into these whatever the number of threads.
    pub shards: usize,
    pub learning_rate: f64,
    pub warmup_steps: usize,
    pub ema_decay: f32,
    pub max_grad_norm: f64,
    /// Parameters whose name begins so learn at this share of the rate.
    pub slower: Option<(&'static str, f64)>,
}

const WEIGHT_DECAY: f32 = 0.01;
const CHECKPOINT_EVERY: usize = 200;
const REPORT_EVERY: usize = 20;

/// Trains `vars` and returns their moving average.
///
/// `loss(step, shard)` gives the mean loss of one shard; it must depend on its arguments alone, so that a resumed
/// run is the same run.
pub(super) fn fit(
    settings: FitSettings,
    work_folder: &Path,
    vars: &VarMap,
    loss: impl Fn(usize, usize) -> Result<Tensor> + Sync,
    report: &mut dyn FnMut(&PretrainProgress),
) -> Result<TensorMap> {
    let checkpoint = work_folder.join(format!("{}.safetensors", settings.stage));
    let mut optimizer = Optimizer::new(OptimizerKind::Adamw, vars, WEIGHT_DECAY, settings.ema_decay)?;
    if let Some((prefix, share)) = settings.slower {
        optimizer.slow_down(prefix, share as f32);
    }
    if checkpoint.exists() {
        restore(&mut optimizer, &checkpoint)?;
    }
    let shards: Vec<usize> = (0..settings.shards).collect();
    let started = Instant::now();
    let mut recent = Vec::new();
    for step in optimizer.step_count() as usize..settings.steps {
        let (mut gradients, losses) = data_parallel::accumulate(vars, &shards, |&shard| {
            let loss = loss(step, shard)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            Ok(((loss / settings.shards as f64)?, value))
        })?;
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let norm = gradients.clip(settings.max_grad_norm)?;
        if !mean.is_finite() || !norm.is_finite() {
            return Err(Error::Training(format!("{}: loss {mean} at step {step}", settings.stage)));
        }
        let factor = LearningRateSchedule::Cosine.factor(step, settings.warmup_steps, settings.steps);
        optimizer.step(&gradients, settings.learning_rate * factor)?;
        recent.push(mean);
        let done = step + 1;
        if done.is_multiple_of(CHECKPOINT_EVERY) && done < settings.steps {
            write_file(&checkpoint, &optimizer.state()?, DType::F32)?;
        }
        if done.is_multiple_of(REPORT_EVERY) || done == settings.steps {
            report(&PretrainProgress {
                stage: settings.stage,
                step: done,
                steps: settings.steps,
                loss: recent.iter().sum::<f64>() / recent.len() as f64,
                seconds: started.elapsed().as_secs_f64(),
            });
            recent.clear();
        }
    }
    optimizer.averaged()
}

fn restore(optimizer: &mut Optimizer, checkpoint: &Path) -> Result<()> {
    let mut state = read_file(checkpoint, DType::F32, &Device::Cpu)?;
    if let Some(step) = state.get("step").cloned() {
        state.insert("step".to_owned(), step.to_dtype(DType::I64)?);
    }
    optimizer.restore(&state)
}
