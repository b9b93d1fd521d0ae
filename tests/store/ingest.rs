//! Files into the store.

use std::collections::BTreeSet;
use std::io::{BufReader, Cursor, Read, Write};
use std::time::Instant;

use crate::database::{TestDatabase, shared_data};
use anyhow::{Context, Result};
use builder::lint::Finding;
use builder::store::graph::{self, Filter, Sort};
use builder::store::ingest as rows;
use builder::task::ingest::{Summary, run_reader};
use serde_json::{Value, json};
use sqlx::PgPool;

async fn ingest(pool: &PgPool, file: &str, content: impl Into<Vec<u8>>) -> Result<(Summary, Vec<Finding>)> {
    let mut findings = Vec::new();
    let reader = BufReader::new(Cursor::new(content.into()));
    let summary = run_reader(pool, reader, file, &mut |finding| findings.push(finding.clone())).await?;
    Ok((summary, findings))
}

fn numbers(summary: &Summary) -> [i64; 5] {
    [summary.read, summary.accepted, summary.unchanged, summary.rejected, summary.warnings]
}

fn record(img_id: &str, label: &str) -> Value {
    json!({"img_id": img_id, "name": img_id, "caption_ori": "a caption", "score": "6.0", "url": "",
           "items": [{"item_id": 0, "label": label, "attributes": ["red", "a \"b\\c\" {,}"], "global_item_id": 1},
                     {"item_id": u64::MAX, "label": "tree", "attributes": [], "global_item_id": 2}],
           "relations": [{"triple_id": 0, "item1": 0, "relation": "left of", "item2": u64::MAX, "global_relation_id": 3}]})
}

#[tokio::test]
async fn a_second_time_changes_nothing_and_another_graph_of_that_name_is_kept_out() -> Result<()> {
    let database = TestDatabase::new().await?;
    let pool = &database.pool;
    let file = json!([record("a", "cat"), record("b", "dog")]).to_string();
    assert_eq!(numbers(&ingest(pool, "x.json", file.clone()).await?.0), [2, 2, 0, 0, 0]);
    assert_eq!(numbers(&ingest(pool, "x.json", file).await?.0), [2, 0, 2, 0, 0]);

    let changed = json!([record("a", "lion"), record("b", "dog"), record("c", "owl")]).to_string();
    let (summary, findings) = ingest(pool, "y.json", changed).await?;
    assert_eq!(numbers(&summary), [3, 1, 1, 1, 0]);
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].code.as_str(), findings[0].pointer.as_str()), ("E_DUP_IMG_ID", "/0/img_id"));

    // Postgres cannot hold a NUL; the record is refused with its reason, not changed in silence.
    let mut with_nul = record("d", "fox");
    with_nul["caption_ori"] = json!("a\u{0}caption");
    let (refused, findings) = ingest(pool, "z.json", json!([with_nul]).to_string()).await?;
    assert_eq!(numbers(&refused), [1, 0, 0, 1, 0]);
    assert_eq!((findings[0].code.as_str(), findings[0].pointer.as_str()), ("E_CONTROL_CHAR", "/0/caption_ori"));

    let mut conn = pool.acquire().await?;
    let rejects = rows::list_rejects(&mut conn, summary.id, 10, None).await?;
    assert_eq!((rejects.total, rejects.items[0].code.as_str(), rejects.items[0].record), (1, "E_DUP_IMG_ID", Some(0)));
    assert!(rejects.items[0].raw.as_deref().is_some_and(|raw| raw.contains("lion")));

    // What was stored is what was read, to the last character.
    let stored = graph::find_by_img_id(&mut conn, "a").await?.context("no graph a")?;
    assert_eq!(graph::document(&mut conn, stored.id).await?, Some(record("a", "cat")));
    assert_eq!(stored.caption, "a caption");
    let objects = graph::objects(&mut conn, &[stored.id]).await?;
    assert_eq!(objects[0].attributes, ["red", "a \"b\\c\" {,}"]);
    let relations = graph::relations(&mut conn, &[stored.id]).await?;
    assert_eq!((relations[0].subject, &*relations[0].predicate, relations[0].object), (0, "left of", 1));
    let loaded = graph::scene_graphs(&mut conn, &[stored.id]).await?;
    assert_eq!(loaded[0].graph.content_hash(), stored.content_hash);
    drop(conn);
    database.close().await
}

