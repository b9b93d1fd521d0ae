//! Properties of pairing, and its speed at the size of the paper's set.

use builder::pair::{GraphScores, Pair, pairs};
use builder::policy::{Policy, Select, TieRule};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Instant;
use uuid::Uuid;

fn score() -> impl Strategy<Value = f64> {
    // Few values, so that there are ties.
    (0..8_u8).prop_map(|eighths| f64::from(eighths) / 8.0)
}

fn graphs() -> impl Strategy<Value = Vec<GraphScores>> {
    let candidates = prop::collection::vec((score(), score()), 0..6);
    prop::collection::vec(candidates, 0..6).prop_map(|graphs| {
        let graph = |(number, candidates): (usize, Vec<(f64, f64)>)| GraphScores {
            graph: Uuid::from_u128(number as u128),
            candidates: candidates
                .into_iter()
                .enumerate()
                .map(|(i, (dpg, spatial))| {
                    let scores = BTreeMap::from([("dpg".to_owned(), dpg), ("spatial".to_owned(), spatial)]);
                    (Uuid::from_u128((number * 100 + i) as u128), scores)
                })
                .collect(),
        };
        graphs.into_iter().enumerate().map(graph).collect()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let select = prop_oneof![
        Just(Select::BestWorst),
        Just(Select::AllAboveMargin),
        Just(Select::BestRest),
        (any::<u64>(), 1..4_usize).prop_map(|(seed, pairs_per_graph)| Select::Random { seed, pairs_per_graph }),
    ];
    (0.1..2.0_f64, 0.1..2.0_f64, prop_oneof![Just(0.0), 0.0..0.6], any::<bool>(), select).prop_map(
        |(dpg, spatial, margin, skip, select)| Policy {
            weights: BTreeMap::from([("dpg".to_owned(), dpg), ("spatial".to_owned(), spatial)]),
            margin,
            tie: if skip { TieRule::Skip } else { TieRule::First },
            select,
        },
    )
}

fn ends(pairs: &[Pair]) -> Vec<(Uuid, Uuid, Uuid)> {
    pairs.iter().map(|pair| (pair.graph, pair.winner, pair.loser)).collect()
}

proptest! {
    #[test]
    fn winners_are_better_by_the_margin(graphs in graphs(), policy in policy()) {
        for pair in pairs(&graphs, &policy) {
            let graph = graphs.iter().find(|graph| graph.graph == pair.graph).unwrap();
            let score = |id| graph.candidates.iter().find(|(candidate, _)| *candidate == id).and_then(|(_, scores)| policy.score(scores));
            prop_assert_eq!(score(pair.winner), Some(pair.winner_score));
            prop_assert_eq!(score(pair.loser), Some(pair.loser_score));
            prop_assert_eq!(pair.margin, pair.winner_score - pair.loser_score);
            prop_assert!(pair.margin > 0.0 && pair.margin >= policy.margin);
        }
    }

    #[test]
    fn no_pair_stands_both_ways_or_twice(graphs in graphs(), policy in policy()) {
        let found = ends(&pairs(&graphs, &policy));
        for (i, &(graph, winner, loser)) in found.iter().enumerate() {
            prop_assert!(!found.contains(&(graph, loser, winner)));
            prop_assert!(!found[..i].contains(&(graph, winner, loser)));
        }
    }

    #[test]
    fn turning_the_weights_round_turns_all_pairs_round(graphs in graphs(), policy in policy()) {
        // The best against the rest is one-sided, and chance sees winner and loser.
        prop_assume!(matches!(policy.select, Select::BestWorst | Select::AllAboveMargin));
        let mut turned = policy.clone();
        turned.weights.values_mut().for_each(|weight| *weight = -*weight);
        let mut expected: Vec<_> = ends(&pairs(&graphs, &policy)).into_iter().map(|(graph, winner, loser)| (graph, loser, winner)).collect();
        expected.sort_unstable();
        prop_assert_eq!(ends(&pairs(&graphs, &turned)), expected);
    }

    #[test]
    fn a_larger_margin_only_takes_pairs_away(graphs in graphs(), policy in policy(), more in 0.0..0.5_f64) {
        let stricter = Policy { margin: policy.margin + more, ..policy.clone() };
        let (all, fewer) = (ends(&pairs(&graphs, &policy)), ends(&pairs(&graphs, &stricter)));
        prop_assert!(fewer.len() <= all.len());
        if !matches!(policy.select, Select::Random { .. }) {
            prop_assert!(fewer.iter().all(|pair| all.contains(pair)));
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(graphs in graphs(), policy in policy()) {
        let mut turned: Vec<GraphScores> = graphs.iter().cloned().rev().collect();
        turned.iter_mut().for_each(|graph| graph.candidates.reverse());
        prop_assert_eq!(pairs(&turned, &policy), pairs(&graphs, &policy));
    }
}

#[test]
fn the_papers_set_is_paired_in_a_blink() {
    let metrics = ["dpg", "attribute", "spatial", "three_in_one"];
    let graphs: Vec<GraphScores> = (0..2785_u128)
        .map(|graph| GraphScores {
            graph: Uuid::from_u128(graph),
            candidates: (0..4_u128)
                .map(|i| {
                    let score = |m: usize| ((graph * 7 + i * 13 + m as u128 * 5) % 97) as f64 / 96.0;
                    (
                        Uuid::from_u128(graph * 4 + i),
                        metrics.iter().enumerate().map(|(m, name)| ((*name).to_owned(), score(m))).collect(),
                    )
                })
                .collect(),
        })
        .collect();
    for select in [Select::BestWorst, Select::AllAboveMargin, Select::Random { seed: 0, pairs_per_graph: 2 }] {
        let policy = Policy {
            weights: metrics.iter().map(|name| ((*name).to_owned(), 1.0)).collect(),
            select,
            ..Policy::default()
        };
        let fastest = (0..5)
            .map(|_| {
                let started = Instant::now();
                assert!(pairs(&graphs, &policy).len() > 2_000);
                started.elapsed()
            })
            .min()
            .unwrap();
        println!("{select:?}: {fastest:?}");
        assert!(fastest.as_millis() < 20, "{select:?}: {fastest:?}");
    }
}
