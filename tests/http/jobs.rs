//! Jobs: asked for once however often it is said, and moved from state to state.

use std::sync::Arc;

use anyhow::ensure;
use axum::http::Method;
use serde_json::{Value, json};
use tests::test_app::TestApp;

use crate::finished::{Finished, accept, job_request, text, wait_until};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(a_key_makes_one_job_of_many_requests),
    test!(the_root_serves_jobs_too),
    test!(a_job_is_paused_resumed_saved_sampled_and_cancelled),
    test!(a_finished_job_takes_no_wishes),
    test!(a_dry_run_says_what_it_costs_and_starts_nothing),
];

/// `POST /jobs` with these headers.
async fn post(app: &TestApp, path: &str, key: &str, request: &Value) -> anyhow::Result<tests::test_app::Answer> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    app.request(Method::POST, path, &headers, request.to_string()).await
}

async fn a_key_makes_one_job_of_many_requests(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    // Long, so that it is still there when it is cancelled.
    let request = job_request(pairing, 100_000);
    let all = futures::future::join_all((0..8).map(|_| post(app, "/jobs", "one", &request))).await;
    let mut ids = std::collections::BTreeSet::new();
    for answer in all {
        let answer = answer?;
        ids.insert(text(&answer.expect(202)?["id"]).to_owned());
        ensure!(answer.header("location").starts_with("/api/v1/jobs/"), "{:?}", answer.headers);
    }
    ensure!(ids.len() == 1, "{ids:?}");
    let mut other = request.clone();
    other["seed"] = 7.into();
    post(app, "/api/v1/jobs", "one", &other).await?.problem(409, "idempotency_key_in_use")?;
    let second = post(app, "/api/v1/jobs", "two", &other).await?.expect(202)?;
    ensure!(!ids.contains(text(&second["id"])));
    for key in ["", " ", &"k".repeat(256)] {
        post(app, "/jobs", key, &request).await?.problem(400, "malformed_header")?;
    }
    for id in ids.iter().map(String::as_str).chain([text(&second["id"])]) {
        app.post(&format!("/api/v1/jobs/{id}/cancel"), &json!({})).await?.expect(202)?;
        wait_until(app, "jobs", &json!({ "id": id }), |job| job["state"] == "cancelled").await?;
    }
    Ok(())
}

async fn the_root_serves_jobs_too(world: Arc<World>) -> Outcome {
    let Finished { app, job, .. } = world.finished().await?;
    let list = app.request(Method::GET, "/jobs?limit=200", &[("accept", "application/json")], "").await?.expect(200)?;
    ensure!(list["items"].as_array().is_some_and(|items| items.contains(job)), "{list}");
    let page = app.request(Method::GET, "/jobs", &[("accept", "text/html,*/*")], "").await?;
    ensure!(page.header("content-type").starts_with("text/html"), "a browser gets the page");
    app.get("/jobs?limit=x").await?.problem(400, "malformed_query")?;
    Ok(())
}

