//! Stage 3: the UNet learns to denoise latents of rendered scenes, conditioned on their sentences.
//!
//! Loss: mean squared error of ε (Ho et al. 2020) at a timestep drawn with a density that grows with t: what lies where is
//! decided while a picture of 8 × 8 latents is almost all noise. The condition is left out, all zeros, for one example in
//! ten, so that guidance works. The text encoders are tuned along.

use super::fit::{FitSettings, fit};
use super::text::{load_encoders, weights_file, write_encoders};
use super::vae::{normal_tensor, pictures};
use super::{PretrainProgress, PretrainSettings, WEIGHTS, stage_is_done};
use crate::shapes;
use candle_core::{DType, Device, Tensor};
use models::Result;
use models::scheduler::{NoiseSchedule, SchedulerConfig};
use models::text_conditioning::TextEncoders;
use models::tokenizer::Tokenizer;
use models::trainer::data_parallel;
use models::unet::{AddedConditioning, UNet2DConditionConfig, UNet2DConditionModel};
use models::vae::{AutoencoderKL, AutoencoderKLConfig};
use models::weights::{
    FreshParameters, TensorMap, load_strictly, read_file, read_folder, read_json, write_file, write_json,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::path::PathBuf;

const STEPS: usize = 5000;
const SHARDS: usize = 4;
const IMAGES_PER_SHARD: usize = 8;
/// Scenes whose latents are made once and seen many times.
const NUM_SCENES: usize = 30_000;
const SCENES: u64 = 0x5EED_0003;
const CONDITION_DROPOUT: f64 = 0.1;
/// Learning rate of the text encoders, as a share of the UNet's.
const TEXT_LEARNING_RATE: f64 = 0.5;

/// Latents and sentences of the training scenes.
pub(super) struct LatentSet {
    /// `[n, 4, h, w]`.
    latents: Tensor,
    /// Token ids of each scene's sentence.
    sequences: Vec<Vec<u32>>,
    /// Seed of the scenes.
    seed: u64,
}

/// A shard of noisy latents.
pub(super) struct NoisyShard {
    pub noisy: Tensor,
    pub noise: Tensor,
    pub timesteps: Tensor,
    /// Indices into the set of scenes.
    pub scenes: Vec<usize>,
    /// 0 where the condition is left out, else 1, `[b]`.
    pub keep: Tensor,
}

impl LatentSet {
    /// Renders and encodes the scenes, or reads what an earlier run left.
    pub(super) fn load(settings: &PretrainSettings, tokenizer: &Tokenizer) -> Result<Self> {
        let count = ((NUM_SCENES as f64 * settings.scale) as usize).clamp(64, NUM_SCENES);
        let seed = settings.seed ^ SCENES;
        let file = settings.work_folder().join("latents.safetensors");
        let sequences = (0..count as u64)
            .map(|i| tokenizer.encode(&shapes::generate_one(seed, i).sentence()))
            .collect::<Result<_>>()?;
        let cached = if file.exists() {
            read_file(&file, DType::F32, &Device::Cpu)?.remove("latents").filter(|t| t.dim(0).is_ok_and(|n| n == count))
        } else {
            None
        };
        let latents = if let Some(latents) = cached {
            latents
        } else {
            let latents = encode_scenes(settings, seed, count)?;
            write_file(&file, &TensorMap::from([("latents".to_owned(), latents.clone())]), DType::F32)?;
            latents
        };
        Ok(Self { latents, sequences, seed })
    }

    /// Draws a shard; it depends on seed and number alone.
    pub(super) fn shard(&self, scheduler: &NoiseSchedule, seed: u64, number: u64, count: usize) -> Result<NoisyShard> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let scenes: Vec<usize> = (0..count).map(|_| rng.random_range(0..self.sequences.len())).collect();
        let timesteps: Vec<usize> = (0..count)
            .map(|_| {
                // The larger of two uniform draws: density proportional to t.
                let last = scheduler.num_train_timesteps();
                rng.random_range(0..last).max(rng.random_range(0..last))
            })
            .collect();
        let keep: Vec<f32> = (0..count).map(|_| if rng.random_bool(CONDITION_DROPOUT) { 0.0 } else { 1.0 }).collect();
        let rows = Tensor::from_vec(scenes.iter().map(|i| *i as u32).collect::<Vec<_>>(), count, &Device::Cpu)?;
        let clean = self.latents.index_select(&rows, 0)?;
        let noise = normal_tensor(seed ^ 1, number, clean.dims())?;
        let noisy = scheduler.add_noise(&clean, &noise, &timesteps)?;
        let timesteps = Tensor::from_vec(timesteps.iter().map(|t| *t as i64).collect::<Vec<_>>(), count, &Device::Cpu)?;
        Ok(NoisyShard { noisy, noise, timesteps, scenes, keep: Tensor::from_vec(keep, count, &Device::Cpu)? })
    }

    /// Seed that the scenes were generated from; scene `i` of the set is scene `i` of that world.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Sentence tokens of the given scenes.
    pub(super) fn sequences(&self, scenes: &[usize]) -> Vec<Vec<u32>> {
        scenes.iter().map(|i| self.sequences[*i].clone()).collect()
    }
}

