//! Wrong labels on purpose: pairs whose winner and loser are exchanged, for the control of random labels.

use models::trainer::PairInput;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Exchanges winner and loser in a `share` of the pairs, drawn by the seed and the pair's place alone.
pub(super) fn exchange(pairs: &mut [PairInput], share: f64, seed: u64) {
    for (place, pair) in pairs.iter_mut().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(place as u64);
        if rng.random::<f64>() < share {
            std::mem::swap(&mut pair.winner, &mut pair.loser);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::trainer::ImageInput;

    #[test]
    fn label_noise_exchanges_its_share_of_the_pairs() {
        let image = |value: f32| ImageInput { latent: vec![value], seed: None };
        let pairs = || -> Vec<PairInput> {
            (0..400).map(|_| PairInput { condition: 0, winner: image(1.0), loser: image(0.0) }).collect()
        };
        let exchanged = |share| {
            let mut noisy = pairs();
            exchange(&mut noisy, share, 3);
            noisy.iter().filter(|pair| pair.winner == image(0.0)).count()
        };
        assert_eq!((exchanged(0.0), exchanged(1.0)), (0, 400));
        assert!((160..240).contains(&exchanged(0.5)), "{}", exchanged(0.5));
    }
}
