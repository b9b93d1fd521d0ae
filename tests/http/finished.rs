//! A store in which the whole way of the data was gone once, through requests alone: graphs, candidates, scores, pairs, a
//! training job, its comparison.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::http::Method;
use builder::shapes;
use serde_json::{Value, json};
use tests::test_app::{Cluster, TestApp};

/// Training graphs that got candidates.
pub const GRAPHS: usize = 8;
/// Candidates of each.
pub const CANDIDATES: usize = 4;
/// Steps of the training job.
pub const STEPS: i64 = 4;

/// The store, and what was made in it.
pub struct Finished {
    pub app: TestApp,
    /// The import of all graphs.
    pub import: Value,
    /// The finished generation.
    pub generation: Value,
    /// The finished score run.
    pub score_run: Value,
    /// The frozen pairing.
    pub pairing: Value,
    /// The finished job.
    pub job: Value,
}

impl Finished {
    pub async fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        let app = TestApp::with_worker(cluster).await?;
        let import = import_shapes(&app, 48).await?;
        let ids = ids(&app.get("/api/v1/graphs?split=train&limit=200&facets=false").await?.expect(200)?);
        ensure!(ids.len() >= GRAPHS, "too few training graphs: {}", ids.len());
        let request = json!({"graph_ids": ids[..GRAPHS], "num_candidates": CANDIDATES, "num_inference_steps": 4});
        let generation = accept(&app, "/api/v1/generations", &request).await?;
        let generation = settled(&app, "generations", &generation).await?;
        let request = json!({"generation_id": generation["id"]});
        let score_run = accept(&app, "/api/v1/score-runs", &request).await?;
        let score_run = settled(&app, "score-runs", &score_run).await?;
        let request = json!({"name": "all", "policy": {"weights": {"dpg": 1}, "select": "all_above_margin"}});
        let frozen = app.post("/api/v1/pairings", &request).await?;
        let pairing = frozen.expect(201)?;
        ensure!(frozen.header("location") == format!("/api/v1/pairings/{}", text(&pairing["id"])));
        let job = accept(&app, "/api/v1/jobs", &job_request(&pairing, STEPS)).await?;
        let job = settled(&app, "jobs", &job).await?;
        Ok(Self { app, import, generation, score_run, pairing, job })
    }
}

/// A job that is through in seconds, with every part that a job can have.
pub fn job_request(pairing: &Value, max_steps: i64) -> Value {
    json!({
        "pairing_id": pairing["id"], "name": "small", "max_steps": max_steps, "warmup_steps": 1, "batch_size": 2,
        "checkpoint_every": 2, "sample_every": 2, "sample_graphs": 2,
        "evaluation": {"num_graphs": 3, "num_noises": 1, "every": 2, "selection_graphs": 2},
    })
}

/// Takes in `count` graphs of the shapes world; the finished import.
pub async fn import_shapes(app: &TestApp, count: usize) -> anyhow::Result<Value> {
    let records: Vec<Value> =
        (0..count).map(|i| shapes::generate_one(5, i as u64).to_laion_sg(&format!("shapes-{i:03}"))).collect();
    let body = serde_json::to_vec(&records)?;
    let headers = [("content-type", "application/json")];
    let answer = app.request(Method::POST, "/api/v1/imports?name=shapes.json", &headers, body).await?;
    let import = answer.expect(201)?;
    ensure!(import["accepted"] == count && import["state"] == "succeeded", "{import}");
    ensure!(answer.header("location") == format!("/api/v1/imports/{}", text(&import["id"])));
    Ok(import)
}

/// The ids of a list's items.
pub fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().into_iter().flatten().map(|item| text(&item["id"]).to_owned()).collect()
}

/// A text, or "".
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Asks for long work: 202 with a location, at which the very resource is found.
pub async fn accept(app: &TestApp, path: &str, request: &Value) -> anyhow::Result<Value> {
    let answer = app.post(path, request).await?;
    let resource = answer.expect(202)?;
    ensure!(answer.header("location") == format!("{path}/{}", text(&resource["id"])), "{:?}", answer.headers);
    // A worker may have taken it up before the answer was written.
    ensure!(["queued", "validating", "running"].contains(&text(&resource["state"])), "{resource}");
    for field in ["done", "total"] {
        ensure!(resource["progress"][field].is_i64(), "{resource}");
    }
    let found = app.get(answer.header("location")).await?.expect(200)?;
    ensure!(found["id"] == resource["id"], "{found}");
    Ok(resource)
}

/// Waits until a piece of long work has succeeded.
pub async fn settled(app: &TestApp, noun: &str, resource: &Value) -> anyhow::Result<Value> {
    wait(app, noun, resource, "succeeded").await
}

/// Waits until a piece of long work is in `state`.
pub async fn wait(app: &TestApp, noun: &str, resource: &Value, state: &str) -> anyhow::Result<Value> {
    wait_until(app, noun, resource, |found| found["state"] == state).await.with_context(|| format!("for {state}"))
}

/// Waits until `reached` holds of a piece of long work.
pub async fn wait_until(
    app: &TestApp,
    noun: &str,
    resource: &Value,
    reached: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let path = format!("/api/v1/{noun}/{}", text(&resource["id"]));
    let begun = Instant::now();
    loop {
        let found = app.get(&path).await?.expect(200)?;
        if reached(&found) {
            return Ok(found);
        }
        ensure!(!["failed", "cancelled", "succeeded"].contains(&text(&found["state"])), "it ended: {found}");
        ensure!(begun.elapsed() < Duration::from_secs(120), "waited two minutes: {found}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
