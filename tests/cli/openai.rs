//! `diptych score --answerer openai` against a real HTTP server that is slow, busy, broken and away.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::{diptych, lines, serve};

/// What the server saw and does.
#[derive(Default)]
struct Seen {
    /// Requests by (image, question).
    requests: HashMap<(String, String), usize>,
    /// Whole answers by the same.
    answered: HashMap<(String, String), usize>,
    under_way: usize,
    most_under_way: usize,
    keys: Vec<String>,
}

#[derive(Clone, Default)]
struct Endpoint {
    seen: Arc<Mutex<Seen>>,
    /// The first requests of a question fail in these ways, in turn.
    faults: Arc<Vec<Fault>>,
    pause: Duration,
}

#[derive(Clone, Copy)]
enum Fault {
    Busy,
    Failed,
    Broken,
    Silent,
    /// The connection breaks in the middle of the reply.
    CutOff,
    Forbidden,
}

async fn complete(State(endpoint): State<Endpoint>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let content = &body["messages"][1]["content"];
    let (image, question) =
        (content[0]["image_url"]["url"].to_string(), content[1]["text"].as_str().unwrap().to_owned());
    assert!(image.contains("data:image/png;base64,"));
    let key = (image, question.clone());
    let turn = {
        let mut seen = endpoint.seen.lock().unwrap();
        seen.keys.extend(headers.get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned));
        seen.under_way += 1;
        seen.most_under_way = seen.most_under_way.max(seen.under_way);
        let count = seen.requests.entry(key.clone()).or_default();
        *count += 1;
        *count - 1
    };
    tokio::time::sleep(endpoint.pause).await;
    let fault = endpoint.faults.get(turn).copied();
    if matches!(fault, Some(Fault::Silent)) {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let mut seen = endpoint.seen.lock().unwrap();
    seen.under_way -= 1;
    match fault {
        Some(Fault::Busy) => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0.05")], "busy").into_response(),
        Some(Fault::Failed) => (StatusCode::INTERNAL_SERVER_ERROR, "boom").into_response(),
        Some(Fault::Broken) => (StatusCode::OK, "{\"choices\": [{\"mess").into_response(),
        Some(Fault::CutOff) => {
            let parts = [Ok("{\"choices\": [{"), Err(std::io::Error::other("gone"))];
            axum::body::Body::from_stream(futures::stream::iter(parts)).into_response()
        }
        Some(Fault::Silent) => StatusCode::GATEWAY_TIMEOUT.into_response(),
        Some(Fault::Forbidden) => (StatusCode::UNAUTHORIZED, "{\"error\": \"wrong key\"}").into_response(),
        None => {
            *seen.answered.entry(key).or_default() += 1;
            let word = if question.contains("sofa") { "No." } else { "yes" };
            let usage = json!({"prompt_tokens": 100, "completion_tokens": 1});
            axum::Json(json!({"choices": [{"message": {"content": word}}], "usage": usage})).into_response()
        }
    }
}

/// Serves until the test ends; its address.
fn start(endpoint: Endpoint) -> String {
    let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(endpoint);
    format!("http://{}/v1", serve(app))
}

/// A graph of three questions and so many different pictures of it.
fn scene(count: u8) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs_err::create_dir(&images).unwrap();
    for i in 0..count {
        image::RgbImage::from_pixel(8, 8, image::Rgb([i, 0, 0])).save(images.join(format!("g_{i}.png"))).unwrap();
    }
    let graphs = folder.path().join("graphs.json");
    let items = json!([{"item_id": 0, "label": "dog", "attributes": ["brown"]}, {"item_id": 1, "label": "sofa", "attributes": []}]);
    let record = json!([{"img_id": "g", "name": "g.png", "caption_ori": "", "items": items, "relations": []}]);
    fs_err::write(&graphs, record.to_string()).unwrap();
    (folder, images, graphs)
}

