//! Each stage by hand: what one command prints is what the next one takes.

use std::path::Path;

use serde_json::{Value, json};

use super::{data_folder, diptych, lines};

/// The one JSON document that a command prints.
pub fn run(data: &Path, args: &[&str]) -> Value {
    let output = diptych().args(["--json", "--data", data.to_str().unwrap()]).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
    let mut found = lines(&output.stdout);
    assert_eq!(found.len(), 1, "{args:?}: {found:?}");
    found.remove(0)
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn the_stages_follow_each_other() {
    let folder = data_folder();
    let data = folder.path();
    let records: Vec<Value> =
        (0..40).map(|i| builder::shapes::generate_one(5, i).to_laion_sg(&format!("hand-{i:03}"))).collect();
    let file = data.join("graphs.json");
    fs_err::write(&file, serde_json::to_vec(&records).unwrap()).unwrap();
    assert_eq!(run(data, &["migrate"])["migrated"], true);
    assert_eq!(run(data, &["ingest", file.to_str().unwrap()])["accepted"], 40);

    let generation = run(data, &["generate", "--num-inference-steps", "2", "--num-candidates", "2"]);
    assert_eq!((&generation["state"], &generation["progress"]["done"]), (&"succeeded".into(), &80.into()));
    let scores = run(data, &["score", "--generation", text(&generation["id"])]);
    assert_eq!((&scores["state"], &scores["progress"]["done"]), (&"succeeded".into(), &80.into()));
    let preview = run(data, &["pair", "--weight", "dpg=1", "--select", "best_worst"]);
    let pairing = run(data, &["pair", "--weight", "dpg=1", "--select", "best_worst", "--freeze", "by hand"]);
    assert!(pairing["num_pairs"].as_i64().unwrap() > 1, "{pairing}");
    assert_eq!((&preview["num_pairs"], &pairing["name"]), (&pairing["num_pairs"], &"by hand".into()));

    let spec = json!({"max_steps": 2, "warmup_steps": 1, "batch_size": 2, "sample_graphs": 1, "objective": "diffusion-dpo",
        "evaluation": {"num_graphs": 2, "num_noises": 1, "every": 0}});
    let spec_file = data.join("spec.json");
    fs_err::write(&spec_file, spec.to_string()).unwrap();
    let job = run(data, &["train", "--pairing", text(&pairing["id"]), "--spec", spec_file.to_str().unwrap()]);
    assert_eq!((&job["state"], &job["spec"]["objective"]["name"]), (&"succeeded".into(), &"diffusion-dpo".into()));
    let trained = data.join("trained");
    let left = run(data, &["export", "job", text(&job["id"]), "--output", trained.to_str().unwrap()]);
    assert!(left["exported"].as_i64() > Some(6), "{left}");
    for file in ["unet.safetensors", "report.md", "loss.svg", "model/model_index.json", "model/README.md"] {
        assert!(trained.join(file).exists(), "{file}");
    }
    let card = fs_err::read_to_string(trained.join("README.md")).unwrap();
    assert!(card.contains(text(&pairing["hash"])) && card.contains("| all |"), "{card}");
    let inspected = run(data, &["model", "inspect", trained.join("model").to_str().unwrap()]);
    assert_eq!(inspected["missing"], json!([]));
    let evaluation = run(data, &["evaluate", "--job", text(&job["id"]), "--num-graphs", "2", "--num-noises", "1"]);
    assert!(evaluation["state"] == "succeeded" && evaluation["result"]["delta"].is_number(), "{evaluation}");

    let pairs = data.join("pairs");
    let exported = run(data, &["export", "pairing", text(&pairing["id"]), "--output", pairs.to_str().unwrap()]);
    assert_eq!(exported["exported"], pairing["num_pairs"]);
    let written = fs_err::read_to_string(pairs.join("pairs.jsonl")).unwrap();
    for line in written.lines() {
        let pair: Value = serde_json::from_str(line).unwrap();
        for side in ["winner", "loser"] {
            assert!(pairs.join(text(&pair[side]["image"])).exists(), "{pair}");
        }
    }
    // What is exported is what was taken in, key for key; and taken in again, it changes nothing.
    let graphs = data.join("out.json");
    run(data, &["export", "graphs", "--output", graphs.to_str().unwrap()]);
    let back: Vec<Value> = serde_json::from_slice(&fs_err::read(&graphs).unwrap()).unwrap();
    assert_eq!(back, records);
    assert_eq!(run(data, &["ingest", graphs.to_str().unwrap()])["unchanged"], 40);

    for (args, code) in [
        (&["train", "--pairing", "01890a5d-ac96-774b-bcce-b302099a8057"][..], 2),
        (&["evaluate", "--job", "01890a5d-ac96-774b-bcce-b302099a8057"], 1),
        (&["generate", "--model", "nobody's"], 2),
        (&["score", "--answerer", "oracle"], 2),
        (&["pair", "--weight", "dpg"], 2),
    ] {
        let output = diptych().args(["--data", data.to_str().unwrap()]).args(args).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        assert!(errors.contains("error: ") && !errors.contains("panicked"), "{args:?}: {errors}");
    }
}
