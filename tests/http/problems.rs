//! What is refused, and how: RFC 9457 documents, every fault at once.

use std::sync::Arc;

use anyhow::ensure;
use axum::http::Method;
use serde_json::{Value, json};
use server::state::Limits;
use tests::test_app::TestApp;
use uuid::Uuid;

use crate::{Outcome, Test, World, document, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(every_fault_of_a_body_is_told_at_once),
    test!(what_is_no_body_is_refused),
    test!(bodies_have_a_limit),
    test!(what_is_not_there_is_not_found),
    test!(faults_of_queries_name_the_parameter),
    test!(nul_is_refused_everywhere),
    test!(other_methods_and_addresses_are_refused),
    test!(pages_of_other_sites_change_nothing),
    test!(answers_carry_their_headers),
];

/// The pointers of a problem's faults, sorted.
pub fn pointers(problem: &Value) -> Vec<&str> {
    let faults = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let mut pointers: Vec<&str> = faults.iter().filter_map(|fault| fault["pointer"].as_str()).collect();
    pointers.sort_unstable();
    pointers
}

async fn every_fault_of_a_body_is_told_at_once(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let job =
        json!({"pairing_id": 1, "objective": {"name": "inversion-dpo", "path": "no"}, "max_steps": 0, "steps": 9});
    let job_faults: &[&str] = &["/max_steps", "/objective/path", "/pairing_id", "/steps"];
    let policy = json!({"weights": {"dpg": "1"}, "margin": -1, "tie": "both", "x": 1});
    let policy_faults = ["/policy/margin", "/policy/tie", "/policy/weights", "/policy/weights/dpg", "/policy/x"];
    for (path, body, expected) in [
        ("/api/v1/jobs", job.clone(), job_faults),
        ("/jobs", job, job_faults),
        ("/api/v1/jobs", json!([]), &[""]),
        ("/api/v1/jobs", json!({}), &["/pairing_id"]),
        ("/api/v1/jobs", json!({"pairing_id": Uuid::nil()}), &["/pairing_id"]),
        (
            "/api/v1/jobs",
            json!({"pairing_id": Uuid::nil(), "model": "nobody's", "max_steps": 1, "warmup_steps": 2}),
            &["/model", "/pairing_id", "/warmup_steps"],
        ),
        (
            "/api/v1/generations",
            json!({"graph_ids": ["x", 1], "split": "both", "num_candidates": 65, "seed": -1, "a/b~": 0}),
            &["/a~1b~0", "/graph_ids/0", "/graph_ids/1", "/num_candidates", "/seed", "/split"],
        ),
        ("/api/v1/generations", json!({"graph_ids": []}), &["/graph_ids"]),
        ("/api/v1/generations", json!({"graph_ids": [Uuid::nil()]}), &["/graph_ids/0"]),
        ("/api/v1/generations", json!({"graph_ids": [], "split": "train"}), &["/graph_ids", "/split"]),
        ("/api/v1/generations", json!({"model": "nobody's"}), &["/model"]),
        ("/api/v1/score-runs", json!({"answerer": "oracle", "generation_id": 7}), &["/answerer", "/generation_id"]),
        ("/api/v1/score-runs", json!({"generation_id": Uuid::nil()}), &["/generation_id"]),
        ("/api/v1/pairings", json!({"name": "", "policy": policy}), &[&["/name"][..], &policy_faults].concat()),
        ("/api/v1/pairings/preview", json!({"policy": policy}), &policy_faults),
        ("/api/v1/pairings/preview", json!({"split": 3}), &["/policy", "/split"]),
    ] {
        let problem = app.post(path, &body).await?.problem(422, "invalid_fields")?;
        ensure!(pointers(&problem) == expected, "{path} {body}: {problem:#}");
        ensure!(problem["type"] == "/api/docs#problem-invalid_fields", "{problem}");
    }
    // Nothing of all this was written.
    for noun in ["jobs", "generations", "score-runs", "pairings"] {
        ensure!(app.get(&format!("/api/v1/{noun}")).await?.expect(200)?["total"] == 0, "{noun}");
    }
    Ok(())
}

/// Addresses that read a JSON body.
const READERS: [&str; 6] = [
    "/api/v1/jobs",
    "/jobs",
    "/api/v1/generations",
    "/api/v1/score-runs",
    "/api/v1/pairings",
    "/api/v1/pairings/preview",
];

