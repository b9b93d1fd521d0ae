//! Stage 2: the tokenizer, and two CLIP text encoders trained contrastively against an image tower.
//!
//! Loss: CLIP's (Radford et al. 2021), each image also told from a caption that is wrong in one fact.

use super::fit::{FitSettings, fit};
use super::vae::tensor_of_images;
use super::{PretrainProgress, PretrainSettings, WEIGHTS, stage_is_done};
use crate::shapes::{self, Color, Shape, Size, SpatialRelation};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use models::Result;
use models::clip::{
    ClipTextConfig, ClipTextModel, ClipTextModelWithProjection, ClipVisionConfig, ClipVisionModelWithProjection,
    HiddenAct,
};
use models::linear::Linear;
use models::text_conditioning::TextEncoders;
use models::tokenizer::{Tokenizer, Vocabulary};
use models::weights::{FreshParameters, TensorMap, VarMap, write_file};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::Path;

const STEPS: usize = 600;
const SHARDS: usize = 2;
const IMAGES_PER_SHARD: usize = 48;
const SCENES: u64 = 0x5EED_0002;
const VOCABULARY_SIZE: usize = 1024;
/// Frequent words of real scene graphs, so that their captions take few tokens too; the world's own come first.
const COMMON_WORDS: &str = include_str!("common_words.txt");

/// Both text encoders, the image tower and what only the contrastive loss needs.
struct ContrastivePair {
    encoders: TextEncoders,
    /// Brings the first encoder's pooled state, which SDXL does not project, to the image tower's width.
    first_projection: Linear,
    image_tower: ClipVisionModelWithProjection,
    logit_scale: Tensor,
}

/// Configuration of the first text encoder.
pub(super) fn first_config(tokenizer: &Tokenizer) -> ClipTextConfig {
    ClipTextConfig {
        architectures: vec!["CLIPTextModel".to_owned()],
        hidden_size: 64,
        intermediate_size: 256,
        projection_dim: 64,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        hidden_act: HiddenAct::QuickGelu,
        ..with_vocabulary(tokenizer)
    }
}

/// Configuration of the second text encoder.
pub(super) fn second_config(tokenizer: &Tokenizer) -> ClipTextConfig {
    ClipTextConfig {
        architectures: vec!["CLIPTextModelWithProjection".to_owned()],
        hidden_size: 128,
        intermediate_size: 512,
        projection_dim: 128,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        hidden_act: HiddenAct::Gelu,
        ..with_vocabulary(tokenizer)
    }
}

fn with_vocabulary(tokenizer: &Tokenizer) -> ClipTextConfig {
    let mut config = ClipTextConfig {
        vocab_size: tokenizer.vocab_size(),
        bos_token_id: tokenizer.bos(),
        eos_token_id: tokenizer.eos(),
        pad_token_id: tokenizer.pad(),
        ..ClipTextConfig::default()
    };
    config.other.insert("model_type".to_owned(), "clip_text_model".into());
    config
}

/// Where this stage leaves the encoders for the next, which trains them on.
pub(super) fn weights_file(settings: &PretrainSettings) -> std::path::PathBuf {
    settings.work_folder().join("text_encoders.safetensors")
}

/// Loads both encoders, named `text_encoder.…` and `text_encoder_2.…`.
pub(super) fn load_encoders(vb: &VarBuilder, tokenizer: &Tokenizer) -> Result<TextEncoders> {
    Ok(TextEncoders {
        first: ClipTextModel::load(&vb.pp("text_encoder"), &first_config(tokenizer))?,
        second: ClipTextModelWithProjection::load(&vb.pp("text_encoder_2"), &second_config(tokenizer))?,
    })
}

impl ContrastivePair {
    fn load(vb: &VarBuilder, tokenizer: &Tokenizer) -> Result<Self> {
        let second = second_config(tokenizer);
        let vision = ClipVisionConfig {
            hidden_size: 96,
            intermediate_size: 384,
            projection_dim: second.projection_dim,
            num_hidden_layers: 2,
            num_attention_heads: 3,
            image_size: shapes::IMAGE_SIZE as usize,
            patch_size: 8,
            ..ClipVisionConfig::default()
        };
        Ok(Self {
            encoders: load_encoders(vb, tokenizer)?,
            first_projection: Linear::load(
                vb.pp("first_projection"),
                first_config(tokenizer).hidden_size,
                second.projection_dim,
                false,
            )?,
            image_tower: ClipVisionModelWithProjection::load(&vb.pp("image_tower"), &vision)?,
            logit_scale: vb.get(1, "logit_scale")?,
        })
    }

