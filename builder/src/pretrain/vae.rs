//! Stage 1: the AutoencoderKL learns to draw the world of shapes.
//!
//! Loss: squared plus a fifth of the absolute error of the pixels, objects counting five times the background
//! (most of a picture is background, which would otherwise be all that is learnt at first), and a faint KL term that
//! keeps latents bounded.

use super::fit::{FitSettings, fit};
use super::{PretrainProgress, PretrainSettings, WEIGHTS, stage_is_done};
use crate::shapes;
use candle_core::{DType, Device, Tensor};
use models::Result;
use models::vae::{AutoencoderKL, AutoencoderKLConfig};
use models::weights::{FreshParameters, TensorMap, load_strictly, write_file, write_json};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

const STEPS: usize = 3000;
const SHARDS: usize = 2;
const IMAGES_PER_SHARD: usize = 8;
/// On the divergence summed over a latent, by pixel value.
const KL_WEIGHT: f64 = 1e-3;
/// Added weight of a pixel of an object.
const FOREGROUND_WEIGHT: f64 = 4.0;
/// Scenes of this stage: a stream apart from the other stages'.
const SCENES: u64 = 0x5EED_0001;

pub(super) fn run(settings: &PretrainSettings, report: &mut dyn FnMut(&PretrainProgress)) -> Result<()> {
    let folder = settings.output.join("vae");
    if stage_is_done(&folder) {
        return Ok(());
    }
    let device = Device::Cpu;
    let mut config = AutoencoderKLConfig::tiny();
    let (network, vars) = FreshParameters::build(settings.seed, &device, |vb| AutoencoderKL::load(&vb, &config))?;
    let fit_settings = FitSettings {
        stage: "vae",
        steps: settings.steps(STEPS),
        shards: SHARDS,
        learning_rate: 2e-3,
        warmup_steps: 100,
        ema_decay: 0.995,
        max_grad_norm: 1.0,
        slower: None,
    };
    let averaged = fit(
        fit_settings,
        &settings.work_folder(),
        &vars,
        |step, shard| loss(&network, settings.seed, (step * SHARDS + shard) as u64),
        report,
    )?;
    let network = load_strictly(&averaged, &folder, &device, |vb| AutoencoderKL::load(&vb, &config))?;
    let standardised = standardise(&network, averaged, settings.seed)?;
    config.other.insert("_class_name".to_owned(), "AutoencoderKL".into());
    write_file(&folder.join(WEIGHTS.0), &standardised, DType::F16)?;
    write_json(&folder.join("config.json"), &config)
}

fn loss(network: &AutoencoderKL, seed: u64, shard: u64) -> Result<Tensor> {
    let first = shard * IMAGES_PER_SHARD as u64;
    let images = pictures(seed ^ SCENES, first, IMAGES_PER_SHARD)?;
    let posterior = network.encode(&images)?;
    let noise = normal_tensor(seed ^ SCENES, first, posterior.mean.dims())?;
    let latents = (&posterior.mean + ((&posterior.logvar * 0.5)?.exp()? * noise)?)?;
    let difference = (network.decode(&latents)? - &images)?;
    let error = (difference.sqr()? + (difference.abs()? * 0.2)?)?;
    let weighted = (error * foreground_weights(&images)?)?.mean_all()?;
    let pixels_per_latent = images.elem_count() as f64 / posterior.mean.elem_count() as f64;
    let divergence =
        ((posterior.mean.sqr()? + posterior.logvar.exp()?)? - &posterior.logvar)?.affine(0.5, -0.5)?.mean_all()?;
    Ok((weighted + (divergence * (KL_WEIGHT / pixels_per_latent))?)?)
}

/// `[b, 3, h, w]` → `[b, 3, h, w]`: 1 for background, more for objects.
fn foreground_weights(images: &Tensor) -> Result<Tensor> {
    let background = f64::from(shapes::BACKGROUND[0]) / 127.5 - 1.0;
    let foreground = (images - background)?.abs()?.max_keepdim(1)?.gt(0.1)?.to_dtype(DType::F32)?;
    Ok(foreground.affine(FOREGROUND_WEIGHT, 1.0)?.broadcast_as(images.dims())?.contiguous()?)
}

/// Rendered scenes `first ..` of a world as `[count, 3, 64, 64]` in [-1, 1].
pub(super) fn pictures(seed: u64, first: u64, count: usize) -> Result<Tensor> {
    let images: Vec<_> =
        (first..first + count as u64).map(|i| shapes::render(&shapes::generate_one(seed, i).layout)).collect();
    tensor_of_images(&images)
}

/// 8-bit RGB pictures as `[b, 3, h, w]` in [-1, 1].
pub(super) fn tensor_of_images(images: &[image::RgbImage]) -> Result<Tensor> {
    let size = shapes::IMAGE_SIZE as usize;
    let bytes: Vec<u8> = images.iter().flat_map(|image| image.as_raw().iter().copied()).collect();
    let tensor = Tensor::from_vec(bytes, (images.len(), size, size, 3), &Device::Cpu)?.to_dtype(DType::F32)?;
    Ok(tensor.permute((0, 3, 1, 2))?.affine(2.0 / 255.0, -1.0)?.contiguous()?)
}

/// Standard normal values that depend on seed and stream alone.
pub(super) fn normal_tensor(seed: u64, stream: u64, dims: &[usize]) -> Result<Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| StandardNormal.sample(&mut rng)).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// Folds a shift and scale of every latent channel into the two 1 × 1 convolutions, so that latents have mean 0 and
/// deviation 1, and the scaling factor is 1.
fn standardise(network: &AutoencoderKL, mut weights: TensorMap, seed: u64) -> Result<TensorMap> {
    let latents = network.encode(&pictures(seed ^ SCENES, 0, 512)?)?.mean;
    let channels = latents.dim(1)?;
    let by_channel = latents.transpose(0, 1)?.flatten_from(1)?; // [c, b · h · w]
    let mean = by_channel.mean(1)?;
    let deviation = by_channel.broadcast_sub(&mean.unsqueeze(1)?)?.sqr()?.mean(1)?.sqrt()?;
    let get = |name: &str| {
        weights.get(name).cloned().ok_or_else(|| models::Error::Training(format!("the VAE lacks `{name}`")))
    };
    let (weight, bias) = (get("quant_conv.weight")?, get("quant_conv.bias")?);
    let ones = Tensor::ones_like(&deviation)?;
    let divisor = Tensor::cat(&[&deviation, &ones], 0)?; // the log variances keep their rows …
    let quant_weight = weight.broadcast_div(&divisor.reshape((2 * channels, 1, 1, 1))?)?;
    let mean_bias = ((bias.narrow(0, 0, channels)? - &mean)? / &deviation)?;
    let logvar_bias = (bias.narrow(0, channels, channels)? - (deviation.log()? * 2.0)?)?; // … and are shifted
    let (post_weight, post_bias) = (get("post_quant_conv.weight")?, get("post_quant_conv.bias")?);
    let matrix = post_weight.reshape((channels, channels))?;
    let shifted = (post_bias + matrix.matmul(&mean.unsqueeze(1)?)?.squeeze(1)?)?;
    let scaled = matrix.broadcast_mul(&deviation.unsqueeze(0)?)?.reshape((channels, channels, 1, 1))?;
    weights.insert("quant_conv.weight".to_owned(), quant_weight);
    weights.insert("quant_conv.bias".to_owned(), Tensor::cat(&[mean_bias, logvar_bias], 0)?);
    weights.insert("post_quant_conv.weight".to_owned(), scaled);
    weights.insert("post_quant_conv.bias".to_owned(), shifted);
    Ok(weights)
}
