//! Graphs found by what is in them, what was said of them and how their candidates score.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::graph::{Graph, load_many};
use super::page::{self, Page};
use super::state::Split;
use crate::pattern::Pattern;
use crate::question::QuestionKind;
use crate::{Error, Result};

/// Which graphs a list is of. Several labels, attributes or relations: all of them must be there.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub split: Option<Split>,
    pub labels: Vec<String>,
    pub attributes: Vec<String>,
    /// Predicates.
    pub relations: Vec<String>,
    pub has_candidates: Option<bool>,
    /// Part of the caption or of `img_id`, whatever the case.
    pub text: Option<String>,
    /// A candidate of the graph scores in this range by [`Filter::metric`].
    pub min_score: Option<f64>,
    pub max_score: Option<f64>,
    /// Which metric scores and orders; `dpg` when it is `None`.
    pub metric: Option<String>,
    /// The score counts only these questions, by the metric's parts.
    pub kind: Option<QuestionKind>,
    /// Two answerers differ by at least this about one candidate.
    pub min_disagreement: Option<f64>,
    /// Tags; all of them.
    pub tags: Vec<String>,
    pub collection: Option<Uuid>,
    /// A warning of the lint, by its code.
    pub lint: Option<String>,
    /// With, or without, any warning.
    pub has_lint: Option<bool>,
    /// These objects and relations are in the graph together.
    pub pattern: Option<Pattern>,
}

/// The order of a list. By a score: graphs that have none come last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// As ingested.
    #[default]
    Oldest,
    Newest,
    /// The best candidate's score, the best first.
    BestScore,
    /// The worst candidate's score, the worst first.
    WorstScore,
    /// Best less worst, the widest first: where a pair says most.
    Spread,
}

impl Sort {
    /// What is ordered by, descending: SQL over the `scored` table, which is there when this is `Some`.
    fn key(self) -> Option<&'static str> {
        match self {
            Self::Oldest | Self::Newest => None,
            Self::BestScore => Some("coalesce(scored.best, '-Infinity')"),
            Self::WorstScore => Some("coalesce(-scored.worst, '-Infinity')"),
            Self::Spread => Some("coalesce(scored.best - scored.worst, '-Infinity')"),
        }
    }
}

/// A page of graphs.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    sort: Sort,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<Graph>> {
    let Page { items, next_cursor, total } = page_ids(&mut *conn, filter, sort, limit, cursor).await?;
    Ok(Page { items: load_many(conn, &items).await?, next_cursor, total })
}

