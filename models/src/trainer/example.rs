//! What a trainer learns from: pairs of images under one condition.

/// One side of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageInput {
    /// Scaled latent of the image, `[c · h · w]`.
    pub latent: Vec<f32>,
    /// The seed where this very reference made the image with the trainer's sampling settings: its path can be replayed
    /// exactly. `None` for images from elsewhere, whose path has to be inverted.
    pub seed: Option<u64>,
}

/// A winner and a loser of the same scene graph.
#[derive(Clone, Debug, PartialEq)]
pub struct PairInput {
    /// Index of the scene graph.
    pub condition: usize,
    /// The preferred image.
    pub winner: ImageInput,
    /// The other.
    pub loser: ImageInput,
}
