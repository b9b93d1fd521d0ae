//! `diptych model register`: networks that judge images, for score runs of the store.

use std::path::PathBuf;

use builder::scorer::NetworkFiles;
use builder::store::metric_network;
use builder::task::score;
use clap::Args;
use serde_json::json;

use super::super::{Global, Usage, output, session};

/// Make a network that judges images known to the store, so that score runs may name it
///
/// The network is loaded once to see that it is whole; its version is the hash of its weights. Without --scorer: list what is
/// registered.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  diptych model register --scorer blip-vqa --name blip --model blip-vqa-capfilt-large
  diptych model register --scorer pick-score --name pick-score-v1 --model PickScore_v1 --processor CLIP-ViT-H-14-laion2B-s32B-b79K
  diptych model register --scorer aesthetic --name aesthetic-v2 --model clip-vit-large-patch14 --head aesthetic.safetensors
  diptych model register --scorer inception --name fid --model pt_inception-2015-12-05.safetensors
  diptych model register --scorer features --name coco-val --model coco-val.safetensors
  diptych model register")]
pub(crate) struct Register {
    /// What it is for: blip-vqa, clip-score, pick-score or aesthetic; for Fréchet distances inception, or features of
    /// pictures that are not in the store
    #[arg(long, value_name = "NAME", requires_all = ["name", "model"])]
    scorer: Option<String>,
    /// What score runs call it
    #[arg(long, value_name = "NAME", requires = "scorer")]
    name: Option<String>,
    /// Its folder; for inception and features the safetensors file
    #[arg(long, value_name = "DIR", requires = "scorer")]
    model: Option<PathBuf>,
    /// Folder of the tokenizer and preprocessor_config.json [default: --model]
    #[arg(long, value_name = "DIR", requires = "scorer")]
    processor: Option<PathBuf>,
    /// The aesthetic predictor's layers
    #[arg(long, value_name = "FILE", requires = "scorer")]
    head: Option<PathBuf>,
}

impl Register {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let Self { scorer, name, model, processor, head } = self;
        let (Some(scorer), Some(name), Some(folder)) = (scorer, name, model) else {
            return list(global);
        };
        if !score::is_registrable(&scorer) {
            let message =
                format!("--scorer {scorer}: is blip-vqa, clip-score, pick-score, aesthetic, inception or features");
            return Err(Usage(message).into());
        }
        let files = NetworkFiles { folder, processor, head };
        let version =
            session::with(global, async |session| Ok(score::register(&session.context, &name, &scorer, files).await?))?;
        if global.json {
            return output::json(&json!({ "name": name, "scorer": scorer, "version": version }));
        }
        Ok(output::line(&format!("{name}: {scorer} {version}"))?)
    }
}

fn list(global: &Global) -> anyhow::Result<()> {
    let networks = session::with(global, async |session| {
        Ok(metric_network::list(&mut *session.context.pool.acquire().await?).await?)
    })?;
    for one in networks {
        if global.json {
            let line = json!({ "name": one.name, "scorer": one.scorer, "version": one.version, "path": one.path });
            output::json(&line)?;
        } else {
            output::line(&format!("{}: {} {} ({})", one.name, one.scorer, one.version, one.path))?;
        }
    }
    Ok(())
}
