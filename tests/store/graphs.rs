//! Lists of graphs: filters, facets, orders, pages.

use std::io::{BufReader, Cursor};

use crate::database::TestDatabase;
use anyhow::Result;
use builder::shapes;
use builder::store::graph::{self, Filter, Graph, Sort};
use builder::store::state::Split;
use builder::store::{candidate, generation, model, score_card};
use builder::task::ingest::run_reader;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// `count` graphs of the shapes world; returns their ids in the order of ingest.
pub async fn add_graphs(pool: &PgPool, count: usize) -> Result<Vec<Uuid>> {
    let records: Vec<Value> = shapes::generate(0, count)
        .iter()
        .enumerate()
        .map(|(index, scene)| scene.to_laion_sg(&format!("shapes-{index:06}")))
        .collect();
    let reader = BufReader::new(Cursor::new(serde_json::to_vec(&records)?));
    run_reader(pool, reader, "shapes.json", &mut |_| {}).await?;
    Ok(graph::list_refs(&mut *pool.acquire().await?, None).await?.into_iter().map(|(id, _)| id).collect())
}

/// Four candidates for each graph, scored by four metrics: `dpg` of candidate i of graph n is (n · 7 + i · 3) mod 11 / 10.
pub async fn add_candidates(conn: &mut PgConnection, graph_ids: &[Uuid]) -> Result<Uuid> {
    model::upsert(conn, &"0".repeat(64), "none", "/nowhere", &json!({})).await?;
    let new = generation::NewGeneration {
        model_hash: "0".repeat(64),
        seed: 0,
        num_inference_steps: 20,
        guidance_scale: 4.0,
        sampler: "ddim".to_owned(),
        num_candidates: 4,
        selection: json!({}),
        graph_ids: graph_ids.to_vec(),
    };
    let generation_id = generation::insert(conn, &new).await?;
    for (chunk_index, chunk) in graph_ids.chunks(500).enumerate() {
        let mut candidates = Vec::new();
        let mut cards = Vec::new();
        for (offset, graph_id) in chunk.iter().enumerate() {
            for index in 0..4 {
                let candidate_id = builder::id::new();
                candidates.push(candidate::NewCandidate {
                    id: candidate_id,
                    generation_id,
                    graph_id: *graph_id,
                    index,
                    seed: i64::from(index),
                    image_blob: "0".repeat(64),
                    latent_blob: None,
                });
                let score = ((chunk_index * 500 + offset) * 7 + index as usize * 3) % 11;
                for metric in ["dpg", "attribute", "spatial", "three_in_one"] {
                    cards.push(score_card::ScoreCard {
                        candidate_id,
                        metric: metric.to_owned(),
                        answerer: "shapes".to_owned(),
                        answerer_version: "1".to_owned(),
                        score: score as f64 / 10.0,
                        parts: json!({}),
                    });
                }
            }
        }
        assert_eq!(candidate::insert_many(conn, &candidates).await?, candidates.len() as u64);
        assert_eq!(candidate::insert_many(conn, &candidates).await?, 0, "a second time adds nothing");
        score_card::upsert_many(conn, &cards).await?;
    }
    Ok(generation_id)
}

async fn all_pages(conn: &mut PgConnection, filter: &Filter, sort: Sort, limit: i64) -> Result<Vec<Graph>> {
    let mut graphs = Vec::new();
    let mut cursor = None;
    loop {
        let page = graph::list(conn, filter, sort, limit, cursor.as_deref()).await?;
        graphs.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            assert_eq!(graphs.len() as i64, page.total);
            return Ok(graphs);
        }
    }
}

#[tokio::test]
async fn pages_cover_every_list_exactly_once_and_in_order() -> Result<()> {
    let database = TestDatabase::new().await?;
    let ids = add_graphs(&database.pool, 60).await?;
    let mut conn = database.pool.acquire().await?;
    add_candidates(&mut conn, &ids[..40]).await?;
    let everything = Filter::default();
    for sort in [Sort::Oldest, Sort::Newest, Sort::BestScore, Sort::WorstScore, Sort::Spread] {
        let whole: Vec<Uuid> = all_pages(&mut conn, &everything, sort, 200).await?.iter().map(|one| one.id).collect();
        let paged: Vec<Uuid> = all_pages(&mut conn, &everything, sort, 7).await?.iter().map(|one| one.id).collect();
        assert_eq!(whole, paged, "{sort:?}");
        let mut sorted = whole.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ids, "{sort:?}: each of them once");
    }
    let best = all_pages(&mut conn, &everything, Sort::BestScore, 7).await?;
    assert!(best[40..].iter().all(|one| !ids[..40].contains(&one.id)), "unscored ones come last");
    let page = graph::list(&mut conn, &everything, Sort::Oldest, 3, None).await?;
    let refused = graph::list(&mut conn, &everything, Sort::Newest, 3, page.next_cursor.as_deref()).await;
    assert!(refused.is_err(), "a cursor of another order");
    assert!(graph::list(&mut conn, &everything, Sort::Newest, 3, Some("zz")).await.is_err());
    drop(conn);
    database.close().await
}

#[tokio::test]
async fn filters_and_facets_agree_with_the_graphs() -> Result<()> {
    let database = TestDatabase::new().await?;
    let ids = add_graphs(&database.pool, 200).await?;
    let mut conn = database.pool.acquire().await?;
    add_candidates(&mut conn, &ids[..50]).await?;
    let facets = graph::facets(&mut conn, &Filter::default()).await?;
    assert_eq!(facets["split"].iter().map(|(_, num)| num).sum::<i64>(), 200);
    for (facet, word, num) in
        facets.iter().flat_map(|(facet, words)| words.iter().map(move |(word, num)| (facet, word, num)))
    {
        let words = vec![word.clone()];
        let filter = match facet.as_str() {
            "label" => Filter { labels: words, ..Filter::default() },
            "attribute" => Filter { attributes: words, ..Filter::default() },
            "relation" => Filter { relations: words, ..Filter::default() },
            "tag" => Filter { tags: words, ..Filter::default() },
            "lint" => Filter { lint: Some(word.clone()), ..Filter::default() },
            _ => {
                Filter { split: Some(if word == "train" { Split::Train } else { Split::HeldOut }), ..Filter::default() }
            }
        };
        let page = graph::list(&mut conn, &filter, Sort::Oldest, 1, None).await?;
        assert_eq!(page.total, *num, "{facet} {word}");
    }
    let with = Filter { has_candidates: Some(true), ..Filter::default() };
    assert_eq!(graph::list_ids(&mut conn, &with).await?, ids[..50]);
    let without = Filter { has_candidates: Some(false), ..Filter::default() };
    assert_eq!(graph::list_ids(&mut conn, &without).await?, ids[50..]);
    let perfect = Filter { min_score: Some(1.0), ..Filter::default() };
    let expected: Vec<Uuid> = (0..50).filter(|n| (0..4).any(|i| (n * 7 + i * 3) % 11 == 10)).map(|n| ids[n]).collect();
    assert_eq!(graph::list_ids(&mut conn, &perfect).await?, expected);
    let none = Filter { text: Some("100%_".to_owned()), ..Filter::default() };
    assert!(graph::list_ids(&mut conn, &none).await?.is_empty(), "% and _ are not wild");
    let one = Filter { text: Some("SHAPES-000007".to_owned()), ..Filter::default() };
    assert_eq!(graph::list_ids(&mut conn, &one).await?, [ids[7]]);
    drop(conn);
    database.close().await
}
