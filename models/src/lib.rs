//! Networks and their training: tensors in, tensors out.
//!
//! Invariants: nothing here knows a database, HTTP or async. Names are those of diffusers and transformers, for types,
//! fields and weights. Every network is trainable through [`ops`]; candle's fused operators, which drop gradients
//! without a word, are disallowed by lint.

pub mod artifact;
pub mod checkpoint_keys;
pub mod clip;
mod config;
pub mod error;
pub mod inspect;
pub mod inversion_quality;
pub mod layers;
pub mod linear;
pub mod lora;
pub mod metric_network;
pub mod model_folder;
pub mod objective;
pub mod ops;
pub mod path_comparison;
pub mod pipeline;
mod resnet;
pub mod run;
pub mod scene_graph_encoder;
pub mod scheduler;
pub mod single_file;
pub mod text_conditioning;
pub mod threads;
pub mod tokenizer;
pub mod trainer;
pub mod unet;
pub mod vae;
pub mod weights;

pub use error::{Error, Result};
