//! Scorers beside answerers: registered networks, detectors, recorded answers and votes, and how far they agree.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::http::Method;
use builder::question::TEMPLATE_VERSION;
use builder::scorer::NetworkFiles;
use builder::task::score;
use serde_json::{Value, json};
use tests::test_app::TestApp;

use crate::finished::{CANDIDATES, GRAPHS, accept, ids, import_shapes, settled, text, wait};
use crate::problems::pointers;
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(what_others_saw_is_scored_as_it_comes_in),
    test!(every_scorer_writes_score_cards_that_policies_weigh),
    test!(runs_that_cannot_be_are_refused),
    test!(a_generation_is_compared_with_others_as_a_whole),
    test!(refusals_are_no_and_a_missing_score_by_the_mode),
];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/parity/golden/metric_network")).join(name)
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

async fn get(app: &TestApp, path: &str) -> anyhow::Result<Value> {
    app.get(&format!("/api/v1{path}")).await?.expect(200)
}

/// Two graphs with candidates; their ids.
async fn candidates(app: &TestApp) -> anyhow::Result<Vec<String>> {
    import_shapes(app, 12).await?;
    let graphs = ids(&get(app, "/graphs?split=train&limit=200&facets=false").await?);
    ensure!(graphs.len() >= 2 && GRAPHS >= 2, "too few training graphs");
    let request = json!({"graph_ids": graphs[..2], "num_candidates": CANDIDATES, "num_inference_steps": 2});
    let generation = accept(app, "/api/v1/generations", &request).await?;
    settled(app, "generations", &generation).await?;
    let mut all = Vec::new();
    for graph in &graphs[..2] {
        all.extend(ids(&get(app, &format!("/graphs/{graph}/candidates")).await?));
    }
    Ok(all)
}

async fn run(app: &TestApp, request: Value) -> anyhow::Result<Value> {
    let asked = accept(app, "/api/v1/score-runs", &request).await?;
    settled(app, "score-runs", &asked).await.with_context(|| request.to_string())
}

