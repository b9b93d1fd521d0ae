//! Graphs and seeds to pictures: what generating, showing samples and evaluating have in common.

use image::{ExtendedColorType, ImageEncoder, RgbImage};
use models::pipeline::{GraphMode, Pipeline, SampleSettings};
use models::scene_graph_encoder::GraphText;

use crate::{Error, Result};

/// The only sampler so far: DDIM with η = 0, whose path follows from its seed.
pub const SAMPLER: &str = "ddim";

/// Images a call of the network: enough to fill the cores, few enough to lose little when killed.
pub const BATCH: usize = 32;

/// One picture to make.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Index into the graphs of the call.
    pub graph: usize,
    /// Of the initial noise.
    pub seed: i64,
}

/// One picture made.
pub struct Picture {
    /// Its pixels.
    pub image: RgbImage,
    /// Its pixels as a file.
    pub png: Vec<u8>,
    /// The scaled latent that was decoded, `[4, h, w]`.
    pub latent: Vec<f32>,
}

/// Makes the pictures `shots` of `graphs`, in order. Blocks and computes: call it on a thread.
pub fn sample(
    pipeline: &Pipeline,
    graphs: &[GraphText],
    shots: &[Shot],
    settings: SampleSettings,
) -> Result<Vec<Picture>> {
    if shots.is_empty() {
        return Ok(Vec::new());
    }
    let conditioning = pipeline.encode_graphs(graphs, GraphMode::SceneGraph)?;
    let rows: Vec<usize> = shots.iter().map(|shot| shot.graph).collect();
    let conditioning = conditioning.select(&rows)?;
    let seeds: Vec<u64> = shots.iter().map(|shot| shot.seed as u64).collect();
    let latents = pipeline.sample(&conditioning, &seeds, settings)?;
    let pixels = pipeline.decode(&latents)?;
    let latents = latents.flatten_from(1).and_then(|latents| latents.to_vec2::<f32>()).map_err(models::Error::from)?;
    pixels
        .into_iter()
        .zip(latents)
        .map(|(rgb, latent)| {
            let image = rgb_image(pipeline.image_size(), rgb)?;
            let png = encode_png(&image)?;
            Ok(Picture { image, png, latent })
        })
        .collect()
}

/// A decoded picture of the model's size, `size · size · 3` bytes.
pub(super) fn rgb_image(size: usize, rgb: Vec<u8>) -> Result<RgbImage> {
    RgbImage::from_raw(size as u32, size as u32, rgb)
        .ok_or_else(|| Error::Thread(format!("a decoded image is not {size} × {size}")))
}

/// A PNG file of `image`.
pub fn encode_png(image: &RgbImage) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(|error| Error::Image(error.to_string()))?;
    Ok(file)
}

/// The pixels of an image file.
pub fn decode_image(file: &[u8]) -> Result<RgbImage> {
    Ok(image::load_from_memory(file).map_err(|error| Error::Image(error.to_string()))?.into_rgb8())
}

/// A latent as stored: f32, little-endian, `[4, h, w]`.
pub fn latent_to_bytes(latent: &[f32]) -> Vec<u8> {
    latent.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What [`latent_to_bytes`] gave.
pub fn latent_from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_and_latents_survive_their_files() {
        let image = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 200]));
        assert_eq!(decode_image(&encode_png(&image).unwrap()).unwrap(), image);
        let latent = [0.0, -1.5, f32::MIN_POSITIVE, 3e7];
        assert_eq!(latent_from_bytes(&latent_to_bytes(&latent)), latent);
        assert!(decode_image(b"not an image").is_err());
    }
}
