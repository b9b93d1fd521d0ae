//! A model folder in diffusers layout: each network by its name, loaded only when it is asked for.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use serde::de::DeserializeOwned;

use crate::clip::{ClipTextConfig, ClipTextModel, ClipTextModelWithProjection, ClipTextOutput};
use crate::scene_graph_encoder::{SceneGraphEncoder, SceneGraphEncoderConfig};
use crate::scheduler::NoiseSchedule;
use crate::text_conditioning::{TextEncoders, TextStack};
use crate::tokenizer::Tokenizer;
use crate::unet::{UNet2DConditionConfig, UNet2DConditionModel};
use crate::vae::{AutoencoderKL, AutoencoderKLConfig};
use crate::weights::{Layout, TensorMap, WeightFiles, read_json};
use crate::{Error, Result};

/// A folder; opening it reads nothing.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
}

/// Which of the text encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `text_encoder`, `tokenizer`.
    First,
    /// `text_encoder_2`, `tokenizer_2`: SDXL's other.
    Second,
}

impl Which {
    /// Name of the encoder's folder.
    pub fn encoder(self) -> &'static str {
        match self {
            Self::First => "text_encoder",
            Self::Second => "text_encoder_2",
        }
    }

    /// Name of the tokenizer's folder.
    pub fn tokenizer(self) -> &'static str {
        match self {
            Self::First => "tokenizer",
            Self::Second => "tokenizer_2",
        }
    }
}

/// A text encoder of either kind.
#[derive(Clone, Debug)]
pub enum TextEncoder {
    /// Without projection.
    Plain(ClipTextModel),
    /// With one.
    Projected(ClipTextModelWithProjection),
}

impl TextEncoder {
    fn load(vb: &VarBuilder, config: &ClipTextConfig) -> Result<Self> {
        if config.projects() {
            Ok(Self::Projected(ClipTextModelWithProjection::load(vb, config)?))
        } else {
            Ok(Self::Plain(ClipTextModel::load(vb, config)?))
        }
    }

    /// As [`ClipTextModel::forward`].
    ///
    /// # Errors
    /// More ids than positions, or an id beyond the vocabulary.
    pub fn forward(&self, input_ids: &candle_core::Tensor) -> Result<ClipTextOutput> {
        match self {
            Self::Plain(encoder) => encoder.forward(input_ids),
            Self::Projected(encoder) => encoder.forward(input_ids),
        }
    }
}

