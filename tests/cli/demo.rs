//! The whole demo as a process: killed with SIGKILL in every stage and started again, it ends as an undisturbed one.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::service::Service;
use super::{data_folder, lines, shared};

fn start(data: &Path) -> Service {
    let extra = shared("scene_graphs/real/laion_sg_repo_example.json");
    Service::start(data, &["demo", "--small", "--once", "--extra-graphs", extra.to_str().unwrap()])
}

/// The summary: the last line of stdout.
fn finish(service: Service) -> Value {
    let output = service.wait();
    assert_eq!(output.status.code(), Some(0));
    lines(&output.stdout).pop().unwrap()
}

/// Without what a clock or an id generator says.
fn timeless(mut summary: Value) -> Value {
    fn strip(value: &mut Value) {
        if let Value::Object(fields) = value {
            for key in ["seconds", "stage_seconds", "training_seconds", "job_id", "pairing_hash"] {
                fields.shift_remove(key);
            }
            fields.values_mut().for_each(strip);
        }
    }
    strip(&mut summary);
    summary
}

/// Waits until the stage has begun; what the demo then says of itself.
fn begun(service: &Service, stage: &str) -> Value {
    let since = Instant::now();
    loop {
        if let Some((200, status)) = service.get("/api/v1/demo") {
            let stages = status["stages"].as_array().unwrap();
            let found = stages.iter().find(|one| one["name"] == stage).unwrap();
            if found["state"] != "waiting" {
                return status;
            }
        }
        assert!(since.elapsed() < Duration::from_secs(120), "waited two minutes for {stage}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_demo_killed_in_every_stage_ends_as_an_undisturbed_one() {
    let data = data_folder();
    let expected = finish(start(data.path()));
    for field in [
        "graphs",
        "candidates",
        "mean_score",
        "best_of_four_score",
        "pairs",
        "training_steps",
        "training_seconds",
        "base_score",
        "trained_score",
        "delta",
        "delta_se",
        "delta_ci95",
        "evaluated_images",
    ] {
        assert!(!expected[field].is_null(), "{field} is missing: {expected}");
    }
    // Started again when everything is done: the same summary, and the pages with the graphs from elsewhere beside it.
    let service = Service::start(data.path(), &["serve", "--workers", "0"]);
    let (_, status) = service.get("/api/v1/demo").unwrap();
    assert_eq!((&status["running"], &status["summary"]), (&false.into(), &expected));
    let (_, real) = service.get("/api/v1/graphs?label=donut").unwrap();
    let (_, all) = service.get("/api/v1/graphs?limit=1").unwrap();
    assert_eq!(all["total"], expected["graphs"].as_u64().unwrap() + 4 + 2 + 1, "{}", real["total"]);
    assert_eq!(service.stop().status.code(), Some(0));

    let data = data_folder();
    let mut in_the_middle = 0;
    for stage in ["generate", "score", "pair", "train:inversion-dpo", "evaluate:inversion-dpo"] {
        let service = start(data.path());
        let status = begun(&service, stage);
        service.kill();
        let current = status["stages"].as_array().unwrap().iter().find(|one| one["name"] == stage).unwrap();
        in_the_middle += usize::from(current["state"] == "running");
    }
    // Some are over in a moment; the long ones were hit while they ran.
    assert!(in_the_middle >= 2, "{in_the_middle} of the kills fell into their stage");
    assert_eq!(timeless(finish(start(data.path()))), timeless(expected));
}

#[test]
fn graphs_that_cannot_be_read_are_named_before_anything_starts() {
    let data = data_folder();
    let args = ["--data", data.path().to_str().unwrap(), "demo", "--small", "--extra-graphs", "/nowhere/graphs.json"];
    let output = super::diptych().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nowhere/graphs.json"));
    assert!(output.stdout.is_empty() && fs_err::read_dir(data.path()).unwrap().next().is_none());
}
