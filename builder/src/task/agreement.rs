//! How far scorers agree with each other, and with themselves: over everything that is in the store.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::metrics::agreement::{self, Agreement, Scored, correlation};
use crate::score::METRICS;
use crate::store::answer::{self, Retest};
use crate::store::score_card::{self, MetricSummary, Scope};
use crate::store::score_run;
use crate::vote::{Contest, in_order, sides};
use crate::{Error, Result};

/// Two metrics (`dpg`, `clip-score/clip_score`) over the candidates that have both. Graphs and images are named by their ids.
///
/// # Errors
/// `Invalid` where nobody has scored under one of them.
pub async fn between(connection: &mut PgConnection, a: &str, b: &str, scope: &Scope) -> Result<Agreement> {
    Ok(agreement::agreement(&scored(connection, a, b, scope).await?))
}

async fn scored(connection: &mut PgConnection, a: &str, b: &str, scope: &Scope) -> Result<Vec<Scored>> {
    let graphs = score_card::graph_scores(&mut *connection, &[a.to_owned(), b.to_owned()], scope).await?;
    for (pointer, metric) in [("/a", a), ("/b", b)] {
        if !graphs.iter().flat_map(|graph| &graph.candidates).any(|(_, scores)| scores.contains_key(metric)) {
            return Err(Error::invalid(pointer, format!("nobody has scored under {metric:?} here")));
        }
    }
    let mut scored = Vec::new();
    for graph in graphs {
        let name = graph.graph.to_string();
        scored.extend(graph.candidates.iter().filter_map(|(candidate, scores)| {
            let (a, b) = (*scores.get(a)?, *scores.get(b)?);
            Some(Scored { graph: name.clone(), image: candidate.to_string(), a, b })
        }));
    }
    Ok(scored)
}

/// The pairs that two metrics order differently and `voted` does not hold, the surest first.
pub(super) async fn contests(
    connection: &mut PgConnection,
    a: &str,
    b: &str,
    scope: &Scope,
    voted: &BTreeSet<(Uuid, Uuid)>,
) -> Result<Vec<Contest>> {
    let found = between(connection, a, b, scope).await?;
    let contest = |one: &agreement::Disagreement| {
        let id = |text: &str| Uuid::parse_str(text).ok();
        let (graph, first, second) = (id(&one.graph)?, id(&one.preferred_by_a)?, id(&one.preferred_by_b)?);
        let (left, right) = sides(first, second);
        let disagreement = one.margin_a.min(one.margin_b);
        (!voted.contains(&in_order(first, second))).then_some(Contest { graph, left, right, disagreement })
    };
    Ok(found.disagreements.iter().filter_map(contest).collect())
}

/// One metric of a scorer that was asked twice.
#[derive(Clone, Debug)]
pub struct MetricRetest {
    pub metric: String,
    /// Candidates with a score in both.
    pub candidates: usize,
    /// Mean distance of the two scores.
    pub mean_difference: f64,
    /// Pearson's r of the two: the reliability. None where one does not vary.
    pub reliability: Option<f64>,
    /// Mean Spearman's ρ within graphs.
    pub spearman: Option<f64>,
    /// Pairs of a graph's candidates that both put in the same order.
    pub concordant: usize,
    /// That they put in opposite orders: what a pairing would turn round.
    pub discordant: usize,
}

/// A scorer that was asked twice.
#[derive(Clone, Debug)]
pub struct SelfAgreement {
    /// The versions that are compared.
    pub versions: (String, String),
    /// Of a scorer that answers questions.
    pub answers: Retest,
    pub metrics: Vec<MetricRetest>,
}

impl SelfAgreement {
    /// Share of the questions that were answered alike; none without one.
    pub fn agreed(&self) -> Option<f64> {
        let Retest { both_yes, only_first, only_second, both_no, .. } = self.answers;
        let all = both_yes + only_first + only_second + both_no;
        (all > 0).then(|| (both_yes + both_no) as f64 / all as f64)
    }

