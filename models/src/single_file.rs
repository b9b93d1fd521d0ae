//! A single-file checkpoint in the naming of the original code: SD1.5 (ldm) and SDXL (sgm).
//!
//! Such a file holds no configuration. It follows from the shapes, all but the number of heads, which is that of the
//! published models: eight everywhere in SD1.5, one for each 64 channels in SDXL and in the text encoders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::checkpoint_keys::ldm::{self, Blocks, Form};
use crate::clip::{ClipTextConfig, ClipTextModel, ClipTextModelWithProjection, HiddenAct};
use crate::scheduler::{NoiseSchedule, SchedulerConfig};
use crate::unet::{PerBlock, UNet2DConditionConfig, UNet2DConditionModel};
use crate::vae::{AutoencoderKL, AutoencoderKLConfig};
use crate::weights::{Entry, Layout, Place, SafetensorsFile, WeightFiles, layout};
use crate::{Error, Result};

const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const CLIP_OF_SD15: &str = "cond_stage_model.transformer.";
const FIRST_CLIP_OF_SDXL: &str = "conditioner.embedders.0.transformer.";
const SECOND_CLIP_OF_SDXL: &str = "conditioner.embedders.1.model.";
/// What training left behind; nothing of it is a network's.
const LEFT_BEHIND: [&str; 10] = [
    "model_ema.",
    "alphas_cumprod",
    "betas",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "logvar",
    "denoiser.",
    "first_stage_model.loss.",
    "conditioner.embedders.1.model.logit_scale",
];

