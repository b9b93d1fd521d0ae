//! The networks of `model run`: what each takes and gives.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};

use super::Steps;
use super::inputs::{Checked, Size};
use crate::lora;
use crate::model_folder::{ModelFolder, Which};
use crate::scene_graph_encoder::{GraphFeatures, GraphText, GraphTokens};
use crate::scheduler::{InverseLabel, guide};
use crate::unet::{AddedConditioning, ProjectedStates, UNet2DConditionConfig, UNet2DConditionModel};
use crate::vae::TileSize;
use crate::weights::{TensorMap, VarMap, load_strictly, read_file};
use crate::{Error, Result, ops};

const BATCH: Size = Size::Any("b");

/// A network with its inputs, ready to run any number of times.
pub(super) struct Prepared(Box<dyn Fn() -> Result<TensorMap>>);

impl Prepared {
    fn new(run: impl Fn() -> Result<TensorMap> + 'static) -> Self {
        Self(Box::new(run))
    }

    pub(super) fn run(&self) -> Result<TensorMap> {
        (self.0)()
    }
}

fn named<const N: usize>(tensors: [(&str, Tensor); N]) -> TensorMap {
    tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into()
}

/// What conditions a UNet, for `b` images.
fn conditioning(
    inputs: &Checked,
    config: &UNet2DConditionConfig,
    b: usize,
) -> Result<(Tensor, Option<AddedConditioning>)> {
    let rows = Size::Exactly(b, "b");
    let width = Size::Exactly(config.conditioning_width(0), "cross_attention_dim");
    let states = inputs.real("encoder_hidden_states", &[rows, Size::Any("s"), width])?;
    let added = match config.pooled_width() {
        None => None,
        Some(p) => Some(AddedConditioning {
            text_embeds: inputs.real("text_embeds", &[rows, Size::Exactly(p, "pooled width")])?,
            time_ids: inputs.numbers("time_ids", &[rows, Size::Exactly(6, "")])?,
        }),
    };
    Ok((states, added))
}

/// What a UNet is given.
struct UNetInputs {
    sample: Tensor,
    timestep: Tensor,
    states: Tensor,
    added: Option<AddedConditioning>,
}

impl UNetInputs {
    fn new(inputs: &Checked, config: &UNet2DConditionConfig) -> Result<Self> {
        let channels = Size::Exactly(config.in_channels, "in_channels");
        let sample = inputs.real("sample", &[BATCH, channels, Size::Any("h"), Size::Any("w")])?;
        let b = sample.dim(0)?;
        let timestep = inputs.whole("timestep", &[Size::Exactly(b, "b")])?;
        let (states, added) = conditioning(inputs, config, b)?;
        Ok(Self { sample, timestep, states, added })
    }
}

pub(super) fn unet(folder: &ModelFolder, inputs: &Checked, lora: Option<&Path>) -> Result<Prepared> {
    let config = folder.unet_config()?;
    let UNetInputs { sample, timestep, states, added } = UNetInputs::new(inputs, &config)?;
    let network = adapted_unet(folder, &config, inputs, lora)?;
    Ok(Prepared::new(move || Ok(named([("sample", network.forward(&sample, &timestep, &states, added.as_ref())?)]))))
}

pub(super) fn unet_gradients(
    folder: &ModelFolder,
    inputs: &Checked,
    checkpointing: bool,
    lora: Option<&Path>,
) -> Result<Prepared> {
    let config = folder.unet_config()?;
    let UNetInputs { sample, timestep, states, added } = UNetInputs::new(inputs, &config)?;
    let (b, _, h, w) = sample.dims4()?;
    let sizes = [b, config.out_channels, h, w].map(|size| Size::Exactly(size, ""));
    let cotangent = inputs.real("cotangent", &sizes)?;
    let (network, parameters) = trainable_unet(folder, &config, inputs, lora)?;
    let network = network.with_gradient_checkpointing(checkpointing);
    let (sample, states) = (Var::from_tensor(&sample)?, Var::from_tensor(&states)?);
    Ok(Prepared::new(move || {
        let output = network.forward(sample.as_tensor(), &timestep, states.as_tensor(), added.as_ref())?;
        let gradients = ops::backward(&(&output * &cotangent)?.to_dtype(DType::F32)?.sum_all()?)?;
        let of = |variable: &Var| match gradients.get(variable.as_tensor()) {
            Some(gradient) => Ok(gradient.clone()),
            // Nothing depends on it: no token is attended to, say.
            None => variable.as_tensor().zeros_like(),
        };
        let mut tensors = named([
            ("sample", output.detach()),
            ("grad.sample", of(&sample)?),
            ("grad.encoder_hidden_states", of(&states)?),
        ]);
        for (name, variable) in &parameters {
            tensors.insert(format!("grad.{name}"), of(variable)?);
        }
        Ok(tensors)
    }))
}