/// Ids of a page of graphs.
pub async fn page_ids(
    conn: &mut PgConnection,
    filter: &Filter,
    sort: Sort,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<Uuid>> {
    let limit = page::clamp(limit);
    let after = Place::read(cursor, sort)?;
    let key = sort.key();
    let mut query = QueryBuilder::<Postgres>::new("SELECT g.id, ");
    query.push(key.unwrap_or("NULL::double precision")).push(" AS key FROM graph g");
    if key.is_some() {
        query.push(
            " LEFT JOIN (SELECT s.graph_id, max(s.score) AS best, min(s.score) AS worst FROM score_card s WHERE s.metric = ",
        );
        query.push_bind(metric(filter)).push(" GROUP BY s.graph_id) scored ON scored.graph_id = g.id");
    }
    query.push(" WHERE g.is_current");
    push_filter(&mut query, filter);
    if let Some(Place { key: its_key, id }) = after {
        match (key, its_key) {
            (Some(key), Some(value)) => {
                query.push(" AND (").push(key).push(", g.id) < (").push_bind(value).push(", ").push_bind(id).push(")");
            }
            _ => {
                query.push(if sort == Sort::Oldest { " AND g.id > " } else { " AND g.id < " }).push_bind(id);
            }
        }
    }
    match key {
        Some(_) => query.push(" ORDER BY key DESC, g.id DESC"),
        None if sort == Sort::Oldest => query.push(" ORDER BY g.id"),
        None => query.push(" ORDER BY g.id DESC"),
    };
    query.push(" LIMIT ").push_bind(limit + 1);
    let found: Vec<(Uuid, Option<f64>)> = query
        .build()
        .fetch_all(&mut *conn)
        .await?
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, sqlx::Error>>()?;
    let total = count_matching(&mut *conn, filter).await?;
    Place::page(found, limit, total, sort)
}

/// Where a page begins: behind the row with this key and id.
pub(super) struct Place {
    key: Option<f64>,
    id: Uuid,
}

impl Place {
    /// What a cursor of a list in this order says.
    pub(super) fn read(cursor: Option<&str>, sort: Sort) -> Result<Option<Self>> {
        // The key as text: JSON has no infinity.
        let Some((its_sort, key, id)) = page::decode::<(Sort, Option<String>, Uuid)>(cursor)? else { return Ok(None) };
        if its_sort != sort {
            return Err(Error::invalid("/cursor", "this cursor belongs to another order of the list"));
        }
        Ok(Some(Self { key: key.as_deref().and_then(|text| text.parse().ok()), id }))
    }

    /// Whether a row comes behind it.
    pub(super) fn is_before(&self, sort: Sort, key: Option<f64>, id: Uuid) -> bool {
        match (sort, key, self.key) {
            (Sort::Oldest, ..) => id > self.id,
            (_, Some(key), Some(own)) => key < own || (key <= own && id < self.id),
            _ => id < self.id,
        }
    }

    /// Of rows fetched with one too many.
    pub(super) fn page(found: Vec<(Uuid, Option<f64>)>, limit: i64, total: i64, sort: Sort) -> Result<Page<Uuid>> {
        let page = Page::new(found, limit, total, |(id, key)| (sort, key.map(|key| key.to_string()), *id))?;
        Ok(page.map(|(id, _)| id))
    }
}

impl Filter {
    /// The conditions one by one, without those on scores.
    pub(super) fn conditions(&self) -> Vec<Self> {
        // Every field by name: a new one must be thought of here.
        let Self {
            split,
            labels,
            attributes,
            relations,
            has_candidates,
            text,
            min_score: _,
            max_score: _,
            metric: _,
            kind: _,
            min_disagreement: _,
            tags,
            collection,
            lint,
            has_lint,
            pattern,
        } = self;
        let one = |word: &String| vec![word.clone()];
        let mut all = Vec::new();
        all.extend(split.map(|split| Self { split: Some(split), ..Self::default() }));
        all.extend(labels.iter().map(|word| Self { labels: one(word), ..Self::default() }));
        all.extend(attributes.iter().map(|word| Self { attributes: one(word), ..Self::default() }));
        all.extend(relations.iter().map(|word| Self { relations: one(word), ..Self::default() }));
        all.extend(has_candidates.map(|has| Self { has_candidates: Some(has), ..Self::default() }));
        all.extend(text.iter().map(|text| Self { text: Some(text.clone()), ..Self::default() }));
        all.extend(tags.iter().map(|word| Self { tags: one(word), ..Self::default() }));
        all.extend(collection.map(|id| Self { collection: Some(id), ..Self::default() }));
        all.extend(lint.iter().map(|code| Self { lint: Some(code.clone()), ..Self::default() }));
        all.extend(has_lint.map(|has| Self { has_lint: Some(has), ..Self::default() }));
        all.extend(pattern.iter().map(|pattern| Self { pattern: Some(pattern.clone()), ..Self::default() }));
        all
    }
}

/// Ids of all graphs that match, as ingested.
pub async fn list_ids(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<Uuid>> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT g.id FROM graph g WHERE g.is_current");
    push_filter(&mut query, filter);
    query.push(" ORDER BY g.id");
    Ok(query.build_query_scalar().fetch_all(conn).await?)
}

async fn count_matching(conn: &mut PgConnection, filter: &Filter) -> Result<i64> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT count(*) FROM graph g WHERE g.is_current");
    push_filter(&mut query, filter);
    Ok(query.build_query_scalar().fetch_one(conn).await?)
}

/// Facet → word → number of matching graphs; of labels, attributes and relations the 50 most frequent.
pub type Facets = BTreeMap<String, Vec<(String, i64)>>;

/// What is counted by.
pub(super) const FACETS: [&str; 7] = ["split", "label", "attribute", "relation", "tag", "lint", "collection"];

/// Words of a facet that are counted, the most frequent ones; LIMIT in [`facets`].
pub(super) const FACET_WORDS: usize = 50;

