//! Pairs to measure a training with: what is in the images matters neither to its memory nor to its speed.

use models::pipeline::Pipeline;
use models::scene_graph_encoder::GraphText;
use models::trainer::{ImageInput, PairInput};

/// One graph, and `count` pairs of images of it that are noise.
pub(super) fn draw(reference: &Pipeline, count: usize) -> anyhow::Result<([GraphText; 1], Vec<PairInput>)> {
    let image = |seed: u64| -> anyhow::Result<ImageInput> {
        Ok(ImageInput { latent: reference.initial_latent(seed)?.flatten_all()?.to_vec1()?, seed: None })
    };
    let pairs = (0..count as u64)
        .map(|i| Ok(PairInput { condition: 0, winner: image(2 * i)?, loser: image(2 * i + 1)? }))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let graph =
        GraphText { triples: vec![["red circle", "left of", "blue square"].map(str::to_owned)], isolated: Vec::new() };
    Ok(([graph], pairs))
}
