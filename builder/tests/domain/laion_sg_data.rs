//! Reading and linting the shared files: malformed ones, real ones, and a generated large one.

use crate::{data, json};
use builder::laion_sg::{self, Record};
use builder::lint::{Code, Finding, Severity};
use builder::scene_graph::SceneGraph;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::time::Instant;

fn graphs(name: &str) -> Vec<SceneGraph> {
    laion_sg::read_file(&data(&format!("scene_graphs/{name}")))
        .unwrap()
        .map(|record| match record {
            Record::Graph { graph, .. } => *graph,
            Record::Rejected { findings, .. } => panic!("{name}: {findings:?}"),
        })
        .collect()
}

#[test]
fn malformed_files_give_the_expected_findings() {
    let expected = json("scene_graphs/malformed/expected.json");
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let file = case["file"].as_str().unwrap();
        let path = data(&format!("scene_graphs/malformed/{file}"));
        let findings: Vec<Finding> =
            laion_sg::read_file(&path).unwrap().flat_map(|record| record.findings().to_vec()).collect();
        let outcome = match findings.iter().map(|finding| finding.severity).collect::<Vec<_>>() {
            severities if severities.contains(&Severity::Error) => "error",
            severities if severities.is_empty() => "ok",
            _ => "ok_with_warnings",
        };
        assert_eq!(outcome, case["outcome"], "{file}: {findings:#?}");
        for wanted in case["findings"].as_array().unwrap() {
            let found = findings.iter().any(|finding| {
                let line = serde_json::to_value(finding).unwrap();
                ["code", "record", "pointer"].iter().all(|key| line[key] == wanted[key])
            });
            assert!(found, "{file}: no {wanted} in {findings:#?}");
        }
    }
}

#[test]
fn a_bad_record_is_rejected_alone() {
    let records: Vec<Record> =
        laion_sg::read_file(&data("scene_graphs/malformed/110_mixed_good_and_bad.json")).unwrap().collect();
    let accepted: Vec<u64> = records
        .iter()
        .filter_map(|record| match record {
            Record::Graph { record, .. } => Some(*record),
            Record::Rejected { .. } => None,
        })
        .collect();
    assert_eq!(accepted, [0, 2, 4]);
    assert_eq!(records.len(), 5);
}

#[test]
fn real_files_have_the_expected_statistics_and_survive_the_round_trip() {
    let expected = json("scene_graphs/stats_expected.json");
    for (name, expected) in expected.as_object().unwrap() {
        let graphs = graphs(name);
        let originals = json(&format!("scene_graphs/{name}"));
        for (graph, original) in graphs.iter().zip(originals.as_array().unwrap()) {
            assert_eq!(&graph.to_laion_sg(), original, "{name}");
        }
        let objects = || graphs.iter().flat_map(SceneGraph::objects);
        let relations = || graphs.iter().flat_map(SceneGraph::relations);
        let duplicate_triples: usize = graphs
            .iter()
            .map(|graph| {
                let distinct: HashSet<_> = graph.relations().map(|(s, r, o)| (s, &r.predicate, o)).collect();
                graph.num_relations() - distinct.len()
            })
            .sum();
        let found = json!({
            "graphs": graphs.len(),
            "items": objects().count(),
            "attributes": objects().map(|object| object.attributes.len()).sum::<usize>(),
            "relations": relations().count(),
            "isolated_items": graphs.iter().map(|graph| graph.isolated().count()).sum::<usize>(),
            "self_relations": relations().filter(|(s, _, o)| s == o).count(),
            "duplicate_triples": duplicate_triples,
            "graphs_without_relations": graphs.iter().filter(|graph| graph.num_relations() == 0).count(),
            // Any of these three would have been rejected above.
            "dangling_relations": 0, "duplicate_item_ids": 0, "empty_labels": 0,
            "duplicate_global_item_ids": 0,
            "max_items_in_a_graph": graphs.iter().map(SceneGraph::num_objects).max(),
            "distinct_labels": objects().map(|object| &object.label).collect::<HashSet<_>>().len(),
            "distinct_relations": relations().map(|(_, r, _)| &r.predicate).collect::<HashSet<_>>().len(),
        });
        assert_eq!(&found, expected, "{name}");
    }
}

#[test]
fn the_reference_loader_sees_the_same_texts() {
    // The reference loader keeps a leading blank where an item has no attributes.
    let reference_text = |graph: &SceneGraph, i: usize| match graph.object(i) {
        Some(object) if object.attributes.is_empty() => format!(" {}", object.label),
        _ => graph.item_text(i),
    };
    let expected = json("scene_graphs/loader_expected.json");
    for (name, records) in expected["records"].as_object().unwrap() {
        let graphs: BTreeMap<String, SceneGraph> =
            graphs(name).into_iter().map(|graph| (graph.img_id.clone(), graph)).collect();
        for record in records.as_array().unwrap() {
            let graph = &graphs[record["img_id"].as_str().unwrap()];
            let text = |i| reference_text(graph, i);
            let triples: Vec<Value> = graph
                .relations()
                .map(|(s, r, o)| json!({"item1": text(s), "relation": r.predicate, "item2": text(o)}))
                .collect();
            assert_eq!(record["triples"], json!(triples));
            assert_eq!(record["isolated_items"], json!(graph.isolated().map(text).collect::<Vec<_>>()));
            assert_eq!(record["prompt"], graph.caption.as_str());
            let global = |i| graph.object(i).and_then(|object| object.global_item_id);
            let ids: Vec<Value> =
                graph.relations().map(|(s, _, o)| json!({"item1": global(s), "item2": global(o)})).collect();
            assert_eq!(record["global_ids"], json!(ids));
        }
    }
}

