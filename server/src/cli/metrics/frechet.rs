//! `diptych metrics frechet`: distance between two sets of features.

use std::path::{Path, PathBuf};

use builder::metrics::frechet::{self, Features};
use candle_core::Device;
use clap::Args;
use serde_json::json;

use super::super::output;
use super::ModeOption;

/// Fréchet distance between two sets of features (FID, if they are Inception's)
///
/// Each file holds a tensor `features` [n, d]. Computed in f64; singular covariances (n ≤ d) are treated exactly.
/// `reference` may come out just below 0 by rounding, as the published script does; `corrected` never does.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych metrics frechet --a real.safetensors --b generated.safetensors --mode reference"
)]
pub(crate) struct Frechet {
    /// Features of the first set
    #[arg(long, value_name = "FILE")]
    a: PathBuf,
    /// Features of the second set
    #[arg(long, value_name = "FILE")]
    b: PathBuf,
    #[command(flatten)]
    mode: ModeOption,
}

impl Frechet {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (a, b) = (read(&self.a)?, read(&self.b)?);
        let mode = self.mode.mode;
        let found = frechet::distance(&a, &b, mode)?;
        if found.num_a.min(found.num_b) <= found.dimensions {
            output::note(
                "note: a set has no more rows than dimensions: its covariance is singular, and the distance biased",
            );
        }
        if found.num_a != found.num_b {
            output::note(
                "note: the sets differ in size; the distance's bias depends on it, so compare at equal sizes only",
            );
        }
        output::json(&json!({
            "distance": found.distance, "mode": mode.as_str(),
            "num_a": found.num_a, "num_b": found.num_b, "dimensions": found.dimensions,
        }))
    }
}

fn read(path: &Path) -> anyhow::Result<Features> {
    let name = path.display();
    let bytes = fs_err::read(path)?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|error| anyhow::anyhow!("{name}: no safetensors file: {error}"))?;
    let Some(features) = tensors.get("features") else {
        let mut names: Vec<&String> = tensors.keys().collect();
        names.sort_unstable();
        anyhow::bail!("{name}: there is no tensor `features`, only {names:?}");
    };
    Ok(Features::of_tensor(&name.to_string(), features)?)
}
