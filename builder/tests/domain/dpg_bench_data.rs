//! DPG-Bench's scores on the answers that were published for DSG-1k and on four crops a prompt.

use crate::{data, json};
use builder::answer::recorded::RecordedAnswers;
use builder::dpg_bench::Mode;
use builder::dpg_bench::question_file::QuestionFile;
use builder::dpg_bench::run::{CategoryScore, Outcome, Settings, score};
use builder::score::dpg::Masking;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

fn questions(mode: Mode) -> QuestionFile {
    QuestionFile::open(&data("dpg_bench/dsg1k_questions.csv"), mode).unwrap()
}

/// The published answers, one image an item.
fn dsg1k_answers() -> (Vec<String>, RecordedAnswers) {
    let mut text = String::new();
    let mut images = Vec::new();
    for row in fs_err::read_to_string(data("dpg_bench/dsg1k_mplug_sd21_answers.csv")).unwrap().lines().skip(1) {
        let [item, question, answer] = row.splitn(3, ',').collect::<Vec<_>>().try_into().unwrap();
        let line = json!({"image": format!("{item}.png"), "proposition_id": question.parse::<i64>().unwrap(), "answer": answer});
        writeln!(text, "{line}").unwrap();
        images.push(format!("{item}.png"));
    }
    images.sort_unstable();
    images.dedup();
    (images, RecordedAnswers::read(text.as_bytes()).unwrap())
}

/// Four image models' answers, as if each item had one grid of four.
fn tifa160_answers() -> (Vec<String>, RecordedAnswers) {
    let mut text = String::new();
    let mut images = Vec::new();
    for row in fs_err::read_to_string(data("dpg_bench/tifa160_mplug_4crops.jsonl")).unwrap().lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let image = format!("{}.jpg", row["item_id"].as_str().unwrap());
        for (crop, answers) in (1..).zip(row["answers"].as_array().unwrap()) {
            for (number, answer) in answers.as_object().unwrap() {
                let line = json!({"image": image, "proposition_id": number, "answer": answer, "crop": crop});
                writeln!(text, "{line}").unwrap();
            }
        }
        images.push(image);
    }
    (images, RecordedAnswers::read(text.as_bytes()).unwrap())
}

fn close(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-10, "{what}: {found}, not {expected}");
}

fn categories(found: &BTreeMap<String, CategoryScore>, expected: &Value) {
    let expected = expected.as_object().unwrap();
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
    for (name, category) in found {
        assert_eq!(Some(category.n), expected[name]["n"].as_u64(), "{name}");
        close(category.score(), &expected[name]["mean100"], name);
    }
}

fn by_item(outcome: &Outcome) -> HashMap<&str, f64> {
    outcome.images.iter().filter_map(|image| Some((image.item_id.as_deref()?, *image.score.as_ref().ok()?))).collect()
}

#[test]
fn malformed_rows_are_those_that_are_known() {
    let questions = questions(Mode::Corrected);
    let expected = json("dpg_bench/dsg1k_expected_scores.json");
    // A question that depends on itself is told about, and does no harm.
    let fatal = questions.faults.iter().filter(|fault| fault.fatal);
    let rows: Vec<(String, String)> = fatal.map(|fault| (fault.item_id.clone(), fault.field.to_owned())).collect();
    let excluded = expected["excluded_items"].as_object().unwrap();
    let mut items: Vec<&str> = rows.iter().map(|(item, _)| item.as_str()).collect();
    items.sort_unstable();
    items.dedup();
    let mut known: Vec<&str> = excluded.keys().map(String::as_str).collect();
    known.sort_unstable();
    assert_eq!(items, known);
    assert!(rows.iter().all(|(_, field)| field == "dependency"));
    assert!(known.iter().all(|item| questions.item(item).unwrap().fault.is_some()));
    assert_eq!((questions.items.len(), questions.num_questions()), (960, 7168));
}

#[test]
fn the_published_answers_give_the_expected_scores_under_each_rule() {
    let expected = json("dpg_bench/dsg1k_expected_scores.json");
    let (images, answers) = dsg1k_answers();
    let questions = questions(Mode::Corrected);
    let rules =
        [("ella_in_place", Masking::InPlace), ("dsg_one_step", Masking::OneStep), ("fixpoint", Masking::Fixpoint)];
    for (rule, masking) in rules {
        let outcome = score(&images, &questions, &answers, Settings { masking, ..Settings::new(Mode::Corrected, 1) });
        // Of the five malformed items, one has no answers either.
        assert_eq!((outcome.failed, outcome.missing, outcome.images.len()), (4, 0, 959));
        let scores = by_item(&outcome);
        for item in expected["items"].as_array().unwrap() {
            close(scores[item["item_id"].as_str().unwrap()], &item[rule], rule);
        }
        close(outcome.score.unwrap(), &expected["aggregate"][rule], rule);
        categories(&outcome.by_l1, &expected["category_l1"]);
        categories(&outcome.by_l2, &expected["category_l2"]);
    }
}

#[test]
fn the_published_script_loses_the_first_item_with_its_first_question() {
    let (images, answers) = dsg1k_answers();
    let outcome = score(&images, &questions(Mode::Reference), &answers, Settings::new(Mode::Reference, 1));
    let first = outcome.images.iter().find(|image| image.item_id.as_deref() == Some("whoops_5")).unwrap();
    assert!(first.score.is_err());
    assert_eq!(outcome.failed, 5);
    let expected = json("dpg_bench/dsg1k_expected_scores.json");
    let items = expected["items"].as_array().unwrap();
    let others =
        items.iter().filter(|item| item["item_id"] != "whoops_5").map(|item| item["ella_in_place"].as_f64().unwrap());
    assert!((outcome.score.unwrap() - 100.0 * others.sum::<f64>() / (items.len() - 1) as f64).abs() < 1e-9);
}

#[test]
fn four_crops_a_prompt() {
    let expected = json("dpg_bench/tifa160_4crops_expected.json");
    let (images, answers) = tifa160_answers();
    for (mode, which) in [(Mode::Reference, "last_crop"), (Mode::Corrected, "all_crops")] {
        let outcome = score(&images, &questions(mode), &answers, Settings::new(mode, 4));
        let scores = by_item(&outcome);
        let mut sum = 0.0;
        for item in expected["items"].as_array().unwrap() {
            let found =
                outcome.images.iter().find(|image| image.item_id.as_deref() == item["item_id"].as_str()).unwrap();
            close(scores[item["item_id"].as_str().unwrap()], &item["score"], "score");
            for (crop, expected) in (1..).zip(item["crop_scores"].as_array().unwrap()) {
                close(found.parts[&format!("crop_{crop}")], expected, "crop");
            }
            sum += item["score"].as_f64().unwrap();
        }
        categories(&outcome.by_l1, &expected[format!("category_l1_{which}_unmasked")]);
        categories(&outcome.by_l2, &expected[format!("category_l2_{which}_unmasked")]);
        if mode == Mode::Reference {
            close(outcome.score.unwrap(), &expected["overall100"], "overall");
        } else {
            // Every item without an image counts as 0.
            let scored = outcome.images.iter().filter(|image| image.score.is_ok()).count() as f64;
            assert!((outcome.score.unwrap() - 100.0 * sum / scored).abs() < 1e-9);
            assert_eq!(scored as usize, 955);
        }
    }
}
