//! A model folder in diffusers layout, or a single-file checkpoint: each network by its name, loaded only when it is
//! asked for.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use serde::de::DeserializeOwned;

use crate::clip::{ClipTextConfig, ClipTextModel, ClipTextModelWithProjection, ClipTextOutput};
use crate::scene_graph_encoder::{SceneGraphEncoder, SceneGraphEncoderConfig};
use crate::scheduler::NoiseSchedule;
use crate::single_file::SingleFile;
use crate::text_conditioning::{TextEncoders, TextStack};
use crate::tokenizer::Tokenizer;
use crate::unet::{UNet2DConditionConfig, UNet2DConditionModel};
use crate::vae::{AutoencoderKL, AutoencoderKLConfig};
use crate::weights::{Layout, TensorMap, WeightFiles, read_json};
use crate::{Error, Result};

/// A folder, of which opening reads nothing, or a file, of which it reads the header.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
    single: Option<SingleFile>,
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
    /// There is no such folder, or the file is not a checkpoint.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self { path: path.to_owned(), single: None });
        }
        if path.is_file() {
            return Ok(Self { path: path.to_owned(), single: Some(SingleFile::open(path)?) });
        }
        let message = format!("{}: is not a model folder", path.display());
        Err(Error::Io(std::io::Error::new(std::io::ErrorKind::NotFound, message)))
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a network of this name.
    pub fn has(&self, name: &str) -> bool {
        match &self.single {
            Some(file) => file.holds(name),
            None => self.path.join(name).join("config.json").exists(),
        }
    }

    /// The configuration of a network: from its folder, or by `infer` from the file's shapes.
    fn config<C: DeserializeOwned>(&self, name: &str, infer: impl FnOnce(&SingleFile) -> Result<C>) -> Result<C> {
        match &self.single {
            Some(file) => infer(file),
            None => read_json(&self.path.join(name).join("config.json")),
        }
    }

    fn weights(&self, name: &str) -> Result<WeightFiles> {
        match &self.single {
            Some(file) => file.weights(name),
            None => WeightFiles::open(&self.path.join(name)),
        }
    }

    fn load<C, N>(
        &self,
        name: &str,
        config: &C,
        (dtype, device): (DType, &Device),
        build: impl Fn(&VarBuilder, &C) -> Result<N>,
    ) -> Result<(N, TensorMap)> {
        let dir = self.path.join(name);
        self.weights(name)?.load(dtype, device, |vb| build(&vb, config)).map_err(|error| at(&dir, error))
    }

    /// Names and shapes that the configuration of a network asks for, and its open weight files.
    ///
    /// # Errors
    /// A file is missing or broken, or the configuration is not one that is implemented.
    pub fn layout(&self, name: &str) -> Result<(Layout, WeightFiles)> {
        let files = self.weights(name)?;
        let layout = match name {
            "unet" => {
                let config = self.unet_config()?;
                files.layout(|vb| UNet2DConditionModel::load(&vb, &config).map(drop))
            }
            "vae" => {
                let config = self.vae_config()?;
                files.layout(|vb| AutoencoderKL::load(&vb, &config).map(drop))
            }
            "scene_graph_encoder" => {
                let config = self.scene_graph_config()?;
                files.layout(|vb| SceneGraphEncoder::load(&vb, &config).map(drop))
            }
            _ => {
                let which = if name == Which::First.encoder() { Which::First } else { Which::Second };
                let config = self.text_config(which)?;
                files.layout(|vb| TextEncoder::load(&vb, &config).map(drop))
            }
        };
        Ok((layout.map_err(|error| at(&self.path.join(name), error))?, files))
    }

    /// The configuration of the noise predictor.
    ///
    /// # Errors
    /// The file is missing or malformed.
    pub fn unet_config(&self) -> Result<UNet2DConditionConfig> {
        self.config("unet", SingleFile::unet_config)
    }

    /// The configuration of the autoencoder.
    ///
    /// # Errors
    /// The file is missing or malformed.
    pub fn vae_config(&self) -> Result<AutoencoderKLConfig> {
        self.config("vae", SingleFile::vae_config)
    }

    /// The configuration of a text encoder.
    ///
    /// # Errors
    /// The file is missing or malformed.
    pub fn text_config(&self, which: Which) -> Result<ClipTextConfig> {
        self.config(which.encoder(), |file| file.text_config(which == Which::Second))
    }

    fn scene_graph_config(&self) -> Result<SceneGraphEncoderConfig> {
        let name = "scene_graph_encoder";
        self.config(name, |file| file.weights(name).map(|_| SceneGraphEncoderConfig::default()))
    }

    /// The noise predictor, and its parameters by name.
    ///
    /// # Errors
    /// A file is missing or broken, or configuration and weights do not belong together.
    pub fn unet(&self, dtype: DType, device: &Device) -> Result<(UNet2DConditionModel, TensorMap)> {
        self.load("unet", &self.unet_config()?, (dtype, device), UNet2DConditionModel::load)
    }

    /// The autoencoder, and its parameters by name.
    ///
    /// # Errors
    /// As [`Self::unet`].
    pub fn vae(&self, dtype: DType, device: &Device) -> Result<(AutoencoderKL, TensorMap)> {
        self.load("vae", &self.vae_config()?, (dtype, device), AutoencoderKL::load)
    }

    /// A text encoder, and its parameters by name.
    ///
    /// # Errors
    /// As [`Self::unet`].
    pub fn text_encoder(&self, which: Which, dtype: DType, device: &Device) -> Result<(TextEncoder, TensorMap)> {
        self.load(which.encoder(), &self.text_config(which)?, (dtype, device), TextEncoder::load)
    }

    /// The text encoders that the conditioning is made with, and their parameters by the names of their folders.
    ///
    /// # Errors
    /// As [`Self::unet`]; a first encoder with a projection, or a second without.
    pub fn text_stack(&self, dtype: DType, device: &Device) -> Result<(TextStack, Vec<(&'static str, TensorMap)>)> {
        let name = Which::First.encoder();
        let (first, weights) =
            self.load(name, &self.text_config(Which::First)?, (dtype, device), ClipTextModel::load)?;
        let mut all = vec![(name, weights)];
        let name = Which::Second.encoder();
        if !self.has(name) {
            return Ok((TextStack::One(first), all));
        }
        let config = self.text_config(Which::Second)?;
        let (second, weights) = self.load(name, &config, (dtype, device), ClipTextModelWithProjection::load)?;
        all.push((name, weights));
        Ok((TextStack::Two(TextEncoders { first, second }), all))
    }

    /// The scene-graph encoder, and its parameters by name.
    ///
    /// # Errors
    /// As [`Self::unet`].
    pub fn scene_graph_encoder(&self, dtype: DType, device: &Device) -> Result<(SceneGraphEncoder, TensorMap)> {
        self.load("scene_graph_encoder", &self.scene_graph_config()?, (dtype, device), SceneGraphEncoder::load)
    }

    /// A tokenizer.
    ///
    /// # Errors
    /// A file is missing or malformed.
    pub fn tokenizer(&self, which: Which) -> Result<Tokenizer> {
        if self.single.is_some() {
            return Err(Error::Tokenizer(format!("{}: a single-file checkpoint holds none", self.path.display())));
        }
        Tokenizer::load(&self.path.join(which.tokenizer()))
    }

    /// The noise schedule.
    ///
    /// # Errors
    /// The file is missing or malformed, or holds a value that is not implemented.
    pub fn schedule(&self) -> Result<NoiseSchedule> {
        match &self.single {
            Some(file) => file.schedule(),
            None => NoiseSchedule::load(&self.path.join("scheduler")),
        }
    }
}

/// Puts the whole path of the configuration into errors about it.
fn at(dir: &Path, error: Error) -> Error {
    match error {
        Error::Config { key, message, .. } => Error::Config { path: dir.join("config.json"), key, message },
        // Of an operator: shapes that a configuration makes and that no operator takes.
        Error::Candle(error) if !error.to_string().contains(&*dir.to_string_lossy()) => {
            Error::Invalid(format!("{}: {error}", dir.display()))
        }
        other => other,
    }
}