/// An open checkpoint.
#[derive(Clone, Debug)]
pub struct SingleFile {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl SingleFile {
    /// Reads the header.
    ///
    /// # Errors
    /// The file is broken, is not a checkpoint of this kind, or holds a tensor that belongs to none of its parts.
    pub fn open(path: &Path) -> Result<Self> {
        let entries = SafetensorsFile::open(path)?.entries().clone();
        let file = Self { path: path.to_owned(), entries };
        if !file.has(UNET) {
            let message = format!("not a checkpoint of Stable Diffusion: no tensor begins with `{UNET}`");
            return Err(file.fault("*", message));
        }
        let known = [UNET, VAE, CLIP_OF_SD15, FIRST_CLIP_OF_SDXL, SECOND_CLIP_OF_SDXL];
        let stranger =
            file.entries.keys().find(|name| !known.iter().chain(&LEFT_BEHIND).any(|prefix| name.starts_with(prefix)));
        match stranger {
            None => Ok(file),
            Some(name) => Err(file.fault(name, "belongs to no part of a checkpoint that is known".to_owned())),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is SDXL's form.
    pub fn is_xl(&self) -> bool {
        self.has("model.diffusion_model.label_emb.")
    }

    fn has(&self, prefix: &str) -> bool {
        self.entries.keys().any(|name| name.starts_with(prefix))
    }

    /// Whether it holds the network that has this folder in diffusers' layout.
    pub fn holds(&self, name: &str) -> bool {
        match name {
            "unet" => true,
            "vae" => self.has(VAE),
            "text_encoder" => self.has(CLIP_OF_SD15) || self.has(FIRST_CLIP_OF_SDXL),
            "text_encoder_2" => self.has(SECOND_CLIP_OF_SDXL),
            _ => false,
        }
    }

    fn fault(&self, tensor: &str, message: String) -> Error {
        Error::Tensor { path: self.path.clone(), tensor: tensor.to_owned(), message }
    }

    fn shape(&self, name: &str) -> Result<&[usize]> {
        match self.entries.get(name) {
            Some(entry) => Ok(&entry.shape),
            None => Err(self.fault(name, "is missing".to_owned())),
        }
    }

    fn size(&self, name: &str, axis: usize) -> Result<usize> {
        let shape = self.shape(name)?;
        shape.get(axis).copied().ok_or_else(|| self.fault(name, format!("has shape {shape:?}")))
    }

    /// How many of `name(0)`, `name(1)` … are there.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..self.entries.len()).take_while(|&i| self.entries.contains_key(&name(i))).count()
    }

    /// The UNet's configuration.
    ///
    /// # Errors
    /// A tensor that it follows from is missing.
    pub fn unet_config(&self) -> Result<UNet2DConditionConfig> {
        let xl = self.is_xl();
        let depth_of = |block: &str| self.count(|i| format!("{UNET}{block}.1.transformer_blocks.{i}.norm1.weight"));
        let (mut channels, mut layers, mut depths, mut attends) = (vec![], vec![0], vec![0], vec![]);
        let mut current = self.size("model.diffusion_model.input_blocks.0.0.weight", 0)?;
        for number in 1.. {
            let block = format!("input_blocks.{number}");
            let here = layers.len() - 1;
            if self.entries.contains_key(&format!("{UNET}{block}.0.op.weight")) {
                channels.push(current);
                layers.push(0);
                depths.push(0);
            } else if let Some(entry) = self.entries.get(&format!("{UNET}{block}.0.in_layers.2.weight")) {
                current = entry.shape.first().copied().unwrap_or_default();
                layers[here] += 1;
                depths[here] = depth_of(&block);
            } else {
                break;
            }
        }
        channels.push(current);
        for depth in &depths {
            attends.push(*depth > 0);
        }
        // The middle block takes the number of the last level, which has no attention of its own in SD1.5.
        if let Some(last) = depths.last_mut() {
            *last = depth_of("middle_block").max(*last);
        }
        let kind = |attends: bool, way: &str| format!("{}{way}Block2D", if attends { "CrossAttn" } else { "" });
        let middle = "model.diffusion_model.middle_block.1";
        let width = self.size(&format!("{middle}.transformer_blocks.0.attn2.to_k.weight"), 1)?;
        let mut config = UNet2DConditionConfig {
            sample_size: Some(if xl { 128 } else { 64 }),
            in_channels: self.size("model.diffusion_model.input_blocks.0.0.weight", 1)?,
            out_channels: self.size("model.diffusion_model.out.2.weight", 0)?,
            down_block_types: attends.iter().map(|attends| kind(*attends, "Down")).collect(),
            up_block_types: attends.iter().rev().map(|attends| kind(*attends, "Up")).collect(),
            layers_per_block: PerBlock::Each(layers),
            transformer_layers_per_block: PerBlock::Each(depths.iter().map(|depth| (*depth).max(1)).collect()),
            attention_head_dim: PerBlock::Each(
                channels.iter().map(|channels| if xl { (channels / 64).max(1) } else { 8 }).collect(),
            ),
            cross_attention_dim: PerBlock::All(width),
            use_linear_projection: self.shape(&format!("{middle}.proj_in.weight"))?.len() == 2,
            block_out_channels: channels,
            ..UNet2DConditionConfig::default()
        };
        if xl {
            let added = self.size("model.diffusion_model.label_emb.0.0.weight", 1)?;
            config.addition_embed_type = Some("text_time".to_owned());
            config.addition_time_embed_dim = Some(256);
            config.projection_class_embeddings_input_dim = Some(added);
        }
        Ok(config)
    }

    /// The autoencoder's configuration.
    ///
    /// # Errors
    /// A tensor that it follows from is missing.
    pub fn vae_config(&self) -> Result<AutoencoderKLConfig> {
        let levels = self.count(|i| format!("{VAE}encoder.down.{i}.block.0.conv1.weight"));
        let channels = (0..levels)
            .map(|i| self.size(&format!("{VAE}encoder.down.{i}.block.0.conv1.weight"), 0))
            .collect::<Result<Vec<usize>>>()?;
        Ok(AutoencoderKLConfig {
            down_block_types: vec!["DownEncoderBlock2D".to_owned(); levels],
            up_block_types: vec!["UpDecoderBlock2D".to_owned(); levels],
            layers_per_block: self.count(|j| format!("{VAE}encoder.down.0.block.{j}.conv1.weight")),
            latent_channels: self.size("first_stage_model.decoder.conv_in.weight", 1)?,
            sample_size: if self.is_xl() { 1024 } else { 512 },
            scaling_factor: if self.is_xl() { 0.13025 } else { 0.18215 },
            block_out_channels: channels,
            ..AutoencoderKLConfig::default()
        })
    }

    /// A text encoder's configuration.
    ///
    /// # Errors
    /// A tensor that it follows from is missing.
    pub fn text_config(&self, second: bool) -> Result<ClipTextConfig> {
        let prefix = self.text_prefix(second);
        let at = |name: &str| -> String {
            match ldm::open_clip_name(name).filter(|_| second) {
                Some((original, _)) => format!("{prefix}{original}"),
                None => format!("{prefix}{name}"),
            }
        };
        let tokens = at("text_model.embeddings.token_embedding.weight");
        let width = self.size(&tokens, 1)?;
        let vocab_size = self.size(&tokens, 0)?;
        Ok(ClipTextConfig {
            architectures: vec![if second { "CLIPTextModelWithProjection" } else { "CLIPTextModel" }.to_owned()],
            vocab_size,
            hidden_size: width,
            intermediate_size: self.size(&at("text_model.encoder.layers.0.mlp.fc1.weight"), 0)?,
            projection_dim: if second { self.size(&format!("{prefix}text_projection"), 1)? } else { width },
            num_hidden_layers: self.count(|i| at(&format!("text_model.encoder.layers.{i}.layer_norm1.weight"))),
            num_attention_heads: (width / 64).max(1),
            max_position_embeddings: self.size(&at("text_model.embeddings.position_embedding.weight"), 0)?,
            hidden_act: if second { HiddenAct::Gelu } else { HiddenAct::QuickGelu },
            bos_token_id: (vocab_size as u32).saturating_sub(2),
            eos_token_id: (vocab_size as u32).saturating_sub(1),
            ..ClipTextConfig::default()
        })
    }

    fn text_prefix(&self, second: bool) -> &'static str {
        match (second, self.has(FIRST_CLIP_OF_SDXL)) {
            (true, _) => SECOND_CLIP_OF_SDXL,
            (false, true) => FIRST_CLIP_OF_SDXL,
            (false, false) => CLIP_OF_SD15,
        }
    }

