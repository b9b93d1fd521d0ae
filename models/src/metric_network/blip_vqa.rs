//! BLIP for visual question answering, from a folder of transformers' `BlipForQuestionAnswering`: P(yes) of a question.
//!
//! Sources: `transformers/models/blip/modeling_blip.py`, `modeling_blip_text.py`; Li et al. 2022, arXiv 2201.12086.
//! Only the decoder's first token is looked at, as T2I-CompBench does.
//!
//! b questions · n tokens · m patches and the class token · d hidden size

mod text;
mod vision;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::folder::{check_tower, normalization, part, refuse};
use super::pixels::{Normalization, Pixels};
use super::word_piece::QuestionTokenizer;
use crate::clip::{ClipVisionConfig, HiddenAct};
use crate::layers::LayerNorm;
use crate::linear::Linear;
use crate::ops;
use crate::weights::{WeightFiles, content_hash, read_json};
use crate::{Error, Result};
use text::TextModel;
use vision::VisionModel;

/// Questions that are encoded at a time.
const QUESTIONS: usize = 32;

/// `text_config` of transformers' `BlipConfig`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct TextConfig {
    vocab_size: usize,
    hidden_size: usize,
    encoder_hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: HiddenAct,
    layer_norm_eps: f64,
    bos_token_id: u32,
    /// Keys that do not change the numbers.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Default for TextConfig {
    /// transformers' defaults.
    fn default() -> Self {
        Self {
            vocab_size: 30524,
            hidden_size: 768,
            encoder_hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            hidden_act: HiddenAct::Gelu,
            layer_norm_eps: 1e-12,
            bos_token_id: 30522,
            other: Map::new(),
        }
    }
}

/// What transformers takes where `vision_config` says nothing.
fn vision_defaults() -> Map<String, Value> {
    let defaults = serde_json::json!({
        "image_size": 384, "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
    });
    defaults.as_object().cloned().unwrap_or_default()
}

/// The networks and what goes with them.
pub struct BlipVqa {
    networks: Networks,
    tokenizer: QuestionTokenizer,
    normalization: Normalization,
    image_size: usize,
    /// Begins an answer (`[DEC]`).
    start: u32,
    content_hash: String,
    device: Device,
}

struct Networks {
    vision_model: VisionModel,
    text_encoder: TextModel,
    text_decoder: TextModel,
    transform: Linear,
    transform_norm: LayerNorm,
    hidden_act: HiddenAct,
    /// `[vocabulary, d]`.
    output: Tensor,
    /// `[vocabulary]`.
    output_bias: Tensor,
}

impl BlipVqa {
    /// Opens a folder: `config.json`, `model.safetensors`, `tokenizer.json` or `vocab.txt` and, where it is,
    /// `preprocessor_config.json`.
    ///
    /// # Errors
    /// A file is missing, damaged or of another network; the error names file and key or tensor.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        let path = dir.join("config.json");
        let mut all: Map<String, Value> = read_json(&path)?;
        if let Some(other) = all.get("model_type").filter(|value| **value != "blip") {
            return refuse(&path, "model_type", format!("is {other}; a BlipForQuestionAnswering has \"blip\""));
        }
        let (text, vision) = configs(&path, &mut all)?;
        let tied = all.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(true);
        let (networks, tensors) =
            WeightFiles::open(dir)?.load(DType::F32, device, |vb| Networks::load(&vb, &text, &vision, tied))?;
        let tokenizer = QuestionTokenizer::open(dir, text.bos_token_id + 1)?;
        if tokenizer.max_id().max(text.bos_token_id) as usize >= text.vocab_size {
            let message = format!("{} tokens, the tokenizer has ids up to {}", text.vocab_size, tokenizer.max_id());
            return refuse(&path, "text_config.vocab_size", message);
        }
        Ok(Self {
            networks,
            tokenizer,
            normalization: normalization(dir)?,
            image_size: vision.image_size,
            start: text.bos_token_id,
            content_hash: content_hash([("blip", &tensors)])?,
            device: device.clone(),
        })
    }

    /// SHA-256 over all weights, in hex.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// P(yes) against no for each question about a picture of any size.
    ///
    /// # Errors
    /// The tokenizer failed on a question, or the numbers are not finite.
    pub fn ask(&self, picture: &Pixels, questions: &[&str]) -> Result<Vec<f64>> {
        let image = self.image(picture)?;
        let mut encoded = Vec::with_capacity(questions.len());
        for (place, question) in questions.iter().enumerate() {
            encoded.push((place, self.tokenizer.encode(question)?));
        }
        // Questions of one length go together: nothing is padded, and no answer depends on its neighbours.
        encoded.sort_by_key(|(place, ids)| (ids.len(), *place));
        let mut answers = vec![0.0; questions.len()];
        for same in encoded.chunk_by(|a, b| a.1.len() == b.1.len()).flat_map(|same| same.chunks(QUESTIONS)) {
            let ids: Vec<Vec<u32>> = same.iter().map(|(_, ids)| ids.clone()).collect();
            let logits = self.logits(&image, &Tensor::new(ids, &self.device)?)?.to_dtype(DType::F64)?;
            for ((place, _), row) in same.iter().zip(logits.to_vec2::<f64>()?) {
                let difference = row[self.tokenizer.yes() as usize] - row[self.tokenizer.no() as usize];
                if !difference.is_finite() {
                    return Err(Error::Invalid("the answer's probabilities are no finite numbers".to_owned()));
                }
                answers[*place] = 1.0 / (1.0 + (-difference).exp());
            }
        }
        Ok(answers)
    }

    /// What is seen of a picture, ready for questions.
    ///
    /// # Errors
    /// Candle's.
    pub fn image(&self, picture: &Pixels) -> Result<SeenImage> {
        let picture = picture.resize(self.image_size, self.image_size);
        self.image_of_pixels(&Pixels::batch(&[picture], self.normalization, &self.device)?)
    }

    /// As [`Self::image`], of `[1, 3, h, w]` normalised pixels.
    ///
    /// # Errors
    /// The pixels do not have the configured size.
    pub fn image_of_pixels(&self, pixels: &Tensor) -> Result<SeenImage> {
        let hidden_states = self.networks.vision_model.forward(pixels)?;
        Ok(SeenImage { keys_values: self.networks.text_encoder.keys_values(&hidden_states)?, hidden_states })
    }

    /// Logits `[b, vocabulary]` of the answer's first token, for ids `[b, n]` of questions about one picture.
    ///
    /// # Errors
    /// More ids than positions, or an id beyond the vocabulary.
    pub fn logits(&self, image: &SeenImage, input_ids: &Tensor) -> Result<Tensor> {
        let networks = &self.networks;
        let b = input_ids.dim(0)?;
        let question = networks.text_encoder.forward(input_ids, &image.keys_values)?;
        let start = Tensor::full(self.start, (b, 1), &self.device)?;
        let memory = networks.text_decoder.keys_values(&question)?;
        let hidden = networks.text_decoder.forward(&start, &memory)?.squeeze(1)?;
        let hidden = text::activate(networks.hidden_act, &networks.transform.forward(&hidden)?)?;
        let hidden = networks.transform_norm.forward(&hidden)?;
        Ok(ops::linear(&hidden, &networks.output, Some(&networks.output_bias))?)
    }

    /// Ids of a question, as they are asked.
    ///
    /// # Errors
    /// The tokenizer failed.
    pub fn encode(&self, question: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(question)
    }
}

