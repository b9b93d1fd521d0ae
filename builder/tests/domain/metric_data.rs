//! The metrics on the shared golden cases.

use crate::{data, json};
use builder::metrics::Mode;
use builder::metrics::numeracy::{Noun, parse_prompt};
use builder::metrics::scene_graph_iou::{Extraction, Match, overlap, triples};
use builder::metrics::spatial::{self, Detection, relation_2d_of_prompt, relation_3d_of_prompt, score_2d, score_3d};
use serde_json::Value;
use std::collections::HashMap;

fn lines(name: &str) -> Vec<Value> {
    let text = fs_err::read_to_string(data(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn detection(case: &Value, number: &str) -> Detection {
    let bounds: Vec<f64> =
        case[format!("box{number}")].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    Detection { bounds: bounds.try_into().unwrap(), confidence: case[format!("conf{number}")].as_f64().unwrap() }
}

/// To the last bits: the golden figures were rounded on another way.
fn close(found: f64, expected: &Value, case: &Value) {
    assert!((found - expected.as_f64().unwrap()).abs() < 1e-14, "{found}: {case}");
}

#[test]
fn positions_in_the_plane_and_in_depth() {
    let cases = json("t2i_compbench/position_cases.json");
    for case in cases["cases_2d"].as_array().unwrap() {
        let (a, b) = (detection(case, "1"), detection(case, "2"));
        let found = score_2d(case["locality"].as_str(), Some(&a), Some(&b), Mode::Reference).unwrap();
        assert!((spatial::overlap(&a, &b).unwrap() - case["iou"].as_f64().unwrap()).abs() < 1e-15, "{case}");
        close(found.position, &case["position"], case);
        close(found.score, &case["image_score_2d"], case);
    }
    for case in cases["cases_3d"].as_array().unwrap() {
        let (a, b) = (detection(case, "1"), detection(case, "2"));
        let depth = case["mean_depth1_minus_mean_depth2"].as_f64().unwrap();
        let found = score_3d(case["locality"].as_str(), Some(&a), Some(&b), depth, Mode::Reference).unwrap();
        close(found.position, &case["position"], case);
        close(found.score, &case["image_score_3d"], case);
    }
    assert_eq!((cases["cases_2d"].as_array().unwrap().len(), cases["cases_3d"].as_array().unwrap().len()), (159, 54));
}

#[test]
fn prompts_name_their_relation() {
    let prompts: HashMap<(String, u64), String> = lines("t2i_compbench/val_prompts.jsonl")
        .into_iter()
        .map(|row| {
            let key = (row["category"].as_str().unwrap().to_owned(), row["index"].as_u64().unwrap());
            (key, row["prompt"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = lines("t2i_compbench/locality_expected.jsonl");
    assert!(expected.len() > 800);
    for row in expected {
        let prompt = &prompts[&(row["category"].as_str().unwrap().to_owned(), row["index"].as_u64().unwrap())];
        if let Some(relation) = row.get("locality_2d") {
            assert_eq!(relation_2d_of_prompt(prompt), relation.as_str(), "{prompt}");
        }
        if let Some(relation) = row.get("locality_3d") {
            assert_eq!(relation_3d_of_prompt(prompt), relation.as_str(), "{prompt}");
        }
    }
}

#[test]
fn prompts_say_how_many() {
    let word = |noun: &Value, key: &str| noun[key].as_str().unwrap().to_lowercase();
    let vocabulary: Vec<Noun> = json("t2i_compbench/numeracy_objects.json")
        .as_array()
        .unwrap()
        .iter()
        .map(|noun| Noun { singular: word(noun, "singular"), plural: word(noun, "plural") })
        .collect();
    let expected = lines("t2i_compbench/numeracy_parse_expected.jsonl");
    assert_eq!(expected.len(), 300);
    for row in expected {
        for mode in [Mode::Reference, Mode::Corrected] {
            let wanted = parse_prompt(row["prompt"].as_str().unwrap(), &vocabulary, mode).unwrap();
            let objects: Vec<&str> = wanted.iter().map(|one| one.object.as_str()).collect();
            let counts: Vec<u32> = wanted.iter().map(|one| one.count).collect();
            assert_eq!(
                serde_json::json!([objects, counts]),
                serde_json::json!([row["objects"], row["counts"]]),
                "{row}"
            );
        }
    }
}

#[test]
fn overlaps_of_scene_graphs() {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    for row in json("scene_graphs/sg_iou_cases.json").as_array().unwrap() {
        let reference = triples(&row["reference_triples"]).unwrap();
        let reference: Vec<[String; 3]> = reference.into_iter().map(|triple| triple.try_into().unwrap()).collect();
        let read = Extraction {
            triples: triples(&row["predicted_triples"]).unwrap(),
            objects: list(&row["predicted_objects"]),
            predicates: list(&row["predicted_predicates"]),
        };
        let found = overlap(&reference, &read, Mode::Reference, Match::Exact);
        let expected = ["sg_iou", "entity_iou", "relation_iou"].map(|key| row[key].as_f64().unwrap());
        assert_eq!([found.scene_graph, found.entity, found.relation], expected, "{}", row["name"]);
    }
}