/// Boxes and graphs that others saw give the very scores that our own detector, and the graph itself, give.
async fn what_others_saw_is_scored_as_it_comes_in(world: Arc<World>) -> Outcome {
    let app = TestApp::with_worker(&world.cluster).await?;
    let ids = candidates(&app).await?;
    run(&app, json!({"answerer": "shapes-boxes"})).await?;
    let (mut boxes, mut graphs) = (String::new(), String::new());
    for id in &ids {
        let candidate = get(&app, &format!("/candidates/{id}")).await?;
        let found: Vec<Value> = candidate["detections"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| {
                let pixels: Vec<f64> = one["box"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_f64)
                    .map(|share| share * 64.0)
                    .collect();
                json!({"label": one["label"], "box": pixels, "confidence": one["confidence"], "depth": one["depth"]})
            })
            .collect();
        let line = json!({"candidate_id": id, "answerer": "unidet", "answerer_version": "2", "detections": found});
        boxes += &format!("{line}\n");
        let graph = get(&app, &format!("/graphs/{}", text(&candidate["graph_id"]))).await?;
        let label = |position: &Value| {
            items_of(&graph["objects"]).iter().find(|one| one["position"] == *position).map(|one| one["label"].clone())
        };
        let triples: Vec<Value> = items_of(&graph["relations"])
            .iter()
            .map(|one| json!([label(&one["subject"]), one["predicate"], label(&one["object"])]))
            .collect();
        let line = json!({"candidate_id": id, "answerer": "reader", "answerer_version": "7b", "triples": triples});
        graphs += &format!("{line}\n");
    }
    let nobody = uuid::Uuid::nil();
    boxes += &format!(
        "{}\n",
        json!({"candidate_id": nobody, "answerer": "unidet", "answerer_version": "2", "detections": []})
    );
    boxes +=
        &format!("{}\n", json!({"candidate_id": ids[0], "answerer": "u", "answerer_version": "2", "detections": [{}]}));
    graphs += &format!(
        "{}\n",
        json!({"candidate_id": ids[0], "answerer": "r", "answerer_version": "1", "reply": "no graph"})
    );
    let mut reasons = Vec::new();
    for (format, lines) in [("detections", boxes), ("extractions", graphs)] {
        let path = format!("/api/v1/imports?format={format}&name=seen.jsonl");
        let headers = [("content-type", "application/x-ndjson")];
        let taken = app.request(axum::http::Method::POST, &path, &headers, lines).await?.expect(201)?;
        ensure!(taken["state"] == "succeeded" && taken["accepted"] == ids.len(), "{taken}");
        let rejects = get(&app, &format!("/imports/{}/rejects", text(&taken["id"]))).await?;
        let told = |one: &Value| {
            format!("{} {}", text(&one["pointer"]).split_once('/').map_or("", |it| it.1), text(&one["code"]))
        };
        reasons.extend(items(&rejects).iter().map(told));
    }
    let last = ids.len();
    let expected = [
        format!("{last}/candidate_id E_UNKNOWN_CANDIDATE"),
        format!("{}/detections/0 E_DETECTIONS", last + 1),
        format!("{last}/reply E_GRAPH"),
    ];
    reasons.sort_unstable();
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    ensure!(reasons == sorted, "{reasons:?}");
    let mut compared = 0;
    for id in &ids {
        let cards = get(&app, &format!("/candidates/{id}/scores")).await?;
        let of = |answerer: &str| -> std::collections::BTreeMap<String, f64> {
            let his = items(&cards).iter().filter(|card| card["answerer"] == answerer);
            his.filter_map(|card| Some((text(&card["metric"]).to_owned(), card["score"].as_f64()?))).collect()
        };
        let (ours, theirs) = (of("shapes-boxes"), of("unidet"));
        ensure!(ours.keys().eq(theirs.keys()), "{ours:?} {theirs:?}");
        for (metric, score) in &ours {
            ensure!((score - theirs[metric]).abs() < 1e-6, "{id} {metric}: {score} {}", theirs[metric]);
            compared += 1;
        }
        let read = of("reader");
        ensure!(read.is_empty() || (read["sg_iou"] == 1.0 && read["relation_iou_exact"] == 1.0), "{read:?}");
        compared += usize::from(!read.is_empty());
    }
    ensure!(compared >= 2 * ids.len(), "{compared} scores");
    // Whoever scored can be asked for like any other scorer.
    let preview = app.post("/api/v1/pairings/preview", &json!({"policy": {"weights": {"unidet/numeracy": 1}}})).await?;
    ensure!(preview.expect(200)?["num_pairs"].is_u64());
    Ok(())
}

