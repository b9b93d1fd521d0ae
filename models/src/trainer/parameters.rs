//! The parameters that move: variables out of the reference's weights, adapters, and the networks that hold them.

use super::encoded;
use super::networks::TrainedEncoder;
use super::settings::{MixedPrecision, Trainable, TrainerSettings};
use super::tensor_cache::TensorCache;
use crate::objective::Start;
use crate::pipeline::{ENCODER_PREFIX, Pipeline};
use crate::scene_graph_encoder::{GraphText, SceneGraphEncoder};
use crate::unet::UNet2DConditionModel;
use crate::weights::{TensorMap, VarMap, in_precision, load_strictly};
use crate::{Error, Result};
use candle_core::{DType, Tensor, Var};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::path::Path;

/// The variables to train, and constants that belong to them. Those of the scene-graph encoder have [`ENCODER_PREFIX`].
pub(super) fn trainable(reference: &Pipeline, settings: &TrainerSettings) -> Result<(VarMap, TensorMap)> {
    let mut vars = VarMap::new();
    let mut constants = TensorMap::new();
    if settings.trainable == Trainable::Unet {
        vars.extend(variables(reference.unet_weights(), "")?);
    }
    if settings.trainable.moves_encoder() {
        let (_, weights) = reference.scene_graph_encoder_weights().ok_or_else(no_encoder)?;
        // Nothing reads it: it would stand in every checkpoint without ever having a gradient.
        let read = weights.iter().filter(|(name, _)| *name != "logit_scale");
        vars.extend(variables(&read.map(|(name, tensor)| (name.clone(), tensor.clone())).collect(), ENCODER_PREFIX)?);
    }
    if let Some(lora) = settings.trainable.lora() {
        let adapters = lora.fresh_adapters(reference.unet_weights(), settings.seed, reference.device())?;
        let parts = adapters.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
        constants.extend(lora.alphas(&parts)?);
        vars.extend(adapters);
    }
    let starts = settings.objective.parts().into_iter().filter_map(|(part, _)| Some(part.two_term()?.start));
    for start in starts {
        if let Start::Jitter { std } = start {
            jitter(&vars, std, settings.seed)?;
            break;
        }
    }
    Ok((vars, constants))
}

fn no_encoder() -> Error {
    Error::Invalid("`trainable`: this model has no scene-graph encoder to train".to_owned())
}

fn variables(weights: &TensorMap, prefix: &str) -> Result<VarMap> {
    // In f32 whatever the networks compute in: steps of a small learning rate are lost in eight bits of mantissa.
    let copy = |tensor: &Tensor| Var::from_tensor(&tensor.to_dtype(DType::F32)?.copy()?);
    weights.iter().map(|(name, tensor)| Ok((format!("{prefix}{name}"), copy(tensor)?))).collect()
}

/// The precision that noise predictors compute in.
fn precision(reference: &Pipeline, settings: &TrainerSettings) -> DType {
    match settings.mixed_precision {
        MixedPrecision::No => reference.dtype(),
        MixedPrecision::Bf16 => DType::BF16,
    }
}

/// The reference's noise predictor in the precision of the policy.
pub(super) fn reference_unet(reference: &Pipeline, settings: &TrainerSettings) -> Result<UNet2DConditionModel> {
    let dtype = precision(reference, settings);
    if dtype == reference.unet().dtype() {
        return Ok(reference.unet().clone());
    }
    unet(reference, in_precision(reference.unet_weights().clone(), dtype)?)
}

fn unet(reference: &Pipeline, weights: TensorMap) -> Result<UNet2DConditionModel> {
    load_strictly(&weights, Path::new("unet"), reference.device(), |vb| {
        UNet2DConditionModel::load(&vb, reference.unet().config())
    })
}

/// The policy's UNet: the reference's weights with the variables in their place. Where it computes in another precision than
/// theirs, it holds their values as they are now, rounded.
pub(super) fn load_policy(
    reference: &Pipeline,
    settings: &TrainerSettings,
    vars: &VarMap,
    constants: &TensorMap,
) -> Result<UNet2DConditionModel> {
    let mut tensors = reference.unet_weights().clone();
    tensors.extend(constants.clone());
    let of_unet = vars.iter().filter(|(name, _)| !name.starts_with(ENCODER_PREFIX));
    tensors.extend(of_unet.map(|(name, var)| (name.clone(), var.as_tensor().clone())));
    let policy = unet(reference, in_precision(tensors, precision(reference, settings))?)?;
    Ok(policy.with_gradient_checkpointing(settings.gradient_checkpointing))
}

/// The policy's scene-graph encoder, in the precision of the reference's; rounded values as in [`load_policy`].
pub(super) fn encoder_network(reference: &Pipeline, vars: &VarMap) -> Result<SceneGraphEncoder> {
    let (config, _) = reference.scene_graph_encoder_weights().ok_or_else(no_encoder)?;
    let tensors: TensorMap = vars
        .iter()
        .filter_map(|(name, var)| Some((name.strip_prefix(ENCODER_PREFIX)?.to_owned(), var.as_tensor().clone())))
        .collect();
    let tensors = in_precision(tensors, reference.dtype())?;
    load_strictly(&tensors, Path::new("scene_graph_encoder"), reference.device(), |vb| {
        SceneGraphEncoder::load(&vb, config)
    })
}

/// The policy's scene-graph encoder, where it learns, with what the text encoders say about every graph.
pub(super) fn load_encoder(
    reference: &Pipeline,
    settings: &TrainerSettings,
    vars: &VarMap,
    graphs: &[GraphText],
    cache: &TensorCache,
) -> Result<Option<TrainedEncoder>> {
    if !settings.trainable.moves_encoder() {
        return Ok(None);
    }
    let network = encoder_network(reference, vars)?;
    Ok(Some(TrainedEncoder { network, graphs: encoded::texts(reference, graphs, cache)? }))
}

/// Moves every variable by normal noise of `std` times the deviation of its values; where all are zero (the upper half of
/// an adapter, an encoder that is switched off) of `std` itself, for there the deviation would keep them at zero.
pub(super) fn jitter(vars: &VarMap, std: f64, seed: u64) -> Result<()> {
    for (number, var) in vars.values().enumerate() {
        let values = var.flatten_all()?.to_vec1::<f32>()?;
        let count = values.len().max(1) as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        let all_zero = values.iter().all(|value| *value == 0.0);
        let scale = if all_zero { std as f32 } else { (std * variance.sqrt()) as f32 };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number as u64);
        let moved: Vec<f32> = values
            .into_iter()
            .map(|value| value + scale * Distribution::<f32>::sample(&StandardNormal, &mut rng))
            .collect();
        var.set(&Tensor::from_vec(moved, var.shape(), var.device())?)?;
    }
    Ok(())
}
