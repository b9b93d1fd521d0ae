//! Networks that judge images, from files as their authors publish them: CLIP and what stands on it, Inception, BLIP-VQA.

pub mod aesthetic;
pub mod blip_vqa;
pub mod clip_model;
mod folder;
pub mod inception_v3;
pub mod pixels;
pub mod word_piece;

pub use aesthetic::AestheticHead;
pub use blip_vqa::BlipVqa;
pub use clip_model::ClipModel;
pub use inception_v3::InceptionV3;
pub use pixels::{Center, Pixels};
