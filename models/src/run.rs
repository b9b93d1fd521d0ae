//! One network of a folder on given tensors: what `diptych model run` does.
//!
//! b batch · c latent channels · h, w latent height, width · H, W picture height, width · s tokens · d width of the
//! conditioning · p width of the pooled conditioning · T steps

mod inputs;
mod networks;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use candle_core::DType;
use candle_core::Device;
use serde::Serialize;

pub use inputs::Inputs;

use crate::model_folder::{ModelFolder, Which};
use crate::scene_graph_encoder::GraphText;
use crate::scheduler::InverseLabel;
use crate::vae::TileSize;
use crate::weights::TensorMap;
use crate::{Error, Result};
use networks::{Ddim, Prepared};

/// What can be run.
#[derive(Clone, Debug, PartialEq)]
pub enum Network {
    /// The noise predictor; with the gradients of Σ(sample · cotangent), if asked for.
    Unet {
        /// Whether gradients are computed.
        gradients: bool,
        /// Whether blocks are computed again on the way back rather than kept.
        checkpointing: bool,
    },
    /// Pictures to posteriors.
    VaeEncode,
    /// Latents to pictures.
    VaeDecode,
    /// A text encoder.
    TextEncoder(Which),
    /// DDIM from noise to an image's latents.
    DdimSample(Steps),
    /// DDIM from an image's latents to noise.
    DdimInvert(Steps, InverseLabel),
    /// Euler's sampler from noise to an image's latents.
    EulerSample(Steps),
    /// Text encoders and graph network.
    SceneGraphEncoder(GraphText),
}

/// How a sampler goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps {
    /// Number of steps.
    pub num_inference_steps: usize,
    /// g of `e_u + g (e_c − e_u)`.
    pub guidance_scale: f64,
}

/// Where and how precisely.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Precision of weights and activations; statistics and sums are f32 at least.
    pub dtype: DType,
    /// The device.
    pub device: Device,
    /// Runs that are timed, after one that is not; 0: one run, not timed.
    pub repeats: usize,
    /// The VAE works on pictures larger than this piece by piece; none: on any as a whole.
    pub vae_tile: Option<TileSize>,
    /// A file of adapters for the UNet, in the style of diffusers, PEFT or kohya.
    pub lora: Option<PathBuf>,
}

impl Settings {
    /// In f32 on the CPU, once.
    pub fn cpu() -> Self {
        Self { dtype: DType::F32, device: Device::Cpu, repeats: 0, vae_tile: None, lora: None }
    }
}

/// Tensors that came out, and how long it took.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By the names of the table in `diptych model run --help`; real numbers in f32.
    pub tensors: TensorMap,
    /// Where repeats were asked for.
    pub timing: Option<Timing>,
}

/// Wall time of the runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Timing {
    /// The middle of all.
    pub median_seconds: f64,
    /// The least of all.
    pub min_seconds: f64,
    /// How many.
    pub repeats: usize,
}

/// Loads what `network` needs of the folder and runs it.
///
/// # Errors
/// A file of the folder is missing or broken, or an input is missing, of another shape or type than the network takes,
/// or not finite; each error names it.
pub fn run(network: &Network, folder: &Path, inputs: &Inputs, settings: &Settings) -> Result<Outcome> {
    let folder = ModelFolder::open(folder)?;
    let prepared = prepare(network, &folder, inputs, settings)?;
    let mut tensors = prepared.run()?;
    let mut timing = None;
    if settings.repeats > 0 {
        let mut times = Vec::with_capacity(settings.repeats);
        for _ in 0..settings.repeats {
            // Two results at once would double the memory that a run takes.
            tensors.clear();
            let start = Instant::now();
            tensors = prepared.run()?;
            settings.device.synchronize()?;
            times.push(start.elapsed());
        }
        timing = Some(Timing::of(times));
    }
    let tensors = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let tensor = if tensor.dtype().is_float() { tensor.to_dtype(DType::F32)? } else { tensor };
            Ok((name, tensor.detach().to_device(&Device::Cpu)?))
        })
        .collect::<Result<_>>()?;
    Ok(Outcome { tensors, timing })
}

fn prepare(network: &Network, folder: &ModelFolder, inputs: &Inputs, settings: &Settings) -> Result<Prepared> {
    let Settings { dtype, device, vae_tile, .. } = settings;
    let lora = settings.lora.as_deref();
    let inputs = inputs.on(*dtype, device);
    match network {
        Network::Unet { gradients: false, .. } => networks::unet(folder, &inputs, lora),
        Network::Unet { checkpointing, .. } => networks::unet_gradients(folder, &inputs, *checkpointing, lora),
        Network::VaeEncode => networks::vae_encode(folder, &inputs, *vae_tile),
        Network::VaeDecode => networks::vae_decode(folder, &inputs, *vae_tile),
        Network::TextEncoder(which) => networks::text_encoder(folder, &inputs, *which),
        Network::DdimSample(steps) => networks::ddim(folder, &inputs, *steps, Ddim::Sample, lora),
        Network::DdimInvert(steps, label) => networks::ddim(folder, &inputs, *steps, Ddim::Invert(*label), lora),
        Network::EulerSample(steps) => networks::ddim(folder, &inputs, *steps, Ddim::Euler, lora),
        Network::SceneGraphEncoder(graph) => networks::scene_graph_encoder(folder, graph, *dtype, device),
    }
}

impl Timing {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let middle = |index: usize| times.get(index).copied().unwrap_or_default().as_secs_f64();
        let half = times.len() / 2;
        let median = if times.len().is_multiple_of(2) {
            f64::midpoint(middle(half.saturating_sub(1)), middle(half))
        } else {
            middle(half)
        };
        Self { median_seconds: median, min_seconds: middle(0), repeats: times.len() }
    }
}

/// Most memory that this process has held at once, in bytes; none where the system does not tell (Linux does).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The device of a name: `cpu`, `cuda:0` …
///
/// # Errors
/// The name is not one, or this build or machine has no such device.
pub fn device(name: &str) -> Result<Device> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let index = match name.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|index| index.parse().ok()),
        None => None,
    };
    let index: usize = index.ok_or_else(|| Error::Invalid(format!("`{name}` is no device; `cpu` and `cuda:0` are")))?;
    if cfg!(feature = "cuda") {
        Ok(Device::new_cuda(index)?)
    } else {
        Err(Error::Invalid(format!("{name}: this program was built without the feature `cuda`")))
    }
}
