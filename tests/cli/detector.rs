//! Metrics from boxes of a folder of pictures: boxes that were written down, an endpoint, and the synthetic world's detector.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::{diptych, lines, serve};

/// A dog left of two cats, in a picture of 480 pixels.
fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs_err::create_dir(&images).unwrap();
    for i in 0..2 {
        image::RgbImage::from_pixel(480, 480, image::Rgb([i, 0, 0])).save(images.join(format!("g_{i}.png"))).unwrap();
    }
    let graphs = folder.path().join("graphs.json");
    let record = json!([{"img_id": "g", "name": "g.png", "caption_ori": "", "items": [
        {"item_id": 0, "label": "dog", "attributes": []}, {"item_id": 1, "label": "cat", "attributes": ["two"]}],
        "relations": [{"item1": 0, "relation": "left of", "item2": 1}]}]);
    fs_err::write(&graphs, record.to_string()).unwrap();
    (folder, images, graphs)
}

fn boxes(num_cats: usize) -> Value {
    let cats = (0..num_cats)
        .map(|i| json!({"label": "cat", "box": [200 + 120 * i, 0, 300 + 120 * i, 100], "confidence": 0.6}));
    let dog = json!({"label": "dog", "box": [0, 0, 100, 100], "confidence": 0.8});
    std::iter::once(dog).chain(cats).collect()
}

fn score(images: &Path, graphs: &Path, metric: &str, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let output = diptych()
        .args(["score", "--json", "--metric", metric, "--first-pause", "10", "--images"])
        .arg(images)
        .arg("--graphs")
        .arg(graphs)
        .args(more)
        .env("DETECTOR_API_KEY", "the-secret")
        .env_remove("DETECTOR_URL")
        .output()
        .unwrap();
    (output.status.code(), lines(&output.stdout), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn boxes_that_were_written_down() {
    let (folder, images, graphs) = scene();
    let file = folder.path().join("boxes.jsonl");
    let text =
        [(0, 2), (1, 1)].map(|(i, cats)| json!({"image": format!("g_{i}.png"), "detections": boxes(cats)}).to_string());
    fs_err::write(&file, text.join("\n")).unwrap();
    let file = file.to_str().unwrap();
    let (code, found, words) = score(&images, &graphs, "t2i_spatial", &["--boxes", file]);
    assert_eq!(code, Some(0), "{words}");
    // METRICS.md's example: 0.25 · 0.8 + 0.25 · 0.6 + 0.5.
    assert!((found[0]["score"].as_f64().unwrap() - 0.85).abs() < 1e-9, "{}", found[0]);
    // The published script does not know "left of": both are found, and no position.
    let (_, found, _) = score(&images, &graphs, "t2i_spatial", &["--boxes", file, "--mode", "reference"]);
    assert_eq!((&found[0]["score"], &found[2]["summary"]["mode"]), (&json!(0.0), &json!("reference")));
    let (_, found, _) = score(&images, &graphs, "numeracy", &["--boxes", file]);
    assert_eq!((&found[0]["score"], &found[1]["score"]), (&json!(1.0), &json!(0.75)));
    let (code, found, _) = score(&images, &graphs, "t2i_spatial_3d", &["--boxes", file]);
    assert_eq!((code, &found[0]["score"]), (Some(1), &Value::Null));
    assert!(found[0]["error"].as_str().unwrap().contains("left of"), "{}", found[0]);
    fs_err::write(file, "{\"image\": \"g_0.png\", \"detections\": [{\"label\": \"dog\"}]}").unwrap();
    let (code, _, words) = score(&images, &graphs, "numeracy", &["--boxes", file]);
    assert_eq!(code, Some(1));
    assert!(words.contains("boxes.jsonl:1: detections/0: box: is missing"), "{words}");
}

type Seen = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

async fn detect(State(seen): State<Seen>, headers: HeaderMap, axum::Json(body): axum::Json<Value>) -> Response {
    let turn = {
        let mut seen = seen.lock().unwrap();
        seen.push((headers, body.clone()));
        seen.iter().filter(|(_, other)| other["image"] == body["image"]).count()
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    match turn {
        1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0.02")], "busy").into_response(),
        2 => StatusCode::BAD_GATEWAY.into_response(),
        3 => "{\"detections\": [{\"label\": \"dog\"}]}".into_response(),
        _ => axum::Json(json!({"detections": boxes(2)})).into_response(),
    }
}

#[test]
fn an_endpoint_is_asked_patiently_and_once() {
    let (folder, images, graphs) = scene();
    let seen = Seen::default();
    let app = Router::new().route("/detect", post(detect)).with_state(Arc::clone(&seen));
    let url = format!("http://{}/detect", serve(app));
    let cache = folder.path().join("boxes.cache");
    let more = ["--detector-url", &url, "--detector-model", "owl", "--cache", cache.to_str().unwrap()];
    let (code, found, words) = score(&images, &graphs, "numeracy", &more);
    assert_eq!((code, &found[2]["summary"]["score"]), (Some(0), &json!(100.0)), "{words}");
    assert!(words.contains("8 requests, 6 of them again") && !words.contains("the-secret"), "{words}");
    {
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|(headers, _)| headers["authorization"] == "Bearer the-secret"));
        assert!(seen.iter().all(|(_, body)| body["labels"] == json!(["cat", "dog"]) && body["model"] == "owl"));
    }
    // Another metric of the same boxes: nothing is asked.
    let (code, found, words) = score(&images, &graphs, "t2i_spatial", &more);
    assert_eq!(code, Some(0), "{words}");
    assert!((found[1]["score"].as_f64().unwrap() - 0.85).abs() < 1e-9, "{}", found[1]);
    assert!(words.contains("0 requests") && words.contains("2 answers were known already"), "{words}");
    let away = ["--detector-url", "http://127.0.0.1:9/detect", "--max-attempts", "2"];
    let (code, found, _) = score(&images, &graphs, "numeracy", &away);
    assert_eq!((code, &found[0]["score"]), (Some(1), &Value::Null));
    assert!(found[0]["error"].as_str().unwrap().contains("(after 2 tries)"), "{}", found[0]);
}

#[test]
fn the_synthetic_worlds_own_detector() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs_err::create_dir(&images).unwrap();
    let scenes = builder::shapes::generate(3, 20);
    let records: Vec<Value> = scenes.iter().enumerate().map(|(i, scene)| scene.to_laion_sg(&format!("s{i}"))).collect();
    for (i, scene) in scenes.iter().enumerate() {
        builder::shapes::render(&scene.layout).save(images.join(format!("s{i}.png"))).unwrap();
    }
    let graphs = folder.path().join("graphs.json");
    fs_err::write(&graphs, Value::from(records).to_string()).unwrap();
    let (code, found, words) = score(&images, &graphs, "numeracy", &[]);
    assert_eq!((code, &found[20]["summary"]["score"]), (Some(0), &json!(100.0)), "{words}");
    let (_, found, _) = score(&images, &graphs, "t2i_spatial", &[]);
    let told = scenes.iter().filter(|scene| !scene.relations.is_empty()).count();
    let right = found[..20].iter().filter(|line| line["score"] == 1.0).count();
    // A label may stand on two things: the surest box need not be the one that is meant.
    assert!(right * 10 >= told * 8, "{right} of {told}");
}