/// Means of the posteriors of scenes, scaled, `[count, 4, h, w]`.
fn encode_scenes(settings: &PretrainSettings, seed: u64, count: usize) -> Result<Tensor> {
    const CHUNK: usize = 50;
    let folder = settings.output.join("vae");
    let config: AutoencoderKLConfig = read_json(&folder.join("config.json"))?;
    let weights = read_folder(&folder, DType::F32, &Device::Cpu)?;
    let vae = load_strictly(&weights, &folder, &Device::Cpu, |vb| AutoencoderKL::load(&vb, &config))?;
    let starts: Vec<usize> = (0..count).step_by(CHUNK).collect();
    let parts = data_parallel::map(&Device::Cpu, &starts, |&start| {
        let images = pictures(seed, start as u64, CHUNK.min(count - start))?;
        vae.scale(&vae.encode(&images)?.mean)
    })?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// The noise schedule of SDXL.
pub(super) fn scheduler_config() -> SchedulerConfig {
    SchedulerConfig::stable_diffusion()
}

/// `time_ids` of pictures of the world: their own size, uncropped. `[b, 6]`.
pub(super) fn time_ids(count: usize) -> Result<Tensor> {
    let size = shapes::IMAGE_SIZE as f32;
    Ok(Tensor::new(&[[size, size, 0.0, 0.0, size, size]], &Device::Cpu)?.repeat((count, 1))?)
}

/// Mean squared error of the predicted noise of a shard, given its conditioning before dropout.
pub(super) fn denoising_loss(
    unet: &UNet2DConditionModel,
    shard: &NoisyShard,
    encoder_hidden_states: &Tensor,
    text_embeds: &Tensor,
) -> Result<Tensor> {
    let b = shard.keep.dim(0)?;
    let encoder_hidden_states = encoder_hidden_states.broadcast_mul(&shard.keep.reshape((b, 1, 1))?)?;
    let text_embeds = text_embeds.broadcast_mul(&shard.keep.reshape((b, 1))?)?;
    let added = AddedConditioning { text_embeds, time_ids: time_ids(b)? };
    let predicted = unet.forward(&shard.noisy, &shard.timesteps, &encoder_hidden_states, Some(&added))?;
    Ok((predicted - &shard.noise)?.sqr()?.mean_all()?)
}

struct Networks {
    unet: UNet2DConditionModel,
    encoders: TextEncoders,
}

pub(super) fn run(settings: &PretrainSettings, report: &mut dyn FnMut(&PretrainProgress)) -> Result<()> {
    let folder: PathBuf = settings.output.join("unet");
    if stage_is_done(&folder) {
        return Ok(());
    }
    let tokenizer = Tokenizer::load(&settings.output.join("tokenizer"))?;
    let (first, second) = (super::text::first_config(&tokenizer), super::text::second_config(&tokenizer));
    let mut config = UNet2DConditionConfig::tiny(first.hidden_size + second.hidden_size, second.projection_dim);
    let (networks, vars) = FreshParameters::build(settings.seed, &Device::Cpu, |vb| {
        Ok(Networks {
            unet: UNet2DConditionModel::load(&vb.pp("unet"), &config)?,
            encoders: load_encoders(&vb, &tokenizer)?,
        })
    })?;
    for (name, tensor) in read_file(&weights_file(settings), DType::F32, &Device::Cpu)? {
        if let Some(var) = vars.get(&name) {
            var.set(&tensor)?;
        }
    }
    let set = LatentSet::load(settings, &tokenizer)?;
    let scheduler = NoiseSchedule::new(scheduler_config())?;
    let fit_settings = FitSettings {
        stage: "unet",
        steps: settings.steps(STEPS),
        shards: SHARDS,
        learning_rate: 1e-3,
        warmup_steps: 200,
        ema_decay: 0.998,
        max_grad_norm: 1.0,
        slower: Some(("text_encoder", TEXT_LEARNING_RATE)),
    };
    let averaged = fit(
        fit_settings,
        &settings.work_folder(),
        &vars,
        |step, number| {
            let number = (step * SHARDS + number) as u64;
            let shard = set.shard(&scheduler, settings.seed ^ SCENES, number, IMAGES_PER_SHARD)?;
            let features = networks.encoders.encode(&set.sequences(&shard.scenes), &Device::Cpu)?;
            denoising_loss(&networks.unet, &shard, &features.extended()?, &features.pooled)
        },
        report,
    )?;
    write_encoders(settings, &tokenizer, &averaged)?;
    write_json(&settings.output.join("scheduler/scheduler_config.json"), scheduler.config())?;
    write_index(settings)?;
    let unet: TensorMap = averaged
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("unet.")?.to_owned(), tensor)))
        .collect();
    config.other.insert("_class_name".to_owned(), "UNet2DConditionModel".into());
    write_file(&folder.join(WEIGHTS.0), &unet, DType::F16)?;
    write_json(&folder.join("config.json"), &config)
}

/// `model_index.json`, by which diffusers knows the folder.
fn write_index(settings: &PretrainSettings) -> Result<()> {
    write_json(
        &settings.output.join("model_index.json"),
        &json!({
            "_class_name": "StableDiffusionXLPipeline",
            "force_zeros_for_empty_prompt": true,
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        }),
    )
}