fn items_of(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

async fn every_scorer_writes_score_cards_that_policies_weigh(world: Arc<World>) -> Outcome {
    let app = TestApp::with_worker(&world.cluster).await?;
    let ids = candidates(&app).await?;
    for (name, scorer, folder, head) in [
        ("clip", "clip-score", "clip", None),
        ("pick", "pick-score", "clip", None),
        ("beauty", "aesthetic", "clip", Some(golden("aesthetic.safetensors"))),
        ("blip", "blip-vqa", "blip", None),
    ] {
        let files = NetworkFiles { folder: golden(folder), processor: None, head };
        score::register(&app.state.context, name, scorer, files).await?;
    }
    let networks = get(&app, "/metric-networks").await?;
    ensure!(items(&networks).len() == 4 && !networks.to_string().contains("golden"), "paths stay inside: {networks}");

    let total = ids.len();
    for request in [
        json!({"answerer": "shapes"}),
        json!({"answerer": "blip-vqa", "network": "blip"}),
        json!({"answerer": "clip-score", "network": "clip"}),
        json!({"answerer": "pick-score", "network": "pick"}),
        json!({"answerer": "aesthetic", "network": "beauty"}),
        json!({"answerer": "shapes-boxes"}),
    ] {
        let done = run(&app, request).await?;
        ensure!(done["progress"]["done"] == total && done["failed"] == 0, "{done}");
    }
    let cards = get(&app, &format!("/candidates/{}/scores", ids[0])).await?;
    let score = |answerer: &str, metric: &str| {
        items(&cards).iter().find(|card| card["answerer"] == answerer && card["metric"] == metric).cloned()
    };
    for (answerer, metric) in [
        ("shapes", "dpg"),
        ("shapes", "dpg_reference"),
        ("blip-vqa", "dpg"),
        ("blip-vqa", "dpg_reference"),
        ("clip-score", "clip_score"),
        ("pick-score", "pick_score"),
        ("aesthetic", "aesthetic"),
        ("shapes-boxes", "numeracy"),
    ] {
        let card = score(answerer, metric).with_context(|| format!("{answerer}/{metric} in {cards}"))?;
        ensure!(card["score"].is_number() && !text(&card["answerer_version"]).is_empty(), "{card}");
    }
    let boxes = score("shapes-boxes", "numeracy").context("numeracy")?;
    ensure!(boxes["parts"]["reference"].is_number(), "{boxes}");
    // Where the detector found something, the picture says where.
    let mut found = 0;
    for id in &ids {
        for one in get(&app, &format!("/candidates/{id}")).await?["detections"].as_array().into_iter().flatten() {
            let at: Vec<f64> = one["box"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            ensure!(at.len() == 4 && at[0] < at[2] && at[1] < at[3], "{one}");
            ensure!(at.iter().all(|share| (-0.5..=1.5).contains(share)), "shares of the picture: {one}");
            ensure!(one["answerer"] == "shapes-boxes" && !text(&one["label"]).is_empty(), "{one}");
            found += 1;
        }
    }
    ensure!(found > ids.len(), "{found} things in {} pictures", ids.len());
    let answers = get(&app, &format!("/candidates/{}/answers", ids[0])).await?;
    ensure!(items(&answers).iter().all(|answer| answer["latency_ms"].as_f64() > Some(0.0)), "{answers}");

    // A policy may weigh all of them; `dpg` is that of whoever answered last, unless its scorer is named.
    let preview = async |weights: Value| {
        let policy = json!({"policy": {"weights": weights, "select": "all_above_margin"}});
        app.post("/api/v1/pairings/preview", &policy).await?.expect(200)
    };
    let both = preview(json!({"clip_score": 1, "pick_score": 0.5, "aesthetic": 0.1, "numeracy": 1, "dpg": 1})).await?;
    ensure!(both["num_pairs"].as_u64() > Some(0), "{both}");
    ensure!(preview(json!({"dpg": 1})).await? == preview(json!({"blip-vqa/dpg": 1})).await?);
    ensure!(preview(json!({"nobody/dpg": 1})).await?["num_pairs"] == 0);

    // Agreement of two of them, and what they disagree about goes to people.
    let found = get(&app, "/agreement?a=shapes/dpg&b=clip-score/clip_score&limit=200").await?;
    ensure!(found["candidates"] == total && found["graphs"] == 2, "{found}");
    let pairs = CANDIDATES * (CANDIDATES - 1);
    let counted: u64 = ["concordant", "discordant", "ties"].iter().filter_map(|key| found[*key].as_u64()).sum();
    ensure!(counted == pairs as u64, "{found}");
    let queue = get(&app, "/votes/queue?voter=x&a=clip_score&b=pick_score&limit=200").await?;
    let between = get(&app, "/agreement?a=clip_score&b=pick_score&limit=200").await?;
    ensure!(queue["remaining"] == between["discordant"], "{queue} {between}");
    app.get("/api/v1/votes/queue?a=clip_score").await?.problem(400, "malformed_query")?;
    let problem = app.get("/api/v1/agreement?a=shapes/dpg&b=nobody/x").await?.problem(422, "invalid_fields")?;
    ensure!(pointers(&problem) == ["/b"], "{problem}");

    // Once more: the same scorer agrees with itself, and its repetition makes no pairs.
    app.get("/api/v1/agreement/retest?scorer=blip-vqa").await?.problem(409, "not_repeated")?;
    run(&app, json!({"answerer": "blip-vqa", "network": "blip", "repetition": 2})).await?;
    let twice = get(&app, "/agreement/retest?scorer=blip-vqa").await?;
    ensure!(twice["agreed"] == 1.0 && twice["answers"].as_u64() > Some(0), "{twice}");
    ensure!(text(&twice["versions"][1]) == format!("{}#2", text(&twice["versions"][0])), "{twice}");
    ensure!(twice["metrics"].as_array().is_some_and(|all| all.iter().all(|one| one["discordant"] == 0)), "{twice}");
    ensure!(preview(json!({"dpg": 1})).await? == preview(json!({"blip-vqa/dpg": 1})).await?);

    recorded_and_human(&app, &ids).await
}

async fn recorded_and_human(app: &TestApp, ids: &[String]) -> Outcome {
    // Somebody's answers about all candidates but one, which says so and is no 0.
    let mut lines = String::new();
    for id in &ids[1..] {
        for answer in items(&get(app, &format!("/candidates/{id}/answers")).await?) {
            if answer["answerer"] == "shapes" {
                let line = json!({"candidate_id": id, "question_id": answer["question_id"], "answerer": "my-vlm",
                    "answerer_version": "7", "value": answer["answer"], "probability": answer["probability"]});
                lines.push_str(&line.to_string());
                lines.push('\n');
            }
        }
    }
    let headers = [("content-type", "application/octet-stream")];
    let path = "/api/v1/imports?format=answers&name=my-vlm";
    app.request(Method::POST, path, &headers, lines).await?.expect(201)?;
    let done = run(app, json!({"answerer": "my-vlm", "recorded": true})).await?;
    ensure!(done["answerer_version"] == "7" && done["failed"] == 1, "{done}");
    ensure!(done["progress"]["done"] == ids.len() - 1, "{done}");
    let failures = get(app, &format!("/score-runs/{}/failures", text(&done["id"]))).await?;
    ensure!(failures["total"] == 1 && failures["items"][0]["candidate_id"] == json!(ids[0]), "{failures}");
    ensure!(text(&failures["items"][0]["reason"]).contains("my-vlm"), "{failures}");
    let same = get(app, "/agreement?a=shapes/dpg&b=my-vlm/dpg").await?;
    ensure!(same["candidates"] == ids.len() - 1 && same["discordant"] == 0, "{same}");

    let ballot = json!({"left_id": ids[0], "right_id": ids[1], "choice": "left", "voter": "ada"});
    app.post("/api/v1/votes", &ballot).await?.expect(201)?;
    run(app, json!({"answerer": "human"})).await?;
    let cards = get(app, &format!("/candidates/{}/scores", ids[0])).await?;
    let votes = items(&cards).iter().find(|card| card["answerer"] == "human").context("votes")?;
    ensure!(votes["metric"] == "votes" && votes["score"] == 1.0, "{votes}");
    let agreement = get(app, "/votes/agreement?voter=ada").await?;
    for one in agreement["scorers"].as_array().context("scorers")? {
        let sided = one["agreed"].as_u64().unwrap_or_default() + one["disagreed"].as_u64().unwrap_or_default();
        ensure!(one["calibration"]["votes"] == sided || (sided == 0 && one["calibration"].is_null()), "{one}");
        ensure!(!text(&one["metric"]).starts_with("human/"), "people are not compared with themselves: {one}");
    }
    Ok(())
}

async fn runs_that_cannot_be_are_refused(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let files = NetworkFiles { folder: golden("clip"), processor: None, head: None };
    score::register(&app.state.context, "clip", "clip-score", files.clone()).await?;
    for (request, expected) in [
        (json!({"answerer": "nobody"}), "/answerer"),
        (json!({"answerer": "blip-vqa"}), "/network"),
        (json!({"answerer": "blip-vqa", "network": "/etc"}), "/network"),
        (json!({"answerer": "pick-score", "network": "clip"}), "/network"),
        (json!({"answerer": "shapes", "network": "clip"}), "/network"),
        (json!({"answerer": "my-vlm", "recorded": true}), "/answerer"),
        (json!({"answerer": "shapes", "repetition": 10}), "/repetition"),
        (json!({"answerer": "shapes", "recorded": "yes"}), "/recorded"),
        (json!({"answerer": "shapes", "answerer_version": "1"}), "/answerer_version"),
    ] {
        let problem = app.post("/api/v1/score-runs", &request).await?.problem(422, "invalid_fields")?;
        ensure!(pointers(&problem) == [expected], "{request}: {problem}");
    }
    // Aesthetics without its layers, and files that are no network.
    ensure!(score::register(&app.state.context, "a", "aesthetic", files).await.is_err());
    let nowhere = NetworkFiles { folder: golden("pictures"), processor: None, head: None };
    let error = score::register(&app.state.context, "b", "blip-vqa", nowhere).await;
    ensure!(error.is_err_and(|error| error.to_string().contains("config.json")));
    ensure!(get(&app, "/metric-networks").await?["items"].as_array().map(Vec::len) == Some(1));
    Ok(())
}

/// Inception's distance: of a generation from itself, from another and from registered features; and what cannot be.
async fn a_generation_is_compared_with_others_as_a_whole(world: Arc<World>) -> Outcome {
    let app = TestApp::with_worker(&world.cluster).await?;
    candidates(&app).await?;
    let first = get(&app, "/generations").await?["items"][0].clone();
    let graphs = ids(&get(&app, "/graphs?split=train&limit=200&facets=false").await?);
    let request = json!({"graph_ids": graphs[..2], "num_candidates": 3, "num_inference_steps": 2, "seed": 7});
    let second = accept(&app, "/api/v1/generations", &request).await?;
    settled(&app, "generations", &second).await?;
    let context = &app.state.context;
    for (name, kind, file) in
        [("fid", "inception", golden("inception.safetensors")), ("beauty", "aesthetic", golden("clip"))]
    {
        let head = (kind == "aesthetic").then(|| golden("aesthetic.safetensors"));
        score::register(context, name, kind, NetworkFiles { folder: file, processor: None, head }).await?;
    }
    let (id, other) = (&first["id"], &second["id"]);
    let measure = async |more: Value| {
        let mut request = json!({"generation_id": id, "network": "fid"});
        if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
            request.extend(more);
        }
        let asked = accept(&app, "/api/v1/frechet-distances", &request).await?;
        settled(&app, "frechet-distances", &asked).await
    };
    let itself = measure(json!({"reference_generation_id": id})).await?;
    let images = 2 * CANDIDATES;
    ensure!(itself["distance"].as_f64().is_some_and(|distance| distance.abs() < 1e-9), "{itself}");
    ensure!(itself["num_images"] == images && itself["num_reference"] == images, "{itself}");
    ensure!(itself["progress"] == json!({"done": 2 * images, "total": 2 * images, "unit": "images"}), "{itself}");
    ensure!(itself["mode"] == "corrected" && text(&itself["network_version"]).starts_with("1/"), "{itself}");
    let far = measure(json!({"reference_generation_id": other, "mode": "reference"})).await?;
    ensure!(far["distance"].as_f64() > Some(1e-9) && far["num_reference"] == 6, "{far}");

    // Features that somebody else has computed.
    let features = tempfile::tempdir()?;
    let file = features.path().join("given.safetensors");
    let dimensions = itself["dimensions"].as_u64().context("dimensions")? as usize;
    let rows: Vec<f32> = (0..4 * dimensions).map(|i| (i % 7) as f32).collect();
    let tensor = candle_core::Tensor::from_vec(rows, (4, dimensions), &candle_core::Device::Cpu)?;
    candle_core::safetensors::save(&std::collections::HashMap::from([("features", tensor)]), &file)?;
    let files = NetworkFiles { folder: file.clone(), processor: None, head: None };
    score::register(context, "given", "features", files).await?;
    let given = measure(json!({"reference_features": "given"})).await?;
    ensure!(given["distance"].as_f64() > Some(1.0) && given["num_reference"] == 4, "{given}");
    let listed = get(&app, "/frechet-distances?limit=2").await?;
    ensure!(listed["total"] == 3 && items(&listed)[0]["id"] == given["id"], "{listed}");
    ensure!(get(&app, "/metric-networks").await?["items"].as_array().map(Vec::len) == Some(3));

    // The file is another one by now: said, not measured.
    fs_err::write(&file, fs_err::read(golden("expected.safetensors"))?)?;
    let request = json!({"generation_id": id, "network": "fid", "reference_features": "given"});
    let asked = accept(&app, "/api/v1/frechet-distances", &request).await?;
    let failed = wait(&app, "frechet-distances", &asked, "failed").await?;
    ensure!(failed["distance"].is_null() && text(&failed["error"]["message"]).contains("was registered"), "{failed}");

    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (request, expected) in [
        (json!({}), vec!["/generation_id", "/network"]),
        (json!({"generation_id": 3, "network": "fid", "mode": "x"}), vec!["/generation_id", "/mode"]),
        (json!({"generation_id": id, "network": "fid"}), vec!["/reference_generation_id"]),
        (
            json!({"generation_id": nobody, "network": "beauty", "reference_generation_id": nobody}),
            vec!["/generation_id", "/network", "/reference_generation_id"],
        ),
        (
            json!({"generation_id": id, "network": "fid", "reference_generation_id": id, "reference_features": "given"}),
            vec!["/reference_features"],
        ),
        (
            json!({"generation_id": id, "network": "/etc/passwd", "reference_features": "fid"}),
            vec!["/network", "/reference_features"],
        ),
        (json!({"generation_id": id, "network": "f\0d", "reference_generation_id": id}), vec!["/network"]),
    ] {
        let problem = app.post("/api/v1/frechet-distances", &request).await?.problem(422, "invalid_fields")?;
        ensure!(pointers(&problem) == expected, "{request}: {problem}");
    }
    app.get(&format!("/api/v1/frechet-distances/{nobody}")).await?.problem(404, "not_found")?;
    Ok(())
}

/// The published script takes what is no yes for a no; the corrected figure has no score then, and says so.
async fn refusals_are_no_and_a_missing_score_by_the_mode(world: Arc<World>) -> Outcome {
    let app = TestApp::with_worker(&world.cluster).await?;
    let all = candidates(&app).await?;
    run(&app, json!({"answerer": "shapes"})).await?;
    let mut lines = String::new();
    for id in &all {
        for answer in items(&get(&app, &format!("/candidates/{id}/answers")).await?) {
            let refused = answer["question_id"] == 1 && *id == all[0];
            let value = if refused { json!("cannot_answer") } else { json!("yes") };
            let line = json!({"candidate_id": id, "question_id": answer["question_id"], "answerer": "vlm",
                "answerer_version": "1", "value": value, "probability": if refused { 0.5 } else { 1.0 }});
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
    }
    let headers = [("content-type", "application/octet-stream")];
    app.request(Method::POST, "/api/v1/imports?format=answers&name=vlm", &headers, lines).await?.expect(201)?;
    let done = run(&app, json!({"answerer": "vlm", "recorded": true})).await?;
    ensure!(done["failed"] == 1 && done["spent"].is_null(), "{done}");
    let graph = get(&app, &format!("/candidates/{}", all[0])).await?["graph_id"].clone();
    let questions = get(&app, &format!("/questions?graph_id={}", text(&graph))).await?;
    ensure!(items(&questions).iter().all(|one| one["template_version"] == TEMPLATE_VERSION), "{questions}");
    let score = async |id: &str, metric: &str| -> anyhow::Result<Value> {
        let cards = get(&app, &format!("/candidates/{id}/scores")).await?;
        let found = items(&cards).iter().find(|card| card["answerer"] == "vlm" && card["metric"] == metric);
        Ok(found.map_or(Value::Null, |card| card["score"].clone()))
    };
    ensure!(score(&all[1], "dpg").await? == 1.0 && score(&all[1], "dpg_reference").await? == 1.0);
    ensure!(score(&all[0], "dpg").await?.is_null());
    ensure!(score(&all[0], "dpg_reference").await?.as_f64().is_some_and(|score| (0.0..1.0).contains(&score)));
    let failures = get(&app, &format!("/score-runs/{}/failures", text(&done["id"]))).await?;
    ensure!(failures["items"][0]["candidate_id"] == json!(all[0]), "{failures}");
    Ok(())
}
