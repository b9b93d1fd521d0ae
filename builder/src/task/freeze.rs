//! ScoreCard → Pair → Pairing: the pairs that follow from the scores under a policy, live; and their frozen, hashed form.

use sqlx::PgConnection;

use super::{TaskContext, score};
use crate::pair::{self, GraphScores, Pair};
use crate::pairing;
use crate::policy::Policy;
use crate::store::pairing::Pairing;
use crate::store::score_card::Scope;
use crate::store::state::Split;
use crate::store::{pairing as rows, score_card};
use crate::{Error, Result, vote};

/// What training pairs are made of unless said otherwise: graphs that may be trained on, judged by whoever judged last.
pub fn training_scope() -> Scope {
    Scope { split: Some(Split::Train), ..Scope::default() }
}

/// The pairs under `policy`, as they are now.
///
/// # Errors
/// `Invalid` when the scope names a generation that does not exist.
pub async fn pairs(connection: &mut PgConnection, policy: &Policy, scope: &Scope) -> Result<Vec<Pair>> {
    if let Some(generation) = scope.generation_id {
        score::generation_exists(connection, generation).await?;
    }
    // Votes are counted as they are now.
    let metrics: Vec<String> = policy.weights.keys().filter(|metric| *metric != vote::METRIC).cloned().collect();
    let scores = score_card::graph_scores(connection, &metrics, scope).await?;
    let mut scores: Vec<GraphScores> =
        scores.into_iter().map(|one| GraphScores { graph: one.graph, candidates: one.candidates }).collect();
    if policy.weights.get(vote::METRIC).is_some_and(|weight| *weight != 0.0) {
        super::vote::add_votes(connection, &mut scores, scope).await?;
    }
    Ok(pair::pairs(&scores, policy))
}

/// Freezes the pairs under `policy` as they are now. The same pairs and policy give the same pairing again; the flag says
/// whether it is new.
pub async fn freeze(context: &TaskContext, name: &str, policy: &Policy, scope: &Scope) -> Result<(Pairing, bool)> {
    let mut transaction = context.pool.begin().await?;
    let pairs = pairs(&mut transaction, policy, scope).await?;
    let hash = pairing::hash(policy, &pairs);
    let document = serde_json::to_value(policy)
        .map_err(|source| Error::Json { context: "writing the policy".to_owned(), source })?;
    let stored: Vec<rows::Pair> = pairs
        .iter()
        .map(|pair| rows::Pair {
            graph_id: pair.graph,
            winner_id: pair.winner,
            loser_id: pair.loser,
            winner_score: pair.winner_score,
            loser_score: pair.loser_score,
            margin: pair.margin,
        })
        .collect();
    let frozen = rows::insert(&mut transaction, name, &document, &hash, &stored).await?;
    transaction.commit().await?;
    Ok(frozen)
}
