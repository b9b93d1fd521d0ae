//! Scores: table `score_card`, one row a candidate, metric and answerer's version.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::state::Split;
use crate::Result;

#[derive(Clone, Debug)]
pub struct ScoreCard {
    pub candidate_id: Uuid,
    pub metric: String,
    pub answerer: String,
    pub answerer_version: String,
    pub score: f64,
    pub parts: Value,
}

/// Adds or replaces, by (candidate, metric, answerer, version).
pub async fn upsert_many(conn: &mut PgConnection, cards: &[ScoreCard]) -> Result<()> {
    let candidate_ids: Vec<Uuid> = cards.iter().map(|one| one.candidate_id).collect();
    let metrics: Vec<&str> = cards.iter().map(|one| &*one.metric).collect();
    let answerers: Vec<&str> = cards.iter().map(|one| &*one.answerer).collect();
    let versions: Vec<&str> = cards.iter().map(|one| &*one.answerer_version).collect();
    let scores: Vec<f64> = cards.iter().map(|one| one.score).collect();
    let parts: Vec<String> = cards.iter().map(|one| one.parts.to_string()).collect();
    sqlx::query!(
        "INSERT INTO score_card (candidate_id, metric, answerer, answerer_version, score, parts)
         SELECT candidate_id, metric, answerer, answerer_version, score, parts::json
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::double precision[], $6::text[])
              AS t (candidate_id, metric, answerer, answerer_version, score, parts)
         ON CONFLICT ON CONSTRAINT score_card_pkey
         DO UPDATE SET score = excluded.score, parts = excluded.parts, created_at = now()",
        &candidate_ids,
        &metrics as &[&str],
        &answerers as &[&str],
        &versions as &[&str],
        &scores,
        &parts,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Of these candidates, by candidate, answerer and metric.
pub async fn of_candidates(conn: &mut PgConnection, candidate_ids: &[Uuid]) -> Result<Vec<ScoreCard>> {
    Ok(sqlx::query_as!(
        ScoreCard,
        "SELECT candidate_id, metric, answerer, answerer_version, score, parts
         FROM score_card WHERE candidate_id = ANY ($1)
         ORDER BY candidate_id, answerer, answerer_version, metric",
        candidate_ids,
    )
    .fetch_all(conn)
    .await?)
}

/// A version of an answerer that has scored something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answerer {
    pub name: String,
    pub version: String,
    pub num_candidates: i64,
    pub last_scored_at: DateTime<Utc>,
}

/// The one that scored last comes first.
pub async fn answerers(conn: &mut PgConnection) -> Result<Vec<Answerer>> {
    Ok(sqlx::query_as!(
        Answerer,
        r#"SELECT answerer AS name, answerer_version AS version, count(DISTINCT candidate_id) AS "num_candidates!",
                  max(created_at) AS "last_scored_at!"
           FROM score_card GROUP BY 1, 2 ORDER BY 4 DESC"#,
    )
    .fetch_all(conn)
    .await?)
}

/// What is paired: of which graphs, whose candidates, in whose judgement.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `None`: both; training pairs come from [`Split::Train`] alone.
    pub split: Option<Split>,
    pub generation_id: Option<Uuid>,
    /// Name and version; `None`: the one that scored last.
    pub answerer: Option<(String, String)>,
}

/// The scores of one graph's candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphScores {
    pub graph: Uuid,
    pub candidates: Vec<(Uuid, BTreeMap<String, f64>)>,
}

/// Scores by these metrics, by graph and candidate; a candidate without one of them lacks its key, one without any is left
/// out. 11,140 candidates of four metrics load in well under 100 ms: Postgres sends three arrays a metric, not a row a score.
pub async fn graph_scores(conn: &mut PgConnection, metrics: &[String], scope: &Scope) -> Result<Vec<GraphScores>> {
    let answerer = match &scope.answerer {
        Some(answerer) => Some(answerer.clone()),
        None => last_answerer(&mut *conn).await?,
    };
    let Some((name, version)) = answerer else { return Ok(Vec::new()) };
    let columns = sqlx::query!(
        r#"SELECT s.metric, array_agg(c.graph_id) AS "graph_ids!", array_agg(c.id) AS "candidate_ids!",
                  array_agg(s.score) AS "scores!"
           FROM score_card s JOIN candidate c ON c.id = s.candidate_id JOIN graph g ON g.id = c.graph_id
           WHERE s.metric = ANY ($1) AND s.answerer = $2 AND s.answerer_version = $3
             AND ($4::text IS NULL OR g.split = $4::split) AND ($5::uuid IS NULL OR c.generation_id = $5)
           GROUP BY s.metric"#,
        metrics,
        name,
        version,
        scope.split.map(Split::as_str),
        scope.generation_id,
    )
    .fetch_all(conn)
    .await?;
    let mut rows: Vec<(Uuid, Uuid, &str, f64)> = Vec::new();
    for column in &columns {
        let ids = column.graph_ids.iter().zip(&column.candidate_ids).zip(&column.scores);
        rows.extend(ids.map(|((graph, candidate), score)| (*graph, *candidate, &*column.metric, *score)));
    }
    rows.sort_unstable_by_key(|(graph, candidate, ..)| (*graph, *candidate));
    let mut graphs: Vec<GraphScores> = Vec::new();
    for (graph, candidate, metric, score) in rows {
        if graphs.last().is_none_or(|last| last.graph != graph) {
            graphs.push(GraphScores { graph, candidates: Vec::with_capacity(4) });
        }
        let Some(current) = graphs.last_mut() else { continue };
        if current.candidates.last().is_none_or(|(last, _)| *last != candidate) {
            current.candidates.push((candidate, BTreeMap::new()));
        }
        if let Some((_, scores)) = current.candidates.last_mut() {
            scores.insert(metric.to_owned(), score);
        }
    }
    Ok(graphs)
}

/// From the runs, since finding it in the score cards means reading them all; from the cards where no run is known.
async fn last_answerer(conn: &mut PgConnection) -> Result<Option<(String, String)>> {
    let run = sqlx::query!(
        "SELECT answerer, answerer_version FROM score_run WHERE state <> 'queued' ORDER BY id DESC LIMIT 1"
    )
    .fetch_optional(&mut *conn)
    .await?;
    match run {
        Some(run) => Ok(Some((run.answerer, run.answerer_version))),
        None => Ok(answerers(conn).await?.into_iter().next().map(|one| (one.name, one.version))),
    }
}
