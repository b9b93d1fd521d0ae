//! Scorers of the store that need more than pixels: an endpoint that reads graphs, registered networks, Inception's distance.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use models::weights::read_file;
use serde_json::{Value, json};

use super::by_hand::{run, text};
use super::service::Service;
use super::sg_iou::Model;
use super::{data_folder, diptych, lines};

const GRAPHS: usize = 6;

fn golden(name: &str) -> String {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parity/golden/metric_network"));
    root.join(name).to_str().unwrap().to_owned()
}

/// Graphs with relations, and two pictures of each; the generation.
fn pictures(data: &Path) -> (Vec<Value>, Value) {
    let records: Vec<Value> = (0..200)
        .map(|i| builder::shapes::generate_one(5, i).to_laion_sg(&format!("s-{i:03}")))
        .filter(|record| !record["relations"].as_array().unwrap().is_empty())
        .take(GRAPHS)
        .collect();
    let file = data.join("graphs.json");
    fs_err::write(&file, serde_json::to_vec(&records).unwrap()).unwrap();
    run(data, &["ingest", file.to_str().unwrap()]);
    let generation = run(data, &["generate", "--num-inference-steps", "2", "--num-candidates", "2"]);
    assert_eq!(generation["progress"]["done"], 2 * GRAPHS);
    (records, generation)
}

/// A score run by an endpoint.
fn read_graphs(data: &Path, url: &str) -> (Option<i32>, Value) {
    let output = diptych()
        .args(["--json", "--data", data.to_str().unwrap(), "score", "--answerer", "openai-graph"])
        .envs([("OPENAI_BASE_URL", url), ("OPENAI_MODEL", "m"), ("OPENAI_API_KEY", "the-secret")])
        .env("OPENAI_PROMPT_PRICE", "1")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("the-secret"));
    (output.status.code(), lines(&output.stdout).pop().unwrap_or_else(|| panic!("{errors}")))
}

