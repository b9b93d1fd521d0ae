//! `diptych metrics frechet`: distance between two sets of features.

use std::path::{Path, PathBuf};

use builder::metrics::frechet::{self, Features};
use candle_core::Device;
use clap::Args;
use models::metric_network::InceptionV3;
use serde_json::json;

use super::super::{Usage, output};
use super::ModeOption;
use super::image_text::inception_features;

/// Fréchet distance between two sets of features (FID, if they are Inception's)
///
/// Each is a file with a tensor `features` [n, d] or, with --inception, a folder of pictures. Computed in f64; singular covariances (n ≤ d) are treated exactly.
/// `reference` may come out just below 0 by rounding, as the published script does; `corrected` never does.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  diptych metrics frechet --a real.safetensors --b generated.safetensors --mode reference
  diptych metrics frechet --a real --b generated --inception pt_inception-2015-12-05.safetensors")]
pub(crate) struct Frechet {
    /// Features of the first set, or with --inception its pictures
    #[arg(long, value_name = "FILE or DIR")]
    a: PathBuf,
    /// Features of the second set, or with --inception its pictures
    #[arg(long, value_name = "FILE or DIR")]
    b: PathBuf,
    /// InceptionV3's weights: a safetensors conversion of pytorch-fid's `pt_inception-2015-12-05`
    #[arg(long, value_name = "FILE")]
    inception: Option<PathBuf>,
    /// Where Inception runs: `cpu` or `cuda:0`
    #[arg(long, default_value = "cpu", requires = "inception")]
    device: String,
    #[command(flatten)]
    mode: ModeOption,
}

impl Frechet {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let device = models::run::device(&self.device)?;
        let network = self.inception.as_deref().map(|path| InceptionV3::open(path, &device)).transpose()?;
        let set = |path: &Path| match &network {
            Some(network) if path.is_dir() => inception_features(network, path),
            _ => read(path),
        };
        let (a, b) = (set(&self.a)?, set(&self.b)?);
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
            "weights": network.as_ref().map(InceptionV3::content_hash),
        }))
    }
}

fn read(path: &Path) -> anyhow::Result<Features> {
    let name = path.display();
    if path.is_dir() {
        return Err(Usage(format!("{name} is a folder: --inception FILE turns pictures into features")).into());
    }
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