async fn a_job_is_paused_resumed_saved_sampled_and_cancelled(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    let mut request = job_request(pairing, 100_000);
    for name in ["checkpoint_every", "sample_every"] {
        request[name] = 100_000.into();
    }
    request["evaluation"]["every"] = 100_000.into();
    let job = accept(app, "/api/v1/jobs", &request).await?;
    let path = format!("/api/v1/jobs/{}", text(&job["id"]));
    let act = async |action: &str| app.post(&format!("{path}/{action}"), &json!({})).await;
    let steps = async |what: &str| -> anyhow::Result<Vec<i64>> {
        let list = app.get(&format!("{path}/{what}")).await?.expect(200)?;
        Ok(list["items"].as_array().into_iter().flatten().filter_map(|one| one["step"].as_i64()).collect())
    };
    let trains = |job: &Value, done: i64| job["stage"] == "train" && job["progress"]["done"].as_i64() >= Some(done);
    wait_until(app, "jobs", &job, |job| job["state"] == "running" && trains(job, 1)).await?;

    let paused = act("pause").await?;
    ensure!(["pausing", "paused"].contains(&text(&paused.expect(202)?["state"])) && paused.header("location") == path);
    let job = wait_until(app, "jobs", &job, |job| job["state"] == "paused").await?;
    let done = job["progress"]["done"].as_i64().unwrap_or_default();
    ensure!(steps("checkpoints").await?.last() == Some(&done), "it paused with a checkpoint of its very step");
    act("pause").await?.problem(409, "illegal_transition")?;
    act("save").await?.problem(409, "job_not_running")?;
    act("sample").await?.problem(409, "job_not_running")?;

    ensure!(text(&act("resume").await?.expect(202)?["state"]) == "queued");
    wait_until(app, "jobs", &job, |job| job["state"] == "running" && trains(job, done + 1)).await?;
    act("resume").await?.problem(409, "illegal_transition")?;
    let before = (steps("checkpoints").await?.len(), steps("samples").await?.last().copied());
    act("save").await?.expect(202)?;
    act("sample").await?.expect(202)?;
    let begun = std::time::Instant::now();
    loop {
        let after = (steps("checkpoints").await?.len(), steps("samples").await?.last().copied());
        if after.0 > before.0 && after.1 > before.1 {
            break;
        }
        ensure!(begun.elapsed() < std::time::Duration::from_secs(60), "{before:?} {after:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // A file waits for no training.
    let file = accept(app, "/api/v1/exports", &json!({ "format": "laion-sg" })).await?;
    wait_until(app, "exports", &file, |export| export["state"] == "succeeded").await?;
    ensure!(app.get(&path).await?.expect(200)?["state"] == "running", "the export was done beside the training");
    let cancelled = act("cancel").await?.expect(202)?;
    ensure!(["cancelling", "cancelled"].contains(&text(&cancelled["state"])), "{cancelled}");
    wait_until(app, "jobs", &job, |job| job["state"] == "cancelled").await?;
    act("resume").await?.problem(409, "illegal_transition")?;

    // The events tell the whole story, in order, without a gap.
    let events = app.get(&format!("{path}/events")).await?.expect(200)?;
    let events = events["items"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(events.iter().enumerate().all(|(place, event)| event["sequence"] == place + 1), "{events:#?}");
    let states: Vec<&str> =
        events.iter().filter(|one| one["kind"] == "state").map(|one| text(&one["data"]["to"])).collect();
    let story = ["queued", "preparing", "running", "pausing", "paused", "queued", "preparing", "running", "cancelling"];
    let mut rest = states.iter();
    ensure!(story.iter().all(|state| rest.any(|one| one == state)), "{states:?}");
    ensure!(states.last() == Some(&"cancelled"), "{states:?}");
    Ok(())
}

async fn a_finished_job_takes_no_wishes(world: Arc<World>) -> Outcome {
    let Finished { app, job, .. } = world.finished().await?;
    for (action, code) in [
        ("cancel", "illegal_transition"),
        ("pause", "illegal_transition"),
        ("resume", "illegal_transition"),
        ("save", "job_not_running"),
        ("sample", "job_not_running"),
    ] {
        let path = format!("/api/v1/jobs/{}/{action}", text(&job["id"]));
        let problem = app.post(&path, &json!({})).await?.problem(409, code)?;
        ensure!(text(&problem["detail"]).contains("succeeded"), "{problem}");
    }
    Ok(())
}

async fn a_dry_run_says_what_it_costs_and_starts_nothing(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    let count =
        async || -> anyhow::Result<Value> { Ok(app.get("/api/v1/jobs?limit=1").await?.expect(200)?["total"].clone()) };
    let before = count().await?;
    let cost = async |steps: i64, objective: &str| {
        let mut request = job_request(pairing, steps);
        request["objective"] = objective.into();
        app.post("/jobs?dry_run=true", &request).await?.expect(200)
    };
    let (short, long) = (cost(10, "inversion-dpo").await?, cost(1000, "inversion-dpo").await?);
    ensure!(short["spec"]["learning_rate"].is_f64() && short["num_pairs"] == pairing["num_pairs"], "{short}");
    // The finished job was of this kind, and says how long a pair takes.
    ensure!(short["measured_in"] == "jobs" && short["seconds_per_forward"].as_f64() > Some(0.0), "{short}");
    let pairs = |one: &Value| one["seconds"].as_f64().unwrap_or_default();
    let step = short["seconds_per_pair"].as_f64().unwrap_or_default() * 2.0;
    ensure!(pairs(&long) - pairs(&short) > 990.0 * step, "{short} {long}");
    // Whole paths in f16: steps + 1 states of 4 channels a picture, all of them replayed.
    let images = short["num_images"].as_u64().unwrap_or_default();
    ensure!(short["replayed"] == images && short["inverted"] == 0, "{short}");
    let state = short["trajectory_cache_bytes"].as_u64().unwrap_or_default() / images.max(1) / 5;
    ensure!(state.is_multiple_of(16) && state > 0, "{short}");
    let memory = short["memory_bytes"].as_u64().unwrap_or_default();
    ensure!((1 << 20..64 << 30).contains(&memory), "{short}");
    ensure!(cost(10, "diffusion-dpo").await?["trajectory_cache_bytes"] == 0);
    // Faults of the text and of the store come together.
    let request = json!({"pairing_id": uuid::Uuid::nil(), "model": "nowhere", "max_steps": 0, "x": 1});
    for path in ["/jobs", "/jobs?dry_run=true"] {
        let problem = app.post(path, &request).await?.problem(422, "invalid_fields")?;
        ensure!(crate::problems::pointers(&problem) == ["/max_steps", "/model", "/pairing_id", "/x"], "{problem}");
    }
    ensure!(count().await? == before, "nothing was started");
    Ok(())
}
