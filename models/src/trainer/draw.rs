//! Which pairs a step sees, and what is random about each.

use super::example::PairInput;
use super::settings::TrainerSettings;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One pair as drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn<'a> {
    pub pair: &'a PairInput,
    /// Number of the pair.
    pub index: usize,
    /// Share of the way along the path, 0..1; winner and loser stand at the same one.
    pub place: f64,
    /// Seed of fresh noise; the same for winner and loser.
    pub noise: u64,
    /// Whether the condition is left out, on both sides.
    pub dropped: bool,
}

/// The pairs of step `step`: an epoch goes through all of them in an order of its own.
///
/// All that is random about a step follows from the seed and the step's number.
pub(super) fn draw<'a>(settings: &TrainerSettings, step: usize, pairs: &'a [PairInput]) -> Vec<Drawn<'a>> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(step as u64 + 1);
    let count = settings.batch_size * settings.gradient_accumulation_steps;
    let mut drawn = Vec::with_capacity(count);
    let mut order: (usize, Vec<usize>) = (usize::MAX, Vec::new());
    for position in step * count..(step + 1) * count {
        let epoch = position / pairs.len();
        if order.0 != epoch {
            let mut indices: Vec<usize> = (0..pairs.len()).collect();
            let mut epoch_rng = ChaCha8Rng::seed_from_u64(settings.seed);
            epoch_rng.set_stream(u64::MAX - epoch as u64);
            indices.shuffle(&mut epoch_rng);
            order = (epoch, indices);
        }
        let index = order.1[position % pairs.len()];
        let (place, noise) = (rng.random(), rng.random());
        // Of the pair's own seed, so that a run with dropout differs from one without in nothing else.
        let mut own = ChaCha8Rng::seed_from_u64(noise);
        own.set_stream(1);
        let dropped = settings.caption_dropout > 0.0 && own.random::<f64>() < settings.caption_dropout;
        drawn.push(Drawn { pair: &pairs[index], index, place, noise, dropped });
    }
    drawn
}

/// All winners of a shard, then all losers.
pub(super) fn sides<'a, 'b>(shard: &'b [Drawn<'a>]) -> impl Iterator<Item = (&'b Drawn<'a>, usize)> {
    (0..2).flat_map(move |side| shard.iter().map(move |drawn| (drawn, side)))
}

impl<'a> Drawn<'a> {
    /// The image of a side, `[c · h · w]`.
    pub(super) fn image(&self, side: usize) -> &'a [f32] {
        if side == 0 { &self.pair.winner.latent } else { &self.pair.loser.latent }
    }

    /// The `i`-th of `count` places, spread evenly from a random start. Every state of a path has the same chance, and
    /// where a path has `count` states each is met exactly once.
    pub(super) fn place_of(&self, i: usize, count: usize, length: usize) -> usize {
        (self.way(i, count, length) as usize).min(length.saturating_sub(1))
    }

    /// How far past [`place_of`](Self::place_of) it stands, as a share of a step, 0..1.
    pub(super) fn share_of(&self, i: usize, count: usize, length: usize) -> f64 {
        self.way(i, count, length).fract()
    }

    fn way(&self, i: usize, count: usize, length: usize) -> f64 {
        // Short of 1, so that the sum does not round up to the next.
        let place = self.place.min(1.0 - 1e-9);
        (i as f64 + place) * (length as f64 / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::ImageInput;

    fn pairs(count: usize) -> Vec<PairInput> {
        let image = ImageInput { latent: vec![0.0], seed: None };
        (0..count).map(|condition| PairInput { condition, winner: image.clone(), loser: image.clone() }).collect()
    }

    #[test]
    fn an_epoch_meets_every_pair_once_in_an_order_of_its_own() {
        let settings = TrainerSettings { batch_size: 5, ..TrainerSettings::default() };
        let pairs = pairs(20);
        let epoch = |first: usize| -> Vec<usize> {
            (first..first + 4).flat_map(|step| draw(&settings, step, &pairs)).map(|drawn| drawn.index).collect()
        };
        let (one, two) = (epoch(0), epoch(4));
        assert_ne!(one, two);
        for mut order in [one, two] {
            order.sort_unstable();
            assert_eq!(order, (0..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn dropout_takes_its_share_and_changes_nothing_else() {
        let pairs = pairs(7);
        let settings = |caption_dropout| TrainerSettings { batch_size: 500, caption_dropout, ..Default::default() };
        let with = draw(&settings(0.2), 3, &pairs);
        let without = draw(&settings(0.0), 3, &pairs);
        let dropped = with.iter().filter(|drawn| drawn.dropped).count();
        assert!((70..130).contains(&dropped), "{dropped}");
        assert!(without.iter().all(|drawn| !drawn.dropped));
        for (a, b) in with.iter().zip(&without) {
            assert_eq!((a.index, a.place, a.noise), (b.index, b.place, b.noise));
        }
    }

    #[test]
    fn places_cover_a_path_evenly() {
        let pairs = pairs(1);
        let at = |place: f64| Drawn { pair: &pairs[0], index: 0, place, noise: 0, dropped: false };
        for place in [0.0, 1e-17, 0.3, 0.999_999_999_999_999_9] {
            for length in [1, 3, 19, 49, 80] {
                let all: Vec<usize> = (0..length).map(|i| at(place).place_of(i, length, length)).collect();
                assert_eq!(all, (0..length).collect::<Vec<_>>(), "{place}");
            }
        }
        // Four of ten: each of the ten in four tenths of all starts.
        let mut met = [0; 10];
        for start in 0..1000 {
            for i in 0..4 {
                met[at((f64::from(start) + 0.5) / 1000.0).place_of(i, 4, 10)] += 1;
            }
        }
        assert_eq!(met, [400; 10]);
    }
}
