//! An image made of a graph, and the seeds that make it again.
//!
//! A seed is a function of what was asked (the run's seed), of the graph itself (its content hash, not its row) and of the
//! place among the graph's candidates. So the same request gives the same pixels in another store, in any order and in any
//! batch.

use sha2::{Digest, Sha256};

/// What a seed is used for. Different purposes never share noise, even for the same graph and run seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The candidates that are scored and paired.
    Candidate,
    /// The held-out comparison at the end of a job.
    Evaluation,
    /// The comparison on other held-out graphs that chooses the best checkpoint.
    Selection,
    /// The pictures that show how a job goes.
    Sample,
}

impl Purpose {
    fn domain(self) -> &'static str {
        match self {
            Self::Candidate => "diptych-candidate",
            Self::Evaluation => "diptych-evaluation",
            Self::Selection => "diptych-selection",
            Self::Sample => "diptych-sample",
        }
    }
}

/// Seeds stay below this, so that a JSON reader that knows only doubles reads the same number.
pub const SEED_LIMIT: u64 = 1 << 53;

/// The seed of the image `index` of a graph: from SHA-256(purpose, run seed, content hash, index), in `0..2^53`.
pub fn seed(purpose: Purpose, run_seed: i64, content_hash: &str, index: u32) -> i64 {
    let mut hasher = Sha256::new();
    // Each part with its length, so that no two lists of parts look alike.
    for part in [purpose.domain().as_bytes(), &run_seed.to_le_bytes(), content_hash.as_bytes(), &index.to_le_bytes()] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut head = [0_u8; 8];
    head.copy_from_slice(&digest[..8]);
    (u64::from_le_bytes(head) % SEED_LIMIT) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_fixed_forever() {
        // Another value here would make every stored candidate impossible to make again.
        assert_eq!(seed(Purpose::Candidate, 0, &"a".repeat(64), 0), SEED_0);
        assert_eq!(seed(Purpose::Candidate, 7, &"a".repeat(64), 3), SEED_1);
    }

    const SEED_0: i64 = 3_017_772_796_719_679;
    const SEED_1: i64 = 2_253_389_479_390_333;

    #[test]
    fn seeds_fit_a_double_and_differ() {
        let mut seen = std::collections::HashSet::new();
        for purpose in [Purpose::Candidate, Purpose::Evaluation, Purpose::Selection, Purpose::Sample] {
            for run in [-1, 0, 1] {
                for hash in ["a", "b"] {
                    for index in 0..8 {
                        let seed = seed(purpose, run, hash, index);
                        assert!((0..1 << 53).contains(&seed));
                        assert_eq!(seed as f64 as i64, seed);
                        assert!(seen.insert(seed));
                    }
                }
            }
        }
    }
}
