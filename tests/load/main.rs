//! What the service bears: `make load` prints the table that docs/api.md holds.
//!
//! It starts a `diptych serve` of its own on an empty store, fills it through the API with the paper's 2,785 graphs × 4
//! candidates (sampled in one step: their number counts here, not their looks), and asks as 64 callers at once. Callers and
//! service share the machine.

mod client;
mod hostile;
mod listeners;
mod service;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use client::Client;
use service::Service;
use table::Table;

/// Graphs of the set, and its candidates.
const GRAPHS: usize = 2785;
const CANDIDATES: usize = 4;
/// Callers at once.
const CALLERS: usize = 64;
/// Seconds that they go on for.
const SECONDS: f64 = 10.0;
/// Graphs of the file that measures the speed of imports.
const IMPORTED: usize = 20_000;

/// What a curator's page asks of lists.
const LISTS: [&str; 9] = [
    "graphs?facets=false",
    "graphs?split=train&facets=false",
    "graphs?sort=best_score&facets=false",
    "graphs?label=circle&facets=false",
    "graphs?attribute=red&min_score=0.5&facets=false",
    "graphs?phrase=a+red+thing+left+of+a+blue+thing&facets=false",
    "graphs?text=star&facets=false",
    "graphs?kind=relation&max_score=0.5&facets=false",
    "graphs?attribute=red",
];

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let service = Service::start().await?;
    let client = Client::new(&service.url)?;
    let mut table = Table::default();

    fill(&client).await?;
    lists(&client, &mut table).await?;
    preview(&client, &mut table).await?;
    listeners::measure(&client, &mut table).await?;
    import(&client, &mut table).await?;
    hostile::measure(&client, &service, &mut table).await?;

    table.print();
    service.stop().await?;
    ensure!(table.is_met(), "a line of the table is not met");
    Ok(())
}

/// Graphs of the shapes world as JSON lines.
fn shapes(seed: u64, count: usize) -> String {
    let scenes = builder::shapes::generate(seed, count);
    scenes.iter().enumerate().fold(String::new(), |mut text, (index, scene)| {
        text.push_str(&scene.to_laion_sg(&format!("load-{seed}-{index}")).to_string());
        text.push('\n');
        text
    })
}

async fn fill(client: &Client) -> anyhow::Result<()> {
    eprintln!("Filling the store: {GRAPHS} graphs, {} candidates, their scores", GRAPHS * CANDIDATES);
    // One side of the split is sampled; the other holds about a fifth.
    client.post("imports?name=load", shapes(1, GRAPHS * 13 / 10)).await?;
    let mut ids: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    while ids.len() < GRAPHS {
        let page = client.get(&format!("graphs?split=train&facets=false&limit=200{cursor}")).await?;
        ids.extend(page["items"].as_array().into_iter().flatten().map(|graph| graph["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    ensure!(ids.len() >= GRAPHS, "only {} training graphs", ids.len());
    ids.truncate(GRAPHS);
    let request =
        json!({"graph_ids": ids, "num_candidates": CANDIDATES, "num_inference_steps": 1, "guidance_scale": 1.0});
    client.finish("generations", client.post("generations", request.to_string()).await?).await?;
    client.finish("score-runs", client.post("score-runs", json!({"answerer": "shapes"}).to_string()).await?).await?;
    Ok(())
}

/// Lists in turn by [`CALLERS`] callers, each asking again as soon as it was answered: first the same ones again and again,
/// as pages do, then ones that nobody asked before.
async fn lists(client: &Client, table: &mut Table) -> anyhow::Result<()> {
    for path in LISTS {
        let mut times = Vec::new();
        for turn in 0..10 {
            let begun = Instant::now();
            client.get(&format!("{path}{}", new_bound(path, turn))).await.with_context(|| path.to_owned())?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        table.times(&format!("`GET /{path}`, one caller, never asked before"), times, None);
    }
    for (what, is_new) in
        [("the lists above, asked again and again", false), ("the same, each with a bound of its own", true)]
    {
        eprintln!("{what}: {CALLERS} callers for {SECONDS} s");
        let end = Instant::now() + Duration::from_secs_f64(SECONDS);
        let callers: Vec<_> =
            (0..CALLERS).map(|caller| tokio::spawn(call(client.clone(), caller, is_new, end))).collect();
        let mut times = Vec::new();
        for caller in callers {
            times.extend(caller.await??);
        }
        let rate = times.len() as f64 / SECONDS;
        table.times(&format!("{what}, {CALLERS} callers, {rate:.0} requests/s"), times, Some(50.0));
    }
    Ok(())
}

/// The milliseconds of one caller's requests.
async fn call(client: Client, caller: usize, is_new: bool, end: Instant) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    for turn in 0.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        let path = LISTS[(caller + turn) % LISTS.len()];
        let bound = if is_new { new_bound(path, 1000 + caller * 1_000_000 + turn) } else { String::new() };
        client.get(&format!("{path}{bound}")).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// A condition that nobody asked for before and that leaves something over.
fn new_bound(path: &str, number: usize) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    match path.contains("_score=") {
        true => format!("{separator}min_disagreement=-{number}"),
        false => format!("{separator}max_score={}", 1.0 + number as f64),
    }
}

async fn preview(client: &Client, table: &mut Table) -> anyhow::Result<()> {
    eprintln!("Previews of pairings");
    let mut times = Vec::new();
    for turn in 0..40 {
        // As a slider moves: no two are the same.
        let margin = f64::from(turn) / 100.0;
        let select = ["best_worst", "all_above_margin"][turn as usize % 2];
        let policy = json!({"weights": {"dpg": 1.0, "3_in_1": 0.5}, "margin": margin, "select": select});
        let begun = Instant::now();
        let found = client.post("pairings/preview", json!({ "policy": policy }).to_string()).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(found["num_pairs"].as_u64().is_some(), "{found}");
    }
    table.times("`POST /pairings/preview`", times, Some(200.0));
    Ok(())
}

async fn import(client: &Client, table: &mut Table) -> anyhow::Result<()> {
    eprintln!("An import of {IMPORTED} graphs");
    let file = shapes(2, IMPORTED);
    let begun = Instant::now();
    let taken = client.post("imports?name=many", file).await?;
    ensure!(taken["accepted"] == IMPORTED, "{taken}");
    table.at_least("`POST /imports`, graphs a second", IMPORTED as f64 / begun.elapsed().as_secs_f64(), 5000.0);
    Ok(())
}