/// A picture as the text encoder sees it.
pub struct SeenImage {
    /// `[1, m, d]`.
    pub hidden_states: Tensor,
    keys_values: Vec<(Tensor, Tensor)>,
}

impl Networks {
    fn load(vb: &VarBuilder, text: &TextConfig, vision: &ClipVisionConfig, tied: bool) -> Result<Self> {
        const HEAD: &str = "text_decoder.cls.predictions";
        const EMBEDDINGS: &str = "text_decoder.bert.embeddings.word_embeddings.weight";
        let (vocabulary, width) = (text.vocab_size, text.hidden_size);
        // Files hold one or both of what is tied; the embeddings are what counts.
        let decoder = format!("{HEAD}.decoder.weight");
        let own = vb.contains_tensor(&decoder).then(|| vb.get((vocabulary, width), &decoder)).transpose()?;
        let embeddings = match &own {
            Some(own) if tied && !vb.contains_tensor(EMBEDDINGS) => own.clone(),
            _ => vb.get((vocabulary, width), EMBEDDINGS)?,
        };
        let bias = format!("{HEAD}.decoder.bias");
        let own_bias = vb.contains_tensor(&bias).then(|| vb.get(vocabulary, &bias)).transpose()?;
        let free_bias = vb.get(vocabulary, &format!("{HEAD}.bias"))?;
        let head = vb.pp(HEAD).pp("transform");
        let encoder_words = vb.get((vocabulary, width), "text_encoder.embeddings.word_embeddings.weight")?;
        Ok(Self {
            vision_model: VisionModel::load(&vb.pp("vision_model"), vision)?,
            text_encoder: TextModel::load(&vb.pp("text_encoder"), text, encoder_words, vision.hidden_size)?,
            text_decoder: TextModel::load(&vb.pp("text_decoder.bert"), text, embeddings.clone(), width)?,
            transform: Linear::load(head.pp("dense"), width, width, true)?,
            transform_norm: LayerNorm::load(&head.pp("LayerNorm"), width, text.layer_norm_eps)?,
            hidden_act: text.hidden_act,
            output: own.filter(|_| !tied).unwrap_or(embeddings),
            output_bias: own_bias.filter(|_| !tied).unwrap_or(free_bias),
        })
    }
}

fn configs(path: &Path, all: &mut Map<String, Value>) -> Result<(TextConfig, ClipVisionConfig)> {
    for key in ["vision_config", "vision_config_dict"] {
        if let Some(Value::Object(said)) = all.get_mut(key) {
            let mut whole = vision_defaults();
            whole.append(said);
            *said = whole;
        }
    }
    let text: TextConfig = part(path, all, "text_config")?;
    let vision: ClipVisionConfig = part(path, all, "vision_config")?;
    let sizes = (text.hidden_size, text.num_attention_heads, text.num_hidden_layers);
    check_tower(path, "text_config", &text.other, "blip_text_model", sizes)?;
    let sizes = (vision.hidden_size, vision.num_attention_heads, vision.num_hidden_layers);
    check_tower(path, "vision_config", &vision.other, "blip_vision_model", sizes)?;
    if vision.patch_size == 0 || !vision.image_size.is_multiple_of(vision.patch_size) {
        return refuse(path, "vision_config.patch_size", "must divide image_size");
    }
    // transformers sets the one to the other, whatever the file says.
    let text = TextConfig { encoder_hidden_size: vision.hidden_size, ..text };
    if text.encoder_hidden_size != text.hidden_size {
        return refuse(
            path,
            "text_config.hidden_size",
            "must be that of vision_config: the decoder looks at text by it",
        );
    }
    Ok((text, vision))
}
