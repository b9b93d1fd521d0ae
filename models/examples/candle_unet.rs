//! candle-transformers' own UNet of Stable Diffusion on the inputs of `diptych model run unet`, for `make bench`.
//! `cargo run --release -p models --example candle_unet MODEL_FOLDER INPUT THREADS REPEATS` prints, as JSON, the median of the
//! repeats and by how much the output differs from ours, relative to the largest value.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::stable_diffusion::unet_2d::{
    BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig,
};
use models::run::{Inputs, Network, Settings, run};
use models::unet::{PerBlock, UNet2DConditionConfig};

/// Its configuration knows less than diffusers': one context width, one number of residual blocks.
fn settings(config: &UNet2DConditionConfig) -> Option<UNet2DConditionModelConfig> {
    let whole = |value: &PerBlock<usize>| match value {
        PerBlock::All(value) => Some(*value),
        PerBlock::Each(_) => None,
    };
    let blocks =
        config.block_out_channels.iter().zip(&config.down_block_types).enumerate().map(|(i, (&out_channels, kind))| {
            Some(BlockConfig {
                out_channels,
                use_cross_attn: kind
                    .starts_with("CrossAttn")
                    .then(|| config.transformer_layers_per_block.get(i))
                    .flatten(),
                attention_head_dim: config.attention_head_dim.get(i)?,
            })
        });
    Some(UNet2DConditionModelConfig {
        flip_sin_to_cos: config.flip_sin_to_cos,
        freq_shift: config.freq_shift,
        blocks: blocks.collect::<Option<_>>()?,
        layers_per_block: whole(&config.layers_per_block)?,
        norm_num_groups: config.norm_num_groups,
        norm_eps: config.norm_eps,
        cross_attention_dim: whole(&config.cross_attention_dim)?,
        use_linear_projection: config.use_linear_projection,
        ..UNet2DConditionModelConfig::default()
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, input, threads, repeats] = arguments.as_slice() else {
        return Err("MODEL_FOLDER INPUT THREADS REPEATS".into());
    };
    let (folder, threads) = (Path::new(folder), threads.parse()?);
    // One example, one thread yet: both pools are made when they are first used.
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let config: UNet2DConditionConfig = serde_json::from_slice(&fs_err::read(folder.join("unet/config.json"))?)?;
    let theirs = settings(&config).ok_or("candle-transformers has no such configuration")?;
    let device = Device::Cpu;
    let weights = candle_core::safetensors::load(folder.join("unet/diffusion_pytorch_model.safetensors"), &device)?;
    let vb = VarBuilder::from_tensors(weights, DType::F32, &device);
    let network = UNet2DConditionModel::new(vb, config.in_channels, config.out_channels, false, theirs)?;
    let inputs = candle_core::safetensors::load(input, &device)?;
    let of = |name: &str| inputs.get(name).ok_or_else(|| format!("{input}: no {name}"));
    // It knows one timestep for all images of a batch: the first one's, here and below.
    let timestep = of("timestep")?.narrow(0, 0, 1)?;
    let label = timestep.to_dtype(DType::F64)?.get(0)?.to_scalar::<f64>()?;
    let forward = || {
        network.forward(
            of("sample").map_err(candle_core::Error::msg)?,
            label,
            of("encoder_hidden_states").map_err(candle_core::Error::msg)?,
        )
    };
    let found = forward()?;
    let mut seconds = Vec::new();
    for _ in 0..repeats.parse::<usize>()?.max(1) {
        let start = Instant::now();
        forward()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_unstable_by(f64::total_cmp);

    let mut same = inputs.clone();
    same.insert("timestep".to_owned(), timestep.repeat(of("sample")?.dim(0)?)?);
    let inputs = Inputs::new(Path::new(input), same.into_iter().collect());
    let ours = run(&Network::Unet { gradients: false, checkpointing: false }, folder, &inputs, &Settings::cpu())?;
    let ours = ours.tensors.get("sample").ok_or("no sample")?;
    let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f32>();
    let difference = largest(&(ours - &found)?)? / largest(ours)?;
    println!(r#"{{"median_seconds": {}, "difference": {difference}}}"#, seconds[seconds.len() / 2]);
    Ok(())
}
