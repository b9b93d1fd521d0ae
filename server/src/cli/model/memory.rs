//! `diptych model memory`: the peak memory of a training step by the number of timesteps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use candle_core::Device;
use clap::Args;
use models::objective::{InversionDpo, ObjectiveSettings, PathSource, TimestepReduction};
use models::pipeline::{Pipeline, SampleSettings};
use models::trainer::tensor_cache::{CacheLimits, TensorCache};
use models::trainer::{Control, Trainer, TrainerSettings};
use serde_json::{Value, json};

use super::super::{Global, Usage, output};
use super::noise_pairs;

/// Timesteps that are gone through in all, so that each T has the same chances to meet the worst moment of two threads.
const PASSES: usize = 240;

/// Print the peak memory of a training step over T timesteps at once, for several T, each in a process of its own
///
/// One loss goes over all T timesteps of both images of each pair (`inversion-dpo`, `timestep_reduction = "sum"`); the memory
/// should not depend on T. Linux only: it is the kernel's own figure.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych model memory --model models/tiny --timesteps 20,40,80")]
pub(crate) struct Memory {
    /// The model, a folder in diffusers' layout
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Timesteps a pair; several, with commas between
    #[arg(long, value_name = "T,…", value_delimiter = ',', default_value = "20,40,80")]
    timesteps: Vec<usize>,
    /// Pairs a step
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: u32,
    /// Measure in this process
    #[arg(long, hide = true)]
    here: bool,
}

impl Memory {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        if self.timesteps.is_empty() || self.timesteps.iter().any(|t| !(1..=1000).contains(t)) {
            return Err(Usage("--timesteps are numbers from 1 to 1000".to_owned()).into());
        }
        if let (true, [timesteps]) = (self.here, self.timesteps.as_slice()) {
            return output::json(&measure(&self.model, *timesteps, self.batch_size as usize)?);
        }
        let mut rows = Vec::new();
        for timesteps in &self.timesteps {
            rows.push(self.in_a_process(*timesteps)?);
        }
        let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        let peaks: Vec<f64> = rows.iter().map(|row| number(row, "peak_mib")).collect();
        let (least, most) = peaks.iter().fold((f64::INFINITY, 0.0f64), |(l, m), peak| (l.min(*peak), m.max(*peak)));
        let spread = most / least - 1.0;
        if global.json {
            return output::json(&json!({ "batch_size": self.batch_size, "rows": rows, "spread": spread }));
        }
        output::line(
            "| timesteps | peak of the step, MiB | before it, MiB | seconds a step |\n| ---: | ---: | ---: | ---: |",
        )?;
        for row in &rows {
            let (peak, before, seconds) =
                (number(row, "peak_mib"), number(row, "before_mib"), number(row, "seconds_per_step"));
            output::line(&format!("| {} | {peak:.1} | {before:.1} | {seconds:.2} |", row["timesteps"]))?;
        }
        Ok(output::line(&format!("\nlargest against smallest peak: {:+.1} %", 100.0 * spread))?)
    }

    fn in_a_process(&self, timesteps: usize) -> anyhow::Result<Value> {
        let program = std::env::current_exe()?;
        let output = std::process::Command::new(program)
            .args(["model", "memory", "--here", "--model"])
            .arg(&self.model)
            .args(["--timesteps", &timesteps.to_string(), "--batch-size", &self.batch_size.to_string()])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "the measurement with {timesteps} timesteps ended with {}",
            output.status
        );
        serde_json::from_slice(&output.stdout).context("the measurement's result")
    }
}

fn measure(model: &Path, timesteps: usize, batch_size: usize) -> anyhow::Result<Value> {
    let reference = Arc::new(Pipeline::load(model, &Device::Cpu)?);
    let steps = (PASSES / timesteps).max(2);
    let inversion = SampleSettings { num_inference_steps: timesteps, guidance_scale: 1.0 };
    let objective = InversionDpo {
        path: PathSource::Inverted,
        num_timesteps: 0,
        timestep_reduction: TimestepReduction::Sum,
        inversion_steps: timesteps,
        inversion_guidance_scale: 1.0,
        ..InversionDpo::default()
    };
    let settings = TrainerSettings {
        objective: ObjectiveSettings::InversionDpo(objective),
        batch_size,
        max_steps: steps,
        sampling: inversion,
        ..TrainerSettings::default()
    };
    let (graphs, pairs) = noise_pairs::draw(&reference, batch_size)?;
    let folder = tempfile::tempdir()?;
    let cache = TensorCache::new(folder.path(), CacheLimits::default());
    let mut go_on = |_| Control::Continue;
    let mut trainer = Trainer::new(reference, &graphs, pairs, settings, &cache, &mut go_on)?;
    // Forgets the peak of what came before the steps (proc(5), clear_refs).
    fs_err::write("/proc/self/clear_refs", "5")?;
    let before = status_mib("VmRSS:")?;
    let begun = std::time::Instant::now();
    for _ in 0..steps {
        trainer.step()?;
    }
    Ok(json!({
        "timesteps": timesteps,
        "peak_mib": status_mib("VmHWM:")?,
        "before_mib": before,
        "seconds_per_step": begun.elapsed().as_secs_f64() / steps as f64,
    }))
}

/// A line of `/proc/self/status`, which counts in KiB.
fn status_mib(field: &str) -> anyhow::Result<f64> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)).context("the kernel does not tell it")?;
    let kib: f64 = value.trim().trim_end_matches("kB").trim().parse().context("the kernel tells it otherwise")?;
    Ok(kib / 1024.0)
}
