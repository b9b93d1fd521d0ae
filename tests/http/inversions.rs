//! A picture's sampling path beside its inversion: asked for, followed, measured, drawn.

use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::finished::{accept, ids, import_shapes, settled, text};
use crate::problems::pointers;
use crate::{Outcome, Test, World, test};
use tests::test_app::TestApp;

pub const TESTS: &[(&str, Test)] = &[
    test!(an_inversion_lies_beside_the_path_that_sampling_took),
    test!(the_same_inversion_is_made_once),
    test!(inversions_that_cannot_be_are_refused),
];

/// Sampling steps of the finished store's candidates.
const STEPS: usize = 4;

async fn candidate(app: &TestApp, graph: usize) -> anyhow::Result<String> {
    let graphs = ids(&app.get("/api/v1/graphs?has_candidates=true&limit=8").await?.expect(200)?);
    let found = ids(&app.get(&format!("/api/v1/graphs/{}/candidates", graphs[graph])).await?.expect(200)?);
    found.into_iter().next().context("a candidate")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

async fn invert(app: &TestApp, request: &Value) -> anyhow::Result<Value> {
    let asked = accept(app, "/api/v1/inversions", request).await?;
    settled(app, "inversions", &asked).await
}

async fn an_inversion_lies_beside_the_path_that_sampling_took(world: Arc<World>) -> Outcome {
    let app = &world.finished().await?.app;
    let id = candidate(app, 0).await?;
    let mut furthest = Vec::new();
    for steps in [STEPS, 40] {
        let request = json!({"candidate_id": id, "num_inference_steps": steps, "guidance_scale": 1.0});
        let done = invert(app, &request).await?;
        let total = STEPS + 2 * steps;
        ensure!(done["progress"] == json!({"done": total, "total": total, "unit": "steps"}), "{done}");
        let paths = &done["result"];
        let (sampled, inverted) = (list(paths, "sampled"), list(paths, "inverted"));
        ensure!(sampled.len() == STEPS + 1 && inverted.len() == steps + 1, "{paths}");
        let timesteps = |states: &[Value]| states.iter().filter_map(|one| one["timestep"].as_u64()).collect::<Vec<_>>();
        ensure!(timesteps(inverted).is_sorted() && timesteps(sampled).iter().rev().is_sorted(), "{paths}");
        // Both paths have the image: it is the same point, and nothing deviates there.
        ensure!(inverted[0]["deviation"] == 0.0, "{}", inverted[0]);
        for axis in ["x", "y"] {
            let ends = (inverted[0][axis].as_f64(), sampled[STEPS][axis].as_f64());
            let (Some(a), Some(b)) = ends else { anyhow::bail!("no {axis}: {paths}") };
            ensure!((a - b).abs() < 1e-3, "{axis}: {a} and {b}");
        }
        let deviations = inverted.iter().filter_map(|one| one["deviation"].as_f64());
        furthest.push(deviations.fold(0.0, f64::max));
        let explained: f64 = list(paths, "explained_variance").iter().filter_map(Value::as_f64).sum();
        ensure!(explained > 0.3 && explained <= 1.0, "{explained}");
        ensure!(paths["terminal_std"].as_f64() > Some(0.3), "{paths}");
        let initial = paths["initial_std"].as_f64().context("the noise's deviation")?;
        ensure!((initial - 1.0).abs() < 0.2, "sampling begins with noise: {initial}");
        ensure!(paths["reconstruction_error"].as_f64() > Some(0.0) && paths["latent_variance"].as_f64() > Some(0.0));
    }
    ensure!(furthest[0] > 0.0 && furthest[1] > 0.0, "{furthest:?}");

    let found = app.get(&format!("/api/v1/inversions?candidate_id={id}&limit=2")).await?.expect(200)?;
    ensure!(found["total"] == 2, "{found}");
    let paths = &found["items"][0]["result"];
    let pictures = list(paths, "pictures");
    ensure!(pictures.len() == 8 && pictures[0]["timestep"] == 0, "{paths}");
    // Sampling in four steps begins at timestep 750: beyond it there is nothing to show beside the inversion.
    ensure!(pictures[7]["timestep"] == 975 && pictures[7]["sampled_url"].is_null(), "{paths}");
    let picture = async |url: &Value| {
        let answer = app.get(text(url)).await?;
        ensure!(answer.status == 200 && answer.header("content-type") == "image/png", "{url}: {}", answer.text());
        Ok(answer.body)
    };
    let image = app.get(&format!("/api/v1/candidates/{id}/image")).await?.body;
    ensure!(picture(&pictures[0]["sampled_url"]).await? == image, "the path ends in the picture itself");
    ensure!(picture(&pictures[0]["inverted_url"]).await? == image, "and the inversion begins with it");
    ensure!(picture(&pictures[7]["inverted_url"]).await? != image);
    let url = text(&pictures[0]["inverted_url"]);
    for wrong in [url.replace("/0/", "/8/"), url.replace("/inverted", "/both"), url.replace("/0/", "/x/")] {
        app.get(&wrong).await?.problem(404, "not_found")?;
    }
    Ok(())
}

async fn the_same_inversion_is_made_once(world: Arc<World>) -> Outcome {
    let app = &world.finished().await?.app;
    let id = candidate(app, 1).await?;
    let request = json!({"candidate_id": id, "num_inference_steps": 3, "label": "source"});
    let first = invert(app, &request).await?;
    let answer = app.post("/api/v1/inversions", &request).await?;
    let again = answer.expect(202)?;
    ensure!(again == first, "{again} for {first}");
    ensure!(answer.header("location") == format!("/api/v1/inversions/{}", text(&first["id"])));
    for other in [json!({"label": "destination"}), json!({"num_inference_steps": 2}), json!({"guidance_scale": 2})] {
        let mut changed = request.clone();
        for (name, value) in other.as_object().into_iter().flatten() {
            changed[name] = value.clone();
        }
        let other = invert(app, &changed).await?;
        ensure!(other["id"] != first["id"] && other["result"] != first["result"], "{changed} is another inversion");
    }
    let found = app.get(&format!("/api/v1/inversions?candidate_id={id}")).await?.expect(200)?;
    ensure!(found["total"] == 4 && ids(&found).last().map(String::as_str) == first["id"].as_str(), "{found}");
    Ok(())
}

async fn inversions_that_cannot_be_are_refused(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let at = async |request: Value| {
        let answer = app.post("/api/v1/inversions", &request).await?;
        let problem = answer.problem(422, "invalid_fields")?;
        anyhow::Ok(pointers(&problem).into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    ensure!(at(json!({})).await? == ["/candidate_id"]);
    ensure!(at(json!({"candidate_id": Uuid::nil()})).await? == ["/candidate_id"], "nobody has this id");
    let wrong = json!({"candidate_id": 3, "num_inference_steps": 0, "guidance_scale": -1, "label": "both", "steps": 5});
    let mut found = at(wrong).await?;
    found.sort();
    ensure!(found == ["/candidate_id", "/guidance_scale", "/label", "/num_inference_steps", "/steps"], "{found:?}");

    // A picture from elsewhere has no path of ours.
    import_shapes(&app, 1).await?;
    let graph = ids(&app.get("/api/v1/graphs").await?.expect(200)?).pop().context("a graph")?;
    let mut connection = app.connection().await?;
    sqlx::query("INSERT INTO model (hash, name, path) VALUES ('elsewhere', 'elsewhere', '')")
        .execute(&mut *connection)
        .await?;
    let generation = builder::store::generation::NewGeneration {
        model_hash: "elsewhere".to_owned(),
        seed: 0,
        num_inference_steps: 1,
        guidance_scale: 0.0,
        sampler: "imported".to_owned(),
        num_candidates: 1,
        selection: json!({}),
        graph_ids: vec![graph.parse()?],
    };
    let generation = builder::store::generation::insert(&mut connection, &generation).await?;
    let picture = builder::store::candidate::NewCandidate {
        id: builder::id::new(),
        generation_id: generation,
        graph_id: graph.parse()?,
        index: 0,
        seed: 0,
        image_blob: app.state.context.blobs.put(vec![1, 2, 3]).await?,
        latent_blob: None,
    };
    builder::store::candidate::insert_many(&mut connection, std::slice::from_ref(&picture)).await?;
    let answer = app.post("/api/v1/inversions", &json!({"candidate_id": picture.id})).await?;
    let problem = answer.problem(422, "invalid_fields")?;
    ensure!(problem.to_string().contains("was not sampled here"), "{problem}");
    app.get(&format!("/api/v1/inversions/{}", Uuid::nil())).await?.problem(404, "not_found")?;
    Ok(())
}
