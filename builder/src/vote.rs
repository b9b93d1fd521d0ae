//! People's votes: which two candidates to show next, what the votes say of a candidate, and how far scorers agree with them.
//! Pure functions of scores and votes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::metrics::calibration::{Calibration, calibrate};
use crate::pair::GraphScores;
use crate::store::state::VoteChoice;
use crate::store::vote::Vote;

/// The metric under which a policy weighs what people said: the share of its comparisons that a candidate won, a tie counting
/// half. A candidate that nobody compared lacks it, and takes no part in pairs that weigh it.
pub const METRIC: &str = "votes";

/// Two candidates of a graph to be judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contest {
    /// Their graph.
    pub graph: Uuid,
    /// To be shown on the left. Which one it is follows from the ids alone: it tells nothing.
    pub left: Uuid,
    /// To be shown on the right.
    pub right: Uuid,
    /// How surely the scorers contradict each other: the greatest difference of scores that two of them have in opposite
    /// directions. 0 where none contradicts another.
    pub disagreement: f64,
}

/// The pairs of candidates that `voted` does not hold (each by its ids in order), those first over which scorers disagree most;
/// where none do, those that the scorers tell apart least. Pairs with scores that do not differ at all come last: a person is
/// more likely to see nothing in them either.
pub fn queue(graphs: &[GraphScores], voted: &BTreeSet<(Uuid, Uuid)>) -> Vec<Contest> {
    let mut contests: Vec<(Contest, f64)> = Vec::new();
    for graph in graphs {
        for (at, (a, a_scores)) in graph.candidates.iter().enumerate() {
            for (b, b_scores) in &graph.candidates[at + 1..] {
                if voted.contains(&in_order(*a, *b)) {
                    continue;
                }
                let (disagreement, mean) = compare(a_scores, b_scores);
                let (left, right) = sides(*a, *b);
                contests.push((Contest { graph: graph.graph, left, right, disagreement }, mean));
            }
        }
    }
    contests.sort_by(|(a, a_mean), (b, b_mean)| {
        let flat = |mean: &f64| *mean == 0.0;
        b.disagreement
            .total_cmp(&a.disagreement)
            .then_with(|| flat(a_mean).cmp(&flat(b_mean)))
            .then_with(|| a_mean.total_cmp(b_mean))
            .then_with(|| (a.graph, a.left, a.right).cmp(&(b.graph, b.left, b.right)))
    });
    contests.into_iter().map(|(contest, _)| contest).collect()
}

/// The ids of a pair in their order, by which it is known.
pub fn in_order(a: Uuid, b: Uuid) -> (Uuid, Uuid) {
    if a < b { (a, b) } else { (b, a) }
}

/// How surely metrics contradict each other about two candidates, and how far their mean tells them apart.
fn compare(a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>) -> (f64, f64) {
    let (mut up, mut down, mut sum, mut count) = (0.0_f64, 0.0_f64, 0.0, 0.0_f64);
    for (metric, score) in a {
        let Some(other) = b.get(metric) else { continue };
        let difference = score - other;
        up = up.max(difference);
        down = down.max(-difference);
        sum += difference;
        count += 1.0;
    }
    (up.min(down), sum.abs() / count.max(1.0))
}

/// Which of the two goes to the left: by lot, the same lot every time.
pub(crate) fn sides(a: Uuid, b: Uuid) -> (Uuid, Uuid) {
    let (first, second) = in_order(a, b);
    let mut hash = Sha256::new();
    hash.update(first);
    hash.update(second);
    if hash.finalize()[0] & 1 == 0 { (first, second) } else { (second, first) }
}

/// Share of its comparisons that each candidate won, a tie counting half.
pub fn win_shares(votes: &[Vote]) -> HashMap<Uuid, f64> {
    let mut counts: HashMap<Uuid, (f64, f64)> = HashMap::new();
    for vote in votes {
        let Some(left) = left_points(vote.choice) else { continue };
        for (id, points) in [(vote.left_id, left), (vote.right_id, 1.0 - left)] {
            let (won, compared) = counts.entry(id).or_default();
            *won += points;
            *compared += 1.0;
        }
    }
    counts.into_iter().map(|(id, (won, compared))| (id, won / compared)).collect()
}

/// What the left candidate gets of the one point that a comparison gives; none for one that was skipped.
fn left_points(choice: VoteChoice) -> Option<f64> {
    match choice {
        VoteChoice::Left => Some(1.0),
        VoteChoice::Right => Some(0.0),
        VoteChoice::BothGood | VoteChoice::BothBad => Some(0.5),
        VoteChoice::Skip => None,
    }
}

/// How one scorer's order of candidates compares with people's.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorerAgreement {
    /// The metric.
    pub metric: String,
    /// Votes for one side on which the scorer prefers the same one.
    pub agreed: usize,
    /// On which it prefers the other.
    pub disagreed: usize,
    /// On which it scores both alike.
    pub tied: usize,
    /// 95 % interval (Wilson) of the agreed share of those that it does not tie; none without any.
    pub interval: Option<(f64, f64)>,
    /// How sure a difference of its scores makes one of the vote.
    pub calibration: Option<Calibration>,
}