/// The UNet, with the adapters of a file, if there is one.
fn adapted_unet(
    folder: &ModelFolder,
    config: &UNet2DConditionConfig,
    inputs: &Checked,
    lora: Option<&Path>,
) -> Result<UNet2DConditionModel> {
    let (network, weights) = folder.unet(inputs.dtype, inputs.device)?;
    let Some(path) = lora else { return Ok(network) };
    let all = add_adapters(&weights, path, inputs)?;
    load_strictly(&all, path, inputs.device, |vb| UNet2DConditionModel::load(&vb, config))
}

/// The UNet with parameters that have gradients. Each becomes a variable as it is read, so that none is held twice.
fn trainable_unet(
    folder: &ModelFolder,
    config: &UNet2DConditionConfig,
    inputs: &Checked,
    lora: Option<&Path>,
) -> Result<(UNet2DConditionModel, VarMap)> {
    // Checked as a whole before anything is read.
    let (network, mut weights) = folder.unet(inputs.dtype, inputs.device)?;
    drop(network);
    if let Some(path) = lora {
        weights = add_adapters(&weights, path, inputs)?;
    }
    let mut variables = VarMap::new();
    for (name, tensor) in weights {
        variables.insert(name, Var::from_tensor(&tensor)?);
    }
    let tensors = variables.iter().map(|(name, variable)| (name.clone(), variable.as_tensor().clone())).collect();
    let origin = folder.path().join("unet");
    let network = load_strictly(&tensors, &origin, inputs.device, |vb| UNet2DConditionModel::load(&vb, config))?;
    Ok((network, variables))
}

pub(super) fn vae_encode(folder: &ModelFolder, inputs: &Checked, tile: Option<TileSize>) -> Result<Prepared> {
    let config = folder.vae_config()?;
    let channels = Size::Exactly(config.in_channels, "in_channels");
    let sample = inputs.real("sample", &[BATCH, channels, Size::Any("H"), Size::Any("W")])?;
    let (_, _, height, width) = sample.dims4()?;
    let least = config.downscale();
    if height < least || width < least {
        return inputs
            .fault("sample", format!("pictures of {height} × {width}; the VAE needs at least {least} × {least}"));
    }
    let dtype = config.dtype(inputs.dtype);
    let (network, _) = folder.vae(dtype, inputs.device)?;
    Ok(Prepared::new(move || {
        let posterior = network.encode_tiled(&sample, tile)?;
        Ok(named([("mean", posterior.mean), ("logvar", posterior.logvar)]))
    }))
}

pub(super) fn vae_decode(folder: &ModelFolder, inputs: &Checked, tile: Option<TileSize>) -> Result<Prepared> {
    let config = folder.vae_config()?;
    let channels = Size::Exactly(config.latent_channels, "latent_channels");
    let latents = inputs.real("latents", &[BATCH, channels, Size::Any("h"), Size::Any("w")])?;
    let dtype = config.dtype(inputs.dtype);
    let (network, _) = folder.vae(dtype, inputs.device)?;
    Ok(Prepared::new(move || Ok(named([("sample", network.decode_tiled(&latents, tile)?)]))))
}

pub(super) fn text_encoder(folder: &ModelFolder, inputs: &Checked, which: Which) -> Result<Prepared> {
    let config = folder.text_config(which)?;
    let ids = inputs.whole("input_ids", &[BATCH, Size::Any("n")])?;
    let (_, n) = ids.dims2()?;
    if n > config.max_position_embeddings {
        let message = format!("{n} ids in a row; the encoder has {} positions", config.max_position_embeddings);
        return inputs.fault("input_ids", message);
    }
    let vocabulary = config.vocab_size as i64;
    let values = ids.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
    if let Some(place) = values.iter().position(|id| !(0..vocabulary).contains(id)) {
        let (row, column) = (place / n, place % n);
        let message = format!("id {} at [{row}, {column}] is not in a vocabulary of {vocabulary}", values[place]);
        return inputs.fault("input_ids", message);
    }
    let ids = ids.to_dtype(DType::U32)?;
    let (network, _) = folder.text_encoder(which, inputs.dtype, inputs.device)?;
    Ok(Prepared::new(move || {
        let output = network.forward(&ids)?;
        Ok(named([
            ("last_hidden_state", output.last_hidden_state),
            ("penultimate", output.penultimate),
            ("pooled", output.pooled),
        ]))
    }))
}

pub(super) fn scene_graph_encoder(
    folder: &ModelFolder,
    graph: &GraphText,
    dtype: DType,
    device: &Device,
) -> Result<Prepared> {
    let tokenizer = folder.tokenizer(Which::First)?;
    let tokens = [GraphTokens::prepare(graph, &tokenizer)?];
    let (encoders, _) = folder.text_stack(dtype, device)?;
    let (network, _) = folder.scene_graph_encoder(dtype, device)?;
    let device = device.clone();
    Ok(Prepared::new(move || {
        let features = GraphFeatures::encode(&tokens, |sequences| {
            let features = encoders.encode(sequences, &device)?;
            Ok((features.hidden_states, features.pooled))
        })?;
        let states = network.forward(&tokens, &features)?;
        Ok(named([("encoder_hidden_states", states), ("text_embeds", features.pooled)]))
    }))
}

