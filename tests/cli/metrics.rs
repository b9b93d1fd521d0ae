//! `diptych metrics …` on golden cases and on wrong files.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::{diptych, lines, shared};

fn golden(name: &str) -> Value {
    serde_json::from_slice(&fs_err::read(shared(name)).unwrap()).unwrap()
}

fn run(arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let output = diptych().arg("metrics").args(arguments).output().unwrap();
    (output.status.code(), lines(&output.stdout), String::from_utf8(output.stderr).unwrap())
}

fn written(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), text).unwrap();
    file
}

#[test]
fn spatial_cases() {
    let cases = golden("t2i_compbench/position_cases.json");
    for (key, command, score) in
        [("cases_2d", "t2i-spatial", "image_score_2d"), ("cases_3d", "t2i-spatial-3d", "image_score_3d")]
    {
        let cases = cases[key].as_array().unwrap();
        let mut text = String::new();
        for (i, case) in cases.iter().enumerate() {
            let depth = case["mean_depth1_minus_mean_depth2"].as_f64().unwrap_or_default();
            let a = json!({"box": case["box1"], "confidence": case["conf1"], "depth": 0.5 + depth});
            let b = json!({"box": case["box2"], "confidence": case["conf2"], "depth": 0.5});
            writeln!(text, "{}", json!({"case": i, "relation": case["locality"], "a": a, "b": b})).unwrap();
        }
        let file = written(&text);
        let (code, found, words) = run(&[command, "--boxes", file.path().to_str().unwrap(), "--mode", "reference"]);
        assert_eq!((code, found.len()), (Some(0), cases.len()), "{words}");
        for (found, case) in found.iter().zip(cases) {
            for (field, expected) in [("position", "position"), ("score", score)] {
                let (found, expected) = (found[field].as_f64().unwrap(), case[expected].as_f64().unwrap());
                assert!((found - expected).abs() < 1e-12, "{field} {found}: {case}");
            }
        }
    }
}

#[test]
fn a_wrong_line_is_told_and_the_others_go_on() {
    let file = written(
        "{\"case\":\"x\",\"relation\":\"near\",\"a\":{\"box\":[0,0,10],\"confidence\":1},\"b\":null}\nnonsense\n\
         {\"case\":\"y\",\"relation\":\"near\",\"a\":null,\"b\":{\"box\":[0,0,10,10],\"confidence\":1}}\n\
         {\"relation\":\"near\",\"a\":{\"box\":[9,0,1,10],\"confidence\":1}}\n{\"relation\":\"near\",\"a\":{\"box\":[0,0,1,1],\"confidence\":2}}\n",
    );
    let (code, found, words) = run(&["t2i-spatial", "--boxes", file.path().to_str().unwrap()]);
    assert_eq!((code, found.len()), (Some(1), 4));
    assert_eq!((&found[1]["case"], &found[1]["score"], &found[0]["score"]), (&json!("y"), &json!(0.0), &Value::Null));
    for say in
        [":1: a.box: must be [x1, y1, x2, y2]", ":2: no JSON", ":4: a.box: ", ":5: a.confidence: must be from 0 to 1"]
    {
        assert!(words.contains(say), "{say}: {words}");
    }
}

#[test]
fn scene_graph_cases() {
    let path = shared("scene_graphs/sg_iou_cases.json");
    let (code, found, words) = run(&["sg-iou", "--cases", path.to_str().unwrap(), "--mode", "reference"]);
    assert_eq!(code, Some(0), "{words}");
    let by_name: HashMap<&str, &Value> = found.iter().map(|line| (line["name"].as_str().unwrap(), line)).collect();
    for case in golden("scene_graphs/sg_iou_cases.json").as_array().unwrap() {
        let line = by_name[case["name"].as_str().unwrap()];
        for key in ["sg_iou", "entity_iou", "relation_iou"] {
            assert_eq!(line[key].as_f64(), case[key].as_f64(), "{key}: {case}");
        }
    }
}