/// Every malformed file: what it expects is found, good records beside bad ones are stored, and a graph without relations too.
#[tokio::test]
async fn each_malformed_file_gives_what_it_expects() -> Result<()> {
    let database = TestDatabase::new().await?;
    let pool = &database.pool;
    let folder = shared_data("scene_graphs/malformed");
    let expected: Value = serde_json::from_slice(&fs_err::read(folder.join("expected.json"))?)?;
    let cases = expected["cases"].as_array().context("no cases")?;
    for case in cases {
        let name = case["file"].as_str().context("a case without a file")?;
        // Each in an empty store: many share an img_id.
        sqlx::query("TRUNCATE graph, ingest CASCADE").execute(pool).await?;
        let (summary, findings) = ingest(pool, name, fs_err::read(folder.join(name))?).await?;
        let found: BTreeSet<(&str, &str)> =
            findings.iter().map(|finding| (finding.code.as_str(), &*finding.pointer)).collect();
        for wanted in case["findings"].as_array().context("no findings")? {
            let wanted = (wanted["code"].as_str().unwrap_or(""), wanted["pointer"].as_str().unwrap_or(""));
            assert!(found.contains(&wanted), "{name}: {wanted:?} is missing in {found:?}");
        }
        let has_error = findings.iter().any(|finding| finding.code.is_error());
        assert_eq!(has_error, case["outcome"] == "error", "{name}");
        let mut conn = pool.acquire().await?;
        assert_eq!(graph::count(&mut conn).await?, summary.accepted, "{name}");
        let rejects = rows::list_rejects(&mut conn, summary.id, 200, None).await?;
        assert_eq!(rejects.total > 0, has_error, "{name}");
    }
    database.close().await
}

#[tokio::test]
async fn real_graphs_and_graphs_without_relations_come_in() -> Result<()> {
    let database = TestDatabase::new().await?;
    let pool = &database.pool;
    let content = fs_err::read(shared_data("scene_graphs/real/vg_regions_2785.json"))?;
    let records: Vec<Value> = serde_json::from_slice(&content)?;
    let without = records.iter().filter(|one| one["relations"].as_array().is_none_or(Vec::is_empty)).count();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&content)?;
    let (summary, _) = ingest(pool, "vg.json.gz", packed.finish()?).await?;
    assert_eq!((summary.read, summary.accepted), (records.len() as i64, records.len() as i64));
    let mut conn = pool.acquire().await?;
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM graph WHERE num_relations = 0").fetch_one(&mut *conn).await?;
    assert_eq!(stored, without as i64);
    let page = graph::list(&mut conn, &Filter::default(), Sort::Oldest, 5, None).await?;
    assert_eq!(page.items[0].img_id, records[0]["img_id"].as_str().unwrap_or(""));
    drop(conn);
    database.close().await
}

/// Writes itself: an array of so many graphs, never in memory as a whole.
struct Generated {
    next: u64,
    count: u64,
    rest: Cursor<Vec<u8>>,
}

impl Read for Generated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.position() == self.rest.get_ref().len() as u64 && self.next <= self.count {
            let text = match self.next {
                last if last == self.count => "]".to_owned(),
                index => {
                    let separator = if index == 0 { "[" } else { "," };
                    format!("{separator}{}", record(&format!("g{index}"), &format!("thing {}", index % 97)))
                }
            };
            self.next += 1;
            self.rest = Cursor::new(text.into_bytes());
        }
        self.rest.read(buffer)
    }
}

/// The design asks for 5,000 graphs a second on an idle machine; tests share theirs, so here it is a fifth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_graphs_come_in_quickly_and_in_bounded_memory() -> Result<()> {
    let database = TestDatabase::new().await?;
    let count = 20_000;
    let reader = BufReader::new(Generated { next: 0, count, rest: Cursor::default() });
    let started = Instant::now();
    let summary = run_reader(&database.pool, reader, "generated.json", &mut |_| {}).await?;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} graphs a second");
    assert_eq!(summary.accepted, count as i64);
    assert!(rate > 1000.0, "{rate:.0} graphs a second");
    database.close().await
}
