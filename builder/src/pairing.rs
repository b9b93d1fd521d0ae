//! Pair → Pairing: a frozen set of pairs is known by the hash of its policy and its pairs.

use crate::pair::Pair;
use crate::policy::Policy;
use crate::scene_graph::{canonical_json, sha256_hex};
use serde_json::{Value, json};

/// SHA-256 (hex) over the canonical JSON of policy and pairs; the order of the pairs does not matter.
pub fn hash(policy: &Policy, pairs: &[Pair]) -> String {
    let mut pairs: Vec<&Pair> = pairs.iter().collect();
    pairs.sort_unstable_by_key(|pair| (pair.graph, pair.winner, pair.loser));
    let pairs: Vec<Value> = pairs
        .iter()
        .map(|pair| json!([pair.graph, pair.winner, pair.loser, pair.winner_score, pair.loser_score, pair.margin]))
        .collect();
    // Only a number that is not finite keeps a policy from being JSON; `Policy::parse` lets none in.
    let policy = serde_json::to_value(policy).unwrap_or_default();
    sha256_hex(canonical_json(&json!({"policy": policy, "pairs": pairs})).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn follows_content_not_order() {
        let pair = |graph: u128| Pair {
            graph: Uuid::from_u128(graph),
            winner: Uuid::from_u128(1),
            loser: Uuid::from_u128(2),
            winner_score: 1.0,
            loser_score: 0.25,
            margin: 0.75,
        };
        let policy = Policy::default();
        assert_eq!(hash(&policy, &[pair(1), pair(2)]), hash(&policy, &[pair(2), pair(1)]));
        assert_ne!(hash(&policy, &[pair(1)]), hash(&policy, &[pair(2)]));
        assert_ne!(hash(&policy, &[pair(1)]), hash(&Policy { margin: 0.1, ..policy.clone() }, &[pair(1)]));
    }
}
