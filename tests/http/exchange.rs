//! Data out and in again: what is exported from one store is the same rows in another.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::test_app::{Answer, TestApp};

use crate::finished::{Finished, accept, settled, text};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(pairs_come_back_as_the_same_pairs),
    test!(pairs_go_to_another_store_and_are_trained_on),
    test!(graphs_scores_and_answers_come_back),
    test!(archives_hold_every_pair),
    test!(captions_visual_genome_and_folders_become_graphs),
    test!(a_download_goes_on_where_it_broke_off),
    test!(bad_files_are_refused_with_a_reason),
    test!(every_bad_line_is_told),
];

async fn export(app: &TestApp, request: &Value) -> anyhow::Result<Value> {
    let asked = accept(app, "/api/v1/exports", request).await?;
    settled(app, "exports", &asked).await
}

async fn file(app: &TestApp, export: &Value, name: &str) -> anyhow::Result<Vec<u8>> {
    let files = export["files"].as_array().into_iter().flatten();
    let known = files.into_iter().find(|one| one["name"] == name).with_context(|| format!("no {name} in {export}"))?;
    let answer = app.get(text(&known["url"])).await?;
    ensure!(answer.status == 200 && answer.body.len() as u64 == known["bytes"].as_u64().unwrap_or_default());
    ensure!(hex::encode(Sha256::digest(&answer.body)) == text(&known["sha256"]), "{name} is not what its hash says");
    Ok(answer.body)
}

async fn import(app: &TestApp, format: &str, body: Vec<u8>) -> anyhow::Result<Value> {
    let path = format!("/api/v1/imports?format={format}&name=again");
    send(app, &path, body).await?.expect(201)
}

async fn send(app: &TestApp, path: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
    app.request(Method::POST, path, &[("content-type", "application/octet-stream")], body).await
}

const PARQUET: &str = "train-00000-of-00001.parquet";

async fn pick_a_pic(app: &TestApp, pairing: &Value) -> anyhow::Result<(Value, Vec<u8>)> {
    let export = export(app, &json!({"format": "pick-a-pic", "pairing_id": pairing, "license": "CC0-1.0"})).await?;
    let content = file(app, &export, PARQUET).await?;
    Ok((export, content))
}

/// Caption, SHA-256 of winner and loser of every pair.
async fn told(app: &TestApp, pairing: &Value) -> anyhow::Result<Vec<(String, String, String)>> {
    let export = export(app, &json!({"format": "jsonl", "pairing_id": pairing})).await?;
    let lines = String::from_utf8(file(app, &export, "pairs.jsonl").await?)?;
    let mut pairs = Vec::new();
    for line in lines.lines() {
        let pair: Value = serde_json::from_str(line)?;
        let side = |name: &str| text(&pair[name]["image_sha256"]).to_owned();
        pairs.push((text(&pair["caption"]).to_owned(), side("winner"), side("loser")));
    }
    pairs.sort();
    Ok(pairs)
}