/// Counts over all pages of the list with this filter.
pub async fn facets(conn: &mut PgConnection, filter: &Filter) -> Result<Facets> {
    let mut query = QueryBuilder::<Postgres>::new(
        "WITH matched AS MATERIALIZED (SELECT g.id, g.split, g.tags, g.lint_codes FROM graph g WHERE g.is_current",
    );
    push_filter(&mut query, filter);
    query.push(
        ")
        (SELECT 'split' AS facet, split::text AS word, count(*) AS num FROM matched GROUP BY split ORDER BY split)
        UNION ALL
        (SELECT 'label', o.label, count(DISTINCT o.graph_id) FROM object o JOIN matched m ON m.id = o.graph_id
         GROUP BY o.label ORDER BY 3 DESC, 2 LIMIT 50)
        UNION ALL
        (SELECT 'attribute', a.word, count(DISTINCT o.graph_id)
         FROM object o JOIN matched m ON m.id = o.graph_id CROSS JOIN UNNEST(o.attributes) AS a (word)
         GROUP BY a.word ORDER BY 3 DESC, 2 LIMIT 50)
        UNION ALL
        (SELECT 'relation', r.predicate, count(DISTINCT r.graph_id) FROM relation r JOIN matched m ON m.id = r.graph_id
         GROUP BY r.predicate ORDER BY 3 DESC, 2 LIMIT 50)
        UNION ALL
        (SELECT 'tag', t.word, count(*) FROM matched m CROSS JOIN UNNEST(m.tags) AS t (word)
         GROUP BY t.word ORDER BY 3 DESC, 2 LIMIT 50)
        UNION ALL
        (SELECT 'lint', t.word, count(*) FROM matched m CROSS JOIN UNNEST(m.lint_codes) AS t (word)
         GROUP BY t.word ORDER BY 3 DESC, 2 LIMIT 50)
        UNION ALL
        (SELECT 'collection', k.name, count(*) FROM matched m JOIN collection_graph cg ON cg.graph_id = m.id
                JOIN collection k ON k.id = cg.collection_id
         GROUP BY k.name ORDER BY 3 DESC, 2 LIMIT 50)",
    );
    let mut facets: Facets = FACETS.into_iter().map(|name| (name.to_owned(), Vec::new())).collect();
    let rows: Vec<(String, String, i64)> = query.build_query_as().fetch_all(conn).await?;
    for (facet, word, num) in rows {
        facets.entry(facet).or_default().push((word, num));
    }
    Ok(facets)
}

pub(super) fn metric(filter: &Filter) -> String {
    filter.metric.clone().unwrap_or_else(|| "dpg".to_owned())
}

/// Conditions on `graph g`, each beginning with AND.
fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(split) = filter.split {
        query.push(" AND g.split = ").push_bind(split.as_str()).push("::split");
    }
    for label in &filter.labels {
        query.push(" AND g.id IN (SELECT graph_id FROM object WHERE label = ").push_bind(label.clone()).push(")");
    }
    for attribute in &filter.attributes {
        query
            .push(" AND g.id IN (SELECT graph_id FROM object WHERE attributes @> ARRAY[")
            .push_bind(attribute.clone())
            .push("]::text[])");
    }
    for predicate in &filter.relations {
        query
            .push(" AND g.id IN (SELECT graph_id FROM relation WHERE predicate = ")
            .push_bind(predicate.clone())
            .push(")");
    }
    if let Some(has) = filter.has_candidates {
        query
            .push(if has { " AND" } else { " AND NOT" })
            .push(" EXISTS (SELECT FROM candidate c WHERE c.graph_id = g.id)");
    }
    if let Some(text) = filter.text.as_deref().filter(|text| !text.is_empty()) {
        let pattern = format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        query.push(" AND (g.caption ILIKE ").push_bind(pattern.clone());
        query.push(" OR g.img_id ILIKE ").push_bind(pattern).push(")");
    }
    if filter.min_score.is_some() || filter.max_score.is_some() {
        query.push(" AND g.id IN (SELECT s.graph_id FROM score_card s WHERE s.metric = ");
        query.push_bind(metric(filter));
        for (comparison, bound) in [(" >= ", filter.min_score), (" <= ", filter.max_score)] {
            let Some(bound) = bound else { continue };
            query.push(" AND ");
            push_score(query, filter.kind);
            query.push(comparison).push_bind(bound);
        }
        query.push(")");
    }
    if let Some(least) = filter.min_disagreement {
        query.push(" AND g.id IN (SELECT s.graph_id FROM score_card s WHERE s.metric = ");
        query
            .push_bind(metric(filter))
            .push(" GROUP BY s.candidate_id, s.graph_id HAVING max(s.score) - min(s.score) >= ");
        query.push_bind(least).push(")");
    }
    for tag in &filter.tags {
        query.push(" AND g.tags @> ARRAY[").push_bind(tag.clone()).push("]::text[]");
    }
    if let Some(code) = &filter.lint {
        query.push(" AND g.lint_codes @> ARRAY[").push_bind(code.clone()).push("]::text[]");
    }
    if let Some(has) = filter.has_lint {
        query.push(if has { " AND g.lint_codes <> '{}'" } else { " AND g.lint_codes = '{}'" });
    }
    if let Some(collection) = filter.collection {
        query.push(" AND g.id IN (SELECT graph_id FROM collection_graph WHERE collection_id = ");
        query.push_bind(collection).push(")");
    }
    if let Some(pattern) = &filter.pattern {
        push_pattern(query, pattern);
    }
}

