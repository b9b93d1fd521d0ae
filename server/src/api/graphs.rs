//! Scene graphs, found by what is in them, shown with their candidates.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderName;
use axum::{Extension, Json};
use builder::conditioning::graph_text;
use builder::error::Fault;
use builder::pattern::Pattern;
use builder::question::QuestionKind;
use builder::store::graph::{Facets, Filter, Graph, Histogram, Sort};
use builder::store::{self, state::Split};
use models::scene_graph_encoder::GraphText;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::candidates::{self, CandidateResponse, CandidateSummary, image_url};
use crate::api::questions::QuestionResponse;
use crate::extract::{Id, Query, finite};
use crate::page::{Limit, List};
use crate::precondition::etag;
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;
use crate::unchanged::Snapshot;

/// The metric that says which candidate is best and which worst.
const RANKING_METRIC: &str = "dpg";
/// Bars of the histogram of scores.
const BINS: usize = 20;

/// Which graphs, in which order. Several conditions hold together.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct GraphQuery {
    /// Rows a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
    /// `next_cursor` of the page before, with the same order and conditions.
    pub cursor: Option<String>,
    /// `train` or `held_out`.
    #[param(value_type = Option<String>)]
    pub split: Option<Split>,
    /// An object has this label.
    pub label: Option<String>,
    /// An object has this attribute.
    pub attribute: Option<String>,
    /// A relation has this predicate.
    pub relation: Option<String>,
    /// With, or without, candidates.
    pub has_candidates: Option<bool>,
    /// Part of the caption or of `img_id`, whatever the case.
    pub text: Option<String>,
    /// The metric of the score conditions and orders.
    #[param(default = "dpg")]
    pub metric: Option<String>,
    /// A candidate scores at least this.
    #[serde(default, deserialize_with = "finite")]
    pub min_score: Option<f64>,
    /// A candidate scores at most this.
    #[serde(default, deserialize_with = "finite")]
    pub max_score: Option<f64>,
    /// The score counts the questions of this kind alone: `entity`, `attribute` or `relation`.
    #[param(value_type = Option<String>)]
    pub kind: Option<QuestionKind>,
    /// Two answerers differ by at least this about one candidate.
    #[serde(default, deserialize_with = "finite")]
    pub min_disagreement: Option<f64>,
    /// It has this tag.
    pub tag: Option<String>,
    /// It is in this collection.
    pub collection_id: Option<Uuid>,
    /// It has a warning with this code.
    #[param(example = "W_NO_RELATIONS")]
    pub lint: Option<String>,
    /// With, or without, any warning.
    pub has_lint: Option<bool>,
    /// These things are in it together: `(circle{red})-[left of]->(*{blue})`; parts are joined by `;`, `*` is anything, and
    /// `(a:dog)` is the same thing as a later `(a)`.
    #[param(example = "(*{red})-[left of]->(*{blue})")]
    pub pattern: Option<String>,
    /// As `pattern`, in words; "thing" and "object" are anything.
    #[param(example = "a red thing left of a blue thing")]
    pub phrase: Option<String>,
    /// `oldest` (default), `newest`, `best_score`, `worst_score` or `spread`.
    #[param(value_type = Option<String>)]
    pub sort: Option<Sort>,
    /// Whether to count facets; they cost more than the page.
    #[param(default = true)]
    pub facets: Option<bool>,
}

impl GraphQuery {
    /// The conditions.
    pub fn filter(&self) -> Result<Filter> {
        let fault = |name: &str, message| Problem::query_faults(&[Fault::new(format!("/{name}"), message)]);
        let pattern = match (&self.pattern, &self.phrase) {
            (Some(_), Some(_)) => return Err(fault("phrase", "goes without pattern".to_owned())),
            (Some(text), None) => Some(Pattern::parse(text).map_err(|message| fault("pattern", message))?),
            (None, Some(text)) => Some(Pattern::of_phrase(text).map_err(|message| fault("phrase", message))?),
            (None, None) => None,
        };
        Ok(Filter {
            split: self.split,
            labels: self.label.clone().into_iter().collect(),
            attributes: self.attribute.clone().into_iter().collect(),
            relations: self.relation.clone().into_iter().collect(),
            has_candidates: self.has_candidates,
            text: self.text.clone(),
            min_score: self.min_score,
            max_score: self.max_score,
            metric: self.metric.clone(),
            kind: self.kind,
            min_disagreement: self.min_disagreement,
            tags: self.tag.clone().into_iter().collect(),
            collection: self.collection_id,
            lint: self.lint.clone(),
            has_lint: self.has_lint,
            pattern,
        })
    }
}