async fn pairs_come_back_as_the_same_pairs(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    let (export, content) = pick_a_pic(app, &pairing["id"]).await?;
    ensure!(content.starts_with(b"PAR1") && content.ends_with(b"PAR1"));
    let names: Vec<&str> = export["files"].as_array().into_iter().flatten().map(|one| text(&one["name"])).collect();
    for name in ["LICENSES.md", "README.md", "croissant.json"] {
        ensure!(names.contains(&name), "{names:?}");
    }
    let card = String::from_utf8(file(app, &export, "README.md").await?)?;
    ensure!(card.contains(text(&pairing["hash"])) && card.contains("license: cc0-1.0"), "{card}");
    let croissant: Value = serde_json::from_slice(&file(app, &export, "croissant.json").await?)?;
    ensure!(
        croissant["identifier"] == pairing["hash"]
            && croissant["recordSet"][0]["field"].as_array().map(Vec::len) == Some(19)
    );
    let again = import(app, "pick-a-pic", content).await?;
    ensure!(
        again["read"] == pairing["num_pairs"] && again["rejected"] == 0 && again["state"] == "succeeded",
        "{again}"
    );
    ensure!(told(app, &again["pairing_id"]).await? == told(app, &pairing["id"]).await?);
    let pairs = async |id: &Value| -> anyhow::Result<Vec<(Value, Value)>> {
        let list = app.get(&format!("/api/v1/pairings/{}/pairs?limit=200", text(id))).await?.expect(200)?;
        let items = list["items"].as_array().into_iter().flatten();
        let mut ids: Vec<(Value, Value)> =
            items.map(|pair| (pair["winner"]["id"].clone(), pair["loser"]["id"].clone())).collect();
        ids.sort_by_key(|(winner, loser)| (winner.to_string(), loser.to_string()));
        Ok(ids)
    };
    ensure!(pairs(&again["pairing_id"]).await? == pairs(&pairing["id"]).await?, "the very candidates");
    Ok(())
}

async fn pairs_go_to_another_store_and_are_trained_on(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    let (_, content) = pick_a_pic(app, &pairing["id"]).await?;
    let other = TestApp::with_worker(&world.cluster).await?;
    let first = import(&other, "pick-a-pic", content.clone()).await?;
    ensure!(first["accepted"] == pairing["num_pairs"], "{first}");
    ensure!(told(&other, &first["pairing_id"]).await? == told(app, &pairing["id"]).await?);
    // Once more out and in: the same pairing, and nothing new.
    let (_, twice) = pick_a_pic(&other, &first["pairing_id"]).await?;
    let second = import(&other, "pick-a-pic", twice).await?;
    ensure!(second["pairing_id"] == first["pairing_id"] && second["accepted"] == 0, "{second}");
    let mut job = json!({"pairing_id": first["pairing_id"], "max_steps": 1, "warmup_steps": 0, "batch_size": 2});
    let problem = other.post("/api/v1/jobs?dry_run=true", &job).await?.problem(422, "invalid_fields")?;
    ensure!(crate::problems::pointers(&problem) == ["/model"], "{problem}");
    job["model"] = "tiny".into();
    job["objective"] = "diffusion-dpo".into();
    let cost = other.post("/api/v1/jobs?dry_run=true", &job).await?.expect(200)?;
    ensure!(cost["num_pairs"] == pairing["num_pairs"], "{cost}");
    Ok(())
}

async fn graphs_scores_and_answers_come_back(world: Arc<World>) -> Outcome {
    let Finished { app, import: of_graphs, .. } = world.finished().await?;
    let out = export(app, &json!({"format": "laion-sg"})).await?;
    let content = file(app, &out, "graphs.json").await?;
    let records: Vec<Value> = serde_json::from_slice(&content)?;
    let other = TestApp::with_worker(&world.cluster).await?;
    let path = "/api/v1/imports?name=graphs.json";
    let again = send(&other, path, content.clone()).await?.expect(201)?;
    ensure!(again["accepted"] == records.len() && records.len() as i64 >= of_graphs["accepted"].as_i64().unwrap_or(1));
    let back = export(&other, &json!({"format": "laion-sg"})).await?;
    let back: Vec<Value> = serde_json::from_slice(&file(&other, &back, "graphs.json").await?)?;
    ensure!(back == records, "the same records in the same order");
    for (format, name) in [("scores", "scores.jsonl"), ("answers", "answers.jsonl")] {
        let lines = file(app, &export(app, &json!({"format": format})).await?, name).await?;
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        let again = import(app, format, lines.clone()).await?;
        ensure!(count > 30 && again["accepted"] == count && again["rejected"] == 0, "{again}");
        let after = file(app, &export(app, &json!({"format": format})).await?, name).await?;
        ensure!(after == lines, "{format} changed on the way");
        // Candidates of elsewhere are named, line by line.
        let elsewhere = import(&other, format, lines).await?;
        ensure!(elsewhere["rejected"] == count, "{elsewhere}");
        let rejects =
            other.get(&format!("/api/v1/imports/{}/rejects?limit=1", text(&elsewhere["id"]))).await?.expect(200)?;
        ensure!(rejects["items"][0]["pointer"] == "/0/candidate_id", "{rejects}");
    }
    Ok(())
}