/// `weights` with the adapters of a file in any known style.
fn add_adapters(weights: &TensorMap, path: &Path, inputs: &Checked) -> Result<TensorMap> {
    let adapters = lora::read(weights, read_file(path, inputs.dtype, inputs.device)?, path)?;
    lora::add(weights, adapters, path)
}

/// Which way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ddim {
    Sample,
    Invert(InverseLabel),
    Euler,
}

/// The UNet with guidance, from latents `[1, c, h, w]` to the guided output.
struct Guided {
    network: UNet2DConditionModel,
    /// Two rows, the unconditional first.
    states: ProjectedStates,
    added: Option<AddedConditioning>,
    guidance_scale: f64,
}

impl Guided {
    fn predict(&self, latents: &Tensor, timestep: f64) -> Result<Tensor> {
        // Both rows in one pass: the same numbers as one after the other, with the weights read once.
        let both = Tensor::cat(&[latents, latents], 0)?;
        let timesteps = Tensor::new(&[timestep, timestep], latents.device())?.to_dtype(DType::F32)?;
        let output = self.network.forward_projected(&both, &timesteps, &self.states, self.added.as_ref())?;
        guide(&output.narrow(0, 0, 1)?, &output.narrow(0, 1, 1)?, self.guidance_scale)
    }
}

pub(super) fn ddim(
    folder: &ModelFolder,
    inputs: &Checked,
    steps: Steps,
    way: Ddim,
    lora: Option<&Path>,
) -> Result<Prepared> {
    if !steps.guidance_scale.is_finite() {
        return Err(Error::Invalid(format!("a guidance scale of {}", steps.guidance_scale)));
    }
    let config = folder.unet_config()?;
    if config.in_channels != config.out_channels {
        let message =
            format!("{} channels in, {} out: no sampler can go on from there", config.in_channels, config.out_channels);
        return Err(Error::Invalid(message));
    }
    let schedule = folder.schedule()?;
    let num_inference_steps = steps.num_inference_steps;
    let channels = Size::Exactly(config.in_channels, "in_channels");
    let latents = inputs.real("latents", &[Size::Exactly(1, ""), channels, Size::Any("h"), Size::Any("w")])?;
    let (states, added) = conditioning(inputs, &config, 2)?;
    let network = adapted_unet(folder, &config, inputs, lora)?;
    let guided = Guided { states: network.project(&states)?, network, added, guidance_scale: steps.guidance_scale };
    let device = inputs.device.clone();
    let timesteps = move |timesteps: Vec<i64>| Tensor::new(timesteps, &device);
    Ok(match way {
        Ddim::Sample => {
            let steps = schedule.ddim_steps(num_inference_steps, 0.)?;
            Prepared::new(move || {
                let mut state = latents.clone();
                for step in &steps {
                    state = step.previous(&state, &guided.predict(&state, step.timestep as f64)?)?;
                }
                let visited = steps.iter().map(|step| step.timestep as i64).collect();
                Ok(named([("latents", state), ("timesteps", timesteps(visited)?)]))
            })
        }
        Ddim::Invert(label) => {
            let steps = schedule.ddim_inverse_steps(num_inference_steps, label)?;
            Prepared::new(move || {
                let mut trajectory = vec![latents.clone()];
                let mut epsilon = Vec::with_capacity(steps.len());
                let mut state = latents.clone();
                for step in &steps {
                    let output = guided.predict(&state, step.label as f64)?;
                    epsilon.push(step.epsilon(&state, &output)?);
                    state = step.next(&state, &output)?;
                    trajectory.push(state.clone());
                }
                let visited = steps.iter().map(|step| step.timestep as i64).collect();
                Ok(named([
                    ("trajectory", Tensor::cat(&trajectory, 0)?),
                    ("epsilon", Tensor::cat(&epsilon, 0)?),
                    ("timesteps", timesteps(visited)?),
                ]))
            })
        }
        Ddim::Euler => {
            let steps = schedule.euler_steps(num_inference_steps)?;
            Prepared::new(move || {
                let mut state = (&latents * steps.initial_sigma)?;
                for step in &steps.steps {
                    let output = guided.predict(&step.model_input(&state)?, step.timestep)?;
                    state = step.previous(&state, &output)?;
                }
                let visited = steps.steps.iter().map(|step| step.timestep as f32).collect::<Vec<f32>>();
                let visited = Tensor::new(visited, latents.device())?;
                Ok(named([("latents", state), ("timesteps", visited)]))
            })
        }
    })
}