    fn loss(&self, tokenizer: &Tokenizer, seed: u64, shard: u64) -> Result<Tensor> {
        let first = shard * IMAGES_PER_SHARD as u64;
        let scenes: Vec<_> = (first..first + IMAGES_PER_SHARD as u64).map(|i| shapes::generate_one(seed, i)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
        rng.set_stream(shard);
        let wrong: Vec<_> = scenes.iter().map(|scene| scene.corrupted(&mut rng)).collect();
        let images: Vec<_> = scenes.iter().map(|scene| shapes::render(&scene.layout)).collect();
        let sequences: Vec<_> =
            scenes.iter().chain(&wrong).map(|scene| tokenizer.encode(&scene.sentence())).collect::<Result<_>>()?;

        let image = unit(&self.image_tower.forward(&tensor_of_images(&images)?)?)?;
        let (first_text, second_text) = self.pooled(&sequences)?;
        Ok((self.told_apart(&image, &first_text)? + self.told_apart(&image, &second_text)?)?)
    }

    /// Pooled embeddings of both encoders, brought to the image tower's width.
    fn pooled(&self, sequences: &[Vec<u32>]) -> Result<(Tensor, Tensor)> {
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let ids: Vec<u32> = sequences
            .iter()
            .flat_map(|s| {
                let end = s.last().copied().unwrap_or_default();
                s.iter().copied().chain(std::iter::repeat(end)).take(longest)
            })
            .collect();
        let ids = Tensor::from_vec(ids, (sequences.len(), longest), &Device::Cpu)?;
        let first = self.first_projection.forward(&self.encoders.first.forward(&ids)?.pooled)?;
        Ok((unit(&first)?, unit(&self.encoders.second.forward(&ids)?.pooled)?))
    }

    /// `image [b, p]`; `text [2b, p]`: the right captions, then the wrong ones.
    fn told_apart(&self, image: &Tensor, text: &Tensor) -> Result<Tensor> {
        let b = image.dim(0)?;
        let (right, wrong) = (text.narrow(0, 0, b)?, text.narrow(0, b, b)?);
        // CLIP's initial temperature of 0.07 is where a zero parameter stands.
        let scale = (self.logit_scale.exp()? / 0.07)?;
        let by_image = image.matmul(&right.t()?)?.broadcast_mul(&scale)?; // [b image, b text]
        let with_wrong = (image * wrong)?.sum_keepdim(D::Minus1)?.broadcast_mul(&scale)?; // [b, 1]
        let target = Tensor::arange(0u32, b as u32, image.device())?;
        let all = Tensor::cat(&[&by_image, &with_wrong], 1)?;
        let loss = candle_nn::loss::cross_entropy(&all, &target)?;
        Ok((loss + candle_nn::loss::cross_entropy(&by_image.t()?.contiguous()?, &target)?)?)
    }
}

fn unit(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&x.sqr()?.sum_keepdim(D::Minus1)?.affine(1.0, 1e-12)?.sqrt()?)?)
}

/// The words that the tokenizer learns its merges from.
fn corpus() -> Vec<String> {
    let mut words: Vec<&str> = Vec::new();
    words.extend(Shape::ALL.iter().map(|word| word.word()));
    words.extend(Color::ALL.iter().map(|word| word.word()));
    words.extend(Size::ALL.iter().map(|word| word.word()));
    words.extend(SpatialRelation::ALL.iter().map(|word| word.word()));
    // Often enough that each of the world's words becomes one token.
    let mut lines = vec![words.join(" "); 100];
    lines.extend(COMMON_WORDS.lines().map(str::to_owned));
    lines
}

fn make_tokenizers(output: &Path) -> Result<()> {
    let corpus = corpus();
    let vocabulary = Vocabulary::train(corpus.iter().map(String::as_str), VOCABULARY_SIZE)?;
    vocabulary.save(&output.join("tokenizer"), models::tokenizer::EOS_TOKEN)?;
    vocabulary.save(&output.join("tokenizer_2"), "!")
}

pub(super) fn run(settings: &PretrainSettings, report: &mut dyn FnMut(&PretrainProgress)) -> Result<()> {
    make_tokenizers(&settings.output)?;
    if stage_is_done(&settings.output.join("text_encoder")) || weights_file(settings).exists() {
        return Ok(());
    }
    let tokenizer = Tokenizer::load(&settings.output.join("tokenizer"))?;
    let (pair, vars): (ContrastivePair, VarMap) =
        FreshParameters::build(settings.seed, &Device::Cpu, |vb| ContrastivePair::load(&vb, &tokenizer))?;
    let fit_settings = FitSettings {
        stage: "text",
        steps: settings.steps(STEPS),
        shards: SHARDS,
        learning_rate: 1.5e-3,
        warmup_steps: 60,
        ema_decay: 0.98,
        max_grad_norm: 1.0,
        slower: None,
    };
    let seed = settings.seed ^ SCENES;
    let averaged = fit(
        fit_settings,
        &settings.work_folder(),
        &vars,
        |step, shard| pair.loss(&tokenizer, seed, (step * SHARDS + shard) as u64),
        report,
    )?;
    let encoders: TensorMap = averaged.into_iter().filter(|(name, _)| name.starts_with("text_encoder")).collect();
    write_file(&weights_file(settings), &encoders, DType::F32)
}

/// Writes the folders of both encoders.
pub(super) fn write_encoders(settings: &PretrainSettings, tokenizer: &Tokenizer, weights: &TensorMap) -> Result<()> {
    for (folder, config) in [("text_encoder", first_config(tokenizer)), ("text_encoder_2", second_config(tokenizer))] {
        let prefix = format!("{folder}.");
        let part: TensorMap = weights
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone())))
            .collect();
        let folder = settings.output.join(folder);
        write_file(&folder.join(WEIGHTS.1), &part, DType::F16)?;
        models::weights::write_json(&folder.join("config.json"), &config)?;
    }
    Ok(())
}
