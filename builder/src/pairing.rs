//! Pair → Pairing: a frozen set of pairs is known by the hash of its policy and its pairs.

use crate::pair::Pair;
use crate::policy::Policy;
use crate::scene_graph::{canonical_json, sha256_hex};
use serde_json::{Value, json};
use std::collections::HashSet;
use uuid::Uuid;

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

/// What two frozen pairings have in common, by the places of their pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The same winner and loser in both: places in the first.
    pub same: Vec<usize>,
    /// The same two candidates, won by the other one: places in the first.
    pub flipped: Vec<usize>,
    /// Places in the first of pairs that the second lacks.
    pub only_first: Vec<usize>,
    /// Places in the second of pairs that the first lacks.
    pub only_second: Vec<usize>,
}

/// Compares pairings by (winner, loser) of their pairs.
pub fn compare(first: &[(Uuid, Uuid)], second: &[(Uuid, Uuid)]) -> Comparison {
    let mut result = Comparison::default();
    let in_first: HashSet<(Uuid, Uuid)> = first.iter().copied().collect();
    let in_second: HashSet<(Uuid, Uuid)> = second.iter().copied().collect();
    for (place, (winner, loser)) in first.iter().enumerate() {
        if in_second.contains(&(*winner, *loser)) {
            result.same.push(place);
        } else if in_second.contains(&(*loser, *winner)) {
            result.flipped.push(place);
        } else {
            result.only_first.push(place);
        }
    }
    let unknown = second.iter().enumerate().filter(|(_, (winner, loser))| {
        !in_first.contains(&(*winner, *loser)) && !in_first.contains(&(*loser, *winner))
    });
    result.only_second = unknown.map(|(place, _)| place).collect();
    result
}

/// As [`hash`], of pairs as they are stored under a policy as it is stored.
pub fn hash_rows(policy: &Value, pairs: &[crate::store::pairing::Pair]) -> String {
    let mut pairs: Vec<&crate::store::pairing::Pair> = pairs.iter().collect();
    pairs.sort_unstable_by_key(|pair| (pair.graph_id, pair.winner_id, pair.loser_id));
    let pairs: Vec<Value> = pairs
        .iter()
        .map(|one| json!([one.graph_id, one.winner_id, one.loser_id, one.winner_score, one.loser_score, one.margin]))
        .collect();
    sha256_hex(canonical_json(&json!({"policy": policy, "pairs": pairs})).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_is_in_one_part() {
        let pair = |winner: u128, loser: u128| (Uuid::from_u128(winner), Uuid::from_u128(loser));
        let found = compare(&[pair(1, 2), pair(3, 4), pair(5, 6)], &[pair(4, 3), pair(7, 8), pair(1, 2)]);
        let expected = Comparison { same: vec![0], flipped: vec![1], only_first: vec![2], only_second: vec![1] };
        assert_eq!(found, expected);
    }

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
