//! Networks that judge pictures, through the command line, on the random folders of `tests/parity`.

use std::path::PathBuf;

use candle_core::{DType, Device};
use models::weights::{TensorMap, read_file};
use serde_json::{Value, json};

use super::{diptych, lines};

fn place(name: &str) -> String {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parity/golden/metric_network"));
    root.join(name).to_str().unwrap().to_owned()
}

fn expected() -> TensorMap {
    read_file(&PathBuf::from(place("expected.safetensors")), DType::F32, &Device::Cpu).unwrap()
}

fn run(arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let output = diptych().args(arguments).output().unwrap();
    (output.status.code(), lines(&output.stdout), String::from_utf8(output.stderr).unwrap())
}

fn assert_near(found: &Value, expected: f64, what: &str) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found}"));
    assert!((found - expected).abs() < 1e-4, "{what}: {found}, not {expected}");
}

fn prompts(of: impl Fn(usize) -> String) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text: String =
        (0..3).map(|i| json!({"image": format!("{i}.png"), "prompt": of(i)}).to_string() + "\n").collect();
    fs_err::write(file.path(), text).unwrap();
    file
}

#[test]
fn pick_score_compares_the_pictures_of_a_prompt() {
    let file = prompts(|_| "a red bus".to_owned());
    let (model, images) = (place("clip"), place("pictures"));
    let prompts = file.path().to_str().unwrap();
    let arguments = ["metrics", "pick-score", "--model", &model, "--images", &images, "--prompts", prompts];
    let (code, found, words) = run(&arguments);
    assert_eq!((code, found.len()), (Some(0), 4), "{words}");
    let cosines: Vec<Vec<f32>> = expected()["clip.cosine"].to_vec2().unwrap();
    let shares: Vec<Vec<f32>> = expected()["clip.preference"].to_vec2().unwrap();
    for i in 0..3 {
        let cosine = f64::from(cosines[0][i]);
        assert_near(&found[i]["score"], cosine, "score");
        assert_near(&found[i]["probability"], f64::from(shares[0][i]), "probability");
        assert!((found[i]["scaled_score"].as_f64().unwrap() - 3.1_f64.exp() * cosine).abs() < 3e-3);
    }
    assert_near(&found[3]["summary"]["scale"], 3.1_f32.exp().into(), "scale");
}

#[test]
fn clip_score_refuses_a_long_prompt_in_reference_alone() {
    let file = prompts(|i| if i == 1 { "bus ".repeat(90) } else { "a red bus".to_owned() });
    let (model, images) = (place("clip"), place("pictures"));
    let prompts = file.path().to_str().unwrap();
    let arguments = ["metrics", "clip-score", "--model", &model, "--images", &images, "--prompts", prompts];
    let (code, found, words) = run(&[&arguments[..], &["--mode", "reference"]].concat());
    assert_eq!((code, found.len()), (Some(1), 4), "{words}");
    assert_eq!(found[1]["score"], Value::Null);
    assert!(found[1]["error"].as_str().unwrap().contains("tokens"), "{}", found[1]);
    assert_eq!(found[3]["summary"]["failed"], 1);
    let mean = f64::midpoint(found[0]["score"].as_f64().unwrap(), found[2]["score"].as_f64().unwrap());
    assert_near(&found[3]["summary"]["score"], mean, "mean");
    let (code, found, _) = run(&arguments);
    assert_eq!((code, &found[3]["summary"]["failed"]), (Some(0), &json!(0)));
    assert!(found[1]["score"].is_number());
}

#[test]
fn aesthetic_scores() {
    let (model, head, images) = (place("clip"), place("aesthetic.safetensors"), place("pictures"));
    let (code, found, words) = run(&["metrics", "aesthetic", "--model", &model, "--head", &head, "--images", &images]);
    assert_eq!((code, found.len()), (Some(0), 4), "{words}");
    for (line, score) in found.iter().zip(expected()["aesthetic"].to_vec1::<f32>().unwrap()) {
        assert_near(&line["score"], score.into(), "score");
    }
    let (code, _, words) = run(&["metrics", "aesthetic", "--model", &head, "--head", &head, "--images", &images]);
    assert_eq!(code, Some(1));
    assert!(words.contains("config.json"), "{words}");
}