    /// The schedule, the same for all of them.
    ///
    /// # Errors
    /// None in practice.
    pub fn schedule(&self) -> Result<NoiseSchedule> {
        NoiseSchedule::new(SchedulerConfig { steps_offset: 1, ..SchedulerConfig::stable_diffusion() })
    }

    /// The weights of one network under our names, with whatever else lies below its prefix under its own.
    ///
    /// # Errors
    /// The file is broken, or does not hold this network.
    pub fn weights(&self, name: &str) -> Result<WeightFiles> {
        let (prefix, expected, rename) = self.names(name)?;
        let mut places = BTreeMap::new();
        let mut taken = std::collections::BTreeSet::new();
        for (ours, shape) in &expected {
            let Some((stored, form)) = rename(ours) else { continue };
            let stored = format!("{prefix}{stored}");
            let Some(entry) = self.entries.get(&stored) else { continue };
            let form =
                if form == Form::Whole && shape.len() == 2 && entry.shape.len() == 4 { Form::Squeezed } else { form };
            taken.insert(stored.clone());
            places.insert(ours.clone(), Place { file: 0, stored, form });
        }
        for stored in self.entries.keys().filter(|stored| stored.starts_with(prefix) && !taken.contains(*stored)) {
            if !LEFT_BEHIND.iter().any(|left| stored.starts_with(left)) {
                places.insert(stored.clone(), Place { file: 0, stored: stored.clone(), form: Form::Whole });
            }
        }
        Ok(WeightFiles::of_places(SafetensorsFile::open(&self.path)?, places))
    }

    /// Prefix in the file, our tensors, and how each is called there.
    fn names(&self, name: &str) -> Result<(&'static str, Layout, Rename)> {
        let whole = |name: Option<String>| name.map(|name| (name, Form::Whole));
        Ok(match name {
            "unet" => {
                let config = self.unet_config()?;
                let expected = layout(Layout::new(), |vb| UNet2DConditionModel::load(&vb, &config))?;
                let blocks = Blocks::of(expected.keys().map(String::as_str));
                (UNET, expected, Box::new(move |name| whole(blocks.unet_name(name))))
            }
            "vae" => {
                let config = self.vae_config()?;
                let levels = config.block_out_channels.len();
                let expected = layout(Layout::new(), |vb| AutoencoderKL::load(&vb, &config))?;
                (VAE, expected, Box::new(move |name| whole(ldm::vae_name(name, levels))))
            }
            "text_encoder" => {
                let config = self.text_config(false)?;
                let expected = layout(Layout::new(), |vb| ClipTextModel::load(&vb, &config))?;
                (self.text_prefix(false), expected, Box::new(move |name| whole(Some(name.to_owned()))))
            }
            "text_encoder_2" => {
                let config = self.text_config(true)?;
                let expected = layout(Layout::new(), |vb| ClipTextModelWithProjection::load(&vb, &config))?;
                (SECOND_CLIP_OF_SDXL, expected, Box::new(ldm::open_clip_name))
            }
            other => return Err(self.fault("*", format!("a single-file checkpoint holds no `{other}`"))),
        })
    }
}

type Rename = Box<dyn Fn(&str) -> Option<(String, Form)>>;
