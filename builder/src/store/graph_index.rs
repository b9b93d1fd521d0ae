//! Graphs found in memory: the answers of [`super::graph_search`] without a question to the store for each of them.
//!
//! A condition of a filter is asked of the store once and kept as the set of graphs that meet it; bounds on scores, which
//! every caller sets elsewhere, orders, counts and histograms are computed from kept scores. An index is a picture of the
//! store at one time: whoever keeps it throws it away when something has changed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use fixedbitset::FixedBitSet;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::graph_search::{FACET_WORDS, FACETS, Facets, Filter, Histogram, Place, Sort, list_ids, metric, push_score};
use super::page::{self, Page};
use crate::Result;
use crate::question::QuestionKind;

/// A store of more graphs is not kept in memory.
const MOST_GRAPHS: i64 = 100_000;
/// Sets of graphs that are kept; one of 100,000 graphs takes 12 kB.
const MOST_SETS: usize = 1000;

/// The graphs of a store, and what was asked about them so far.
pub struct GraphIndex {
    /// Of the current graphs, ascending, which is the order that they were ingested in.
    ids: Vec<Uuid>,
    parts: RwLock<Parts>,
    /// Held while a part is asked of the store: callers that want the same one wait for it.
    loading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Parts {
    sets: HashMap<String, Arc<FixedBitSet>>,
    scores: HashMap<String, Arc<Scores>>,
    words: Option<Arc<Words>>,
}

/// Scores of one metric, or of its part by a kind of question.
struct Scores {
    /// Place of the graph, score; one a score card.
    cards: Vec<(usize, f64)>,
    /// Place of the graph, largest less smallest score; one a candidate.
    disagreements: Vec<(usize, f64)>,
    /// Best and worst score of each graph.
    extremes: HashMap<usize, (f64, f64)>,
}

/// By facet: each word in the order of the store, with the places of the graphs that have it.
type Words = HashMap<String, Vec<(String, Vec<usize>)>>;

impl std::fmt::Debug for GraphIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphIndex").field("graphs", &self.ids.len()).finish_non_exhaustive()
    }
}

