//! `diptych model run`: one network on given tensors.

use std::path::{Path, PathBuf};

use anyhow::Context;
use builder::conditioning::graph_text;
use builder::laion_sg::{self, Format, Record};
use clap::{Args, ValueEnum};
use models::model_folder::Which;
use models::run::{self, Inputs, Network, Settings, Steps};
use models::scene_graph_encoder::GraphText;
use models::scheduler::InverseLabel;
use models::vae::TileSize;
use models::weights::write_file;

use super::super::precision::Precision;
use super::super::{Global, Told, Usage, lint, output, session};

/// Run one network of a model folder on the tensors of a safetensors file
#[derive(Debug, Args)]
#[command(after_help = "\
Tensors (b batch, s tokens, d conditioning width, p pooled width, T steps):
  unet                 sample [b,4,h,w], timestep [b] i64, encoder_hidden_states [b,s,d], SDXL also text_embeds [b,p],
                       time_ids [b,6]; with --grad also cotangent  →  sample; with --grad, of Σ(sample·cotangent),
                       grad.sample, grad.encoder_hidden_states, grad.<parameter> for every parameter
  vae_encode           sample [b,3,H,W] in [-1,1]  →  mean, logvar (unscaled)
  vae_decode           latents (unscaled)  →  sample
  text_encoder[_2]     input_ids [b,77] i64  →  last_hidden_state, penultimate, pooled (projected for the second)
  ddim_sample, euler_sample
                       latents [1,4,h,w], encoder_hidden_states [2,s,d] (row 0 unconditional), SDXL also
                       text_embeds [2,p], time_ids [2,6]  →  latents, timesteps
  ddim_invert          the same  →  trajectory [T+1,4,h,w], epsilon [T,4,h,w], timesteps
  scene_graph_encoder  --graph FILE  →  encoder_hidden_states [1,77,d], text_embeds [1,p]

