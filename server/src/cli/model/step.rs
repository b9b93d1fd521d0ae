//! `diptych model step`: how long a training's preparation and its steps take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use models::pipeline::Pipeline;
use models::trainer::tensor_cache::{CacheLimits, TensorCache};
use models::trainer::{Control, Trainer, TrainerSettings};
use serde_json::json;

use super::super::{Global, Usage, output, session};
use super::noise_pairs;

/// Print how long the preparation of pairs and the steps of a training take, on pairs of noise
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych model step --model models/tiny --settings '{\"objective\": {\"name\": \
\"inversion-dpo\", \"path\": \"inverted\"}, \"batch_size\": 16}'")]
pub(crate) struct Step {
    /// The model, a folder in diffusers' layout
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The trainer's settings that differ from their defaults, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    settings: String,
    /// Pairs that are prepared: encoded, and replayed or inverted where the objective wants it
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Steps that are timed, after one that is not
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
}

impl Step {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut settings: TrainerSettings =
            serde_json::from_str(&self.settings).map_err(|error| Usage(format!("--settings: {error}")))?;
        settings.max_steps = self.steps as usize + 1;
        session::limit_threads(global);
        let reference =
            Arc::new(Pipeline::load_in(&self.model, global.compute_dtype.dtype(), &session::device(global)?)?);
        let (graphs, pairs) = noise_pairs::draw(&reference, self.pairs as usize)?;
        let folder = tempfile::tempdir()?;
        let cache = TensorCache::new(folder.path(), CacheLimits::default());
        let mut go_on = |_| Control::Continue;
        let begun = Instant::now();
        let mut trainer = Trainer::new(reference, &graphs, pairs, settings, &cache, &mut go_on)?;
        let preparation = begun.elapsed().as_secs_f64();
        trainer.step()?;
        let mut seconds = Vec::with_capacity(self.steps as usize);
        for _ in 0..self.steps {
            seconds.push(trainer.step()?.seconds);
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        if global.json {
            return output::json(&json!({
                "pairs": self.pairs, "preparation_seconds": preparation, "steps": self.steps, "median_seconds": median,
            }));
        }
        Ok(output::line(&format!(
            "{} pairs prepared in {preparation:.2} s; a step takes {median:.4} s (median of {})",
            self.pairs, self.steps
        ))?)
    }
}