impl ModelFolder {
    /// # Errors
    /// There is no such folder.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self { path: path.to_owned() });
        }
        let message = format!("{}: is not a model folder", path.display());
        Err(Error::Io(std::io::Error::new(std::io::ErrorKind::NotFound, message)))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder holds a network of this name.
    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).join("config.json").exists()
    }

    /// The network's folder and its configuration.
    fn config<C: DeserializeOwned>(&self, name: &str) -> Result<(PathBuf, C)> {
        let dir = self.path.join(name);
        let config = read_json(&dir.join("config.json"))?;
        Ok((dir, config))
    }

    fn load<C: DeserializeOwned, N>(
        &self,
        name: &str,
        dtype: DType,
        device: &Device,
        build: impl Fn(&VarBuilder, &C) -> Result<N>,
    ) -> Result<(N, TensorMap)> {
        let (dir, config) = self.config::<C>(name)?;
        WeightFiles::open(&dir)?.load(dtype, device, |vb| build(&vb, &config)).map_err(|error| at(&dir, error))
    }

    /// Names and shapes that the configuration of a network asks for, and its open weight files.
    ///
    /// # Errors
    /// A file is missing or broken, or the configuration is not one that is implemented.
    pub fn layout(&self, name: &str) -> Result<(Layout, WeightFiles)> {
        let dir = self.path.join(name);
        let files = WeightFiles::open(&dir)?;
        let layout = match name {
            "unet" => {
                let (_, config) = self.config(name)?;
                files.layout(|vb| UNet2DConditionModel::load(&vb, &config).map(drop))
            }
            "vae" => {
                let (_, config) = self.config(name)?;
                files.layout(|vb| AutoencoderKL::load(&vb, &config).map(drop))
            }
            "scene_graph_encoder" => {
                let (_, config) = self.config(name)?;
                files.layout(|vb| SceneGraphEncoder::load(&vb, &config).map(drop))
            }
            _ => {
                let (_, config) = self.config(name)?;
                files.layout(|vb| TextEncoder::load(&vb, &config).map(drop))
            }
        };
        Ok((layout.map_err(|error| at(&dir, error))?, files))
    }

    /// The noise predictor, and its parameters by name.
    ///
    /// # Errors
    /// A file is missing or broken, or configuration and weights do not belong together.
    pub fn unet(&self, dtype: DType, device: &Device) -> Result<(UNet2DConditionModel, TensorMap)> {
        self.load("unet", dtype, device, UNet2DConditionModel::load)
    }

    /// The configuration of the noise predictor.
    ///
    /// # Errors
    /// The file is missing or malformed.
    pub fn unet_config(&self) -> Result<UNet2DConditionConfig> {
        Ok(self.config("unet")?.1)
    }

    /// The configuration of the autoencoder.
    ///
    /// # Errors
    /// The file is missing or malformed.
    pub fn vae_config(&self) -> Result<AutoencoderKLConfig> {
        Ok(self.config("vae")?.1)
    }

    /// The autoencoder, and its parameters by name.
    ///
    /// # Errors
    /// As [`Self::unet`].
    pub fn vae(&self, dtype: DType, device: &Device) -> Result<(AutoencoderKL, TensorMap)> {
        self.load("vae", dtype, device, AutoencoderKL::load)
    }

    /// A text encoder, and its parameters by name.
    ///
    /// # Errors
    /// As [`Self::unet`].
    pub fn text_encoder(&self, which: Which, dtype: DType, device: &Device) -> Result<(TextEncoder, TensorMap)> {
        self.load(which.encoder(), dtype, device, TextEncoder::load)
    }

    /// The text encoders that the conditioning is made with, and their parameters by the names of their folders.
    ///
    /// # Errors
    /// As [`Self::unet`]; a first encoder with a projection, or a second without.
    pub fn text_stack(&self, dtype: DType, device: &Device) -> Result<(TextStack, Vec<(&'static str, TensorMap)>)> {
        let name = Which::First.encoder();
        let (first, weights) = self.load(name, dtype, device, ClipTextModel::load)?;
        let mut all = vec![(name, weights)];
        let name = Which::Second.encoder();
        if !self.has(name) {
            return Ok((TextStack::One(first), all));
        }
        let (second, weights) = self.load(name, dtype, device, ClipTextModelWithProjection::load)?;
        all.push((name, weights));
        Ok((TextStack::Two(TextEncoders { first, second }), all))
    }

    /// The scene-graph encoder, and its parameters by name.
    ///
    /// # Errors
    /// As [`Self::unet`].
    pub fn scene_graph_encoder(&self, dtype: DType, device: &Device) -> Result<(SceneGraphEncoder, TensorMap)> {
        self.load("scene_graph_encoder", dtype, device, |vb, config: &SceneGraphEncoderConfig| {
            SceneGraphEncoder::load(vb, config)
        })
    }

    /// A tokenizer.
    ///
    /// # Errors
    /// A file is missing or malformed.
    pub fn tokenizer(&self, which: Which) -> Result<Tokenizer> {
        Tokenizer::load(&self.path.join(which.tokenizer()))
    }

    /// The noise schedule.
    ///
    /// # Errors
    /// The file is missing or malformed, or holds a value that is not implemented.
    pub fn schedule(&self) -> Result<NoiseSchedule> {
        NoiseSchedule::load(&self.path.join("scheduler"))
    }
}

/// Puts the whole path of the configuration into errors about it.
fn at(dir: &Path, error: Error) -> Error {
    match error {
        Error::Config { key, message, .. } => Error::Config { path: dir.join("config.json"), key, message },
        other => other,
    }
}