/// Name and content of the files in a tar.
fn unpack(content: &[u8]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(content).entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(entry.path()?.display().to_string(), content);
    }
    Ok(files)
}

async fn archives_hold_every_pair(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    let count = pairing["num_pairs"].as_u64().unwrap_or_default() as usize;
    for (format, name, winner, caption) in [
        ("web-dataset", "pairs-000000.tar", "000000.winner.png", "000000.txt"),
        ("kohya", "kohya.tar", "winner/000000.png", "winner/000000.txt"),
    ] {
        let out = export(app, &json!({"format": format, "pairing_id": pairing["id"]})).await?;
        let files = unpack(&file(app, &out, name).await?)?;
        ensure!(files.len() == count * 4, "{} files of {count} pairs", files.len());
        image::load_from_memory(files.get(winner).context("the winner")?)?;
        ensure!(!files.get(caption).context("the caption")?.is_empty());
    }
    let list = app.get("/api/v1/exports?limit=1").await?.expect(200)?;
    ensure!(list["items"][0]["files"].is_array() && list["total"].as_i64() >= Some(2), "{list}");
    Ok(())
}

async fn captions_visual_genome_and_folders_become_graphs(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let captions = "a red circle left of a blue square\n\na dog\na red circle left of a blue square\n";
    let done = import(&app, "prompts", captions.as_bytes().to_vec()).await?;
    ensure!(done["accepted"] == 2 && done["format"] == "prompts", "{done}");
    let found = app.get("/api/v1/graphs?phrase=red+circle+left+of+blue+square&facets=false").await?.expect(200)?;
    ensure!(found["total"] == 1, "{found}");
    let image = json!({"image_id": 7, "objects": [{"object_id": 1, "names": ["tree"], "attributes": ["green"]},
        {"object_id": 2, "names": ["road"]}],
        "relationships": [{"relationship_id": 1, "predicate": "ON", "subject_id": 1, "object_id": 2}]});
    let broken = json!({"image_id": 8, "objects": [{"object_id": 1, "names": [""]}], "relationships": []});
    let done = import(&app, "visual-genome", json!([image, broken]).to_string().into_bytes()).await?;
    ensure!(done["accepted"] == 1 && done["rejected"] == 1, "{done}");
    ensure!(app.get("/api/v1/graphs?relation=on&label=tree&facets=false").await?.expect(200)?["total"] == 1);

    let png = builder::task::sampling::encode_png(&image::RgbImage::from_pixel(9, 7, image::Rgb([9, 8, 7])))?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut put = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // The name as it is, also where the crate would refuse it.
        let bytes = &mut header.as_old_mut().name;
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, content)
    };
    put("set/one.png", &png)?;
    put("set/one.txt", b"a cat on a mat")?;
    put("../../escape.txt", b"a bird")?;
    put("../../escape.png", &png)?;
    put("set/bad.png", b"no picture")?;
    put("set/alone.png", &png)?;
    let done = import(&app, "images", archive.into_inner()?).await?;
    ensure!(done["accepted"] == 2 && done["rejected"] == 2 && done["state"] == "succeeded", "{done}");
    let cat = app.get("/api/v1/graphs?label=cat&facets=false").await?.expect(200)?;
    let candidate = &cat["items"][0]["candidates"][0];
    let picture = app.get(text(&candidate["image_url"])).await?;
    ensure!(picture.body == png, "a good picture is kept byte for byte");
    Ok(())
}