async fn what_is_no_body_is_refused(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let deep = "[".repeat(100_000);
    for path in READERS {
        for (media_type, body, status, code) in [
            ("application/json", "{", 400, "malformed_json"),
            ("application/json", "{\"a\": NaN}", 400, "malformed_json"),
            ("application/json", "\u{fffd}", 400, "malformed_json"),
            ("application/json", deep.as_str(), 400, "malformed_json"),
            ("text/plain", "{}", 415, "unsupported_media_type"),
            ("application/x-www-form-urlencoded", "a=b", 415, "unsupported_media_type"),
        ] {
            let answer = app.request(Method::POST, path, &[("content-type", media_type)], body.to_owned()).await?;
            answer.problem(status, code)?;
        }
        let bytes = vec![0xff_u8, 0xfe];
        let answer = app.request(Method::POST, path, &[("content-type", "application/json")], bytes).await?;
        answer.problem(400, "malformed_json")?;
    }
    Ok(())
}

async fn bodies_have_a_limit(world: Arc<World>) -> Outcome {
    let limits = Limits { body_bytes: 1000, import_bytes: 2000, ..Limits::default() };
    let app = TestApp::with_limits(&world.cluster, limits).await?;
    for path in READERS {
        app.post(path, &json!({"name": "x".repeat(1000)})).await?.problem(413, "too_large")?;
    }
    let headers = [("content-type", "application/json")];
    let answer = app.request(Method::POST, "/api/v1/imports", &headers, " ".repeat(2001)).await?;
    answer.problem(413, "too_large")?;
    // A body in pieces, of a length that nobody announced.
    let pieces = futures::stream::iter((0..30).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let body = axum::body::Body::from_stream(pieces);
    app.request(Method::POST, "/api/v1/imports", &headers, body).await?.problem(413, "too_large")?;
    ensure!(app.get("/api/v1/imports").await?.expect(200)?["total"] == 0, "nothing was taken in");
    let left = fs_err::read_dir(app.state.uploads())?.count();
    ensure!(left == 0, "{left} uploads are left behind");
    Ok(())
}

async fn what_is_not_there_is_not_found(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let document = document::kept()?;
    let mut asked = 0;
    for (template, methods) in document["paths"].as_object().into_iter().flatten() {
        if !template.contains('{') {
            continue;
        }
        let number = |path: &str, id: &str| {
            ["step", "index"]
                .iter()
                .fold(path.to_owned(), |path, name| path.replace(&format!("{{{name}}}"), "1"))
                .replace("{name}", "a.b")
                .replace("{role}", "base")
                .replace("{id}", id)
                .replace("{graph_id}", id)
        };
        for method in methods.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()) {
            for id in [Uuid::nil().to_string(), "nothing".to_owned(), "%C3%28".to_owned(), "%00".to_owned()] {
                let path = number(template, &id);
                let answer = app.request(Method::from_bytes(method.as_bytes())?, &path, &[], "").await?;
                ensure!(answer.status == 404, "{method} {path}: {} {}", answer.status, answer.text());
                answer.problem(404, "not_found")?;
                asked += 1;
            }
        }
    }
    ensure!(asked > 80, "{asked}");
    app.get("/api/v1/demo").await?.problem(404, "not_found")?;
    Ok(())
}

async fn faults_of_queries_name_the_parameter(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let document = document::kept()?;
    let mut lists = 0;
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        let parameters = methods["get"]["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        if path.contains('{') || !parameters.iter().any(|one| one["name"] == "cursor") {
            continue;
        }
        lists += 1;
        for (query, pointer) in [
            ("limit=0", "/limit"),
            ("limit=201", "/limit"),
            ("limit=-1", "/limit"),
            ("limit=ten", "/limit"),
            ("limit=99999999999999999999", "/limit"),
            ("cursor=x", "/cursor"),
            ("cursor=5b", "/cursor"),
            ("limits=3", "/limits"),
        ] {
            let problem = app.get(&format!("{path}?{query}")).await?;
            ensure!([400, 422].contains(&problem.status.as_u16()), "{path}?{query}: {}", problem.text());
            let problem = problem.problem(400, "malformed_query")?;
            ensure!(crate::problems::pointers(&problem) == [pointer], "{path}?{query}: {problem}");
        }
        app.get(&format!("{path}?limit=1")).await?.expect(200)?;
        app.get(&format!("{path}?limit=200")).await?.expect(200)?;
    }
    ensure!(lists >= 7, "{lists} lists have pages");
    for (path, pointer) in [
        ("/api/v1/graphs?split=both", "/split"),
        ("/api/v1/graphs?sort=worst", "/sort"),
        ("/api/v1/graphs?has_candidates=maybe", "/has_candidates"),
        ("/api/v1/graphs?min_score=high", "/min_score"),
        ("/api/v1/graphs?min_score=NaN", "/min_score"),
        ("/api/v1/questions", "/graph_id"),
        ("/api/v1/questions?graph_id=x", "/graph_id"),
        ("/api/v1/evaluations?job_id=x", "/job_id"),
    ] {
        let problem = app.get(path).await?.problem(400, "malformed_query")?;
        ensure!(pointers(&problem) == [pointer], "{path}: {problem}");
    }
    // All of them at once.
    let path = "/api/v1/graphs?limit=0&sort=worst&min_score=high&colour=red&split=train&label=a&label=b";
    let problem = app.get(path).await?.problem(400, "malformed_query")?;
    ensure!(pointers(&problem) == ["/colour", "/label", "/limit", "/min_score", "/sort"], "{problem}");
    Ok(())
}

