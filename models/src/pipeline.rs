//! A diffusers-layout folder, loaded: encode → sample → decode, and invert.
//!
//! b batch · c latent channels · h, w latent height, width · H, W picture height, width · d conditioning width ·
//! p pooled width · T inference steps

mod guided;
mod prompt;

use crate::artifact::TrainedWeights;
use crate::lora;
use crate::model_folder::ModelFolder;
use crate::scene_graph_encoder::{GraphFeatures, GraphText, GraphTokens, SceneGraphEncoder, SceneGraphEncoderConfig};
use crate::scheduler::{InverseLabel, NoiseSchedule};
use crate::text_conditioning::TextStack;
use crate::tokenizer::Tokenizer;
use crate::trainer::data_parallel;
use crate::unet::UNet2DConditionModel;
use crate::vae::{AutoencoderKL, TileSize};
use crate::weights::{TensorMap, computed_in, content_hash, in_precision, load_strictly, read_json};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use guided::Guided;
use prompt::Tokenizers;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Images that one thread works on at a time.
const IMAGES_PER_CHUNK: usize = 8;

/// Before the names of a scene-graph encoder's parameters, where a file holds them beside those of a UNet.
pub const ENCODER_PREFIX: &str = "scene_graph_encoder.";

/// What the UNet is conditioned on.
#[derive(Clone, Debug)]
pub struct Conditioning {
    /// `[b, 77, d]`.
    pub encoder_hidden_states: Tensor,
    /// `[b, p]`.
    pub text_embeds: Tensor,
}

impl Conditioning {
    /// Number of conditions.
    pub fn len(&self) -> usize {
        self.encoder_hidden_states.dims().first().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The conditions at `indices`, which may repeat.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let rows: Vec<u32> = indices.iter().map(|i| *i as u32).collect();
        let rows = Tensor::from_vec(rows, indices.len(), self.encoder_hidden_states.device())?;
        Ok(Self {
            encoder_hidden_states: self.encoder_hidden_states.index_select(&rows, 0)?,
            text_embeds: self.text_embeds.index_select(&rows, 0)?,
        })
    }

    /// The same in another precision.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            encoder_hidden_states: self.encoder_hidden_states.to_dtype(dtype)?,
            text_embeds: self.text_embeds.to_dtype(dtype)?,
        })
    }

    /// All conditions of both.
    pub fn cat(parts: &[Self]) -> Result<Self> {
        let states: Vec<&Tensor> = parts.iter().map(|p| &p.encoder_hidden_states).collect();
        let embeds: Vec<&Tensor> = parts.iter().map(|p| &p.text_embeds).collect();
        Ok(Self { encoder_hidden_states: Tensor::cat(&states, 0)?, text_embeds: Tensor::cat(&embeds, 0)? })
    }
}

/// What of a scene graph conditions the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GraphMode {
    /// Text and graph, through the scene-graph encoder.
    #[default]
    SceneGraph,
    /// The same sentence, without the graph.
    CaptionOnly,
}

/// How images are sampled: DDIM with η = 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSettings {
    /// Denoising steps.
    pub num_inference_steps: usize,
    /// Guidance scale g of `e_u + g (e_c − e_u)`; 1 leaves the unconditional pass out.
    pub guidance_scale: f64,
}

impl Default for SampleSettings {
    fn default() -> Self {
        Self { num_inference_steps: 20, guidance_scale: 4.0 }
    }
}

/// A path from image to noise.
#[derive(Clone, Debug)]
pub struct Inversion {
    /// T + 1 latents `[b, c, h, w]`, the image's first.
    pub trajectory: Vec<Tensor>,
    /// The guided ε of each step, T times `[b, c, h, w]`.
    pub epsilon: Vec<Tensor>,
    /// The label that the network was told at each step.
    pub timesteps: Vec<usize>,
}

/// All networks of a folder, ready to run.
#[derive(Clone)]
pub struct Pipeline {
    device: Device,
    dtype: DType,
    tokenizers: Tokenizers,
    encoders: Arc<TextStack>,
    /// What an image is conditioned on that is told nothing, one row.
    empty: Conditioning,
    /// Whether the folder has no scene-graph encoder: sentences are then prompts like any other.
    plain: bool,
    scene_graph_encoder: Option<Arc<SceneGraphEncoder>>,
    /// What the encoder was loaded from.
    scene_graph_encoder_weights: Option<Arc<(SceneGraphEncoderConfig, TensorMap)>>,
    unet: Arc<UNet2DConditionModel>,
    unet_weights: Arc<TensorMap>,
    vae: Arc<AutoencoderKL>,
    vae_tile: Option<TileSize>,
    schedule: NoiseSchedule,
    hash: String,
}

