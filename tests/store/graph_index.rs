//! Lists that are answered in memory against the same ones asked of the store.

use anyhow::{Context, Result};
use builder::pattern::Pattern;
use builder::question::QuestionKind;
use builder::store::graph::{self, Filter, Sort};
use builder::store::graph_index::GraphIndex;
use builder::store::score_card::{self, ScoreCard};
use builder::store::state::Split;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::TestDatabase;
use crate::graphs::{add_candidates, add_graphs};

/// A second opinion with parts by kind, so that candidates are disagreed about; some have no part.
async fn second_opinion(pool: &PgPool) -> Result<()> {
    let candidates: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM candidate ORDER BY id").fetch_all(pool).await?;
    let cards: Vec<ScoreCard> = candidates
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 3 != 0)
        .map(|(number, &candidate_id)| ScoreCard {
            candidate_id,
            metric: "dpg".to_owned(),
            answerer: "other".to_owned(),
            answerer_version: "1".to_owned(),
            score: (number % 7) as f64 / 7.0,
            parts: if number % 2 == 0 { json!({ "relation": (number % 5) as f64 / 4.0 }) } else { json!({}) },
        })
        .collect();
    score_card::upsert_many(&mut *pool.acquire().await?, &cards).await?;
    Ok(())
}

fn some<T>(rng: &mut ChaCha8Rng, one_in: u32, value: impl FnOnce(&mut ChaCha8Rng) -> T) -> Option<T> {
    rng.random_ratio(1, one_in).then(|| value(rng))
}

fn random_filter(rng: &mut ChaCha8Rng) -> Result<Filter> {
    let word =
        |rng: &mut ChaCha8Rng, words: &[&str]| words.choose(rng).map(|&word| word.to_owned()).unwrap_or_default();
    let patterns =
        ["(*{red})-[left of]->(*{blue})", "(circle)", "(*)-[above]->(square)", "(a:star)-[*]->(*);(b:circle)"];
    Ok(Filter {
        split: some(rng, 5, |rng| if rng.random() { Split::Train } else { Split::HeldOut }),
        labels: some(rng, 4, |rng| word(rng, &["circle", "square", "star", "nothing"])).into_iter().collect(),
        attributes: some(rng, 4, |rng| word(rng, &["red", "blue", "large"])).into_iter().collect(),
        relations: some(rng, 6, |rng| word(rng, &["left of", "above"])).into_iter().collect(),
        has_candidates: some(rng, 6, Rng::random),
        text: some(rng, 8, |rng| word(rng, &["00001", "STAR", "%", ""])),
        min_score: some(rng, 3, |rng| rng.random_range(0.0..0.8)),
        max_score: some(rng, 3, |rng| rng.random_range(0.2..1.0)),
        metric: some(rng, 4, |rng| word(rng, &["dpg", "attribute", "none"])),
        kind: some(rng, 5, |_| QuestionKind::Relation),
        min_disagreement: some(rng, 5, |rng| rng.random_range(0.0..0.6)),
        tags: some(rng, 6, |_| "kept".to_owned()).into_iter().collect(),
        collection: None,
        lint: some(rng, 12, |rng| word(rng, &["W_NO_RELATIONS", "W_ISOLATED_OBJECT"])),
        has_lint: some(rng, 8, Rng::random),
        pattern: some(rng, 6, |rng| Pattern::parse(&word(rng, &patterns))).transpose().map_err(anyhow::Error::msg)?,
    })
}

#[tokio::test]
async fn an_index_answers_as_the_store_does() -> Result<()> {
    let database = TestDatabase::new().await?;
    let pool = &database.pool;
    let ids = add_graphs(pool, 150).await?;
    add_candidates(&mut *pool.acquire().await?, &ids[..100]).await?;
    second_opinion(pool).await?;
    let tagged: Vec<Uuid> = ids.iter().copied().step_by(3).collect();
    sqlx::query("UPDATE graph SET tags = ARRAY['kept', 'b'] WHERE id = ANY ($1)").bind(&tagged).execute(pool).await?;
    let index = GraphIndex::load(&mut *pool.acquire().await?).await?.context("150 graphs are few")?;
    let mut conn = pool.acquire().await?;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut matched, mut paged, mut drawn) = (0, 0, 0);
    for number in 0..400 {
        let filter = random_filter(&mut rng)?;
        let matching = index.matching(pool, &filter).await?;
        let expected = graph::list_ids(&mut conn, &filter).await?;
        assert_eq!(matching.count_ones(..), expected.len(), "{number}: {filter:?}");
        matched += usize::from(!expected.is_empty());
        assert_eq!(index.facets(pool, &matching).await?, graph::facets(&mut conn, &filter).await?, "{filter:?}");
        let bars = index.score_histogram(pool, &matching, &filter, 20).await?;
        drawn += usize::from(bars.is_some());
        assert_eq!(bars, graph::score_histogram(&mut conn, &filter, 20).await?, "{filter:?}");
        for sort in [Sort::Oldest, Sort::Newest, Sort::BestScore, Sort::WorstScore, Sort::Spread] {
            let mut cursor = None;
            for _ in 0..4 {
                let found = index.page(pool, &matching, (&filter, sort), 9, cursor.as_deref()).await?;
                let expected = graph::page_ids(&mut conn, &filter, sort, 9, cursor.as_deref()).await?;
                assert_eq!(found.items, expected.items, "{sort:?} {filter:?}");
                assert_eq!((found.total, &found.next_cursor), (expected.total, &expected.next_cursor), "{filter:?}");
                paged += usize::from(cursor.is_some());
                cursor = found.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
    }
    assert!(
        matched > 100 && paged > 500 && drawn > 60,
        "{matched} filters find something, {paged} further pages, {drawn} histograms"
    );
    let page = index
        .page(pool, &index.matching(pool, &Filter::default()).await?, (&Filter::default(), Sort::Oldest), 3, None)
        .await?;
    let all = index.matching(pool, &Filter::default()).await?;
    let refused = index.page(pool, &all, (&Filter::default(), Sort::Newest), 3, page.next_cursor.as_deref()).await;
    assert!(refused.is_err(), "a cursor of another order");
    drop(conn);
    database.close().await
}
