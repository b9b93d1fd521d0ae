//! `diptych model lora`: adapters from one style of keys to another.

use std::path::PathBuf;

use candle_core::{DType, Device};
use clap::Args;
use models::artifact::{self, LoraStyle, ModelSpec, TrainedWeights};
use models::model_folder::ModelFolder;
use serde_json::json;

use super::super::precision::Precision;
use super::super::{Global, output};

/// Write LoRA adapters in another style of keys: diffusers' (PEFT's) or kohya's
///
/// Reads every style: diffusers old and new, PEFT, kohya. Rank and alpha stay what they are.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych model lora --model models/tiny --weights lora.safetensors --style kohya --output kohya.safetensors"
)]
pub(crate) struct Lora {
    /// The model that the adapters belong to
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The adapters
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Whose names to write
    #[arg(long, value_name = "STYLE", value_parser = ["diffusers", "kohya"])]
    style: String,
    /// File to make
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Precision of the file
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
    /// A name for people, in the file's header
    #[arg(long, value_name = "TEXT", default_value = "")]
    title: String,
}

impl Lora {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let folder = ModelFolder::open(&self.model)?;
        let (_, base) = folder.unet(DType::F32, &Device::Cpu)?;
        let trained = TrainedWeights::read(&self.weights, &base, &Device::Cpu)?;
        let style = if self.style == "kohya" { LoraStyle::Kohya } else { LoraStyle::Diffusers };
        let config = folder.unet_config()?;
        let spec = ModelSpec {
            title: self.title,
            resolution: config.sample_size.unwrap_or(0) * folder.vae_config()?.downscale(),
            prediction_type: folder.schedule()?.config().prediction_type.modelspec().to_owned(),
            ..ModelSpec::default()
        };
        artifact::write_lora(&self.output, style, &trained.adapters, &base, &spec, self.dtype.dtype())?;
        let layers = trained.adapters.keys().filter(|name| name.ends_with("lora_A.weight")).count();
        if global.json {
            return output::json(&json!({ "layers": layers, "style": self.style, "output": self.output }));
        }
        Ok(output::line(&format!("adapters of {layers} layers written to {}", self.output.display()))?)
    }
}
