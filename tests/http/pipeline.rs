//! What the finished pipeline shows: candidates, questions, answers, scores, the job and its comparison.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::http::Method;
use serde_json::Value;
use tests::test_app::{Answer, TestApp};

use crate::finished::{CANDIDATES, Finished, GRAPHS, STEPS, ids, text};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(a_graph_shows_its_candidates_questions_and_scores),
    test!(a_picture_never_changes),
    test!(runs_and_what_made_them_are_listed),
    test!(a_job_leaves_metrics_samples_checkpoints_and_weights),
    test!(an_evaluation_shows_both_pictures),
];

async fn get(app: &TestApp, path: &str) -> anyhow::Result<Value> {
    app.get(&format!("/api/v1{path}")).await?.expect(200)
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

async fn a_graph_shows_its_candidates_questions_and_scores(world: Arc<World>) -> Outcome {
    let app = &world.finished().await?.app;
    let list = get(app, "/graphs?has_candidates=true&sort=best_score&limit=200").await?;
    ensure!(list["total"] == GRAPHS, "{}", list["total"]);
    for summary in items(&list) {
        let id = text(&summary["id"]);
        let graph = get(app, &format!("/graphs/{id}")).await?;
        ensure!(graph["caption"] == summary["caption"] && graph["document"]["img_id"] == graph["img_id"], "{graph}");
        let questions = get(app, &format!("/questions?graph_id={id}")).await?;
        ensure!(questions["items"] == graph["questions"] && questions["total"].as_u64() > Some(0), "{questions}");
        let candidates = get(app, &format!("/graphs/{id}/candidates")).await?;
        ensure!(items(&candidates).len() == CANDIDATES, "{candidates}");
        let mut scores = Vec::new();
        for candidate in items(&candidates) {
            let id = text(&candidate["id"]);
            ensure!(get(app, &format!("/candidates/{id}")).await? == *candidate);
            ensure!(candidate["generation"]["num_inference_steps"] == 4, "{candidate}");
            let answers = get(app, &format!("/candidates/{id}/answers")).await?;
            ensure!(answers["items"] == candidate["answers"]);
            ensure!(items(&answers).len() == items(&questions).len(), "every question has an answer: {answers}");
            let cards = get(app, &format!("/candidates/{id}/scores")).await?;
            for card in items(&cards) {
                ensure!(candidate["scores"][text(&card["metric"])] == card["score"], "{card}");
                ensure!(card["answerer"] == "shapes" && card["parts"].is_object(), "{card}");
            }
            scores.push((candidate["scores"]["dpg"].as_f64().context("a dpg score")?, id.to_owned()));
        }
        let best = scores.iter().map(|(score, _)| *score).fold(f64::MIN, f64::max);
        let worst = scores.iter().map(|(score, _)| *score).fold(f64::MAX, f64::min);
        let score_of = |id: &Value| scores.iter().find(|(_, one)| one == text(id)).map(|(score, _)| *score);
        ensure!(score_of(&summary["best"]) == Some(best), "{summary}");
        ensure!(score_of(&summary["worst"]) == (best > worst).then_some(worst), "{summary}");
    }
    Ok(())
}

/// The PNG at `path`: kept for ever, not sent twice, read by no page of another site.
async fn picture(app: &TestApp, path: &str) -> anyhow::Result<Answer> {
    let answer = app.get(path).await?;
    ensure!(answer.status == 200 && answer.header("content-type") == "image/png", "{path}: {}", answer.text());
    let image = image::load_from_memory(&answer.body)?;
    ensure!((image.width(), image.height()) == (64, 64), "{}x{}", image.width(), image.height());
    ensure!(answer.header("cache-control").contains("immutable"), "{:?}", answer.headers);
    ensure!(answer.header("content-security-policy").contains("sandbox"), "{:?}", answer.headers);
    let again = app.request(Method::GET, path, &[("if-none-match", answer.header("etag"))], "").await?;
    ensure!(again.status == 304 && again.body.is_empty(), "{}", again.status);
    ensure!(again.header("etag") == answer.header("etag"));
    let other = app.request(Method::GET, path, &[("if-none-match", "\"other\"")], "").await?;
    ensure!(other.status == 200 && other.body == answer.body);
    Ok(answer)
}

async fn a_picture_never_changes(world: Arc<World>) -> Outcome {
    let app = &world.finished().await?.app;
    let list = get(app, "/graphs?has_candidates=true&limit=1").await?;
    let mut contents = BTreeSet::new();
    for candidate in items(
        &list["items"][0]["candidates"]
            .as_array()
            .map_or_else(Value::default, |all| serde_json::json!({ "items": all })),
    ) {
        contents.insert(picture(app, text(&candidate["image_url"])).await?.body);
    }
    ensure!(contents.len() == CANDIDATES, "other seeds, other pictures");
    Ok(())
}

async fn runs_and_what_made_them_are_listed(world: Arc<World>) -> Outcome {
    let Finished { app, import, generation, score_run, pairing, job } = world.finished().await?;
    for (noun, resource) in [
        ("imports", import),
        ("generations", generation),
        ("score-runs", score_run),
        ("pairings", pairing),
        ("jobs", job),
    ] {
        ensure!(get(app, &format!("/{noun}/{}", text(&resource["id"]))).await? == *resource, "{noun}");
        ensure!(items(&get(app, &format!("/{noun}")).await?).contains(resource), "{noun}");
    }
    for run in [generation, score_run] {
        let all = GRAPHS * CANDIDATES;
        ensure!(run["progress"]["done"] == all && run["progress"]["total"] == all, "{run}");
        ensure!(run["error"].is_null() && run["started_at"].is_string() && run["finished_at"].is_string(), "{run}");
    }
    let models = get(app, "/models").await?;
    ensure!(models["items"][0]["hash"] == generation["model_hash"], "{models}");
    ensure!(!models.to_string().contains("path"), "where a model lies is nobody's business: {models}");
    let scorers = get(app, "/scorers").await?;
    ensure!(scorers["items"][0]["name"] == "shapes", "{scorers}");
    ensure!(scorers["items"][0]["num_candidates"] == GRAPHS * CANDIDATES, "{scorers}");
    Ok(())
}

async fn a_job_leaves_metrics_samples_checkpoints_and_weights(world: Arc<World>) -> Outcome {
    let Finished { app, job, pairing, .. } = world.finished().await?;
    ensure!(job["spec"]["max_steps"] == STEPS && job["pairing_id"] == pairing["id"], "{job}");
    ensure!(job["spec"]["beta"].is_f64() && job["spec"]["objective"]["name"] == "inversion-dpo", "{job}");
    let path = format!("/jobs/{}", text(&job["id"]));

    let steps = |list: &Value| -> Vec<i64> { items(list).iter().filter_map(|one| one["step"].as_i64()).collect() };
    let metrics = get(app, &format!("{path}/metrics")).await?;
    ensure!(steps(&metrics).last() == Some(&STEPS), "{metrics}");
    for name in ["loss", "implicit_reward_margin", "pair_accuracy", "grad_norm", "drift", "seconds", "learning_rate"] {
        // Step 0 is the reference on the selection graphs; nothing is trained there.
        let mut trained = items(&metrics).iter().filter(|one| one["step"] != 0);
        ensure!(trained.all(|one| one[name].is_number()), "{name} is missing: {metrics}");
    }
    let later = get(app, &format!("{path}/metrics?since_step=2")).await?;
    ensure!(steps(&later) == [2, 3, 4], "steps from the second on: {later}");
    let thinned = get(app, &format!("{path}/metrics?stride=3")).await?;
    ensure!(steps(&thinned).last() == Some(&STEPS) && steps(&thinned).len() < steps(&metrics).len(), "{thinned}");

    let samples = get(app, &format!("{path}/samples")).await?;
    ensure!(steps(&samples).first() == Some(&0) && steps(&samples).last() == Some(&STEPS), "{samples}");
    ensure!(items(&samples).iter().all(|one| one["caption"].as_str().is_some_and(|text| !text.is_empty())));
    for sample in [&samples["items"][0], items(&samples).last().context("samples")?] {
        picture(app, text(&sample["image_url"])).await?;
    }
    let checkpoints = get(app, &format!("{path}/checkpoints")).await?;
    ensure!(steps(&checkpoints).last() == Some(&STEPS), "{checkpoints}");
    ensure!(items(&checkpoints).iter().all(|one| one["bytes"].as_i64() > Some(0) && one["files"].is_array()));

    let artifacts = get(app, &format!("{path}/artifacts")).await?;
    let weights = items(&artifacts).iter().find(|one| text(&one["name"]).ends_with(".safetensors"));
    let weights = weights.with_context(|| format!("no weights: {artifacts}"))?;
    let file = app.get(text(&weights["url"])).await?;
    ensure!(file.status == 200 && file.body.len() as i64 == weights["bytes"], "{}", file.status);
    ensure!(builder::blob::hash(&file.body) == text(&weights["sha256"]));
    ensure!(file.header("content-disposition").starts_with("attachment; filename=\""), "{:?}", file.headers);
    app.get(&format!("/api/v1{path}/artifacts/nothing.bin")).await?.problem(404, "not_found")?;
    Ok(())
}

async fn an_evaluation_shows_both_pictures(world: Arc<World>) -> Outcome {
    let Finished { app, job, .. } = world.finished().await?;
    let list = get(app, &format!("/evaluations?job_id={}", text(&job["id"]))).await?;
    let last = items(&list).iter().find(|one| one["kind"] == "final").with_context(|| format!("{list}"))?;
    let path = format!("/evaluations/{}", text(&last["id"]));
    let evaluation = get(app, &path).await?;
    ensure!(evaluation == *last && evaluation["state"] == "succeeded", "{evaluation}");
    for name in ["base_score", "trained_score", "delta", "delta_se"] {
        ensure!(evaluation["result"][name].is_number(), "{name} is missing: {evaluation}");
    }
    ensure!(ids(&get(app, &format!("/evaluations?job_id={}", uuid::Uuid::nil())).await?).is_empty());
    let images = get(app, &format!("{path}/images")).await?;
    ensure!(items(&images).len() == 3, "{images}");
    for image in items(&images) {
        for side in ["base", "trained"] {
            picture(app, text(&image[side]["image_url"])).await?;
            ensure!(image[side]["score"].is_number(), "{image}");
        }
    }
    app.get(&text(&images["items"][0]["base"]["image_url"]).replace("/base", "/both"))
        .await?
        .problem(404, "not_found")?;
    Ok(())
}
