//! How far scorers agree with each other, and with themselves.

use axum::Json;
use axum::extract::State;
use builder::metrics::agreement;
use builder::store::score_card::Scope;
use builder::store::state::Split;
use builder::task::agreement as task;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::extract::Query;
use crate::page::Limit;
use crate::problem::{Problems, Result};
use crate::state::AppState;

/// Which two metrics to compare.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AgreementQuery {
    /// A metric, or `SCORER/METRIC`.
    #[param(example = "shapes/dpg")]
    pub a: String,
    /// Another one.
    #[param(example = "clip-score/clip_score")]
    pub b: String,
    /// `train` or `held_out`; without it, both.
    #[param(value_type = Option<String>)]
    pub split: Option<Split>,
    /// Only this generation's candidates.
    pub generation_id: Option<Uuid>,
    /// Disagreements to give, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
}

/// How far two metrics agree about the same candidates. Only candidates of one graph are compared.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScorerComparison {
    /// Candidates with both scores.
    pub candidates: usize,
    /// Graphs with at least two of them.
    pub graphs: usize,
    /// Graphs in which both metrics vary: the two means are over them.
    pub ranked_graphs: usize,
    /// Mean of Spearman's rho; null without such a graph.
    pub spearman: Option<f64>,
    /// Mean of Kendall's tau-b.
    pub kendall: Option<f64>,
    /// Pairs that both put in the same order.
    pub concordant: usize,
    /// Pairs that they put in opposite orders.
    pub discordant: usize,
    /// Pairs that one of them ties.
    pub ties: usize,
    /// The discordant pairs, the surest first. `/votes/queue?a=…&b=…` gives them to people.
    pub disagreements: Vec<ScorerDisagreement>,
}

/// Two candidates that the metrics order differently.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScorerDisagreement {
    /// What both are pictures of.
    pub graph_id: String,
    /// The candidate that the first metric prefers.
    pub preferred_by_a: String,
    /// The candidate that the second prefers.
    pub preferred_by_b: String,
    /// Difference of their scores under the first, above 0.
    pub margin_a: f64,
    /// Under the second.
    pub margin_b: f64,
}

impl ScorerComparison {
    /// With at most `limit` disagreements.
    pub fn new(found: agreement::Agreement, limit: usize) -> Self {
        let discordant = found.disagreements.len();
        let disagreement = |one: agreement::Disagreement| ScorerDisagreement {
            graph_id: one.graph,
            preferred_by_a: one.preferred_by_a,
            preferred_by_b: one.preferred_by_b,
            margin_a: one.margin_a,
            margin_b: one.margin_b,
        };
        Self {
            candidates: found.images,
            graphs: found.graphs,
            ranked_graphs: found.ranked_graphs,
            spearman: found.spearman,
            kendall: found.kendall,
            concordant: found.concordant,
            discordant,
            ties: found.ties,
            disagreements: found.disagreements.into_iter().take(limit).map(disagreement).collect(),
        }
    }
}

/// Which scorer to compare with itself.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RetestQuery {
    /// Its name.
    #[param(example = "openai")]
    pub scorer: String,
}

/// A scorer against its own repetition.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RetestResponse {
    /// The versions of the first and the second run.
    pub versions: [String; 2],
    /// Questions that both runs answered.
    pub answers: i64,
    /// Share of them answered alike; null without any.
    pub agreed: Option<f64>,
    /// Cohen's kappa: how much of that is not chance; null where the answers do not vary.
    pub kappa: Option<f64>,
    /// Mean distance of the two probabilities of a yes.
    pub mean_probability_difference: Option<f64>,
    /// Each metric.
    pub metrics: Vec<MetricRetest>,
}

/// One metric of a scorer against its repetition.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MetricRetest {
    /// The metric.
    pub metric: String,
    /// Candidates scored by both runs.
    pub candidates: usize,
    /// Mean distance of the two scores.
    pub mean_difference: f64,
    /// Pearson's r of the two; null where one does not vary.
    pub reliability: Option<f64>,
    /// Mean of Spearman's rho within graphs.
    pub spearman: Option<f64>,
    /// Pairs of a graph's candidates in the same order.
    pub concordant: usize,
    /// In opposite orders: what a pairing would turn round.
    pub discordant: usize,
}

impl From<task::SelfAgreement> for RetestResponse {
    fn from(found: task::SelfAgreement) -> Self {
        let (agreed, kappa) = (found.agreed(), found.kappa());
        let task::SelfAgreement { versions, answers, metrics } = found;
        let metric = |one: task::MetricRetest| MetricRetest {
            metric: one.metric,
            candidates: one.candidates,
            mean_difference: one.mean_difference,
            reliability: one.reliability,
            spearman: one.spearman,
            concordant: one.concordant,
            discordant: one.discordant,
        };
        Self {
            versions: [versions.0, versions.1],
            answers: answers.both_yes + answers.only_first + answers.only_second + answers.both_no,
            agreed,
            kappa,
            mean_probability_difference: answers.mean_difference,
            metrics: metrics.into_iter().map(metric).collect(),
        }
    }
}

/// How far two metrics agree, and where they do not.
#[utoipa::path(get, path = "/agreement", tag = "scores", params(AgreementQuery),
    responses((status = 200, description = "The comparison", body = ScorerComparison), Problems))]
pub async fn show_agreement(
    State(state): State<AppState>,
    Query(query): Query<AgreementQuery>,
) -> Result<Json<ScorerComparison>> {
    let AgreementQuery { a, b, split, generation_id, limit } = query;
    let scope = Scope { split, generation_id, answerer: None };
    let found = task::between(&mut *state.connection().await?, &a, &b, &scope).await?;
    Ok(Json(ScorerComparison::new(found, usize::try_from(limit.rows()).unwrap_or_default())))
}

/// How stable a scorer is: its newest version against its repetition.
#[utoipa::path(get, path = "/agreement/retest", tag = "scores", params(RetestQuery),
    responses((status = 200, description = "Both runs compared", body = RetestResponse), Problems))]
pub async fn show_retest(
    State(state): State<AppState>,
    Query(query): Query<RetestQuery>,
) -> Result<Json<RetestResponse>> {
    Ok(Json(task::retest(&mut *state.connection().await?, &query.scorer).await?.into()))
}
