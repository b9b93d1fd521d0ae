//! `diptych model merge`: a training merged into its model, as a folder of its own.

use std::path::PathBuf;

use candle_core::{DType, Device};
use clap::Args;
use models::artifact::{self, TrainedWeights};
use models::weights::read_folder;
use serde_json::json;

use super::super::precision::Precision;
use super::super::{Global, output};

/// Merge LoRA adapters, or other trained weights, into a model folder and write it as a new one
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych model merge --model models/tiny --weights lora.safetensors --output merged")]
pub(crate) struct Merge {
    /// The model that was trained, a folder in diffusers' layout
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// LoRA adapters of any style, or the `unet.safetensors` of a job
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Precision of the weights that the training changed; f32 keeps them exactly
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
}

impl Merge {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let base = read_folder(&self.model.join("unet"), DType::F32, &Device::Cpu)?;
        let trained = TrainedWeights::read(&self.weights, &base, &Device::Cpu)?;
        artifact::write_folder(&self.model, &trained, &self.output, self.dtype.dtype())?;
        if global.json {
            return output::json(&json!({ "output": self.output }));
        }
        Ok(output::line(&format!("written to {}", self.output.display()))?)
    }
}