#[test]
fn complex_prompts_are_the_mean_of_their_parts() {
    let prompts = shared("t2i_compbench/val_prompts.jsonl");
    let first = |subset: &str| {
        let text = fs_err::read_to_string(&prompts).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let row = rows.filter(|row| row["subset"] == subset).map(|row| row["prompt"].clone()).next();
        row.unwrap_or_else(|| panic!("no prompt of {subset}"))
    };
    let subsets = ["spatial", "action", "spatial+action"];
    // METRICS 9's example, and a picture without a score in the plane.
    let scores = |score: f64, lacks: &str| {
        let line = |subset: &&str| {
            let score = if **subset == *lacks { Value::Null } else { json!(score) };
            json!({"image": format!("{subset}.png"), "prompt": first(subset), "score": score}).to_string()
        };
        written(&(subsets.iter().map(line).collect::<Vec<_>>().join("\n") + "\n{\"summary\": {\"score\": 9}}\n"))
    };
    let run_with = |lacks: &str, mode: &str| {
        let (attribute, spatial, action) = (scores(0.6, ""), scores(0.8, lacks), scores(0.3, ""));
        let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
        let files = [path(&attribute), path(&spatial), path(&action)];
        let prompts = prompts.to_str().unwrap();
        let named = ["--attribute", &files[0], "--spatial", &files[1], "--action", &files[2], "--prompts", prompts];
        run(&[&["three-in-one", "--mode", mode][..], &named].concat())
    };
    let (code, found, words) = run_with("", "reference");
    assert_eq!((code, found.len()), (Some(0), 4), "{words}");
    for line in &found[..3] {
        let expected = match line["subset"].as_str().unwrap() {
            "spatial" => 0.7,
            "action" => 0.45,
            _ => 1.7 / 3.0,
        };
        assert!((line["score"].as_f64().unwrap() - expected).abs() < 1e-12, "{line}");
    }
    let (code, found, words) = run_with("spatial+action", "reference");
    let lacking = found.iter().find(|line| line["subset"] == "spatial+action").unwrap();
    assert_eq!(
        (code, &lacking["score"], &found[3]["summary"]["failed"]),
        (Some(0), &Value::Null, &json!(1)),
        "{words}"
    );
    let (_, found, _) = run_with("spatial+action", "corrected");
    let known = found.iter().find(|line| line["subset"] == "spatial+action").unwrap();
    assert_eq!(known["parts"], json!({"attribute": 0.6, "action": 0.3}), "it says which parts did apply");
}

#[test]
fn numeracy_prompts() {
    let path = shared("t2i_compbench/numeracy_parse_expected.jsonl");
    let vocabulary = shared("t2i_compbench/numeracy_objects.json");
    let arguments = ["numeracy", "--boxes", path.to_str().unwrap(), "--vocabulary", vocabulary.to_str().unwrap()];
    let (code, found, words) = run(&arguments);
    assert_eq!((code, found.len()), (Some(0), 300), "{words}");
    let detected = json!([{"label": "dog", "box": [0, 0, 9, 9], "confidence": 0.9}, {"label": "dog", "box": [20, 0, 29, 9], "confidence": 0.8}]);
    let file =
        written(&json!({"case": "x", "objects": ["dog", "cat"], "counts": [2, 1], "detections": detected}).to_string());
    let (_, found, _) = run(&["numeracy", "--boxes", file.path().to_str().unwrap()]);
    assert_eq!(found[0]["score"], 0.5);
}

#[test]
fn frechet_distances() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, tensor: &str, values: &[f64], columns: usize| {
        let path = folder.path().join(name);
        let shape = (values.len() / columns, columns);
        let tensor =
            (tensor.to_owned(), candle_core::Tensor::from_slice(values, shape, &candle_core::Device::Cpu).unwrap());
        candle_core::safetensors::save(&HashMap::from([tensor]), &path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // Means (0, 0) and (1, 2), covariances diag(1, 4) and diag(9, 1): METRICS 12.4.
    let cross = |x: f64, y: f64, u: f64, v: f64| {
        let (u, v) = ((1.5 * u).sqrt(), (1.5 * v).sqrt());
        [x + u, y, x - u, y, x, y + v, x, y - v]
    };
    let a = save("a", "features", &cross(0.0, 0.0, 1.0, 4.0), 2);
    let b = save("b", "features", &cross(1.0, 2.0, 9.0, 1.0), 2);
    let (code, found, _) = run(&["frechet", "--a", &a, "--b", &b]);
    assert_eq!(code, Some(0));
    assert!((found[0]["distance"].as_f64().unwrap() - 10.0).abs() < 1e-12, "{found:?}");
    let other = save("c", "other", &[0.0; 4], 2);
    let short = save("d", "features", &[0.0; 2], 2);
    let wide = save("e", "features", &[0.0; 6], 3);
    for (b, say) in
        [(&other, "`features`"), (&short, "at least 2"), (&wide, "2 dimensions"), (&"/nowhere".to_owned(), "/nowhere")]
    {
        let (code, _, words) = run(&["frechet", "--a", &a, "--b", b]);
        assert_eq!(code, Some(1));
        assert!(words.contains(say), "{words}");
    }
}

#[test]
fn agreement_of_two_runs() {
    let scores = |values: [f64; 3]| {
        let line = |(i, score): (usize, &f64)| {
            format!("{}\n", json!({"image": format!("g_{i}.png"), "item_id": "g", "metric": "dpg", "score": score}))
        };
        written(&(values.iter().enumerate().map(line).collect::<String>() + "{\"summary\":{}}\n"))
    };
    let (a, b) = (scores([0.1, 0.5, 0.9]), scores([0.2, 0.9, 0.7]));
    let (code, found, _) = run(&["agreement", "--a", a.path().to_str().unwrap(), "--b", b.path().to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert_eq!(
        (&found[0]["disagreement"]["preferred_by_a"], &found[0]["disagreement"]["preferred_by_b"]),
        (&json!("g_2.png"), &json!("g_1.png"))
    );
    assert!((found[1]["summary"]["spearman"].as_f64().unwrap() - 0.5).abs() < 1e-12);
}