/// The large record that `generator_10k.json` describes, with `items` items and `relations` relations.
fn generated(rule: &Value, items: u64, relations: u64) -> Value {
    let word = |list: &str, i: u64| {
        let words = rule[list].as_array().unwrap();
        words[i as usize % words.len()].clone()
    };
    let items_value: Vec<Value> = (0..items)
        .map(|i| {
            let attributes: Vec<Value> = (0..i % 4).map(|j| word("attributes", i + j)).collect();
            json!({"item_id": i, "label": word("labels", i), "attributes": attributes, "global_item_id": 1_000_000 + i})
        })
        .collect();
    let relations_value: Vec<Value> = (0..relations)
        .map(|k| {
            let item1 = k * 7919 % items;
            let item2 = (k * 104_729 + 1) % items;
            let item2 = if item1 == item2 { (item2 + 1) % items } else { item2 };
            json!({"triple_id": k, "item1": item1, "relation": word("relations", k), "item2": item2})
        })
        .collect();
    let mut record = rule["record"].clone();
    record["items"] = items_value.into();
    record["relations"] = relations_value.into();
    record
}

#[test]
fn a_graph_of_ten_thousand_items() {
    let rule = json("scene_graphs/malformed/generator_10k.json");
    assert_eq!(generated(&rule, 20, 30), rule["small_check"]["record"]);
    let bytes = json!([generated(&rule, 10_000, 20_000)]).to_string();
    assert_eq!(bytes.len(), rule["compact_json_bytes"]);
    assert_eq!(hex::encode(Sha256::digest(&bytes)), rule["compact_json_sha256"]);

    let started = Instant::now();
    let records: Vec<Record> = laion_sg::read(bytes.as_bytes(), "generated.json").collect();
    let [Record::Graph { graph, findings, .. }] = &records[..] else { panic!("{records:?}") };
    let texts: Vec<String> = (0..graph.num_objects()).map(|i| graph.item_text(i)).collect();
    let label = |i: usize| graph.object(i).unwrap().label.as_str();
    let degrees: Vec<usize> = (0..graph.num_objects()).map(|i| graph.degree(i)).collect();
    let distinct: HashSet<_> = graph.relations().map(|(s, r, o)| (s, &r.predicate, o)).collect();
    // Random relations run in circles too, which is told once an order.
    let twice = findings.iter().filter(|finding| finding.code == Code::DuplicateTriple).count();
    assert_eq!(twice, 20_000 - distinct.len());
    assert!(findings.iter().all(|finding| matches!(finding.code, Code::DuplicateTriple | Code::Contradiction)));
    let found = json!({
        "isolated_items": graph.isolated().count(),
        "distinct_id_triples": distinct.len(),
        "distinct_label_triples": graph.relations().map(|(s, r, o)| (label(s), &r.predicate, label(o))).collect::<HashSet<_>>().len(),
        "distinct_text_triples": graph.relations().map(|(s, r, o)| (&texts[s], &r.predicate, &texts[o])).collect::<HashSet<_>>().len(),
        "attributes": graph.objects().map(|object| object.attributes.len()).sum::<usize>(),
        "max_degree": degrees.iter().max(),
        "min_degree_of_used": degrees.iter().filter(|degree| **degree > 0).min(),
        "self_relations": graph.relations().filter(|(s, _, o)| s == o).count(),
    });
    assert_eq!(found, rule["expected"]);
    assert!(started.elapsed().as_secs_f64() < 5.0, "{:?}", started.elapsed());
}

/// A file that is made while it is read: JSON lines of one record under ever new names.
struct Endless {
    record: String,
    left: u64,
    line: std::io::Cursor<Vec<u8>>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.line.read(buffer)?;
        if read > 0 || self.left == 0 {
            return Ok(read);
        }
        self.left -= 1;
        self.line = std::io::Cursor::new(self.record.replacen("vg", &format!("{}_", self.left), 1).into_bytes());
        self.line.read(buffer)
    }
}

#[test]
fn reads_more_than_five_thousand_graphs_a_second() {
    let record = format!("{}\n", json("scene_graphs/real/vg_regions_2785.json")[0]);
    let count = 50_000;
    let source = Endless { record, left: count, line: std::io::Cursor::default() };
    let started = Instant::now();
    let accepted = laion_sg::read(std::io::BufReader::new(source), "-")
        .filter(|record| matches!(record, Record::Graph { .. }))
        .count();
    let rate = count as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} graphs a second");
    assert_eq!(accepted as u64, count);
    assert!(rate > 5_000.0, "{rate} graphs a second");
}