/// A thing in a picture.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SceneObject {
    /// Relations and questions name it by this.
    pub position: i32,
    /// What it is.
    #[schema(example = "circle")]
    pub label: String,
    /// How it is.
    pub attributes: Vec<String>,
}

/// How two things in a picture stand to each other.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SceneRelation {
    /// Position of an object.
    pub subject: i32,
    /// The relation.
    #[schema(example = "left of")]
    pub predicate: String,
    /// Position of an object.
    pub object: i32,
}

/// A scene graph, as lists show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GraphSummary {
    /// Of the graph.
    pub id: Uuid,
    /// Its name in the file that it came from.
    pub img_id: String,
    /// In words.
    pub caption: String,
    /// `train` or `held_out`; follows from the content.
    #[schema(value_type = String, example = "train")]
    pub split: Split,
    /// Objects.
    pub num_objects: i32,
    /// Relations.
    pub num_relations: i32,
    /// What is in the picture.
    pub objects: Vec<SceneObject>,
    /// How it stands to each other.
    pub relations: Vec<SceneRelation>,
    /// Its pictures.
    pub candidates: Vec<CandidateSummary>,
    /// The best of the scored candidates (the first of equals).
    pub best: Option<Uuid>,
    /// The worst of the scored candidates; null where all are equal.
    pub worst: Option<Uuid>,
    /// What curators call it.
    pub tags: Vec<String>,
    /// Codes of the warnings about its record.
    pub lint_codes: Vec<String>,
    /// 1, 2, 3 … each time it was edited.
    pub revision: i32,
    /// The graph that it is an edited copy of.
    pub revises: Option<Uuid>,
    /// Whether no later revision has taken its place.
    pub is_current: bool,
}

/// A scene graph with everything about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GraphDetail {
    #[serde(flatten)]
    pub summary: GraphSummary,
    /// The record as it was ingested.
    pub document: Value,
    /// What is asked of its pictures; none before the first score run.
    pub questions: Vec<QuestionResponse>,
    /// Warnings about the record.
    pub lint: Value,
    /// The file that it came from.
    pub source_file: String,
    /// Place in that file, from 0.
    pub record: i64,
    /// SHA-256 of its content.
    pub content_hash: String,
}

/// A page of graphs, and what there is to filter by.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GraphList {
    /// The page's rows.
    #[schema(value_type = Vec<GraphSummary>)]
    #[serde(serialize_with = "shared")]
    pub items: Vec<Arc<GraphSummary>>,
    /// Give this as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
    /// Rows on all pages.
    pub total: i64,
    /// `split`, `label`, `attribute`, `relation`, `tag`, `lint`, `collection` → word → graphs on all pages, the most frequent
    /// words first.
    #[schema(value_type = HashMap<String, HashMap<String, i64>>)]
    pub facets: Map<String, Value>,
    /// Candidates on all pages by their score; none without facets.
    pub score_histogram: Vec<ScoreBin>,
}

/// One bar: scores in `from..to` (the last includes its end).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScoreBin {
    /// Lower border.
    pub from: f64,
    /// Upper border.
    pub to: f64,
    /// Candidates in between.
    pub count: i64,
}

/// Graphs, with their candidates.
#[utoipa::path(get, path = "/graphs", tag = "graphs", params(GraphQuery),
    responses((status = 200, description = "A page", body = GraphList), Problems))]
