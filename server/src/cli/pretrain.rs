//! `diptych pretrain`: the tiny model, from nothing.

use std::path::PathBuf;

use builder::pretrain::{self, PretrainSettings};
use clap::Args;

use super::{Global, output, session};

/// Make the tiny model from nothing: VAE, text encoders, UNet, scene-graph encoder; then measure it
///
/// About two hours on two cores. A run that was stopped goes on where it was.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych pretrain --output models/tiny")]
pub(crate) struct Pretrain {
    /// The model folder to make
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Of all parameters, scenes and noises
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Share of the usual number of steps; below 1 the model is worse and sooner there
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    scale: f64,
    /// Only this stage; those before it must be done
    #[arg(long, value_parser = ["vae", "text", "unet", "scene_graph_encoder", "measure"])]
    only: Option<String>,
}

impl Pretrain {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        session::limit_threads(global);
        let only = self.only.as_deref().map(|name| match name {
            "vae" => pretrain::Stage::Vae,
            "text" => pretrain::Stage::Text,
            "unet" => pretrain::Stage::Unet,
            "measure" => pretrain::Stage::Measure,
            _ => pretrain::Stage::SceneGraphEncoder,
        });
        let settings = PretrainSettings { output: self.output, seed: self.seed, scale: self.scale, only };
        let json = global.json;
        let mut closed = false;
        pretrain::run(&settings, &mut |progress| {
            // The training goes on when nobody reads its progress any more.
            let line = serde_json::json!({
                "stage": progress.stage,
                "step": progress.step,
                "steps": progress.steps,
                "loss": progress.loss.is_finite().then_some(progress.loss),
                "seconds": progress.seconds,
            });
            if json {
                closed |= output::line(&line.to_string()).is_err();
            } else {
                let pretrain::PretrainProgress { stage, step, steps, loss, seconds } = progress;
                let loss = if loss.is_finite() { format!("loss {loss:.4}") } else { String::new() };
                output::note(&format!("{stage:<20} {step:>6}/{steps} {loss} {seconds:>7.0} s"));
            }
        })?;
        Ok(())
    }
}