    /// Cohen's κ: how much of that is not chance; none where the answers do not vary.
    pub fn kappa(&self) -> Option<f64> {
        let Retest { both_yes, only_first, only_second, both_no, .. } = self.answers;
        let all = (both_yes + only_first + only_second + both_no) as f64;
        let (first, second) = ((both_yes + only_first) as f64 / all, (both_yes + only_second) as f64 / all);
        let chance = first * second + (1.0 - first) * (1.0 - second);
        let kappa = (self.agreed()? - chance) / (1.0 - chance);
        kappa.is_finite().then_some(kappa)
    }
}

/// The newest version of `scorer` against its own second run (a score run with `repetition` 2).
///
/// # Errors
/// `Conflict` where it has not been asked twice.
pub async fn retest(connection: &mut PgConnection, scorer: &str) -> Result<SelfAgreement> {
    let versions: HashMap<i32, String> = score_run::repetitions(&mut *connection, scorer).await?.into_iter().collect();
    let (Some(first), Some(second)) = (versions.get(&1), versions.get(&2)) else {
        let message = format!("{scorer} has not been asked twice: a score run with \"repetition\": 2 does so");
        return Err(Error::conflict("not_repeated", message));
    };
    let of_scorer = score_run::scorers(&mut *connection).await?.into_iter().find(|one| one.name == scorer);
    let names = of_scorer.map_or_else(|| METRICS.map(str::to_owned).to_vec(), |one| one.metrics);
    let mut metrics = Vec::new();
    for metric in names {
        let mut sides: Vec<HashMap<Uuid, (Uuid, f64)>> = Vec::new();
        for version in [first, second] {
            let scope = Scope { answerer: Some((scorer.to_owned(), version.clone())), ..Scope::default() };
            let graphs = score_card::graph_scores(&mut *connection, std::slice::from_ref(&metric), &scope).await?;
            let scores = graphs.into_iter().flat_map(|graph| {
                graph.candidates.into_iter().flat_map(move |(candidate, scores)| {
                    scores.into_values().map(move |score| (candidate, (graph.graph, score)))
                })
            });
            sides.push(scores.collect());
        }
        let mut scored: Vec<Scored> = sides[0]
            .iter()
            .filter_map(|(candidate, (graph, a))| {
                let (_, b) = sides[1].get(candidate)?;
                Some(Scored { graph: graph.to_string(), image: candidate.to_string(), a: *a, b: *b })
            })
            .collect();
        scored.sort_by(|one, other| one.image.cmp(&other.image));
        if scored.is_empty() {
            continue;
        }
        let found = agreement::agreement(&scored);
        let (a, b): (Vec<f64>, Vec<f64>) = scored.iter().map(|one| (one.a, one.b)).unzip();
        metrics.push(MetricRetest {
            metric,
            candidates: scored.len(),
            mean_difference: a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() / scored.len() as f64,
            reliability: correlation(&a, &b),
            spearman: found.spearman,
            concordant: found.concordant,
            discordant: found.disagreements.len(),
        });
    }
    let answers = answer::retest(connection, scorer, first, second).await?;
    Ok(SelfAgreement { versions: (first.clone(), second.clone()), answers, metrics })
}

/// Every metric that the newest version of each scorer has given.
#[derive(Clone, Debug)]
pub struct MetricTable {
    /// Mean and standard error, by scorer and metric.
    pub rows: Vec<MetricSummary>,
    /// (place, place, mean Spearman's ρ within graphs, graphs that it is over) of every two rows.
    pub correlations: Vec<(usize, usize, Option<f64>, usize)>,
}

/// The table over `scope`.
pub async fn table(connection: &mut PgConnection, scope: &Scope) -> Result<MetricTable> {
    let newest = super::vote::scorers(&mut *connection).await?;
    let is_newest =
        |row: &MetricSummary| newest.iter().any(|one| one.name == row.answerer && one.version == row.answerer_version);
    let mut rows = score_card::summaries(&mut *connection, scope.split, scope.generation_id).await?;
    rows.retain(is_newest);
    let mut correlations = Vec::new();
    for i in 0..rows.len() {
        for k in i + 1..rows.len() {
            let key = |row: &MetricSummary| format!("{}/{}", row.answerer, row.metric);
            let found = between(&mut *connection, &key(&rows[i]), &key(&rows[k]), scope).await?;
            correlations.push((i, k, found.spearman, found.ranked_graphs));
        }
    }
    Ok(MetricTable { rows, correlations })
}