#[test]
fn frechet_from_folders_of_pictures() {
    let (images, network) = (place("pictures"), place("inception.safetensors"));
    let two = tempfile::tempdir().unwrap();
    for name in ["0.png", "1.png"] {
        fs_err::copy(PathBuf::from(&images).join(name), two.path().join(name)).unwrap();
    }
    let two = two.path().to_str().unwrap();
    let frechet = |b: &str| run(&["metrics", "frechet", "--a", &images, "--b", b, "--inception", &network]);
    let (code, found, words) = frechet(&images);
    assert_eq!(code, Some(0), "{words}");
    assert_eq!((&found[0]["num_a"], &found[0]["dimensions"]), (&json!(3), &json!(128)));
    assert!(found[0]["distance"].as_f64().unwrap() < 1e-6, "{}", found[0]);
    // tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½ of the same features, by hand: Σ₂ has rank one.
    let rows: Vec<Vec<f32>> = expected()["inception"].to_vec2().unwrap();
    let rows: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(|&v| v.into()).collect()).collect();
    let mean = |rows: &[Vec<f64>], k: usize| rows.iter().map(|row| row[k]).sum::<f64>() / rows.len() as f64;
    let centred = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
        rows.iter().map(|row| row.iter().enumerate().map(|(k, v)| v - mean(rows, k)).collect()).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let between: f64 = (0..128).map(|k| (mean(&rows, k) - mean(&rows[..2], k)).powi(2)).sum();
    let (three, pair) = (centred(&rows), centred(&rows[..2]));
    let trace_three = three.iter().map(|row| dot(row, row)).sum::<f64>() / 2.0;
    let trace_pair: f64 = pair.iter().map(|row| dot(row, row)).sum();
    let along = three.iter().map(|row| dot(row, &pair[0]).powi(2)).sum::<f64>() / 2.0;
    let distance = between + trace_three + trace_pair - 2.0 * (2.0 * along).sqrt();
    let (_, found, _) = frechet(two);
    let got = found[0]["distance"].as_f64().unwrap();
    assert!((got - distance).abs() < 1e-3 * distance, "{got}, not {distance}");

    let (code, _, words) = run(&["metrics", "frechet", "--a", &images, "--b", two]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("--inception"), "{words}");
}

#[test]
fn attribute_binding_by_blip_vqa() {
    let graphs = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    let graph = json!([{
        "img_id": "0", "name": "0.png", "caption_ori": "a red bus and two dogs", "relations": [
            {"item1": 0, "relation": "beside", "item2": 1, "triple_id": 0},
        ],
        "items": [
            {"item_id": 0, "label": "bus", "attributes": ["red"]}, {"item_id": 1, "label": "tree", "attributes": ["blue"]},
        ],
    }]);
    fs_err::write(graphs.path(), graph.to_string()).unwrap();
    let images = tempfile::tempdir().unwrap();
    fs_err::copy(place("pictures/0.png"), images.path().join("0.png")).unwrap();
    let (images, graphs) = (images.path().to_str().unwrap(), graphs.path().to_str().unwrap());
    let model = place("blip");
    let common = ["score", "--json", "--images", images, "--graphs", graphs, "--answerer", "blip-vqa"];
    let binding = ["--metric", "attribute_binding", "--mode", "reference"];
    let (code, found, words) = run(&[&common[..], &binding, &["--model", &model]].concat());
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("blip-vqa 1/"), "{words}");
    let yes = |k: usize| f64::from(expected()[&format!("blip.yes.0.{k}")].to_vec1::<f32>().unwrap()[0]);
    // "red bus?" and "blue tree?" are the first and the last question of the goldens.
    assert_near(&found[0]["parts"]["phrase_1"], yes(0), "red bus?");
    assert_near(&found[0]["parts"]["phrase_2"], yes(3), "blue tree?");
    assert_near(&found[0]["score"], yes(0) * yes(3), "product");

    let (code, found, words) = run(&[&common[..], &["--model", &model]].concat());
    assert_eq!((code, &found[0]["metric"]), (Some(0), &json!("dpg")), "{words}");
    assert!(found[0]["score"].is_number());
    let (code, _, words) = run(&common);
    assert_eq!(code, Some(2));
    assert!(words.contains("--model"), "{words}");
    let nowhere = [&common[..], &["--model", "/nowhere"]].concat();
    let (code, _, words) = run(&nowhere);
    assert_eq!(code, Some(1));
    assert!(words.contains("/nowhere/config.json"), "{words}");
}