pub async fn list_graphs(
    State(state): State<AppState>,
    Extension(snapshot): Extension<Snapshot>,
    Query(query): Query<GraphQuery>,
) -> Result<Json<GraphList>> {
    let filter = query.filter()?;
    let limit = query.limit.rows();
    let (sort, cursor) = (query.sort.unwrap_or_default(), query.cursor.as_deref());
    let (pool, with_facets) = (&state.context.pool, query.facets != Some(false));
    let (mut facets, mut histogram) = (Facets::new(), None);
    let found = if let Some(index) = state.index.find(pool, &snapshot).await? {
        let matching = index.matching(pool, &filter).await?;
        if with_facets {
            facets = index.facets(pool, &matching).await?;
            histogram = index.score_histogram(pool, &matching, &filter, BINS).await?;
        }
        index.page(pool, &matching, (&filter, sort), limit, cursor).await?
    } else {
        let mut connection = state.connection().await?;
        if with_facets {
            facets = store::graph::facets(&mut connection, &filter).await?;
            histogram = store::graph::score_histogram(&mut connection, &filter, BINS).await?;
        }
        store::graph::page_ids(&mut connection, &filter, sort, limit, cursor).await?
    };
    Ok(Json(GraphList {
        items: state.summaries.describe(pool, snapshot, &found.items).await?,
        next_cursor: found.next_cursor,
        total: found.total,
        facets: in_order(facets),
        score_histogram: histogram.map(bins).unwrap_or_default(),
    }))
}

/// Rows that several answers share, as if each had its own.
fn shared<S: Serializer>(items: &[Arc<GraphSummary>], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(Arc::as_ref))
}

fn bins(histogram: Histogram) -> Vec<ScoreBin> {
    let width = (histogram.to - histogram.from) / histogram.counts.len() as f64;
    let border = |place: usize| histogram.from + width * place as f64;
    let counts = histogram.counts.iter().enumerate();
    counts.map(|(place, &count)| ScoreBin { from: border(place), to: border(place + 1), count }).collect()
}

/// JSON objects keep their order here, and so the most frequent word stays first.
fn in_order(facets: Facets) -> Map<String, Value> {
    let words = |counts: Vec<(String, i64)>| counts.into_iter().map(|(word, count)| (word, Value::from(count)));
    facets.into_iter().map(|(facet, counts)| (facet, Value::Object(words(counts).collect()))).collect()
}

/// One graph with its record, questions and candidates; its `ETag` is what `If-Match` of a change must say.
#[utoipa::path(get, path = "/graphs/{id}", tag = "graphs", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The graph", body = GraphDetail,
        headers(("ETag" = String, description = "Its version"))), Problems))]
pub async fn find_graph(
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<([(HeaderName, String); 1], Json<GraphDetail>)> {
    let mut connection = state.connection().await?;
    let graph = load(&mut connection, id).await?;
    let document = store::graph::document(&mut connection, id).await?.unwrap_or_default();
    let lint = store::graph::lint(&mut connection, id).await?.unwrap_or_default();
    let questions = store::question::of_graphs(&mut connection, &[id]).await?;
    let version = graph.version;
    let (source_file, record, content_hash) = (graph.source_file.clone(), graph.record, graph.content_hash.clone());
    let summary = summarize(&mut connection, vec![graph]).await?.pop();
    let summary = summary.ok_or_else(|| Problem::not_found("graph", id))?;
    let questions = questions.into_iter().map(QuestionResponse::from).collect();
    let detail = GraphDetail { summary, document, questions, lint, source_file, record, content_hash };
    Ok((etag(version), Json(detail)))
}

/// The candidates of a graph with their scores and answers, by generation and index.
#[utoipa::path(get, path = "/graphs/{id}/candidates", tag = "candidates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "All of them", body = List<CandidateResponse>), Problems))]
pub async fn list_graph_candidates(State(state): State<AppState>, Id(id): Id) -> Result<Json<List<CandidateResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let found = store::candidate::of_graphs(&mut connection, &[id]).await?;
    Ok(Json(List::whole(candidates::describe(&mut connection, found).await?)))
}

pub(super) async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Graph> {
    store::graph::find(connection, id).await?.ok_or_else(|| Problem::not_found("graph", id))
}

/// What these graphs ask for, in words: their captions, or what they hold where they came without one.
pub async fn captions(connection: &mut PgConnection, ids: &[Uuid]) -> builder::Result<HashMap<Uuid, String>> {
    let graphs = store::graph::load_many(&mut *connection, ids).await?;
    let silent = |graph: &&Graph| graph.caption.trim().is_empty();
    let bare: Vec<Uuid> = graphs.iter().filter(silent).map(|graph| graph.id).collect();
    let mut captions: HashMap<Uuid, String> = graphs.into_iter().map(|graph| (graph.id, graph.caption)).collect();
    for graph in store::graph::scene_graphs(connection, &bare).await? {
        captions.insert(graph.id, in_words(&graph_text(&graph.graph)));
    }
    Ok(captions)
}