impl Pipeline {
    /// Loads a folder of SDXL, SDXL-SG, SD1.5 or SD1.5-SG in diffusers' layout; weights of any precision are computed
    /// with in f32.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        Self::load_in(dir, DType::F32, device)
    }

    /// As [`load`](Self::load), all networks in the precision `dtype`. What is between them (conditions, latents, the
    /// arithmetic of the scheduler) stays in f32, so that the rounding of one step is not handed on to the next.
    pub fn load_in(dir: &Path, dtype: DType, device: &Device) -> Result<Self> {
        let folder = ModelFolder::open(dir)?;
        let (encoders, mut hashed) = folder.text_stack(dtype, device)?;
        let tokenizers = Tokenizers::load(&folder, &encoders)?;
        let scene_graph_encoder = if folder.has("scene_graph_encoder") {
            let (network, weights) = folder.scene_graph_encoder(dtype, device)?;
            hashed.push(("scene_graph_encoder", weights));
            Some(Arc::new(network))
        } else {
            None
        };
        let (vae, weights) = folder.vae(folder.vae_config()?.dtype(dtype), device)?;
        hashed.push(("vae", weights));
        let (unet, weights) = folder.unet(dtype, device)?;
        hashed.push(("unet", weights));

        let scene_graph_encoder_weights = match hashed.iter().find(|(name, _)| *name == "scene_graph_encoder") {
            Some((name, weights)) => Some(Arc::new((read_json(&dir.join(name).join("config.json"))?, weights.clone()))),
            None => None,
        };
        let hash = computed_in(dtype, content_hash(hashed.iter().map(|(name, tensors)| (*name, tensors)))?);
        let unet_weights = hashed.pop().map(|(_, weights)| weights).unwrap_or_default();
        Ok(Self {
            device: device.clone(),
            dtype,
            empty: tokenizers.empty(&folder, &encoders, device)?,
            plain: !folder.has("scene_graph_encoder"),
            tokenizers,
            encoders: Arc::new(encoders),
            scene_graph_encoder,
            scene_graph_encoder_weights,
            unet: Arc::new(unet),
            unet_weights: Arc::new(unet_weights),
            vae: Arc::new(vae),
            vae_tile: None,
            schedule: folder.schedule()?,
            hash,
        })
    }

    /// SHA-256 over all weights and the precision, in hex: what a candidate is recorded with.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What its networks compute in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Side of its pictures, in pixels.
    pub fn image_size(&self) -> usize {
        self.latent_size() * self.vae.config().downscale()
    }

    /// Side of its latents.
    pub fn latent_size(&self) -> usize {
        self.unet.config().sample_size.unwrap_or(self.vae.config().sample_size / self.vae.config().downscale())
    }

    /// Channels of its latents.
    pub fn latent_channels(&self) -> usize {
        self.unet.config().in_channels
    }

    /// The noise schedule.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// The noise predictor.
    pub fn unet(&self) -> &UNet2DConditionModel {
        &self.unet
    }

    /// The noise predictor's parameters by name.
    pub fn unet_weights(&self) -> &TensorMap {
        &self.unet_weights
    }

    /// Configuration and parameters by name of the scene-graph encoder, where it was loaded with the pipeline.
    pub fn scene_graph_encoder_weights(&self) -> Option<(&SceneGraphEncoderConfig, &TensorMap)> {
        self.scene_graph_encoder_weights.as_deref().map(|(config, weights)| (config, weights))
    }

    /// The text encoders.
    pub fn text_encoders(&self) -> &TextStack {
        &self.encoders
    }

    /// The first tokenizer, whose ids the second encoder shares.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizers.first
    }

    /// What `count` images are conditioned on that are told nothing: zeros in SDXL (unless `model_index.json` says
    /// otherwise), the encoding of the empty prompt in SD1.5.
    pub fn unconditional(&self, count: usize) -> Result<Conditioning> {
        self.empty.select(&vec![0; count])
    }

    /// The same pipeline, whose VAE works on pictures larger than a tile piece by piece.
    #[must_use]
    pub fn with_vae_tiles(&self, tile: Option<TileSize>) -> Self {
        Self { vae_tile: tile, ..self.clone() }
    }

    /// The same pipeline with another scene-graph encoder, or none.
    #[must_use]
    pub fn with_scene_graph_encoder(&self, encoder: Option<SceneGraphEncoder>) -> Self {
        let encoder = encoder.map(Arc::new);
        Self { scene_graph_encoder: encoder, scene_graph_encoder_weights: None, ..self.clone() }
    }

    /// The same pipeline with trained weights: a file that holds all parameters of a UNet, or LoRA adapters for some (in
    /// the style of diffusers, PEFT or kohya), or those of a scene-graph encoder below [`ENCODER_PREFIX`], or an encoder
    /// and adapters.
    ///
    /// # Errors
    /// The file is broken, or a tensor of it belongs to no layer of these networks.
    pub fn with_unet(&self, weights: &Path) -> Result<Self> {
        let parts = TrainedWeights::read(weights, &self.unet_weights, &self.device)?;
        let of_encoder = parts.encoder;
        let all = if !parts.adapters.is_empty() {
            lora::add(&self.unet_weights, parts.adapters, weights)?
        } else if parts.unet.contains_key("conv_in.weight") {
            parts.unet
        } else {
            let mut all = (*self.unet_weights).clone();
            all.extend(parts.unet);
            all
        };
        let all = in_precision(all, self.dtype)?;
        let unet =
            load_strictly(&all, weights, &self.device, |vb| UNet2DConditionModel::load(&vb, self.unet.config()))?;
        let mut hashed = vec![(self.hash.as_str(), &all)];
        if !of_encoder.is_empty() {
            hashed.push(("scene_graph_encoder", &of_encoder));
        }
        let hash = computed_in(self.dtype, content_hash(hashed)?);
        let pipeline = self.with_encoder_weights(of_encoder, weights)?;
        Ok(Self { unet: Arc::new(unet), unet_weights: Arc::new(all), hash, ..pipeline })
    }

    fn with_encoder_weights(&self, trained: TensorMap, origin: &Path) -> Result<Self> {
        if trained.is_empty() {
            return Ok(self.clone());
        }
        let Some((config, weights)) = self.scene_graph_encoder_weights() else {
            return Err(Error::Tensor {
                path: origin.to_owned(),
                tensor: format!("{ENCODER_PREFIX}*"),
                message: "this model has no scene-graph encoder".to_owned(),
            });
        };
        let mut all = weights.clone();
        all.extend(in_precision(trained, self.dtype)?);
        let network = load_strictly(&all, origin, &self.device, |vb| SceneGraphEncoder::load(&vb, config))?;
        Ok(Self {
            scene_graph_encoder: Some(Arc::new(network)),
            scene_graph_encoder_weights: Some(Arc::new((config.clone(), all))),
            ..self.clone()
        })
    }

    /// Conditioning of scene graphs, in their order.
    pub fn encode_graphs(&self, graphs: &[GraphText], mode: GraphMode) -> Result<Conditioning> {
        let chunks: Vec<&[GraphText]> = graphs.chunks(32).collect();
        let parts = data_parallel::map(&self.device, &chunks, |graphs| self.encode_chunk(graphs, mode))?;
        Conditioning::cat(&parts)
    }

    fn encode_chunk(&self, graphs: &[GraphText], mode: GraphMode) -> Result<Conditioning> {
        self.encode_in_precision(graphs, mode)?.to_dtype(DType::F32)
    }

    /// What the text encoders say about graphs, in the precision of the networks.
    ///
    /// # Errors
    /// No graph at all, or those of the text encoders.
    pub fn graph_features(&self, graphs: &[GraphTokens]) -> Result<GraphFeatures> {
        GraphFeatures::encode(graphs, |sequences| {
            let features = self.encoders.encode(sequences, &self.device)?;
            Ok((features.hidden_states, features.pooled))
        })
    }

    fn encode_in_precision(&self, graphs: &[GraphText], mode: GraphMode) -> Result<Conditioning> {
        match (&self.scene_graph_encoder, mode) {
            (Some(encoder), GraphMode::SceneGraph) => {
                let tokens = graphs
                    .iter()
                    .map(|graph| GraphTokens::prepare(graph, self.tokenizer()))
                    .collect::<Result<Vec<_>>>()?;
                let features = self.graph_features(&tokens)?;
                Ok(Conditioning {
                    encoder_hidden_states: encoder.forward(&tokens, &features)?,
                    text_embeds: features.pooled,
                })
            }
            _ if self.plain => {
                let prompts: Vec<String> = graphs.iter().map(GraphText::sentence).collect();
                self.tokenizers.encode(&prompts, &self.encoders, &self.device)
            }
            _ => {
                let sequences = graphs
                    .iter()
                    .map(|graph| self.tokenizer().encode(&graph.sentence()))
                    .collect::<Result<Vec<_>>>()?;
                let features = self.encoders.encode(&sequences, &self.device)?;
                Ok(Conditioning { encoder_hidden_states: features.extended()?, text_embeds: features.pooled })
            }
        }
    }

    /// Standard normal noise of a seed, `[1, c, h, w]`.
    pub fn initial_latent(&self, seed: u64) -> Result<Tensor> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (c, side) = (self.latent_channels(), self.latent_size());
        let values: Vec<f32> = (0..c * side * side).map(|_| StandardNormal.sample(&mut rng)).collect();
        Ok(Tensor::from_vec(values, (1, c, side, side), &self.device)?)
    }

    /// SDXL's size conditioning: pictures of the model's own size, uncropped. `[b, 6]`.
    pub fn time_ids(&self, count: usize) -> Result<Tensor> {
        let size = self.image_size() as f32;
        Ok(Tensor::new(&[[size, size, 0.0, 0.0, size, size]], &self.device)?.repeat((count, 1))?)
    }

    /// Latents `[b, c, h, w]` of new images, one a condition and seed.
    ///
    /// Deterministic; the result for one image does not depend on the others nor on the number of threads.
    pub fn sample(&self, conditioning: &Conditioning, seeds: &[u64], settings: SampleSettings) -> Result<Tensor> {
        let parts = self.in_chunks(conditioning, seeds, |conditioning, seeds| {
            let mut latents = self.initial_latents(seeds)?;
            self.denoise(&mut latents, conditioning, settings, |_| Ok(()))?;
            Ok(latents)
        })?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// The whole path of [`sample`](Self::sample), bit for bit the same: T + 1 latents `[b, c, h, w]`, the noise first.
    pub fn sample_path(
        &self,
        conditioning: &Conditioning,
        seeds: &[u64],
        settings: SampleSettings,
    ) -> Result<Vec<Tensor>> {
        let parts = self.in_chunks(conditioning, seeds, |conditioning, seeds| {
            let mut latents = self.initial_latents(seeds)?;
            let mut path = vec![latents.clone()];
            self.denoise(&mut latents, conditioning, settings, |state| {
                path.push(state.clone());
                Ok(())
            })?;
            Ok(path)
        })?;
        (0..=settings.num_inference_steps)
            .map(|k| Ok(Tensor::cat(&parts.iter().filter_map(|path| path.get(k)).collect::<Vec<_>>(), 0)?))
            .collect()
    }

    /// Denoises the given noise instead of a seed's.
    pub fn sample_from(
        &self,
        latents: &Tensor,
        conditioning: &Conditioning,
        settings: SampleSettings,
    ) -> Result<Tensor> {
        let mut latents = latents.clone();
        self.denoise(&mut latents, conditioning, settings, |_| Ok(()))?;
        Ok(latents)
    }

    fn initial_latents(&self, seeds: &[u64]) -> Result<Tensor> {
        let noises = seeds.iter().map(|seed| self.initial_latent(*seed)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&noises, 0)?)
    }

    /// Denoises `latents` in place; `visit` is shown the state after each step and may stop it.
    pub(crate) fn denoise(
        &self,
        latents: &mut Tensor,
        conditioning: &Conditioning,
        settings: SampleSettings,
        mut visit: impl FnMut(&Tensor) -> Result<()>,
    ) -> Result<()> {
        let steps = self.schedule.ddim_steps(settings.num_inference_steps, 0.0)?;
        let guided = Guided::new(self, conditioning, settings.guidance_scale, steps.iter().map(|step| step.timestep))?;
        for (k, step) in steps.iter().enumerate() {
            let output = guided.predict(latents, k)?;
            *latents = step.previous(latents, &output)?;
            visit(latents)?;
        }
        Ok(())
    }

    /// DDIM inversion of scaled image latents `[b, c, h, w]` (ALGORITHM §2.7 and the paper's equation 9).
    pub fn invert(
        &self,
        latents: &Tensor,
        conditioning: &Conditioning,
        settings: SampleSettings,
        label: InverseLabel,
    ) -> Result<Inversion> {
        self.invert_visited(latents, conditioning, settings, label, || Ok(()))
    }

    /// [`invert`](Self::invert); `visit` is called after each step and may stop it.
    pub(crate) fn invert_visited(
        &self,
        latents: &Tensor,
        conditioning: &Conditioning,
        settings: SampleSettings,
        label: InverseLabel,
        mut visit: impl FnMut() -> Result<()>,
    ) -> Result<Inversion> {
        let steps = self.schedule.ddim_inverse_steps(settings.num_inference_steps, label)?;
        let guided = Guided::new(self, conditioning, settings.guidance_scale, steps.iter().map(|step| step.label))?;
        let mut inversion = Inversion { trajectory: vec![latents.clone()], epsilon: Vec::new(), timesteps: Vec::new() };
        let mut state = latents.clone();
        for (k, step) in steps.iter().enumerate() {
            let output = guided.predict(&state, k)?;
            inversion.epsilon.push(step.epsilon(&state, &output)?);
            inversion.timesteps.push(step.label);
            state = step.next(&state, &output)?;
            inversion.trajectory.push(state.clone());
            visit()?;
        }
        Ok(inversion)
    }

    /// [`invert`](Self::invert) of many images, spread over the threads.
    pub fn invert_many(
        &self,
        latents: &Tensor,
        conditioning: &Conditioning,
        settings: SampleSettings,
        label: InverseLabel,
    ) -> Result<Vec<Inversion>> {
        let rows: Vec<u64> = (0..latents.dim(0)? as u64).collect();
        self.in_chunks(conditioning, &rows, |conditioning, rows| {
            let first = rows.first().copied().unwrap_or_default() as usize;
            self.invert(&latents.narrow(0, first, rows.len())?, conditioning, settings, label)
        })
    }

    /// Scaled latents `[b, c, h, w]` → 8-bit RGB pictures, `H · W · 3` bytes each, row by row.
    pub fn decode(&self, latents: &Tensor) -> Result<Vec<Vec<u8>>> {
        let count = latents.dim(0)?;
        let starts: Vec<usize> = (0..count).step_by(IMAGES_PER_CHUNK).collect();
        let parts = data_parallel::map(&self.device, &starts, |&start| {
            let part = latents.narrow(0, start, IMAGES_PER_CHUNK.min(count - start))?;
            let pictures = self.vae.decode_tiled(&self.vae.unscale(&part)?, self.vae_tile)?;
            let pictures = pictures.affine(127.5, 127.5)?.clamp(0.0, 255.0)?.round()?.to_dtype(DType::U8)?;
            let pictures = pictures.permute((0, 2, 3, 1))?.contiguous()?; // [b, H, W, 3]
            (0..pictures.dim(0)?)
                .map(|i| Ok(pictures.get(i)?.flatten_all()?.to_vec1::<u8>()?))
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// 8-bit RGB pictures of the model's size → scaled latents (means of the posteriors), `[b, c, h, w]`.
    pub fn encode_images(&self, rgb: &[Vec<u8>]) -> Result<Tensor> {
        let size = self.image_size();
        let chunks: Vec<&[Vec<u8>]> = rgb.chunks(IMAGES_PER_CHUNK).collect();
        let parts = data_parallel::map(&self.device, &chunks, |images| {
            if let Some(image) = images.iter().find(|image| image.len() != size * size * 3) {
                return Err(Error::Invalid(format!(
                    "an image of {} bytes; {size} × {size} RGB has {}",
                    image.len(),
                    size * size * 3
                )));
            }
            let pixels = Tensor::from_vec(images.concat(), (images.len(), size, size, 3), &self.device)?;
            let pixels = pixels.to_dtype(DType::F32)?.permute((0, 3, 1, 2))?.affine(2.0 / 255.0, -1.0)?.contiguous()?;
            self.vae.scale(&self.vae.encode_tiled(&pixels, self.vae_tile)?.mean)
        })?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// Cuts conditions and seeds into chunks and works on them in parallel.
    fn in_chunks<R: Send>(
        &self,
        conditioning: &Conditioning,
        seeds: &[u64],
        work: impl Fn(&Conditioning, &[u64]) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        if conditioning.len() != seeds.len() {
            return Err(Error::Invalid(format!("{} conditions for {} images", conditioning.len(), seeds.len())));
        }
        let starts: Vec<usize> = (0..seeds.len()).step_by(IMAGES_PER_CHUNK).collect();
        data_parallel::map(&self.device, &starts, |&start| {
            let end = (start + IMAGES_PER_CHUNK).min(seeds.len());
            let conditioning = Conditioning {
                encoder_hidden_states: conditioning
                    .encoder_hidden_states
                    .narrow(0, start, end - start)?
                    .contiguous()?,
                text_embeds: conditioning.text_embeds.narrow(0, start, end - start)?.contiguous()?,
            };
            work(&conditioning, &seeds[start..end])
        })
    }
}