impl GraphIndex {
    /// Reads which graphs there are; `None` where they are too many.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn load(conn: &mut PgConnection) -> Result<Option<Self>> {
        let limit = MOST_GRAPHS + 1;
        let ids = sqlx::query_scalar!("SELECT id FROM graph WHERE is_current ORDER BY id LIMIT $1", limit)
            .fetch_all(conn)
            .await?;
        let fits = ids.len() as i64 <= MOST_GRAPHS;
        Ok(fits.then(|| Self { ids, parts: RwLock::default(), loading: tokio::sync::Mutex::default() }))
    }

    /// The places of the graphs that match, for the other questions.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn matching(&self, pool: &PgPool, filter: &Filter) -> Result<FixedBitSet> {
        let mut matching = FixedBitSet::with_capacity(self.ids.len());
        matching.insert_range(..);
        for condition in filter.conditions() {
            matching.intersect_with(&*self.set(pool, &condition).await?);
        }
        if filter.min_score.is_some() || filter.max_score.is_some() {
            let scores = self.scores(pool, &metric(filter), filter.kind).await?;
            let (least, most) = (filter.min_score, filter.max_score);
            let within = |score: f64| least.is_none_or(|least| score >= least) && most.is_none_or(|most| score <= most);
            matching.intersect_with(&self.places(&scores.cards, within));
        }
        if let Some(least) = filter.min_disagreement {
            let scores = self.scores(pool, &metric(filter), None).await?;
            matching.intersect_with(&self.places(&scores.disagreements, |difference| difference >= least));
        }
        Ok(matching)
    }

    fn places(&self, values: &[(usize, f64)], wanted: impl Fn(f64) -> bool) -> FixedBitSet {
        let mut places = FixedBitSet::with_capacity(self.ids.len());
        values.iter().filter(|(_, value)| wanted(*value)).for_each(|(place, _)| places.insert(*place));
        places
    }

    /// As [`super::graph_search::page_ids`].
    ///
    /// # Errors
    /// The cursor is none, or belongs to another order; those of the store.
    pub async fn page(
        &self,
        pool: &PgPool,
        matching: &FixedBitSet,
        (by_metric, sort): (&Filter, Sort),
        limit: i64,
        cursor: Option<&str>,
    ) -> Result<Page<Uuid>> {
        let limit = page::clamp(limit);
        let wanted = limit as usize + 1;
        let after = Place::read(cursor, sort)?;
        let past = |key: Option<f64>, id: Uuid| after.as_ref().is_none_or(|after| after.is_before(sort, key, id));
        let total = matching.count_ones(..) as i64;
        let row = |key: Option<f64>, place: usize| (self.ids[place], key);
        let found: Vec<(Uuid, Option<f64>)> = match sort {
            Sort::Oldest => {
                matching.ones().map(|place| row(None, place)).filter(|(id, key)| past(*key, *id)).take(wanted).collect()
            }
            Sort::Newest => matching
                .ones()
                .rev()
                .map(|place| row(None, place))
                .filter(|(id, key)| past(*key, *id))
                .take(wanted)
                .collect(),
            Sort::BestScore | Sort::WorstScore | Sort::Spread => {
                let scores = self.scores(pool, &metric(by_metric), None).await?;
                let key = |place: usize| match (scores.extremes.get(&place), sort) {
                    (None, _) => f64::NEG_INFINITY,
                    (Some((best, _)), Sort::BestScore) => *best,
                    (Some((_, worst)), Sort::WorstScore) => -*worst,
                    (Some((best, worst)), _) => best - worst,
                };
                let mut rows: Vec<(f64, usize)> = matching.ones().map(|place| (key(place), place)).collect();
                rows.retain(|(key, place)| past(Some(*key), self.ids[*place]));
                let descending = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
                if rows.len() > wanted {
                    rows.select_nth_unstable_by(wanted - 1, descending);
                    rows.truncate(wanted);
                }
                rows.sort_unstable_by(descending);
                rows.into_iter().map(|(key, place)| row(Some(key), place)).collect()
            }
        };
        Place::page(found, limit, total, sort)
    }

    /// As [`super::graph_search::facets`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn facets(&self, pool: &PgPool, matching: &FixedBitSet) -> Result<Facets> {
        let words = self.words(pool).await?;
        let mut facets: Facets = FACETS.into_iter().map(|name| (name.to_owned(), Vec::new())).collect();
        for (facet, words) in words.iter() {
            let count = |places: &[usize]| places.iter().filter(|place| matching.contains(**place)).count() as i64;
            let mut counts: Vec<(String, i64)> = words
                .iter()
                .map(|(word, places)| (word, count(places)))
                .filter(|(_, count)| *count > 0)
                .map(|(word, count)| (word.clone(), count))
                .collect();
            if facet != "split" {
                // Stable: words of one count stay in the order of the store.
                counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
                counts.truncate(FACET_WORDS);
            }
            facets.insert(facet.clone(), counts);
        }
        Ok(facets)
    }

    /// As [`super::graph_search::score_histogram`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn score_histogram(
        &self,
        pool: &PgPool,
        matching: &FixedBitSet,
        filter: &Filter,
        bins: usize,
    ) -> Result<Option<Histogram>> {
        let scores = self.scores(pool, &metric(filter), filter.kind).await?;
        let found = || scores.cards.iter().filter(|(place, _)| matching.contains(*place)).map(|(_, score)| *score);
        let (from, to) = found().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), s| (low.min(s), high.max(s)));
        if from > to {
            return Ok(None);
        }
        let mut counts = vec![0; bins];
        for score in found() {
            let bin = if to > from { ((score - from) / (to - from) * bins as f64) as usize } else { 0 };
            if let Some(count) = counts.get_mut(bin.min(bins.saturating_sub(1))) {
                *count += 1;
            }
        }
        Ok(Some(Histogram { from, to, counts }))
    }

    /// A part that `find` finds, or that `load` reads of the store and `keep` puts away.
    async fn part<T>(
        &self,
        find: impl Fn(&Parts) -> Option<Arc<T>>,
        load: impl Future<Output = Result<T>>,
        keep: impl FnOnce(&mut Parts, Arc<T>),
    ) -> Result<Arc<T>> {
        let kept = || find(&self.parts.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(part) = kept() {
            return Ok(part);
        }
        let _loading = self.loading.lock().await;
        if let Some(part) = kept() {
            return Ok(part);
        }
        let part = Arc::new(load.await?);
        keep(&mut self.parts.write().unwrap_or_else(PoisonError::into_inner), Arc::clone(&part));
        Ok(part)
    }

    /// The graphs that meet one condition.
    async fn set(&self, pool: &PgPool, condition: &Filter) -> Result<Arc<FixedBitSet>> {
        let key = format!("{condition:?}");
        let load = async {
            let ids = list_ids(&mut *pool.acquire().await?, condition).await?;
            let mut set = FixedBitSet::with_capacity(self.ids.len());
            ids.iter().filter_map(|id| self.ids.binary_search(id).ok()).for_each(|place| set.insert(place));
            Ok(set)
        };
        let find = |parts: &Parts| parts.sets.get(&key).cloned();
        self.part(find, load, |parts, set| put(&mut parts.sets, key.clone(), set)).await
    }

    async fn scores(&self, pool: &PgPool, metric: &str, kind: Option<QuestionKind>) -> Result<Arc<Scores>> {
        let key = format!("{kind:?} {metric}");
        let load = async {
            let mut query = QueryBuilder::<Postgres>::new("SELECT s.graph_id, s.candidate_id, ");
            push_score(&mut query, kind);
            query.push(" FROM score_card s WHERE s.metric = ").push_bind(metric).push(" ORDER BY s.candidate_id");
            let rows: Vec<(Uuid, Uuid, Option<f64>)> =
                query.build_query_as().fetch_all(&mut *pool.acquire().await?).await?;
            Ok(self.gather(&rows))
        };
        let find = |parts: &Parts| parts.scores.get(&key).cloned();
        self.part(find, load, |parts, scores| put(&mut parts.scores, key.clone(), scores)).await
    }

    /// `rows` by candidate: graph, candidate, score.
    fn gather(&self, rows: &[(Uuid, Uuid, Option<f64>)]) -> Scores {
        let mut scores =
            Scores { cards: Vec::with_capacity(rows.len()), disagreements: Vec::new(), extremes: HashMap::new() };
        for candidate in rows.chunk_by(|a, b| a.1 == b.1) {
            let mut ends: Option<(usize, f64, f64)> = None;
            for (graph, _, score) in candidate {
                let (Ok(place), Some(score)) = (self.ids.binary_search(graph), *score) else { continue };
                scores.cards.push((place, score));
                let (best, worst) = scores.extremes.entry(place).or_insert((score, score));
                (*best, *worst) = (best.max(score), worst.min(score));
                let (_, low, high) = ends.get_or_insert((place, score, score));
                (*low, *high) = (low.min(score), high.max(score));
            }
            scores.disagreements.extend(ends.map(|(place, low, high)| (place, high - low)));
        }
        scores
    }

    async fn words(&self, pool: &PgPool) -> Result<Arc<Words>> {
        let load = self.load_words(pool);
        self.part(|parts| parts.words.clone(), load, |parts, words| parts.words = Some(words)).await
    }

    async fn load_words(&self, pool: &PgPool) -> Result<Words> {
        // The order of words is that of the store's collation.
        let rows = sqlx::query!(
            r#"SELECT facet AS "facet!", word AS "word!", graph_id AS "graph_id!" FROM (
                   SELECT 'label' AS facet, label AS word, graph_id FROM object GROUP BY label, graph_id
                   UNION ALL
                   SELECT 'attribute', a.word, o.graph_id FROM object o CROSS JOIN UNNEST(o.attributes) AS a (word)
                   GROUP BY a.word, o.graph_id
                   UNION ALL
                   SELECT 'relation', predicate, graph_id FROM relation GROUP BY predicate, graph_id
                   UNION ALL
                   SELECT 'tag', t.word, g.id FROM graph g CROSS JOIN UNNEST(g.tags) AS t (word)
                   UNION ALL
                   SELECT 'lint', t.word, g.id FROM graph g CROSS JOIN UNNEST(g.lint_codes) AS t (word)
                   UNION ALL
                   SELECT 'collection', k.name, cg.graph_id FROM collection_graph cg
                          JOIN collection k ON k.id = cg.collection_id
               ) found ORDER BY facet, word"#
        )
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
        let mut words = Words::new();
        let mut add = |facet: String, word: String, graph: Uuid| {
            let Ok(place) = self.ids.binary_search(&graph) else { return };
            let of_facet = words.entry(facet).or_default();
            match of_facet.last_mut() {
                Some((last, places)) if *last == word => places.push(place),
                _ => of_facet.push((word, vec![place])),
            }
        };
        rows.into_iter().for_each(|row| add(row.facet, row.word, row.graph_id));
        let splits = sqlx::query!(r#"SELECT id, split::text AS "split!" FROM graph WHERE is_current ORDER BY split"#)
            .fetch_all(&mut *pool.acquire().await?)
            .await?;
        splits.into_iter().for_each(|row| add("split".to_owned(), row.split, row.id));
        Ok(words)
    }
}

/// Keeps a part under `key`; where there are too many, alone.
fn put<T>(kept: &mut HashMap<String, Arc<T>>, key: String, part: Arc<T>) {
    if kept.len() >= MOST_SETS {
        kept.clear();
    }
    kept.insert(key, part);
}
