//! Votes taken, and what follows from all of them: the queue of pairs to judge, and how far scorers agree with people.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Fault;
use crate::pair::GraphScores;
use crate::store::candidate;
use crate::store::score_card::{self, Scope};
use crate::store::score_run::{self, RunScorer};
use crate::store::state::VoteChoice;
use crate::store::vote::{self as rows, Vote};
use crate::task::score::HUMAN;
use crate::vote::{self, Contest, ScorerAgreement};
use crate::{Error, Result};

/// Takes a vote. The flag says whether this voter had not voted on the pair.
///
/// # Errors
/// `Invalid` when a candidate does not exist or the two are not of the same graph.
pub async fn cast(
    connection: &mut PgConnection,
    (left_id, right_id): (Uuid, Uuid),
    voter: &str,
    choice: VoteChoice,
) -> Result<(Vote, bool)> {
    if left_id == right_id {
        return Err(Error::invalid("/right_id", "is the same candidate as the left one"));
    }
    let found = candidate::load_many(&mut *connection, &[left_id, right_id]).await?;
    let graph_of = |id: Uuid| found.iter().find(|one| one.id == id).map(|one| one.graph_id);
    let (left, right) = (graph_of(left_id), graph_of(right_id));
    let missing = [("/left_id", left), ("/right_id", right)].into_iter().filter(|(_, graph)| graph.is_none());
    let faults: Vec<Fault> = missing.map(|(pointer, _)| Fault::new(pointer, "is the id of no candidate")).collect();
    match (left, right) {
        (Some(left), Some(right)) if left == right => {
            rows::upsert(connection, left, left_id, right_id, voter, choice).await
        }
        (Some(_), Some(_)) => Err(Error::invalid(
            "/right_id",
            "is a candidate of another graph than the left one; only pictures of the same graph compare",
        )),
        _ => Err(Error::Invalid(faults)),
    }
}

/// The next pairs for `voter`, and how far they are.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The first ones.
    pub contests: Vec<Contest>,
    /// Pairs that the voter has not judged.
    pub remaining: usize,
    /// Of them, those about which two scorers disagree.
    pub disputed: usize,
    /// Pairs that the voter has judged or skipped.
    pub voted: usize,
}

/// The first `limit` pairs that `voter` has not judged; of two scorers' metrics, if `between` names them, only those that
/// they order differently, the surest first.
pub async fn queue(
    connection: &mut PgConnection,
    voter: &str,
    scope: &Scope,
    between: Option<(&str, &str)>,
    limit: usize,
) -> Result<Queue> {
    let votes = rows::all(&mut *connection, Some(voter)).await?;
    let voted: BTreeSet<(Uuid, Uuid)> = votes.iter().map(|one| vote::in_order(one.left_id, one.right_id)).collect();
    let mut contests = match between {
        Some((a, b)) => super::agreement::contests(connection, a, b, scope, &voted).await?,
        None => vote::queue(&all_scores(connection, scope).await?, &voted),
    };
    let disputed = contests.iter().filter(|one| one.disagreement > 0.0).count();
    let remaining = contests.len();
    contests.truncate(limit);
    Ok(Queue { contests, remaining, disputed, voted: voted.len() })
}

/// All scores in scope, of every answerer's newest version; where there are several, metrics carry the answerer's name.
async fn all_scores(connection: &mut PgConnection, scope: &Scope) -> Result<Vec<GraphScores>> {
    let scorers = scorers(&mut *connection).await?;
    let several = scorers.len() > 1;
    let mut graphs: BTreeMap<Uuid, BTreeMap<Uuid, BTreeMap<String, f64>>> = BTreeMap::new();
    for RunScorer { name, version, metrics } in scorers {
        let scope = Scope { answerer: Some((name.clone(), version)), ..scope.clone() };
        for graph in score_card::graph_scores(&mut *connection, &metrics, &scope).await? {
            let known = graphs.entry(graph.graph).or_default();
            for (candidate, scores) in graph.candidates {
                let named = scores
                    .into_iter()
                    .map(|(metric, score)| (if several { format!("{name}/{metric}") } else { metric }, score));
                known.entry(candidate).or_default().extend(named);
            }
        }
    }
    let graphs = graphs
        .into_iter()
        .map(|(graph, candidates)| GraphScores { graph, candidates: candidates.into_iter().collect() });
    Ok(graphs.collect())
}

/// Every scorer but the people themselves.
pub(super) async fn scorers(connection: &mut PgConnection) -> Result<Vec<RunScorer>> {
    let mut scorers = score_run::scorers(connection).await?;
    scorers.retain(|scorer| scorer.name != HUMAN);
    Ok(scorers)
}

/// How the scorers compare with people's votes.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// How often each choice was made, in the order of [`VoteChoice::ALL`].
    pub choices: Vec<(VoteChoice, usize)>,
    /// Each scorer.
    pub scorers: Vec<ScorerAgreement>,
}

/// The votes of one voter, or of all, against every scorer.
pub async fn agreement(connection: &mut PgConnection, voter: Option<&str>) -> Result<Agreement> {
    let votes = rows::all(&mut *connection, voter).await?;
    let scores: BTreeMap<Uuid, BTreeMap<String, f64>> =
        all_scores(connection, &Scope::default()).await?.into_iter().flat_map(|graph| graph.candidates).collect();
    let count = |choice: &VoteChoice| (*choice, votes.iter().filter(|vote| vote.choice == *choice).count());
    Ok(Agreement { choices: VoteChoice::ALL.iter().map(count).collect(), scorers: vote::agreement(&votes, &scores) })
}

/// Adds people's votes to the scores, as the metric [`vote::METRIC`]; graphs without scores that have votes are added.
pub(super) async fn add_votes(
    connection: &mut PgConnection,
    scores: &mut Vec<GraphScores>,
    scope: &Scope,
) -> Result<()> {
    let votes = rows::in_scope(connection, scope.split, scope.generation_id).await?;
    let shares = vote::win_shares(&votes);
    let mut places: HashMap<Uuid, usize> =
        scores.iter().enumerate().map(|(place, graph)| (graph.graph, place)).collect();
    let mut seen = HashSet::new();
    for (graph, candidate) in
        votes.iter().flat_map(|vote| [(vote.graph_id, vote.left_id), (vote.graph_id, vote.right_id)])
    {
        let Some(share) = shares.get(&candidate).filter(|_| seen.insert(candidate)) else { continue };
        let place = *places.entry(graph).or_insert_with(|| {
            scores.push(GraphScores { graph, candidates: Vec::new() });
            scores.len() - 1
        });
        let candidates = &mut scores[place].candidates;
        let at = candidates.iter().position(|(id, _)| *id == candidate).unwrap_or_else(|| {
            candidates.push((candidate, BTreeMap::new()));
            candidates.len() - 1
        });
        candidates[at].1.insert(vote::METRIC.to_owned(), *share);
    }
    Ok(())
}