/// |{triple} ∩ graph| / |{triple} ∪ graph|, by hand.
fn share(record: &Value, triple: [&str; 3]) -> f64 {
    let label = |id: &Value| {
        let items = record["items"].as_array().unwrap();
        text(&items.iter().find(|item| item["item_id"] == *id).unwrap()["label"]).to_owned()
    };
    let mut wanted: Vec<[String; 3]> = record["relations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| [label(&one["item1"]), text(&one["relation"]).to_owned(), label(&one["item2"])])
        .collect();
    wanted.sort();
    wanted.dedup();
    if wanted.contains(&triple.map(str::to_owned)) { 1.0 / wanted.len() as f64 } else { 0.0 }
}

#[test]
fn graphs_are_read_networks_judge_and_distances_are_measured() {
    let folder = data_folder();
    let data = folder.path();
    let (records, generation) = pictures(data);
    let first = &records[0]["relations"][0];
    let label = |id: &Value| {
        let item = records[0]["items"].as_array().unwrap().iter().find(|item| item["item_id"] == *id).unwrap();
        text(&item["label"]).to_owned()
    };
    let triple = [label(&first["item1"]), text(&first["relation"]).to_owned(), label(&first["item2"])];
    let reply: &'static str = json!({"triples": [triple]}).to_string().leak();
    let model = Model::default();
    *model.says.lock().unwrap() = vec![vec!["Sorry?"], vec![reply]];
    let url = model.serve();

    // One picture is not understood: it says so, and has no score; the others have theirs.
    let (code, done) = read_graphs(data, &url);
    let total = 2 * GRAPHS;
    assert_eq!((code, &done["state"], &done["failed"]), (Some(1), &json!("failed"), &json!(1)), "{done}");
    assert_eq!(done["progress"], json!({"done": total - 1, "total": total, "unit": "candidates"}));
    assert_eq!((&done["answerer_version"], &done["spent"]["requests"]), (&json!("graph-1/m"), &json!(total + 2)));
    assert_eq!(done["spent"]["prompt_tokens"], 1000 * (total + 2));
    assert!((done["spent"]["cost"].as_f64().unwrap() - 0.001 * (total + 2) as f64).abs() < 1e-12, "{done}");
    assert!(text(&done["error"]["message"]).contains("the reply is no JSON"), "{done}");
    // The next run asks about that one alone.
    *model.says.lock().unwrap() = vec![vec![reply]];
    let (code, again) = read_graphs(data, &url);
    assert_eq!((code, &again["failed"], &again["spent"]["requests"]), (Some(0), &json!(0), &json!(1)), "{again}");
    assert_eq!(model.num_requests(), total + 3);

    networks(data);
    distances(data, &generation);

    let service = Service::start(data, &["serve", "--workers", "0"]);
    let get = |path: &str| {
        let (status, found) = service.get(&format!("/api/v1{path}")).unwrap();
        assert_eq!(status, 200, "{path}: {found}");
        found
    };
    let mut seen = 0;
    for graph in get("/graphs?limit=200&facets=false")["items"].as_array().unwrap() {
        let record = records.iter().find(|record| record["img_id"] == graph["img_id"]).unwrap();
        let expected = share(record, [triple[0].as_str(), &triple[1], &triple[2]]);
        for one in get(&format!("/graphs/{}/candidates", text(&graph["id"])))["items"].as_array().unwrap() {
            let cards = get(&format!("/candidates/{}/scores", text(&one["id"])));
            let card = |metric: &str| {
                let found = cards["items"].as_array().unwrap().iter().find(|card| card["metric"] == metric);
                found.unwrap_or_else(|| panic!("no {metric} in {cards}")).clone()
            };
            let exact = card("sg_iou_exact");
            assert!((exact["score"].as_f64().unwrap() - expected).abs() < 1e-12, "{exact}, not {expected}");
            assert_eq!((&exact["answerer"], &exact["answerer_version"]), (&json!("openai-graph"), &json!("graph-1/m")));
            for metric in ["sg_iou", "entity_iou", "relation_iou", "entity_iou_exact", "relation_iou_exact"] {
                assert!(card(metric)["score"].as_f64().is_some(), "{metric}");
            }
            assert!(card("dpg_reference")["parts"]["entity - whole"].is_number());
            seen += 1;
        }
    }
    assert_eq!(seen, total);
    let run = get(&format!("/score-runs/{}", text(&done["id"])));
    assert_eq!(run["spent"], done["spent"], "{run}");
    service.stop();
}

/// Registered networks score, and stand in the table beside the rest.
fn networks(data: &Path) {
    run(data, &["score", "--answerer", "shapes"]);
    let head = golden("aesthetic.safetensors");
    for (scorer, folder, head) in [
        ("clip-score", "clip", None),
        ("pick-score", "clip", None),
        ("aesthetic", "clip", Some(head.as_str())),
        ("blip-vqa", "blip", None),
    ] {
        let folder = golden(folder);
        let mut arguments = vec!["model", "register", "--scorer", scorer, "--name", scorer, "--model", &folder];
        arguments.extend(head.iter().flat_map(|head| ["--head", head]));
        assert_eq!(run(data, &arguments)["scorer"], scorer);
        let done = run(data, &["score", "--answerer", scorer, "--network", scorer]);
        assert_eq!((&done["state"], &done["failed"]), (&json!("succeeded"), &json!(0)), "{done}");
    }
    let table = run(data, &["metrics", "table"]);
    let rows = table["rows"].as_array().unwrap();
    for (scorer, metric) in [
        ("shapes", "dpg"),
        ("shapes", "dpg_reference"),
        ("clip-score", "clip_score"),
        ("pick-score", "pick_score"),
        ("aesthetic", "aesthetic"),
        ("blip-vqa", "dpg"),
        ("blip-vqa", "dpg_reference"),
        ("openai-graph", "sg_iou"),
    ] {
        let row = rows.iter().find(|row| row["scorer"] == scorer && row["metric"] == metric);
        let row = row.unwrap_or_else(|| panic!("no {scorer}/{metric} in {table}"));
        assert_eq!((&row["candidates"], &row["graphs"]), (&json!(2 * GRAPHS), &json!(GRAPHS)), "{row}");
        assert!(row["mean"].is_number() && row["standard_error"].is_number(), "{row}");
    }
    let pairs = rows.len() * (rows.len() - 1) / 2;
    assert_eq!(table["correlations"].as_array().unwrap().len(), pairs, "of every two");
    let output = diptych().args(["--data", data.to_str().unwrap(), "metrics", "table"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("| `pick-score` 1/") && printed.contains("| `openai-graph` graph-1/m |"), "{printed}");
}

/// Candidates against themselves, a folder and registered features.
fn distances(data: &Path, generation: &Value) {
    let (inception, pictures) = (golden("inception.safetensors"), golden("pictures"));
    let registered = run(data, &["model", "register", "--scorer", "inception", "--name", "fid", "--model", &inception]);
    assert!(text(&registered["version"]).starts_with("1/"), "{registered}");
    let id = text(&generation["id"]);
    let frechet = |more: &[&str]| {
        run(data, &[&["metrics", "frechet", "--generation", id, "--network", "fid"][..], more].concat())
    };
    // Features of three pictures, registered under a name: the distance from them is that from the pictures.
    let expected = read_file(Path::new(&golden("expected.safetensors")), DType::F32, &Device::Cpu).unwrap();
    let features = data.join("features.safetensors");
    let tensors = HashMap::from([("features", expected["inception"].clone())]);
    candle_core::safetensors::save(&tensors, &features).unwrap();
    run(data, &["model", "register", "--scorer", "features", "--name", "three", "--model", features.to_str().unwrap()]);
    let given = frechet(&["--reference-features", "three"]);
    let itself = frechet(&["--reference-generation", id]);
    assert!(itself["distance"].as_f64().unwrap() < 1e-9, "{itself}");
    assert_eq!((&itself["num_a"], &itself["network_version"]), (&json!(2 * GRAPHS), &registered["version"]));
    let folder = frechet(&["--b", &pictures]);
    assert!(folder["distance"].as_f64().unwrap() > 1e-6 && folder["num_b"] == 3, "{folder}");

    let (one, other) = (folder["distance"].as_f64().unwrap(), given["distance"].as_f64().unwrap());
    assert!((one - other).abs() <= 1e-3 * one, "{one} {other}");

    // The same pictures as files in a folder, without the store.
    let images = data.join("files");
    assert_eq!(copy_pictures(&data.join("blobs"), &images), 2 * GRAPHS);
    let by_files = run(
        data,
        &["metrics", "frechet", "--a", images.to_str().unwrap(), "--b", &pictures, "--inception", &inception],
    );
    let (one, other) = (folder["distance"].as_f64().unwrap(), by_files["distance"].as_f64().unwrap());
    assert!((one - other).abs() <= 1e-6 * one.max(1e-3), "{one} {other}");

    let output = diptych()
        .args([
            "--data",
            data.to_str().unwrap(),
            "metrics",
            "frechet",
            "--generation",
            id,
            "--network",
            "nothing",
            "--b",
            &pictures,
        ])
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() != Some(0) && errors.contains("nothing is registered as nothing"), "{errors}");
}

/// Every PNG under `root` into a folder; how many there are.
fn copy_pictures(root: &Path, to: &Path) -> usize {
    fs_err::create_dir(to).unwrap();
    let (mut folders, mut count) = (vec![root.to_path_buf()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs_err::read(&path).unwrap();
            if bytes.starts_with(b"\x89PNG") {
                fs_err::write(to.join(format!("{count}.png")), bytes).unwrap();
                count += 1;
            }
        }
    }
    count
}