/// Postgres has no text with U+0000; that must never become a failure of ours.
async fn nul_is_refused_everywhere(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    for name in ["label", "attribute", "relation", "text", "metric"] {
        let problem = app.get(&format!("/api/v1/graphs?{name}=a%00b&min_score=0")).await?;
        ensure!(pointers(&problem.problem(400, "malformed_query")?) == [format!("/{name}")], "{}", problem.text());
    }
    let policy = json!({"weights": {"d\0pg": 1}});
    for (path, body, pointer) in [
        ("/api/v1/pairings", json!({"name": "a\0", "policy": {"weights": {"dpg": 1}}}), "/name"),
        ("/api/v1/pairings", json!({"name": "a", "policy": policy}), "/policy/weights/d\0pg"),
        ("/api/v1/generations", json!({"model": "a\0"}), "/model"),
        ("/api/v1/jobs", json!({"pairing_id": Uuid::nil(), "name": "a\0"}), "/name"),
    ] {
        let problem = app.post(path, &body).await?.problem(422, "invalid_fields")?;
        ensure!(pointers(&problem).contains(&pointer), "{path}: {problem}");
    }
    Ok(())
}

async fn other_methods_and_addresses_are_refused(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    for path in ["/api/v1/nothing", "/api/v1", "/api", "/api/v2/graphs", "/api/v1/graphs/"] {
        app.get(path).await?.problem(404, "no_such_route")?;
    }
    for (method, path) in [
        (Method::DELETE, "/api/v1/graphs"),
        (Method::PUT, "/api/v1/jobs"),
        (Method::GET, "/api/v1/pairings/preview"),
        (Method::POST, "/api/v1/health"),
    ] {
        let answer = app.request(method, path, &[], "").await?;
        answer.problem(405, "method_not_allowed")?;
        ensure!(!answer.header("allow").is_empty(), "{:?}", answer.headers);
    }
    Ok(())
}

async fn pages_of_other_sites_change_nothing(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    for headers in [
        [("sec-fetch-site", "cross-site"), ("host", "127.0.0.1:1")],
        [("origin", "http://evil.example"), ("host", "127.0.0.1:1")],
    ] {
        app.request(Method::POST, "/api/v1/jobs", &headers, "{}").await?.problem(403, "cross_origin")?;
        app.request(Method::POST, "/jobs", &headers, "{}").await?.problem(403, "cross_origin")?;
        ensure!(app.request(Method::GET, "/api/v1/health", &headers, "").await?.status == 200);
    }
    Ok(())
}

async fn answers_carry_their_headers(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let health = app.get("/api/v1/health").await?;
    ensure!(health.expect(200)?["status"] == "ok");
    ensure!(health.header("x-content-type-options") == "nosniff" && health.header("cache-control") == "no-store");
    ensure!(Uuid::parse_str(health.header("x-request-id")).is_ok(), "{:?}", health.headers);
    let named = app.request(Method::GET, "/api/v1/health", &[("x-request-id", "mine")], "").await?;
    ensure!(named.header("x-request-id") == "mine", "the caller's name of the request is kept");
    let encoded = [("accept-encoding", "gzip")];
    let zipped = app.request(Method::GET, "/api/v1/openapi.json", &encoded, "").await?;
    ensure!(zipped.header("content-encoding") == "gzip" && zipped.body.starts_with(&[0x1f, 0x8b]));
    for path in ["/", "/graphs", "/jobs/anything", "/api/docs"] {
        let page = app.request(Method::GET, path, &[("accept", "text/html")], "").await?;
        ensure!(page.status == 200 && page.header("content-type").starts_with("text/html"), "{path}: {}", page.status);
        let policy = page.header("content-security-policy");
        ensure!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
    }
    Ok(())
}