async fn a_download_goes_on_where_it_broke_off(world: Arc<World>) -> Outcome {
    let Finished { app, .. } = world.finished().await?;
    let out = export(app, &json!({"format": "laion-sg", "split": "train"})).await?;
    let whole = file(app, &out, "graphs.json").await?;
    let url = format!("/api/v1/exports/{}/files/graphs.json", text(&out["id"]));
    let etag = app.get(&url).await?.header("etag").to_owned();
    let get = async |headers: &[(&str, &str)]| app.request(Method::GET, &url, headers, "").await;
    let part = get(&[("range", "bytes=10-"), ("if-range", &etag)]).await?;
    ensure!(part.status == 206 && part.body == whole[10..], "{:?}", part.headers);
    ensure!(part.header("content-range") == format!("bytes 10-{}/{}", whole.len() - 1, whole.len()));
    ensure!(get(&[("range", "bytes=-3")]).await?.body == whole[whole.len() - 3..]);
    let other = get(&[("range", "bytes=10-"), ("if-range", "\"older\"")]).await?;
    ensure!(other.status == 200 && other.body == whole, "another file comes whole");
    get(&[("range", "bytes=99999999-")]).await?.problem(416, "range_not_satisfiable")?;
    ensure!(get(&[("if-none-match", &etag)]).await?.status == 304);
    app.get(&url.replace("graphs.json", "other.json")).await?.problem(404, "not_found")?;
    Ok(())
}

async fn every_bad_line_is_told(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let lines = 12_345;
    let file: String = (0..lines).map(|number| format!("{{\"candidate_id\": {number}}}\n")).collect();
    let imported = import(&app, "scores", file.into_bytes()).await?;
    ensure!(imported["rejected"] == lines, "{imported}");
    let (mut cursor, mut next) = (String::new(), 0);
    loop {
        let path = format!("/api/v1/imports/{}/rejects?limit=200{cursor}", text(&imported["id"]));
        let page = app.get(&path).await?.expect(200)?;
        ensure!(page["total"] == lines, "{}", page["total"]);
        for one in page["items"].as_array().into_iter().flatten() {
            ensure!(one["record"] == next, "{one} instead of line {next}");
            next += 1;
        }
        let Some(after) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={after}");
    }
    ensure!(next == lines, "{next} of {lines}");
    Ok(())
}

async fn bad_files_are_refused_with_a_reason(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    let (_, mut content) = pick_a_pic(app, &pairing["id"]).await?;
    let other = TestApp::new(&world.cluster).await?;
    let middle = content.len() / 2;
    content.truncate(middle);
    for (format, body) in [
        ("pick-a-pic", content),
        ("pick-a-pic", b"PAR1 not at all PAR1".to_vec()),
        ("visual-genome", b"[{".to_vec()),
        ("images", vec![7; 2000]),
        ("prompts", vec![0xff, 0xfe, b'\n']),
    ] {
        let path = format!("/api/v1/imports?format={format}&name=bad");
        let answer = send(&other, &path, body).await?;
        ensure!(
            answer.status.is_client_error() || answer.expect(201)?["state"] == "failed",
            "{format}: {}",
            answer.text()
        );
        ensure!(answer.text().contains("error"), "{format}: {}", answer.text());
    }
    let nameless = import(&other, "visual-genome", b"[{}]".to_vec()).await?;
    ensure!(nameless["rejected"] == 1 && nameless["accepted"] == 0, "{nameless}");
    let lines = b"{\"candidate_id\": 1}\nnot json\n{}\n".to_vec();
    let done = import(&other, "scores", lines).await?;
    ensure!(done["rejected"] == 3, "{done}");
    let problem =
        other.post("/api/v1/exports", &json!({"format": "kohya", "split": "train", "license": "<b>"})).await?;
    let problem = problem.problem(422, "invalid_fields")?;
    ensure!(crate::problems::pointers(&problem) == ["/license", "/pairing_id", "/split"], "{problem}");
    Ok(())
}
