//! Scores: table `score_card`, one row a candidate, metric and answerer's version.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::score_run;
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
    /// Name and version; `None`: of each metric the one that ran last for it.
    pub answerer: Option<(String, String)>,
}

/// The scores of one graph's candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphScores {
    pub graph: Uuid,
    pub candidates: Vec<(Uuid, BTreeMap<String, f64>)>,
}

/// Scores by these metrics, by graph and candidate; a candidate without one of them lacks its key, one without any is left
/// out. A metric is that of the scorer that ran last for it; `SCORER/METRIC` names the scorer. 11,140 candidates of four
/// metrics load in well under 100 ms: Postgres sends three arrays a metric, not a row a score.
pub async fn graph_scores(conn: &mut PgConnection, metrics: &[String], scope: &Scope) -> Result<Vec<GraphScores>> {
    let mut sources: BTreeMap<(String, String), Vec<(String, &str)>> = BTreeMap::new();
    for key in metrics {
        if let Some((source, metric)) = source_of(&mut *conn, key, scope).await? {
            sources.entry(source).or_default().push((metric, key));
        }
    }
    let mut rows: Vec<(Uuid, Uuid, &str, f64)> = Vec::new();
    for ((name, version), keys) in sources {
        let metrics: Vec<String> = keys.iter().map(|(metric, _)| metric.clone()).collect();
        let columns = sqlx::query!(
            r#"SELECT s.metric, array_agg(c.graph_id) AS "graph_ids!", array_agg(c.id) AS "candidate_ids!",
                      array_agg(s.score) AS "scores!"
               FROM score_card s JOIN candidate c ON c.id = s.candidate_id JOIN graph g ON g.id = c.graph_id
               WHERE s.metric = ANY ($1) AND s.answerer = $2 AND s.answerer_version = $3
                 AND ($4::text IS NULL OR g.split = $4::split) AND ($5::uuid IS NULL OR c.generation_id = $5)
               GROUP BY s.metric"#,
            &metrics,
            name,
            version,
            scope.split.map(Split::as_str),
            scope.generation_id,
        )
        .fetch_all(&mut *conn)
        .await?;
        for column in &columns {
            for (_, key) in keys.iter().filter(|(metric, _)| *metric == column.metric) {
                let ids = column.graph_ids.iter().zip(&column.candidate_ids).zip(&column.scores);
                rows.extend(ids.map(|((graph, candidate), score)| (*graph, *candidate, *key, *score)));
            }
        }
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

/// Name and version of a scorer.
type Source = (String, String);

/// Whose scores `key` names, and their metric. A metric that has a slash in its own name comes before a scorer's.
async fn source_of(conn: &mut PgConnection, key: &str, scope: &Scope) -> Result<Option<(Source, String)>> {
    if let Some(answerer) = &scope.answerer {
        return Ok(Some((answerer.clone(), key.to_owned())));
    }
    if let Some(source) = last_for(&mut *conn, key, None).await? {
        return Ok(Some((source, key.to_owned())));
    }
    let Some((name, metric)) = key.rsplit_once('/') else { return Ok(None) };
    let source = last_for(conn, metric, Some(name)).await?;
    Ok(source.map(|source| (source, metric.to_owned())))
}

/// From the runs, since finding it in the score cards means reading them all; from the cards where no run is known.
async fn last_for(conn: &mut PgConnection, metric: &str, answerer: Option<&str>) -> Result<Option<Source>> {
    if let Some(source) = score_run::last_for(&mut *conn, metric, answerer).await? {
        return Ok(Some(source));
    }
    let row = sqlx::query!(
        "SELECT answerer, answerer_version FROM score_card
         WHERE metric = $1 AND ($2::text IS NULL OR answerer = $2)
         GROUP BY answerer, answerer_version ORDER BY max(created_at) DESC LIMIT 1",
        metric,
        answerer,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.answerer, row.answerer_version)))
}

/// Mean and standard error of a scorer's metric; candidates of one graph are not independent, so the error is that of the
/// graphs' means.
#[derive(Clone, Debug)]
pub struct MetricSummary {
    pub answerer: String,
    pub answerer_version: String,
    pub metric: String,
    pub num_candidates: i64,
    pub num_graphs: i64,
    pub mean: f64,
    /// None of a single graph.
    pub standard_error: Option<f64>,
}

/// Every scorer's metrics over a side of the split and a generation; `None`: any.
pub async fn summaries(
    conn: &mut PgConnection,
    split: Option<Split>,
    generation_id: Option<Uuid>,
) -> Result<Vec<MetricSummary>> {
    Ok(sqlx::query_as!(
        MetricSummary,
        r#"WITH of_graph AS (
               SELECT s.answerer, s.answerer_version, s.metric, count(*) AS n, avg(s.score) AS mean
               FROM score_card s JOIN candidate c ON c.id = s.candidate_id JOIN graph g ON g.id = c.graph_id
               WHERE ($1::text IS NULL OR g.split = $1::split) AND ($2::uuid IS NULL OR c.generation_id = $2)
               GROUP BY s.answerer, s.answerer_version, s.metric, c.graph_id
           )
           SELECT answerer, answerer_version, metric, sum(n)::bigint AS "num_candidates!", count(*) AS "num_graphs!",
                  (sum(mean * n) / sum(n))::double precision AS "mean!",
                  (stddev_samp(mean) / sqrt(count(*)))::double precision AS standard_error
           FROM of_graph GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"#,
        split.map(Split::as_str),
        generation_id,
    )
    .fetch_all(conn)
    .await?)
}
