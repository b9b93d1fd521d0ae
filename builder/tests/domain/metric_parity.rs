//! The metrics on random inputs, against a plain computation in Python (`tests/parity/make_metric_goldens.py`).

use builder::answer::recorded::RecordedAnswers;
use builder::dpg_bench::question_file::QuestionFile;
use builder::dpg_bench::run::{self, CategoryScore, Settings};
use builder::metrics::Mode;
use builder::metrics::frechet::{Features, distance};
use builder::metrics::numeracy::{self, Labelled, Wanted};
use builder::metrics::scene_graph_iou::{Extraction, Match, overlap, triples};
use builder::metrics::spatial::{Detection, SpatialScore, score_2d, score_3d};
use builder::metrics::three_in_one::{self, Parts, Subset, Subsets};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MODES: [Mode; 2] = [Mode::Reference, Mode::Corrected];

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/parity/golden/metrics.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn close(found: f64, expected: &Value, case: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found}, not {expected}: {case}");
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(|number| number.as_f64().unwrap()).collect()
}

fn bounds(value: &Value) -> [f64; 4] {
    numbers(value).try_into().unwrap()
}

fn detection(value: &Value) -> Option<Detection> {
    let pair = value.as_array()?;
    Some(Detection { bounds: bounds(&pair[0]), confidence: pair[1].as_f64().unwrap() })
}

fn words(value: &Value) -> Vec<String> {
    list(value).iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

#[test]
fn dpg_bench_in_both_modes() {
    for case in list(&golden()["dpg"]) {
        let images = words(&case["images"]);
        let mut text = String::new();
        for row in list(&case["answers"]) {
            text += &json!({"image": row[0], "proposition_id": row[1], "answer": row[2], "crop": row[3]}).to_string();
            text += "\n";
        }
        let answers = RecordedAnswers::read(text.as_bytes()).unwrap();
        assert_eq!(answers.faults, []);
        for mode in MODES {
            let expected = &case[mode.as_str()];
            let questions = QuestionFile::read(case["questions"].as_str().unwrap().as_bytes(), "q.csv", mode).unwrap();
            let outcome =
                run::score(&images, &questions, &answers, Settings::new(mode, case["crops"].as_u64().unwrap() as u32));
            for image in outcome.images.iter().filter(|image| image.image.is_some()) {
                let name = image.image.as_deref().unwrap();
                match &image.score {
                    Ok(score) => close(*score, &expected["scores"][name], &json!(name)),
                    Err(reason) => assert!(expected["scores"][name].is_null(), "{name}: {reason}"),
                }
            }
            close(outcome.score.unwrap(), &expected["score"], &json!(mode.as_str()));
            let categories = |found: &BTreeMap<String, CategoryScore>, expected: &Value| {
                assert_eq!(found.len(), expected.as_object().unwrap().len());
                found.iter().for_each(|(name, category)| close(category.score(), &expected[name], &json!(name)));
            };
            categories(&outcome.by_l1, &expected["l1"]);
            categories(&outcome.by_l2, &expected["l2"]);
        }
    }
}

#[test]
fn spatial_scores() {
    let check = |found: SpatialScore, expected: &Value, case: &Value| {
        close(found.position, &expected[0], case);
        close(found.score, &expected[1], case);
    };
    let golden = golden();
    for case in list(&golden["spatial_2d"]) {
        let (a, b) = (detection(&case[1]), detection(&case[2]));
        for (mode, expected) in MODES.into_iter().zip([&case[3], &case[4]]) {
            check(score_2d(case[0].as_str(), a.as_ref(), b.as_ref(), mode).unwrap(), expected, case);
        }
    }
    for case in list(&golden["spatial_3d"]) {
        let (a, b) = (detection(&case[1]), detection(&case[2]));
        let depth = case[3].as_f64().unwrap();
        check(score_3d(case[0].as_str(), a.as_ref(), b.as_ref(), depth, Mode::Reference).unwrap(), &case[4], case);
    }
}

#[test]
fn numeracy_scores() {
    for case in list(&golden()["numeracy"]) {
        let wanted: Vec<Wanted> = list(&case[0])
            .iter()
            .map(|one| Wanted { object: one[0].as_str().unwrap().to_owned(), count: one[1].as_u64().unwrap() as u32 })
            .collect();
        let detected: Vec<Labelled> = list(&case[1])
            .iter()
            .map(|one| Labelled {
                label: one[0].as_str().unwrap().to_owned(),
                detection: Detection { bounds: bounds(&one[1]), confidence: 0.5 },
            })
            .collect();
        close(numeracy::score(&wanted, &detected, Mode::Reference).unwrap(), &case[2], case);
    }
}

#[test]
fn scene_graph_overlaps() {
    for case in list(&golden()["scene_graph_iou"]) {
        let reference: Vec<[String; 3]> =
            triples(&case[0]).unwrap().into_iter().map(|triple| triple.try_into().unwrap()).collect();
        let read =
            Extraction { triples: triples(&case[1]).unwrap(), objects: words(&case[2]), predicates: words(&case[3]) };
        for (mode, expected) in MODES.into_iter().zip([&case[4], &case[5]]) {
            let found = overlap(&reference, &read, mode, Match::Exact);
            for (found, expected) in [found.scene_graph, found.entity, found.relation].into_iter().zip(list(expected)) {
                close(found, expected, case);
            }
        }
    }
}

#[test]
fn complex_prompts() {
    let given = &golden()["three_in_one"];
    let mut subsets = Subsets::default();
    for subset in [Subset::Spatial, Subset::Action] {
        for prompt in list(&given[subset.as_str()]) {
            subsets.insert(prompt.as_str().unwrap(), subset);
        }
    }
    assert!(list(&given["cases"]).len() > 50);
    for case in list(&given["cases"]) {
        let part = |i: usize| case[i].as_f64();
        let parts = Parts { attribute: part(1), spatial: part(2), action: part(3) };
        let subset = subsets.of(case[0].as_str().unwrap());
        close(three_in_one::score(parts, subset, Mode::Reference).unwrap().score, &case[4], case);
    }
}

#[test]
fn frechet_distances() {
    for case in list(&golden()["frechet"]) {
        let features = |rows: &Value| {
            let rows: Vec<Vec<f64>> = list(rows).iter().map(numbers).collect();
            Features::new("features", rows.len(), rows[0].len(), rows.concat()).unwrap()
        };
        let found = distance(&features(&case[0]), &features(&case[1]), Mode::Reference).unwrap();
        close(found.distance, &case[2], case);
    }
}
