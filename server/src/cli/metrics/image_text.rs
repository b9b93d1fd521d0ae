//! `diptych metrics clip-score`, `pick-score` and `aesthetic`: what CLIP makes of pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use builder::metrics::Mode;
use candle_core::{Device, Tensor};
use clap::Args;
use models::metric_network::clip_model::{cosine, preferences, rows};
use models::metric_network::{AestheticHead, Center, ClipModel};
use serde_json::{Value, json};

use super::super::score::list_pictures;
use super::super::{Global, Told, output, session};
use super::ModeOption;
use super::pictures::{Prompted, features};

/// A CLIP and where it runs.
#[derive(Debug, Args)]
struct Model {
    /// A folder of transformers' CLIPModel: config.json, model.safetensors and, if not in --processor, the tokenizer
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Folder of the tokenizer and preprocessor_config.json [default: --model]
    #[arg(long, value_name = "DIR")]
    processor: Option<PathBuf>,
}

impl Model {
    fn open(&self, global: &Global) -> anyhow::Result<(ClipModel, Device)> {
        let device = session::device(global)?;
        let processor = self.processor.as_deref().unwrap_or(&self.model);
        Ok((ClipModel::open(&self.model, processor, &device)?, device))
    }
}

/// Cosine of a picture's and its prompt's CLIP features (CLIPScore; T2I-CompBench's non-spatial score with ViT-B/32)
///
/// Neither scaled nor cut off at 0. `reference`: a prompt of more than 77 tokens has no score, as OpenAI's tokenizer
/// refuses it; `corrected`: it is cut. Prints `{"image", "prompt", "score"}` for each picture, then a summary.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych metrics clip-score --model clip-vit-base-patch32 --images pictures --prompts prompts.jsonl"
)]
pub(crate) struct ClipScore {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    prompted: Prompted,
    #[command(flatten)]
    mode: ModeOption,
}

/// PickScore: cosine under the CLIP-H that was trained on people's choices, and the share of each picture of a prompt
///
/// `score` is the cosine, `scaled_score` exp(logit_scale) times it (the scale is the checkpoint's own), `probability` the
/// softmax of the latter over the pictures of one prompt.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych metrics pick-score --model PickScore_v1 --processor CLIP-ViT-H-14-laion2B-s32B-b79K --images pictures --prompts prompts.jsonl"
)]
pub(crate) struct PickScore {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    prompted: Prompted,
}

/// LAION's aesthetic predictor v2, usually 1 to 10; no prompt
///
/// --head is a safetensors conversion of `sac+logos+ava1-l14-linearMSE.pth` with its names, `layers.0.weight` to
/// `layers.7.bias`; --model is CLIP ViT-L/14.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych metrics aesthetic --model clip-vit-large-patch14 --head aesthetic.safetensors --images pictures"
)]
pub(crate) struct Aesthetic {
    #[command(flatten)]
    model: Model,
    /// The predictor's layers
    #[arg(long, value_name = "FILE")]
    head: PathBuf,
    /// The pictures
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
}

/// One picture's score, or why there is none.
struct Scored {
    image: String,
    prompt: String,
    score: Result<f64, String>,
}

const NO_DIRECTION: &str = "its features have no direction (length zero, or not finite)";

impl ClipScore {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let (model, _) = self.model.open(global)?;
        let strict = self.mode.mode == Mode::Reference;
        // OpenAI's transform is torchvision's.
        let scored = cosines(&model, &self.prompted, Center::Torchvision, strict)?;
        for one in &scored {
            output::json(&line(&one.image, &one.score, json!({ "prompt": one.prompt })))?;
        }
        summary("clip_score", &scored, json!({ "mode": self.mode.mode.as_str(), "weights": model.content_hash() }))
    }
}

impl PickScore {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let (model, _) = self.model.open(global)?;
        let scored = cosines(&model, &self.prompted, Center::Transformers, false)?;
        let scale = model.scale();
        let mut of_prompt: BTreeMap<&str, Vec<(usize, f64)>> = BTreeMap::new();
        for (i, one) in scored.iter().enumerate() {
            if let Ok(score) = one.score {
                of_prompt.entry(&one.prompt).or_default().push((i, score));
            }
        }
        let mut shares = vec![None; scored.len()];
        for rivals in of_prompt.values() {
            let scores: Vec<f64> = rivals.iter().map(|(_, score)| *score).collect();
            for ((i, _), share) in rivals.iter().zip(preferences(&scores, scale)) {
                shares[*i] = Some(share);
            }
        }
        for (one, share) in scored.iter().zip(shares) {
            let scaled = one.score.as_ref().ok().map(|score| scale * score);
            let more = json!({ "prompt": one.prompt, "scaled_score": scaled, "probability": share });
            output::json(&line(&one.image, &one.score, more))?;
        }
        summary("pick_score", &scored, json!({ "scale": scale, "weights": model.content_hash() }))
    }
}