fn score(images: &Path, graphs: &Path, base_url: &str, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let output = diptych()
        .args([
            "score",
            "--json",
            "--answerer",
            "openai",
            "--vision-model",
            "m",
            "--first-pause",
            "20",
            "--base-url",
            base_url,
        ])
        .arg("--images")
        .arg(images)
        .arg("--graphs")
        .arg(graphs)
        .args(more)
        .env("OPENAI_API_KEY", "the-secret")
        .output()
        .unwrap();
    (output.status.code(), lines(&output.stdout), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn sixty_four_requests_are_under_way_and_nothing_is_asked_twice() {
    let endpoint = Endpoint { pause: Duration::from_millis(300), ..Endpoint::default() };
    let url = start(endpoint.clone());
    let (folder, images, graphs) = scene(60);
    let cache = folder.path().join("answers.cache");
    let cache = cache.to_str().unwrap();
    let (code, found, words) = score(&images, &graphs, &url, &["--cache", cache]);
    assert_eq!((code, found.len()), (Some(0), 61), "{words}");
    // Dog and brown, but no sofa.
    assert!((found[60]["summary"]["score"].as_f64().unwrap() - 200.0 / 3.0).abs() < 1e-9);
    {
        let seen = endpoint.seen.lock().unwrap();
        assert_eq!((seen.requests.len(), seen.most_under_way), (180, 64));
        assert!(seen.answered.values().all(|count| *count == 1));
        assert!(seen.keys.iter().all(|key| key == "Bearer the-secret"));
    }
    assert!(
        words.contains("180 requests, 0 of them again") && words.contains("18000 prompt and 180 completion tokens"),
        "{words}"
    );
    assert!(!words.contains("the-secret"));
    // Replayed: everything is known.
    let (code, again, words) = score(&images, &graphs, "http://127.0.0.1:9/v1", &["--cache", cache]);
    assert_eq!((code, &again[60]["summary"]["score"]), (Some(0), &found[60]["summary"]["score"]));
    assert!(words.contains("0 requests") && words.contains("180 answers were known already"), "{words}");
}

#[test]
fn busy_failing_broken_and_silent_servers_are_asked_again() {
    let faults = Arc::new(vec![Fault::Busy, Fault::Failed, Fault::Broken, Fault::Silent, Fault::CutOff]);
    let endpoint = Endpoint { faults, ..Endpoint::default() };
    let url = start(endpoint.clone());
    let (_folder, images, graphs) = scene(4);
    let (code, found, words) = score(&images, &graphs, &url, &["--request-timeout", "1"]);
    assert_eq!((code, found.len()), (Some(0), 5), "{words}");
    assert_eq!((&found[4]["summary"]["failed"], found[0]["error"].as_str()), (&json!(0), None));
    let seen = endpoint.seen.lock().unwrap();
    assert!(seen.requests.values().all(|count| *count == 6) && seen.answered.values().all(|count| *count == 1));
}

/// A server that dies in the middle and comes back on the same port: the run goes through, and so does one that was given up,
/// where it was.
#[test]
fn a_server_that_dies_is_waited_for_and_nothing_is_asked_twice_that_was_answered() {
    let endpoint = Endpoint { pause: Duration::from_millis(40), ..Endpoint::default() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let revive = |endpoint: &Endpoint| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(endpoint.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        runtime
    };
    let (folder, images, graphs) = scene(30);
    let cache = folder.path().join("answers.cache");
    let url = format!("http://{address}/v1");
    let (first, watched) = (revive(&endpoint), endpoint.clone());
    let killer = std::thread::spawn(move || {
        while watched.seen.lock().unwrap().answered.len() < 20 {
            std::thread::sleep(Duration::from_millis(2));
        }
        // With every connection that it has.
        first.shutdown_background();
        std::thread::sleep(Duration::from_millis(400));
    });
    let cache = cache.to_str().unwrap();
    // Few tries: this run is given up.
    let (code, found, words) =
        score(&images, &graphs, &url, &["--cache", cache, "--max-attempts", "2", "--concurrency", "8"]);
    killer.join().unwrap();
    let failed = found[30]["summary"]["failed"].as_u64().unwrap();
    assert!(failed > 0 && code.is_some(), "{words}");
    let kept = fs_err::read_to_string(cache).unwrap().lines().count();
    let before = endpoint.seen.lock().unwrap().requests.values().sum::<usize>();
    assert!((8..90).contains(&kept), "{kept} of 90 answers");

    // The next one begins while the server is away, and goes on where that one was.
    let revived = std::thread::spawn({
        let endpoint = endpoint.clone();
        move || {
            std::thread::sleep(Duration::from_millis(500));
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(endpoint);
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                let _ = tokio::time::timeout(Duration::from_secs(60), async { axum::serve(listener, app).await }).await;
            });
        }
    });
    let more = ["--cache", cache, "--max-attempts", "12"];
    let (code, found, words) = score(&images, &graphs, &url, &more);
    assert_eq!((code, &found[30]["summary"]["failed"]), (Some(0), &json!(0)), "{words}");
    assert!(words.contains(&format!("{kept} answers were known already")), "{kept} kept: {words}");
    let seen = endpoint.seen.lock().unwrap();
    assert_eq!(seen.requests.values().sum::<usize>() - before, 90 - kept, "only what had no answer was asked");
    drop(revived);
}

#[test]
fn what_cannot_be_answered_says_why_and_is_no_zero() {
    let endpoint = Endpoint { faults: Arc::new(vec![Fault::Forbidden; 9]), ..Endpoint::default() };
    let url = start(endpoint.clone());
    let (_folder, images, graphs) = scene(1);
    for (url, say) in [(url.as_str(), "wrong key"), ("http://127.0.0.1:9/v1", "(after 2 tries)")] {
        let (code, found, words) = score(&images, &graphs, url, &["--max-attempts", "2"]);
        assert_eq!(
            (code, &found[0]["score"], &found[1]["summary"]["score"]),
            (Some(1), &Value::Null, &Value::Null),
            "{words}"
        );
        assert!(found[0]["error"].as_str().unwrap().contains(say), "{}", found[0]);
        assert!(!words.contains("the-secret"));
    }
    // A refused key is not tried again.
    assert!(endpoint.seen.lock().unwrap().requests.values().all(|count| *count == 1));
    let (code, _, words) = score(&images, &graphs, "nonsense", &[]);
    assert_eq!(code, Some(2), "{words}");
}
