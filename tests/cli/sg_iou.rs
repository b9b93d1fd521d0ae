//! Graphs that a vision-language model reads out of pictures: `diptych metrics sg-iou` against a real HTTP server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::{diptych, lines, serve};

/// A model that sees what it is told to, picture by picture in the order in which they first come.
#[derive(Clone, Default)]
pub struct Model {
    /// What it says of each picture, try by try; the last for ever. `busy` and `broken` are what they say.
    pub says: Arc<Mutex<Vec<Vec<&'static str>>>>,
    /// Requests that it has had.
    pub seen: Arc<Mutex<Vec<Value>>>,
}

impl Model {
    /// Its address.
    pub fn serve(&self) -> String {
        let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(self.clone());
        format!("http://{}/v1", serve(app))
    }

    /// Requests so far.
    pub fn num_requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn picture(request: &Value) -> &Value {
    &request["messages"][1]["content"][0]["image_url"]["url"]
}

async fn complete(State(model): State<Model>, headers: HeaderMap, axum::Json(body): axum::Json<Value>) -> Response {
    assert_eq!(headers["authorization"], "Bearer the-secret");
    assert!(picture(&body).as_str().unwrap().starts_with("data:image/png;base64,"));
    let mut seen = model.seen.lock().unwrap();
    let tries = seen.iter().filter(|other| picture(other) == picture(&body)).count();
    let mut known: Vec<&Value> = Vec::new();
    for request in seen.iter().chain([&body]) {
        if !known.contains(&picture(request)) {
            known.push(picture(request));
        }
    }
    let place = known.iter().position(|other| *other == picture(&body)).unwrap();
    let word = {
        let says = model.says.lock().unwrap();
        let of_picture = &says[place.min(says.len() - 1)];
        of_picture[tries.min(of_picture.len() - 1)]
    };
    seen.push(body);
    match word {
        "busy" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0.02")], "busy").into_response(),
        "broken" => "{\"choices\": [{\"mess".into_response(),
        content => {
            let usage = json!({"prompt_tokens": 1000, "completion_tokens": 50});
            axum::Json(json!({"choices": [{"message": {"content": content}}], "usage": usage})).into_response()
        }
    }
}

/// Five pictures of a dog on a sofa, and one of a thing alone.
fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs_err::create_dir(&images).unwrap();
    for (name, shade) in [("g_0", 0), ("g_1", 1), ("g_2", 2), ("g_3", 3), ("g_4", 4), ("lone", 5)] {
        let image = image::RgbImage::from_pixel(8, 8, image::Rgb([shade, 0, 0]));
        image.save(images.join(format!("{name}.png"))).unwrap();
    }
    let graphs = folder.path().join("graphs.json");
    let items = json!([{"item_id": 0, "label": "dog", "attributes": ["brown"]}, {"item_id": 1, "label": "sofa", "attributes": []}]);
    let related = json!({"img_id": "g", "name": "", "caption_ori": "", "items": items, "relations": [{"item1": 0, "relation": "on", "item2": 1}]});
    let alone = json!({"img_id": "lone", "name": "", "caption_ori": "", "items": [items[0]], "relations": []});
    fs_err::write(&graphs, json!([related, alone]).to_string()).unwrap();
    (folder, images, graphs)
}

