//! Stage 4: the scene-graph encoder, with everything else frozen, as LAION-SG trains it (ALGORITHM §6.7).

use super::fit::{FitSettings, fit};
use super::unet::{LatentSet, denoising_loss};
use super::{PretrainProgress, PretrainSettings, WEIGHTS, stage_is_done};
use crate::shapes;
use candle_core::{DType, Device};
use models::Result;
use models::pipeline::Pipeline;
use models::scene_graph_encoder::{GraphText, GraphTokens, SceneGraphEncoder, SceneGraphEncoderConfig};
use models::weights::{FreshParameters, write_file, write_json};

const STEPS: usize = 1200;
const SHARDS: usize = 4;
const IMAGES_PER_SHARD: usize = 16;
/// Noises and timesteps of this stage.
const DRAWS: u64 = 0x5EED_0004;
/// The weight of the graph starts at zero and has far to go.
const ALPHA_LEARNING_RATE: f64 = 10.0;

/// The embedded default's: a quarter of the published width.
fn config(clip_dim: usize) -> SceneGraphEncoderConfig {
    SceneGraphEncoderConfig { clip_dim, embed_dim: 128, width: 128, ..SceneGraphEncoderConfig::default() }
}

pub(super) fn run(settings: &PretrainSettings, report: &mut dyn FnMut(&PretrainProgress)) -> Result<()> {
    let folder = settings.output.join("scene_graph_encoder");
    if stage_is_done(&folder) {
        return Ok(());
    }
    let pipeline = Pipeline::load(&settings.output, &Device::Cpu)?;
    let config = config(pipeline.unet().config().conditioning_width(0));
    let (network, vars) =
        FreshParameters::build(settings.seed, &Device::Cpu, |vb| SceneGraphEncoder::load(&vb, &config))?;
    let set = LatentSet::load(settings, pipeline.tokenizer())?;
    let seed = settings.seed ^ DRAWS;
    let loss = |step: usize, number: usize| {
        let number = (step * SHARDS + number) as u64;
        let shard = set.shard(pipeline.schedule(), seed, number, IMAGES_PER_SHARD)?;
        let graphs = shard
            .scenes
            .iter()
            .map(|&i| {
                let (triples, isolated) = shapes::generate_one(set.seed(), i as u64).texts();
                GraphTokens::prepare(&GraphText { triples, isolated }, pipeline.tokenizer())
            })
            .collect::<Result<Vec<_>>>()?;
        let features = pipeline.graph_features(&graphs)?;
        let states = network.forward(&graphs, &features)?;
        denoising_loss(pipeline.unet(), &shard, &states, &features.pooled)
    };
    let fit_settings = FitSettings {
        stage: "scene_graph_encoder",
        steps: settings.steps(STEPS),
        shards: SHARDS,
        learning_rate: 1e-3,
        warmup_steps: 50,
        ema_decay: 0.99,
        max_grad_norm: 1.0,
        slower: Some(("alpha", ALPHA_LEARNING_RATE)),
    };
    let averaged = fit(fit_settings, &settings.work_folder(), &vars, loss, report)?;
    write_file(&folder.join(WEIGHTS.1), &averaged, DType::F16)?;
    write_json(&folder.join("config.json"), &config)
}