impl Aesthetic {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let (model, device) = self.model.open(global)?;
        let head = AestheticHead::open(&self.head, &device)?;
        let names = list_pictures(&self.images)?;
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = features(&self.images, &known, |pictures| model.image_features(pictures, Center::Transformers))?;
        let mut scored = Vec::with_capacity(names.len());
        for (image, row) in names.into_iter().zip(found) {
            let score = match row {
                Ok(row) => {
                    let row: Vec<f32> = row.iter().map(|&value| value as f32).collect();
                    let scores = head.scores(&Tensor::new(row, &device)?.unsqueeze(0)?)?;
                    scores.first().copied().flatten().ok_or_else(|| NO_DIRECTION.to_owned())
                }
                Err(reason) => Err(reason),
            };
            output::json(&line(&image, &score, json!({})))?;
            scored.push(Scored { image, prompt: String::new(), score });
        }
        summary("aesthetic", &scored, json!({ "weights": model.content_hash(), "head": head.content_hash() }))
    }
}

/// Each picture against its prompt.
fn cosines(model: &ClipModel, prompted: &Prompted, center: Center, strict: bool) -> anyhow::Result<Vec<Scored>> {
    let all = prompted.read()?;
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, prompt) in &all {
        places.insert(prompt, 0);
    }
    places.values_mut().zip(0..).for_each(|(place, i)| *place = i);
    let texts: Vec<&str> = places.keys().copied().collect();
    let text_rows = rows(&model.text_features(&texts)?)?;
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let found = features(prompted.folder(), &names, |pictures| model.image_features(pictures, center))?;
    let mut scored = Vec::with_capacity(all.len());
    for ((image, prompt), row) in all.iter().zip(found) {
        let tokens = if strict { model.num_tokens(prompt)? } else { 0 };
        let score = row.and_then(|row| {
            if tokens > model.max_tokens() {
                return Err(format!("its prompt has {tokens} tokens; the text encoder takes {}", model.max_tokens()));
            }
            cosine(&text_rows[places[prompt.as_str()]], &row).ok_or_else(|| NO_DIRECTION.to_owned())
        });
        scored.push(Scored { image: image.clone(), prompt: prompt.clone(), score });
    }
    Ok(scored)
}

/// `{"image", "score", …}`, with a reason where there is no score.
fn line(image: &str, score: &Result<f64, String>, more: Value) -> Value {
    let mut line = json!({ "image": image, "score": score.as_ref().ok() });
    if let Err(reason) = score {
        line["error"] = json!(reason);
    }
    merged(line, more)
}

/// The mean over what has a score, and how many have none.
fn summary(metric: &str, scored: &[Scored], more: Value) -> anyhow::Result<()> {
    let scores: Vec<f64> = scored.iter().filter_map(|one| one.score.as_ref().ok().copied()).collect();
    let mean = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
    let failed = scored.len() - scores.len();
    let whole = json!({ "metric": metric, "score": mean, "images": scored.len(), "failed": failed });
    output::json(&json!({ "summary": merged(whole, more) }))?;
    if failed > 0 { Err(Told.into()) } else { Ok(()) }
}

fn merged(mut one: Value, more: Value) -> Value {
    if let (Value::Object(one), Value::Object(more)) = (&mut one, more) {
        one.extend(more);
    }
    one
}

/// Inception's features of every picture of a folder.
pub(super) fn inception_features(
    network: &models::metric_network::InceptionV3,
    folder: &Path,
) -> anyhow::Result<builder::metrics::frechet::Features> {
    let names = list_pictures(folder)?;
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = features(folder, &known, |pictures| network.features(pictures))?;
    let mut values = Vec::new();
    for (name, row) in names.iter().zip(found) {
        // A picture that is left out would change the distance without a word.
        values.extend(row.map_err(|reason| anyhow::anyhow!("{}: {reason}", folder.join(name).display()))?);
    }
    let columns = values.len() / names.len();
    Ok(builder::metrics::frechet::Features::new(&folder.display().to_string(), names.len(), columns, values)?)
}