fn sg_iou(images: &Path, graphs: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let output = diptych()
        .args(["metrics", "sg-iou", "--concurrency", "1", "--first-pause", "10", "--images"])
        .arg(images)
        .arg("--graphs")
        .arg(graphs)
        .args(more)
        .env("OPENAI_API_KEY", "the-secret")
        .env_remove("OPENAI_BASE_URL")
        .output()
        .unwrap();
    (output.status.code(), lines(&output.stdout), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_model_is_asked_for_the_graph_of_each_picture() {
    let model = Model::default();
    *model.says.lock().unwrap() = vec![
        vec!["Here it is:\n```json\n{\"triples\": [[\"dog\", \"on\", \"couch\"]], \"object_list\": [\"dog\"]}\n```"],
        vec!["busy", "broken", "{\"triples\": [[\"dog\", \"on\", \"sofa\"], [\"lamp\", \"near\", \"sofa\"]]}"],
        vec!["I cannot see the picture.", "{\"triples\": [[\"dog\"", "{\"triples\": 3}"],
        vec!["{\"triples\": []}"],
        vec!["Sorry?", "{\"triples\": [{\"subject\": \"dog\", \"predicate\": \"on\", \"object\": \"sofa\"}]}"],
    ];
    let url = model.serve();
    let (folder, images, graphs) = scene();
    let (cache, record) = (folder.path().join("cache"), folder.path().join("read.jsonl"));
    let asked = [
        "--base-url",
        &url,
        "--vision-model",
        "m",
        "--cache",
        cache.to_str().unwrap(),
        "--record",
        record.to_str().unwrap(),
        "--prompt-price",
        "2",
        "--completion-price",
        "10",
    ];
    let (code, found, words) = sg_iou(&images, &graphs, &asked);
    assert_eq!((code, found.len()), (Some(0), 7), "{words}");
    let figures = |line: &Value| ["sg_iou", "entity_iou", "relation_iou"].map(|key| line[key].as_f64());
    assert_eq!(figures(&found[0]), [Some(0.0), Some(1.0 / 3.0), Some(1.0)], "letter by letter");
    assert_eq!(figures(&found[1]), [Some(0.5), Some(2.0 / 3.0), Some(0.5)]);
    // Nothing seen is 0; nothing understood is no figure, and says why.
    assert_eq!(figures(&found[2]), [None; 3]);
    assert!(found[2]["error"].as_str().unwrap().contains("`triples` is no list (after 3 tries)"), "{}", found[2]);
    assert_eq!(figures(&found[3]), [Some(0.0); 3]);
    assert_eq!(figures(&found[4]), [Some(1.0); 3]);
    assert!(found[5]["error"].as_str().unwrap().contains("no relations"), "{}", found[5]);
    let summary = &found[6]["summary"];
    assert_eq!((&summary["images"], &summary["failed"], &summary["match"]), (&json!(6), &json!(2), &json!("exact")));
    assert!((summary["sg_iou"].as_f64().unwrap() - 1.5 / 4.0).abs() < 1e-12, "{summary}");
    // 1 + 3 + 3 + 1 + 2 requests, all but two with a usage.
    assert_eq!((model.num_requests(), &summary["spent"]["requests"]), (10, &json!(10)));
    assert_eq!(summary["spent"]["prompt_tokens"], 8000);
    assert!((summary["spent"]["cost"].as_f64().unwrap() - (2.0 * 0.008 + 10.0 * 0.0004)).abs() < 1e-12, "{summary}");
    assert!(words.contains("10 requests, 5 of them again") && !words.contains("the-secret"), "{words}");
    {
        let seen = model.seen.lock().unwrap();
        let text = seen[0]["messages"][1]["content"][1]["text"].as_str().unwrap();
        assert!(!text.contains("sofa"), "an open question gives nothing away: {text}");
    }

    // Again: what was read is known, what was not is asked once more, and other words for the same count.
    let (code, found, words) = sg_iou(&images, &graphs, &[&asked[..], &["--match", "synonyms"]].concat());
    assert_eq!((code, figures(&found[0])), (Some(0), [Some(1.0); 3]), "{words}");
    assert_eq!(model.num_requests(), 13, "{words}");
    // From what was written down, without a server; its own list of objects lacks the sofa.
    let recorded = ["--extractions", record.to_str().unwrap(), "--mode", "reference", "--match", "synonyms"];
    let (code, found, words) = sg_iou(&images, &graphs, &recorded);
    assert_eq!((code, figures(&found[0])), (Some(0), [Some(1.0), Some(0.5), Some(0.0)]), "{words}");
    assert!(found[2]["error"].as_str().unwrap().contains("g_2.png"), "{}", found[2]);

    // Published: the model is told the words that it may use.
    let (code, _, words) =
        sg_iou(&images, &graphs, &["--base-url", &url, "--vision-model", "m", "--mode", "reference"]);
    assert_eq!(code, Some(0), "{words}");
    let seen = model.seen.lock().unwrap();
    let text = seen.last().unwrap()["messages"][1]["content"][1]["text"].as_str().unwrap();
    assert!(text.contains("[\"dog\",\"sofa\"]") && text.contains("[\"on\"]"), "{text}");
}

#[test]
fn pictures_need_their_graphs_and_somebody_who_reads_them() {
    let (_folder, images, graphs) = scene();
    for (arguments, say) in [
        (vec!["--images", images.to_str().unwrap()], "--graphs"),
        (vec!["--images", images.to_str().unwrap(), "--graphs", graphs.to_str().unwrap()], "--base-url"),
        (vec![], "--cases"),
        (vec!["--cases", "x.json", "--images", images.to_str().unwrap()], "--images"),
    ] {
        let output =
            diptych().args(["metrics", "sg-iou"]).args(&arguments).env_remove("OPENAI_BASE_URL").output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {words}");
        assert!(words.contains(say), "{arguments:?}: {words}");
    }
}