Example:  diptych model run unet --model models/tiny --input in.safetensors --output out.safetensors --repeat 5")]
pub(crate) struct Run {
    /// Which one
    #[arg(value_enum)]
    network: Name,
    /// A folder in diffusers' layout; it needs to hold only what the network takes
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The tensors that go in
    #[arg(long, value_name = "FILE", required_unless_present = "graph")]
    input: Option<PathBuf>,
    /// The tensors that come out, in f32
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Of `unet`: gradients, too
    #[arg(long)]
    grad: bool,
    /// With --grad: keep the inputs of blocks alone and compute the blocks again on the way back
    #[arg(long, requires = "grad")]
    checkpointing: bool,
    /// Time N runs after one that is not timed, and print the seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    repeat: Option<u32>,
    /// Precision of weights and activations
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
    /// Of the samplers: steps
    #[arg(long, value_name = "N", default_value_t = 20)]
    steps: usize,
    /// Of the samplers: guidance scale g of e_u + g (e_c − e_u)
    #[arg(long, value_name = "G", default_value_t = 1.0, allow_negative_numbers = true)]
    guidance: f64,
    /// Of `ddim_invert`: the timestep that the network is told
    #[arg(long, value_enum, default_value_t = Label::Destination)]
    label: Label,
    /// Of the VAE: pictures larger than a tile piece by piece, as diffusers' `enable_tiling`; the tile's side is that of
    /// the configuration, or so many pixels
    #[arg(long, value_name = "PIXELS", num_args = 0..=1, default_missing_value = "0")]
    tile: Option<usize>,
    /// Of the UNet and the samplers: adapters (diffusers, PEFT, kohya)
    #[arg(long, value_name = "FILE")]
    lora: Option<PathBuf>,
    /// Of `scene_graph_encoder`: a LAION-SG record
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Name {
    Unet,
    VaeEncode,
    VaeDecode,
    TextEncoder,
    #[value(name = "text_encoder_2")]
    TextEncoder2,
    DdimSample,
    DdimInvert,
    EulerSample,
    SceneGraphEncoder,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Label {
    /// Where the step arrives, as in the released script
    Destination,
    /// Where it starts, as the paper reads
    Source,
}

impl Run {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        session::limit_threads(global);
        let network = self.network()?;
        let inputs = match (&self.input, &network) {
            (_, Network::SceneGraphEncoder(_)) => Inputs::new(Path::new("--input"), [].into()),
            (Some(input), _) => Inputs::read(input)?,
            (None, _) => return Err(Usage("--input is missing".to_owned()).into()),
        };
        let settings = Settings {
            dtype: self.dtype.dtype(),
            device: session::device(global)?,
            repeats: self.repeat.unwrap_or_default() as usize,
            vae_tile: self.tile.map(|pixels| if pixels == 0 { TileSize::OfConfig } else { TileSize::Pixels(pixels) }),
            lora: self.lora.clone(),
        };
        let outcome = run::run(&network, &self.model, &inputs, &settings)?;
        // Of the network, not of the copy that writing makes.
        let peak = run::peak_memory_bytes();
        write_file(&self.output, &outcome.tensors, run::DType::F32)?;
        if let Some(timing) = outcome.timing {
            return output::json(&timing);
        }
        let shapes: serde_json::Map<String, serde_json::Value> =
            outcome.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().into())).collect();
        if global.json {
            return output::json(
                &serde_json::json!({ "output": self.output, "tensors": shapes, "peak_memory_bytes": peak }),
            );
        }
        output::note(&format!("{} tensors in {}", shapes.len(), self.output.display()));
        Ok(())
    }

    fn network(&self) -> anyhow::Result<Network> {
        let usage = |message: &str| Err(Usage(message.to_owned()).into());
        if self.grad && self.network != Name::Unet {
            return usage("--grad is for `unet` alone");
        }
        if self.graph.is_some() != (self.network == Name::SceneGraphEncoder) {
            return usage("--graph belongs to `scene_graph_encoder`, which needs it");
        }
        if self.tile.is_some() && !matches!(self.network, Name::VaeEncode | Name::VaeDecode) {
            return usage("--tile is for `vae_encode` and `vae_decode` alone");
        }
        let of_unet = matches!(self.network, Name::Unet | Name::DdimSample | Name::DdimInvert | Name::EulerSample);
        if self.lora.is_some() && !of_unet {
            return usage("--lora is for `unet` and the samplers alone");
        }
        if self.steps == 0 {
            return usage("--steps must be at least 1");
        }
        let steps = Steps { num_inference_steps: self.steps, guidance_scale: self.guidance };
        Ok(match self.network {
            Name::Unet => Network::Unet { gradients: self.grad, checkpointing: self.checkpointing },
            Name::VaeEncode => Network::VaeEncode,
            Name::VaeDecode => Network::VaeDecode,
            Name::TextEncoder => Network::TextEncoder(Which::First),
            Name::TextEncoder2 => Network::TextEncoder(Which::Second),
            Name::DdimSample => Network::DdimSample(steps),
            Name::EulerSample => Network::EulerSample(steps),
            Name::DdimInvert => Network::DdimInvert(
                steps,
                match self.label {
                    Label::Destination => InverseLabel::Destination,
                    Label::Source => InverseLabel::Source,
                },
            ),
            Name::SceneGraphEncoder => {
                let file = self.graph.as_deref().unwrap_or(Path::new("-"));
                Network::SceneGraphEncoder(read_graph(file)?)
            }
        })
    }
}

/// The one record of a file: an object by itself, on however many lines, or whatever else an ingest takes.
fn read_graph(file: &Path) -> anyhow::Result<GraphText> {
    let name = file.to_string_lossy();
    let text = fs_err::read(file)?;
    let object = serde_json::from_slice::<serde_json::Value>(&text).ok().filter(serde_json::Value::is_object);
    let mut records = match object {
        Some(object) => laion_sg::read_as(std::io::Cursor::new(object.to_string()), &name, Format::Lines),
        None => laion_sg::read_file(file)?,
    };
    let first = records.next().with_context(|| format!("{name}: holds no scene graph"))?;
    for finding in first.findings() {
        output::note(&lint::describe(finding));
    }
    let Record::Graph { graph, .. } = first else {
        return Err(Told.into());
    };
    if records.next().is_some() {
        anyhow::bail!("{name}: holds more than one scene graph");
    }
    Ok(graph_text(&graph))
}