/// The score of `score_card s`, or its part by a kind of question.
pub(super) fn push_score(query: &mut QueryBuilder<Postgres>, kind: Option<QuestionKind>) {
    match kind {
        None => query.push("s.score"),
        Some(kind) => query.push("(s.parts->>").push_bind(kind.as_str()).push(")::double precision"),
    };
}

/// One subquery that joins an `object` for each node of the pattern and a `relation` for each edge.
fn push_pattern(query: &mut QueryBuilder<Postgres>, pattern: &Pattern) {
    let tables = (0..pattern.nodes.len())
        .map(|node| format!("object o{node}"))
        .chain((0..pattern.edges.len()).map(|edge| format!("relation r{edge}")));
    query.push(" AND g.id IN (SELECT o0.graph_id FROM ").push(tables.collect::<Vec<_>>().join(", "));
    query.push(" WHERE true");
    for (place, node) in pattern.nodes.iter().enumerate() {
        for other in 0..place {
            // Two nodes are two things.
            query
                .push(format!(" AND o{place}.graph_id = o{other}.graph_id AND o{place}.position <> o{other}.position"));
        }
        if let Some(label) = &node.label {
            query.push(format!(" AND o{place}.label = ")).push_bind(label.clone());
        }
        if !node.attributes.is_empty() {
            query.push(format!(" AND o{place}.attributes @> ")).push_bind(node.attributes.clone());
        }
    }
    for (place, (subject, predicate, object)) in pattern.edges.iter().enumerate() {
        query.push(format!(
            " AND r{place}.graph_id = o{subject}.graph_id AND r{place}.subject = o{subject}.position
              AND r{place}.object = o{object}.position"
        ));
        if let Some(predicate) = predicate {
            // LAION-SG writes both "made of" and "made_of".
            query.push(format!(" AND r{place}.predicate IN (")).push_bind(predicate.clone());
            query.push(", ").push_bind(predicate.replace(' ', "_")).push(")");
        }
    }
    query.push(")");
}

/// How many candidates of the matching graphs score in each of equal parts of the scores' range.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub from: f64,
    pub to: f64,
    pub counts: Vec<i64>,
}

/// Of all candidates of the graphs that match, by the filter's metric and kind of question; `None` where none is scored.
pub async fn score_histogram(conn: &mut PgConnection, filter: &Filter, bins: usize) -> Result<Option<Histogram>> {
    let mut query = QueryBuilder::<Postgres>::new("WITH scored AS MATERIALIZED (SELECT ");
    push_score(&mut query, filter.kind);
    query.push(" AS score FROM score_card s JOIN graph g ON g.id = s.graph_id WHERE g.is_current AND s.metric = ");
    query.push_bind(metric(filter));
    push_filter(&mut query, filter);
    // The largest score would open a bin of its own.
    query.push(
        "), ends AS MATERIALIZED (SELECT min(score) AS low, max(score) AS high FROM scored)
         SELECT e.low, e.high,
                CASE WHEN e.high > e.low THEN least(floor((s.score - e.low) / (e.high - e.low) * ",
    );
    query.push_bind(bins as f64).push(")::integer, ").push_bind(bins as i32 - 1).push(
        ") ELSE 0 END AS bin, count(*) FROM scored s CROSS JOIN ends e WHERE s.score IS NOT NULL GROUP BY 1, 2, 3",
    );
    let rows: Vec<(f64, f64, i32, i64)> = query.build_query_as().fetch_all(conn).await?;
    let Some(&(from, to, ..)) = rows.first() else { return Ok(None) };
    let mut counts = vec![0; bins];
    for (_, _, bin, count) in rows {
        if let Some(place) = counts.get_mut(bin as usize) {
            *place = count;
        }
    }
    Ok(Some(Histogram { from, to, counts }))
}
