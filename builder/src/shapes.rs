//! The synthetic world of coloured shapes: what the embedded default model was trained on.
//!
//! A world is a [`Layout`] (what is where) and the relations that are told of it. Both the scene
//! graph (LAION-SG form) and the picture follow from it, so the truth about every picture is known.
//! Everything is drawn from a seeded generator: the same seed gives the same worlds.

mod layout;
mod render;
mod words;

pub use layout::{Layout, PlacedObject, Scene, relation_between, sample_compositional_scene, sample_scene};
pub use render::{BACKGROUND, IMAGE_SIZE, inside_shape, render};
pub use words::{Color, Shape, Size, SpatialRelation};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// `count` scenes of the world; scene `i` depends on `seed` and `i` alone.
pub fn generate(seed: u64, count: usize) -> Vec<Scene> {
    (0..count).map(|index| generate_one(seed, index as u64)).collect()
}

/// Scene number `index` of the curated part of the world with this seed: mostly three or four objects.
pub fn generate_compositional(seed: u64, index: u64) -> Scene {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    sample_compositional_scene(&mut rng)
}

/// Scene number `index` of the world with this seed, as the embedded model saw them in its pre-training.
pub fn generate_one(seed: u64, index: u64) -> Scene {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    sample_scene(&mut rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_scenes() {
        assert_eq!(generate(7, 50), generate(7, 50));
        assert_ne!(generate(7, 50), generate(8, 50));
    }

    #[test]
    fn told_relations_hold_in_the_layout() {
        for scene in generate(1, 500) {
            for &(subject, relation, object) in &scene.relations {
                let objects = &scene.layout.objects;
                assert_eq!(relation_between(&objects[subject], &objects[object]), Some(relation));
            }
        }
    }
}
