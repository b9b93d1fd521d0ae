//! The masking rules on the answers that were published for DSG-1k.

use crate::{data, json};
use builder::score::dpg::{Masking, masked};
use std::collections::{BTreeMap, HashMap};

/// Rows of a CSV file by the header's names; quoted fields may hold commas, quotes and line breaks.
fn csv(name: &str) -> Vec<HashMap<String, String>> {
    let text = fs_err::read_to_string(data(name)).unwrap();
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            c => field.push(c),
        }
    }
    let header: Vec<String> = rows.remove(0);
    rows.into_iter().map(|row: Vec<String>| header.iter().cloned().zip(row).collect()).collect()
}

#[test]
fn masking_gives_the_published_scores() {
    let expected = json("dpg_bench/dsg1k_expected_scores.json");
    let answers: HashMap<(String, String), bool> = csv("dpg_bench/dsg1k_mplug_sd21_answers.csv")
        .into_iter()
        .map(|row| ((row["item_id"].clone(), row["question_id"].clone()), row["answer"] == "yes"))
        .collect();
    let mut items: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in csv("dpg_bench/dsg1k_questions.csv") {
        items
            .entry(row["item_id"].clone())
            .or_default()
            .push((row["proposition_id"].clone(), row["dependency"].clone()));
    }

    let rules = [("ella_in_place", Masking::InPlace), ("dsg_one_step", Masking::OneStep), ("fixpoint", Masking::Fixpoint)];
    let mut sums = [0.0; 3];
    let expected_items = expected["items"].as_array().unwrap();
    for item in expected_items {
        let id = item["item_id"].as_str().unwrap();
        let questions = &items[id];
        let position = |number: &str| questions.iter().position(|(id, _)| id == number.trim());
        let holds: Vec<bool> = questions.iter().map(|(number, _)| answers[&(id.to_owned(), number.clone())]).collect();
        let parents: Vec<Vec<usize>> = questions
            .iter()
            .map(|(_, parents)| {
                let parents = parents.split(',').filter(|parent| parent.trim() != "0");
                parents.map(|parent| position(parent).unwrap_or_else(|| panic!("{id}: parent {parent}"))).collect()
            })
            .collect();
        for ((name, rule), sum) in rules.iter().zip(&mut sums) {
            let masked = masked(&holds, &parents, *rule);
            let score = masked.iter().filter(|holds| **holds).count() as f64 / masked.len() as f64;
            assert!((score - item[*name].as_f64().unwrap()).abs() < 1e-12, "{id} {name}: {score}");
            *sum += score;
        }
    }
    assert_eq!(expected_items.len(), 955);
    for ((name, _), sum) in rules.iter().zip(sums) {
        let score = 100.0 * sum / expected_items.len() as f64;
        assert!((score - expected["aggregate"][name].as_f64().unwrap()).abs() < 1e-9, "{name}: {score}");
    }
}
