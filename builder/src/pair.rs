//! ScoreCard → Pair: which of a graph's candidates is preferred to which. A pure function of scores and policy.

use crate::policy::{Policy, Select, TieRule};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The scores of one graph's candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphScores {
    /// The graph.
    pub graph: Uuid,
    /// Candidate and its score by metric.
    pub candidates: Vec<(Uuid, BTreeMap<String, f64>)>,
}

/// One candidate preferred to another of the same graph.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The graph.
    pub graph: Uuid,
    /// The better candidate.
    pub winner: Uuid,
    /// The worse candidate.
    pub loser: Uuid,
    /// The winner's score under the policy.
    pub winner_score: f64,
    /// The loser's score under the policy.
    pub loser_score: f64,
    /// Difference of the two, above 0.
    pub margin: f64,
}

/// The pairs, by graph, winner and loser. The order of graphs and candidates does not matter; candidates that lack a metric
/// of the policy take no part.
pub fn pairs(graphs: &[GraphScores], policy: &Policy) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(graphs.len());
    let mut scored: Vec<(Uuid, f64)> = Vec::new();
    for graph in graphs {
        scored.clear();
        scored.extend(graph.candidates.iter().filter_map(|(id, scores)| Some((*id, policy.score(scores)?))));
        // By id, so that the first of equal scores is the same in any order of input.
        scored.sort_unstable_by_key(|(id, _)| *id);
        pairs_of_graph(graph.graph, &scored, policy, &mut pairs);
    }
    pairs.sort_unstable_by_key(|pair| (pair.graph, pair.winner, pair.loser));
    pairs
}

fn pairs_of_graph(graph: Uuid, scored: &[(Uuid, f64)], policy: &Policy, pairs: &mut Vec<Pair>) {
    let pair = |winner: (Uuid, f64), loser: (Uuid, f64)| {
        let margin = winner.1 - loser.1;
        (margin > 0.0 && margin >= policy.margin).then_some(Pair {
            graph,
            winner: winner.0,
            loser: loser.0,
            winner_score: winner.1,
            loser_score: loser.1,
            margin,
        })
    };
    match policy.select {
        Select::BestWorst => {
            pairs.extend(
                extreme(scored, policy.tie, 1.0).zip(extreme(scored, policy.tie, -1.0)).and_then(|(w, l)| pair(w, l)),
            );
        }
        Select::BestRest => {
            let best = extreme(scored, policy.tie, 1.0);
            pairs.extend(best.into_iter().flat_map(|best| scored.iter().filter_map(move |other| pair(best, *other))));
        }
        Select::AllAboveMargin => pairs.extend(all(scored).filter_map(|(winner, loser)| pair(winner, loser))),
        Select::Random { seed, pairs_per_graph } => {
            let mut drawn: Vec<([u8; 32], Pair)> = all(scored)
                .filter_map(|(winner, loser)| pair(winner, loser))
                .map(|pair| (lot(seed, pair.winner, pair.loser), pair))
                .collect();
            drawn.sort_unstable_by_key(|(lot, _)| *lot);
            pairs.extend(drawn.into_iter().take(pairs_per_graph).map(|(_, pair)| pair));
        }
    }
}

/// The candidate with the highest score times `sign`; the first of equals, or none.
fn extreme(scored: &[(Uuid, f64)], tie: TieRule, sign: f64) -> Option<(Uuid, f64)> {
    let best = scored.iter().map(|(_, score)| sign * score).max_by(f64::total_cmp)?;
    let mut equals = scored.iter().filter(|(_, score)| sign * score == best);
    let first = equals.next().copied();
    match tie {
        TieRule::First => first,
        TieRule::Skip => first.filter(|_| equals.next().is_none()),
    }
}

/// Every two different candidates, both ways round.
fn all(scored: &[(Uuid, f64)]) -> impl Iterator<Item = ((Uuid, f64), (Uuid, f64))> + '_ {
    scored
        .iter()
        .flat_map(move |one| scored.iter().filter(move |other| other.0 != one.0).map(move |other| (*one, *other)))
}

/// A number drawn for a pair; the same for the same seed, wherever the pair comes from.
fn lot(seed: u64, winner: Uuid, loser: Uuid) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(winner);
    hash.update(loser);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[f64]) -> Vec<GraphScores> {
        let candidates = (1_u128..)
            .zip(values)
            .map(|(id, score)| (Uuid::from_u128(id), BTreeMap::from([("dpg".to_owned(), *score)])));
        vec![GraphScores { graph: Uuid::nil(), candidates: candidates.collect() }]
    }

    fn paired(values: &[f64], policy: &Policy) -> Vec<(u128, u128)> {
        pairs(&scores(values), policy).iter().map(|pair| (pair.winner.as_u128(), pair.loser.as_u128())).collect()
    }

    #[test]
    fn each_selection() {
        let policy = |select| Policy { select, margin: 0.2, ..Policy::default() };
        let values = [0.5, 0.9, 0.4, 0.5];
        assert_eq!(paired(&values, &policy(Select::BestWorst)), [(2, 3)]);
        assert_eq!(paired(&values, &policy(Select::BestRest)), [(2, 1), (2, 3), (2, 4)]);
        assert_eq!(paired(&values, &policy(Select::AllAboveMargin)), [(2, 1), (2, 3), (2, 4)]);
        assert_eq!(paired(&values, &policy(Select::Random { seed: 1, pairs_per_graph: 2 })).len(), 2);
        assert_eq!(paired(&[0.5, 0.5], &policy(Select::AllAboveMargin)), []);
        assert_eq!(paired(&[0.5], &policy(Select::BestWorst)), []);
    }

    #[test]
    fn ties_of_the_extremes() {
        let skip = Policy { tie: TieRule::Skip, ..Policy::default() };
        assert_eq!(paired(&[1.0, 0.0, 1.0], &Policy::default()), [(1, 2)]);
        assert_eq!(paired(&[1.0, 0.0, 1.0], &skip), []);
    }
}
