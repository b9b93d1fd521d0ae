//! Which parameters a job moves, as it is asked for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::Fields;
use crate::error::Fault;

/// Which parameters move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Trainable {
    /// All of the UNet.
    Unet {},
    /// Low-rank adapters on its attention.
    Lora {
        /// Rank.
        rank: usize,
        /// Scale is `alpha / rank`.
        alpha: f64,
        /// Ends of the names of the layers; `None`: all projections of all attentions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        targets: Option<Vec<String>>,
    },
    /// The scene-graph encoder; the UNet stays.
    SceneGraphEncoder {},
    /// The scene-graph encoder, and adapters on the UNet.
    SceneGraphEncoderLora {
        /// Rank.
        rank: usize,
        /// Scale is `alpha / rank`.
        alpha: f64,
        /// Ends of the names of the layers; `None`: all projections of all attentions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        targets: Option<Vec<String>>,
    },
}

impl Trainable {
    /// Kinds as in requests.
    pub const KINDS: [&'static str; 4] = ["unet", "lora", "scene-graph-encoder", "scene-graph-encoder-lora"];

    /// The kind, as in requests.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unet {} => Self::KINDS[0],
            Self::Lora { .. } => Self::KINDS[1],
            Self::SceneGraphEncoder {} => Self::KINDS[2],
            Self::SceneGraphEncoderLora { .. } => Self::KINDS[3],
        }
    }

    /// Whether low-rank adapters are trained.
    pub fn has_adapters(&self) -> bool {
        matches!(self, Self::Lora { .. } | Self::SceneGraphEncoderLora { .. })
    }

    /// Reads `trainable` of a request.
    pub(super) fn read(value: &Value, faults: &mut Vec<Fault>) -> Self {
        if let Value::String(kind) = value {
            let spelled = serde_json::json!({ "kind": kind });
            return Self::read(&spelled, faults);
        }
        let Some(mut fields) = Fields::open(value, "/trainable".to_owned(), faults) else {
            return Self::Unet {};
        };
        let kind = fields.choice("kind", "unet", &Self::KINDS, faults);
        let mut adapters = || {
            let rank = fields.count("rank", 8, 1..=1024, faults);
            (rank, fields.number("alpha", rank as f64, 1e-3..=1e5, faults), fields.texts("targets", faults))
        };
        let trainable = match kind.as_str() {
            "lora" => {
                let (rank, alpha, targets) = adapters();
                Self::Lora { rank, alpha, targets }
            }
            "scene-graph-encoder-lora" => {
                let (rank, alpha, targets) = adapters();
                Self::SceneGraphEncoderLora { rank, alpha, targets }
            }
            "scene-graph-encoder" => Self::SceneGraphEncoder {},
            _ => Self::Unet {},
        };
        fields.finish(faults);
        trainable
    }
}