/// `red circle left of blue square; …`, then what stands alone.
fn in_words(graph: &GraphText) -> String {
    let triples = graph.triples.iter().map(|triple| triple.join(" "));
    triples.chain(graph.isolated.iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// What a list shows of these graphs: five queries, however many graphs.
pub(crate) async fn summarize(connection: &mut PgConnection, graphs: Vec<Graph>) -> Result<Vec<GraphSummary>> {
    let ids: Vec<Uuid> = graphs.iter().map(|graph| graph.id).collect();
    let mut objects: HashMap<Uuid, Vec<SceneObject>> = HashMap::new();
    for store::graph::ObjectRow { graph_id, position, label, attributes } in
        store::graph::objects(&mut *connection, &ids).await?
    {
        objects.entry(graph_id).or_default().push(SceneObject { position, label, attributes });
    }
    let mut relations: HashMap<Uuid, Vec<SceneRelation>> = HashMap::new();
    for row in store::graph::relations(&mut *connection, &ids).await? {
        let relation = SceneRelation { subject: row.subject, predicate: row.predicate, object: row.object };
        relations.entry(row.graph_id).or_default().push(relation);
    }
    let rows = store::candidate::of_graphs(&mut *connection, &ids).await?;
    let candidate_ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut scores = candidates::scores_of(connection, &candidate_ids).await?;
    let mut of_graph: HashMap<Uuid, Vec<CandidateSummary>> = HashMap::new();
    for row in rows {
        let scores = scores.remove(&row.id);
        let candidate = CandidateSummary { id: row.id, index: row.index, image_url: image_url(row.id), scores };
        of_graph.entry(row.graph_id).or_default().push(candidate);
    }
    let summaries = graphs.into_iter().map(|graph| {
        let candidates = of_graph.remove(&graph.id).unwrap_or_default();
        let (best, worst) = extremes(&candidates);
        GraphSummary {
            id: graph.id,
            img_id: graph.img_id,
            caption: graph.caption,
            split: graph.split,
            num_objects: graph.num_objects,
            num_relations: graph.num_relations,
            objects: objects.remove(&graph.id).unwrap_or_default(),
            relations: relations.remove(&graph.id).unwrap_or_default(),
            candidates,
            best,
            worst,
            tags: graph.tags,
            lint_codes: graph.lint_codes,
            revision: graph.revision,
            revises: graph.revises,
            is_current: graph.is_current,
        }
    });
    Ok(summaries.collect())
}

/// The best candidate, and the worst where it is worse.
fn extremes(candidates: &[CandidateSummary]) -> (Option<Uuid>, Option<Uuid>) {
    let mut best: Option<(Uuid, f64)> = None;
    let mut worst: Option<(Uuid, f64)> = None;
    for candidate in candidates {
        let Some(score) = candidate.scores.as_ref().and_then(|scores| scores.get(RANKING_METRIC)).copied() else {
            continue;
        };
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((candidate.id, score));
        }
        if worst.is_none_or(|(_, lowest)| score < lowest) {
            worst = Some((candidate.id, score));
        }
    }
    match (best, worst) {
        (Some((best, highest)), Some((worst, lowest))) if highest > lowest => (Some(best), Some(worst)),
        (best, _) => (best.map(|(id, _)| id), None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn candidate(id: u128, score: Option<f64>) -> CandidateSummary {
        let scores = score.map(|score| BTreeMap::from([(RANKING_METRIC.to_owned(), score)]));
        CandidateSummary { id: Uuid::from_u128(id), index: 0, image_url: String::new(), scores }
    }

    #[test]
    fn equals_have_a_best_but_no_worst() {
        for (scores, expected) in [
            (vec![], (None, None)),
            (vec![None, None], (None, None)),
            (vec![Some(0.5), Some(0.5)], (Some(0), None)),
            (vec![Some(0.5), None, Some(1.0), Some(0.0)], (Some(2), Some(3))),
        ] {
            let list: Vec<_> = scores.iter().enumerate().map(|(id, score)| candidate(id as u128, *score)).collect();
            let found = extremes(&list);
            let number = |id: Option<Uuid>| id.map(|id| id.as_u128() as usize);
            assert_eq!((number(found.0), number(found.1)), expected, "{scores:?}");
        }
    }
}
