//! `diptych score` of a folder, without a database: golden figures through the command line.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::{diptych, lines, shared};

/// A folder with empty pictures of these names: recorded answers need no pixels.
fn pictures(names: impl IntoIterator<Item = String>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        fs_err::write(folder.path().join(name), b"").unwrap();
    }
    folder
}

fn written(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), text).unwrap();
    file
}

/// Lines of one run, its summary, its standard error.
fn score(images: &Path, more: &[&str]) -> (Vec<Value>, Value, String) {
    let output =
        diptych().args(["score", "--json", "--metric", "dpg", "--images"]).arg(images).args(more).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words}");
    let mut lines = lines(&output.stdout);
    let summary = lines.pop().expect("a summary")["summary"].clone();
    (lines, summary, words)
}

#[test]
fn four_crops_give_the_golden_figures() {
    let text = fs_err::read_to_string(shared("dpg_bench/tifa160_mplug_4crops.jsonl")).unwrap();
    let (mut names, mut answers) = (Vec::new(), String::new());
    for row in text.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let item = row["item_id"].as_str().unwrap();
        let image = format!("{item}.png");
        for (crop, of_crop) in (1..).zip(row["answers"].as_array().unwrap()) {
            for (number, answer) in of_crop.as_object().unwrap() {
                let number: i64 = number.parse().unwrap();
                let line =
                    json!({"image": image, "item_id": item, "proposition_id": number, "answer": answer, "crop": crop});
                writeln!(answers, "{line}").unwrap();
            }
        }
        names.push(image);
    }
    let (folder, answers) = (pictures(names), written(&answers));
    let questions = shared("dpg_bench/dsg1k_questions.csv");
    let arguments = [
        "--questions",
        questions.to_str().unwrap(),
        "--answers",
        answers.path().to_str().unwrap(),
        "--mode",
        "reference",
        "--pic-num",
        "4",
    ];
    let (lines, summary, words) = score(folder.path(), &arguments);
    let expected: Value =
        serde_json::from_slice(&fs_err::read(shared("dpg_bench/tifa160_4crops_expected.json")).unwrap()).unwrap();
    let close = |found: &Value, expected: &Value| {
        assert!((found.as_f64().unwrap() - expected.as_f64().unwrap()).abs() < 1e-9, "{found}, not {expected}");
    };
    close(&summary["score"], &expected["overall100"]);
    for item in expected["items"].as_array().unwrap() {
        let name = format!("{}.png", item["item_id"].as_str().unwrap());
        let line = lines.iter().find(|line| line["image"] == name.as_str()).unwrap();
        assert_eq!(line["metric"], "dpg");
        close(&line["score"], &item["score"]);
    }
    for level in ["category_l1_last_crop_unmasked", "category_l2_last_crop_unmasked"] {
        for (name, category) in expected[level].as_object().unwrap() {
            close(&summary["by_category"][name], &category["mean100"]);
        }
    }
    // Each malformed row by file, line and field.
    for item in ["stanford_paragraph_54", "stanford_paragraph_55", "stanford_paragraph_72", "tifa160_134", "tifa160_67"]
    {
        let told = words
            .lines()
            .any(|line| line.contains(&format!("(item {item})")) && line.contains(": dependency: error: "));
        assert!(told, "{item}: {words}");
    }
}

const GRAPHS: &str = r#"[{"img_id":"g1","name":"1.jpg","caption_ori":"a dog","items":[{"item_id":0,"label":"dog","attributes":["brown"]},{"item_id":1,"label":"sofa","attributes":[]}],"relations":[{"item1":0,"relation":"on","item2":1}]}]"#;

#[test]
fn questions_may_follow_from_graphs() {
    let graphs = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs_err::write(graphs.path(), GRAPHS).unwrap();
    let mut answers = String::new();
    for (image, words) in [
        ("g1_0.png", ["yes", "yes", "no", "yes"]),
        ("g1_1.png", ["no", "yes", "yes", "yes"]),
        ("g1_2.png", ["yes", "yes", "yes", ""]),
    ] {
        for (number, word) in (1..).zip(words).filter(|(_, word)| !word.is_empty()) {
            writeln!(answers, "{}", json!({"image": image, "proposition_id": number, "answer": word})).unwrap();
        }
    }
    let (folder, answers) = (pictures((0..3).map(|i| format!("g1_{i}.png"))), written(&answers));
    let arguments = ["--graphs", graphs.path().to_str().unwrap(), "--answers", answers.path().to_str().unwrap()];
    let (lines, summary, _) = score(folder.path(), &arguments);
    assert_eq!(
        (&lines[0]["score"], &lines[1]["score"], &lines[2]["score"]),
        (&json!(0.75), &json!(0.25), &Value::Null)
    );
    assert_eq!(lines[2]["error"], "no answer to question 4");
    assert_eq!(
        (&summary["score"], &summary["images"], &summary["failed"], &summary["missing"]),
        (&json!(50.0), &json!(3), &json!(1), &json!(0))
    );
    // The questions can be handed to whoever answers, and come back as a file of questions.
    let questions = tempfile::NamedTempFile::new().unwrap();
    let output = diptych()
        .args(["score", "--images"])
        .arg(folder.path())
        .args(arguments)
        .arg("--write-questions")
        .arg(questions.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = fs_err::read_to_string(questions.path()).unwrap();
    assert!(
        text.contains(
            "g1,a dog,\"dog, brown\",3,1,attribute,color,\"attribute - color (dog, brown)\",Is the dog brown?"
        ),
        "{text}"
    );
}

#[test]
fn wrong_use_is_2_and_wrong_files_are_1() {
    let folder = pictures(["a.png".to_owned()]);
    let images = folder.path().to_str().unwrap();
    let empty = written("");
    let broken = written("nonsense\n");
    let header = written("item_id,text\n");
    let [empty, broken, header] = [&empty, &broken, &header].map(|file| file.path().to_str().unwrap());
    let questions = shared("dpg_bench/dsg1k_questions.csv");
    let questions = questions.to_str().unwrap();
    for (arguments, code, say) in [
        (&["--images", images][..], 2, "--questions"),
        (&["--images", images, "--questions", questions], 2, "--answers"),
        (&["--images", images, "--questions", questions, "--answers", empty, "--mode", "wrong"], 2, "corrected"),
        (&["--images", images, "--questions", questions, "--answers", empty], 1, "no answer"),
        (&["--images", images, "--questions", questions, "--answers", broken], 1, ":1: no JSON"),
        (&["--images", images, "--questions", header, "--answers", broken], 1, "`proposition_id`"),
        (&["--images", "/nowhere", "--questions", questions, "--answers", broken], 1, "/nowhere"),
        (&["--graphs", images], 2, "--images"),
    ] {
        let output = diptych().arg("score").args(arguments).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        assert!(words.contains(say), "{arguments:?}: {words}");
    }
}