/// Every metric of `scores` (candidate → metric → score) against the votes for one side.
pub fn agreement(votes: &[Vote], scores: &BTreeMap<Uuid, BTreeMap<String, f64>>) -> Vec<ScorerAgreement> {
    let mut differences: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for vote in votes {
        let (chosen, other) = match vote.choice {
            VoteChoice::Left => (vote.left_id, vote.right_id),
            VoteChoice::Right => (vote.right_id, vote.left_id),
            VoteChoice::BothGood | VoteChoice::BothBad | VoteChoice::Skip => continue,
        };
        let Some((chosen, other)) = scores.get(&chosen).zip(scores.get(&other)) else { continue };
        for (metric, score) in chosen {
            let Some(other) = other.get(metric) else { continue };
            differences.entry(metric).or_default().push(score - other);
        }
    }
    let scorers = differences.into_iter().map(|(metric, differences)| {
        let count = |holds: fn(&f64) -> bool| differences.iter().filter(|difference| holds(difference)).count();
        let (agreed, disagreed) = (count(|difference| *difference > 0.0), count(|difference| *difference < 0.0));
        ScorerAgreement {
            metric: metric.to_owned(),
            agreed,
            disagreed,
            tied: differences.len() - agreed - disagreed,
            interval: wilson(agreed, agreed + disagreed),
            calibration: calibrate(&differences),
        }
    });
    scorers.collect()
}

/// Wilson's 95 % interval of a share; unlike the usual one it stays within 0..=1 and holds for few votes.
/// Wilson (1927), *Probable inference, the law of succession, and statistical inference*.
pub fn wilson(hits: usize, total: usize) -> Option<(f64, f64)> {
    if total == 0 {
        return None;
    }
    let z = 1.959_963_984_540_054_f64;
    let n = total as f64;
    let p = hits as f64 / n;
    let center = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    Some(((center - half).max(0.0), (center + half).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(rows: &[(u128, &[(&str, f64)])]) -> Vec<(Uuid, BTreeMap<String, f64>)> {
        let row = |(id, metrics): &(u128, &[(&str, f64)])| {
            (Uuid::from_u128(*id), metrics.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect())
        };
        rows.iter().map(row).collect()
    }

    fn vote(left: u128, right: u128, choice: VoteChoice) -> Vote {
        Vote {
            id: Uuid::nil(),
            graph_id: Uuid::nil(),
            left_id: Uuid::from_u128(left),
            right_id: Uuid::from_u128(right),
            voter: String::new(),
            choice,
            created_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_greatest_contradiction_comes_first() {
        let graph = |id: u128, rows: &[(u128, &[(&str, f64)])]| GraphScores {
            graph: Uuid::from_u128(id),
            candidates: scores(rows),
        };
        let graphs = [
            graph(1, &[(11, &[("a", 0.9), ("b", 0.1)]), (12, &[("a", 0.5), ("b", 0.4)])]),
            graph(2, &[(21, &[("a", 1.0), ("b", 0.0)]), (22, &[("a", 0.0), ("b", 1.0)])]),
            graph(3, &[(31, &[("a", 0.7)]), (32, &[("a", 0.7)])]),
            graph(4, &[(41, &[("a", 0.9)]), (42, &[("a", 0.1)])]),
            graph(5, &[(51, &[("a", 0.3)]), (52, &[("a", 0.2)])]),
        ];
        let order = |voted: &BTreeSet<(Uuid, Uuid)>| -> Vec<u128> {
            queue(&graphs, voted).iter().map(|contest| contest.graph.as_u128()).collect()
        };
        assert_eq!(order(&BTreeSet::new()), [2, 1, 5, 4, 3]);
        let voted = BTreeSet::from([in_order(Uuid::from_u128(22), Uuid::from_u128(21))]);
        assert_eq!(order(&voted), [1, 5, 4, 3]);
        let first = queue(&graphs, &BTreeSet::new())[1];
        assert!((first.disagreement - 0.3).abs() < 1e-12, "{first:?}");
        // The side says nothing about the ids' order, and is the same every time.
        let many: Vec<_> = (0..400_u128).map(|i| sides(Uuid::from_u128(2 * i), Uuid::from_u128(2 * i + 1))).collect();
        let kept = many.iter().filter(|(left, right)| left < right).count();
        assert!((140..260).contains(&kept), "{kept}");
        assert_eq!(sides(Uuid::from_u128(9), Uuid::from_u128(4)), sides(Uuid::from_u128(4), Uuid::from_u128(9)));
    }

    #[test]
    fn shares_and_agreement() {
        let votes = [
            vote(1, 2, VoteChoice::Left),
            vote(2, 1, VoteChoice::Right),
            vote(1, 3, VoteChoice::BothBad),
            vote(3, 2, VoteChoice::Skip),
        ];
        let shares = win_shares(&votes);
        let share = |id: u128| shares.get(&Uuid::from_u128(id)).copied();
        assert_eq!((share(1), share(2), share(3)), (Some(2.5 / 3.0), Some(0.0), Some(0.5)));
        let scores: BTreeMap<Uuid, BTreeMap<String, f64>> =
            scores(&[(1, &[("a", 0.9), ("b", 0.5)]), (2, &[("a", 0.1), ("b", 0.5)]), (3, &[("a", 0.0)])])
                .into_iter()
                .collect();
        let found = agreement(&votes, &scores);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].agreed, found[0].disagreed, found[0].tied), (2, 0, 0));
        assert_eq!((found[1].agreed, found[1].tied, found[1].interval), (0, 2, None));
    }

    #[test]
    fn wilsons_interval() {
        // statsmodels.stats.proportion.proportion_confint(8, 10, method="wilson") = (0.490162…, 0.943318…)
        let (low, high) = wilson(8, 10).unwrap();
        assert!((low - 0.490_162).abs() < 1e-5 && (high - 0.943_318).abs() < 1e-5, "{low} {high}");
        assert_eq!(wilson(0, 0), None);
        assert!(wilson(5, 5).is_some_and(|(low, high)| low > 0.5 && (high - 1.0).abs() < 1e-12));
    }
}
