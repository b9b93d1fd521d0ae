//! Configurations of both towers, as transformers writes them.

use serde::{Deserialize, Serialize};

use crate::{Result, config};

/// `text_encoder/config.json`, as `CLIPTextConfig` of transformers; other keys are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// `CLIPTextModel` or `CLIPTextModelWithProjection`; the first of the list decides.
    #[serde(deserialize_with = "config::null_is_default")]
    pub architectures: Vec<String>,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub projection_dim: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    pub hidden_act: HiddenAct,
    pub layer_norm_eps: f64,
    pub bos_token_id: u32,
    /// 2 is a mistake of old files, kept by transformers: the pooled token is then the one with the highest id.
    pub eos_token_id: u32,
    pub pad_token_id: u32,
    /// Keys that do not change the numbers.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Default for ClipTextConfig {
    /// transformers' defaults.
    fn default() -> Self {
        Self {
            architectures: vec![],
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
            bos_token_id: 49406,
            eos_token_id: 49407,
            pad_token_id: 1,
            other: serde_json::Map::new(),
        }
    }
}

impl ClipTextConfig {
    /// Whether the pooled output is projected.
    pub fn projects(&self) -> bool {
        self.architectures.first().is_some_and(|name| name == "CLIPTextModelWithProjection")
    }

    /// Refuses what makes no sense and keys that nobody knows.
    pub(super) fn check(&self) -> Result<()> {
        const FILE: &str = "text_encoder/config.json";
        if let Some(name) = self.architectures.first()
            && !["CLIPTextModel", "CLIPTextModelWithProjection"].contains(&name.as_str())
        {
            return config::refuse(FILE, "architectures", format!("`{name}` is not known"));
        }
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        if heads == 0 || !width.is_multiple_of(heads) {
            return config::refuse(
                FILE,
                "num_attention_heads",
                format!("{heads} heads do not divide {width} channels"),
            );
        }
        if self.num_hidden_layers == 0 {
            return config::refuse(FILE, "num_hidden_layers", "must be at least 1");
        }
        config::check_other(FILE, &self.other, &[("model_type", "clip_text_model".into())], &FREE)
    }
}

/// Keys of transformers' `PretrainedConfig` and `CLIPTextConfig` that change nothing in a forward pass.
const FREE: [&str; 19] = [
    "attention_dropout",
    "dropout",
    "initializer_factor",
    "initializer_range",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "return_dict",
    "output_hidden_states",
    "output_attentions",
    "use_cache",
    "use_return_dict",
    "chunk_size_feed_forward",
    "tie_word_embeddings",
    "is_encoder_decoder",
    "problem_type",
    "id2label",
    "label2id",
    "gradient_checkpointing",
];

/// The image half of a CLIP, as `CLIPVisionConfig` of transformers; other keys are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub projection_dim: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_channels: usize,
    /// Side of the image in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    pub hidden_act: HiddenAct,
    pub layer_norm_eps: f64,
    /// Keys that do not change the numbers.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Default for ClipVisionConfig {
    /// transformers' defaults.
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
            other: serde_json::Map::new(),
        }
    }
}

/// Activation of the feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// x · sigmoid(1.702 x), OpenAI's own.
    QuickGelu,
    /// The exact GELU, OpenCLIP's.
    Gelu,
}
