//! `diptych metrics three-in-one`: T2I-CompBench's score of complex prompts from its parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use builder::metrics::three_in_one::{Parts, Subsets, score};
use clap::Args;
use serde_json::{Map, Value, json};

use super::super::{Told, output};
use super::{ModeOption, each_object};

/// T2I-CompBench's score of complex prompts: the mean of attribute binding, 2-D spatial score and CLIPScore, as far as they
/// apply
///
/// Reads what `diptych score --json --metric attribute_binding`, `--metric t2i_spatial` and `diptych metrics clip-score` have
/// printed, and joins the lines by their `image`. A picture's prompt is the `"prompt"` of a line, or its file name before
/// the first underscore. --prompts says which subset a prompt is of, in JSON lines of `{"prompt", "subset"}` with `spatial`,
/// `action` or `spatial+action`; what it does not name is of both. `reference` needs every part that applies, `corrected` takes those that
/// are there. Prints `{"image", "prompt", "subset", "score", "parts"}` for each picture, then a summary.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych metrics three-in-one --attribute binding.jsonl --spatial spatial.jsonl --action clip.jsonl --prompts val_prompts.jsonl"
)]
pub(crate) struct ThreeInOne {
    /// Attribute binding, by picture
    #[arg(long, value_name = "FILE")]
    attribute: PathBuf,
    /// 2-D spatial scores, by picture
    #[arg(long, value_name = "FILE")]
    spatial: Option<PathBuf>,
    /// CLIPScores, by picture
    #[arg(long, value_name = "FILE")]
    action: Option<PathBuf>,
    /// Subsets of prompts
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    #[command(flatten)]
    mode: ModeOption,
}

/// What is known of one picture.
#[derive(Default)]
struct Picture {
    prompt: Option<String>,
    parts: Parts,
}

impl ThreeInOne {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut pictures: BTreeMap<String, Picture> = BTreeMap::new();
        let mut faults = take(&self.attribute, &mut pictures, |parts, score| parts.attribute = Some(score))?;
        if let Some(path) = &self.spatial {
            faults += take(path, &mut pictures, |parts, score| parts.spatial = Some(score))?;
        }
        if let Some(path) = &self.action {
            faults += take(path, &mut pictures, |parts, score| parts.action = Some(score))?;
        }
        let subsets = self.prompts.as_deref().map(read_subsets).transpose()?.unwrap_or_default();
        let mode = self.mode.mode;
        let mut of_subset: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut failed = 0;
        for (image, picture) in &pictures {
            let of_name = || {
                let stem = image.rsplit_once('.').map_or(image.as_str(), |(stem, _)| stem);
                stem.split('_').next().unwrap_or_default().to_owned()
            };
            let prompt = picture.prompt.clone().unwrap_or_else(of_name);
            let subset = subsets.of(&prompt);
            let mut line = json!({ "image": image, "prompt": prompt, "subset": subset.as_str() });
            match score(picture.parts, subset, mode) {
                Ok(found) => {
                    let parts: Map<String, Value> =
                        found.parts.iter().map(|(name, part)| ((*name).to_owned(), json!(part))).collect();
                    line["score"] = json!(found.score);
                    line["parts"] = Value::Object(parts);
                    of_subset.entry(subset.as_str()).or_default().push(found.score);
                }
                Err(reason) => {
                    line["score"] = Value::Null;
                    line["error"] = json!(reason);
                    failed += 1;
                }
            }
            output::json(&line)?;
        }
        let mean = |scores: &[f64]| (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
        let all: Vec<f64> = of_subset.values().flatten().copied().collect();
        let by_subset: Map<String, Value> =
            of_subset.iter().map(|(name, scores)| ((*name).to_owned(), json!(mean(scores)))).collect();
        output::json(&json!({ "summary": {
            "metric": "three_in_one", "score": mean(&all), "images": pictures.len(), "failed": failed,
            "by_category": by_subset, "mode": mode.as_str(),
        }}))?;
        if faults > 0 || all.is_empty() { Err(Told.into()) } else { Ok(()) }
    }
}

/// Takes the scores of a file in; how many lines are wrong. A line without a picture is a summary.
fn take(path: &Path, pictures: &mut BTreeMap<String, Picture>, put: impl Fn(&mut Parts, f64)) -> anyhow::Result<usize> {
    each_object(path, |_, object| {
        let Some(image) = object.text("image")? else { return Ok(()) };
        let picture = pictures.entry(image.to_owned()).or_default();
        if let Some(prompt) = object.text("prompt")? {
            picture.prompt = Some(prompt.to_owned());
        }
        if object.get("score").is_some() {
            put(&mut picture.parts, object.number("score")?);
        }
        Ok(())
    })
}

fn read_subsets(path: &Path) -> anyhow::Result<Subsets> {
    let mut subsets = Subsets::default();
    let faults = each_object(path, |_, object| {
        let prompt = object.text("prompt")?.ok_or("prompt: is missing")?;
        if let Some(subset) = object.text("subset")? {
            subsets.insert(prompt, subset.parse().map_err(|message| format!("subset: {message}"))?);
        }
        Ok(())
    })?;
    anyhow::ensure!(faults == 0, "{}: {faults} lines could not be read", path.display());
    Ok(subsets)
}
