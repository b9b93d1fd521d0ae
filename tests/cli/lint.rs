//! `diptych lint` over the malformed files, against what is expected of each.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{diptych, lines, shared};

#[test]
fn malformed_files_give_the_expected_findings() {
    let folder = shared("scene_graphs/malformed");
    let expected: Value = serde_json::from_slice(&fs_err::read(folder.join("expected.json")).unwrap()).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let name = case["file"].as_str().unwrap();
        let output = diptych().args(["lint", "--json"]).arg(folder.join(name)).output().unwrap();
        let found = lines(&output.stdout);
        for finding in case["findings"].as_array().unwrap() {
            let same = |one: &Value| {
                let record = finding.get("record").unwrap_or(&Value::Null);
                one["code"] == finding["code"] && one["pointer"] == finding["pointer"] && one["record"] == *record
            };
            assert!(found.iter().any(same), "{name}: {finding} is not among {found:#?}");
        }
        let has_error = found.iter().any(|one| one["severity"] == "error");
        assert_eq!(output.status.code(), Some(i32::from(has_error)), "{name}");
        assert_eq!(has_error, case["outcome"] == "error", "{name}: {found:#?}");
        if case["outcome"] == "ok" {
            assert!(found.is_empty(), "{name}: {found:#?}");
        }
        for one in &found {
            let object = one.as_object().unwrap();
            for key in ["file", "record", "pointer", "code", "severity", "message", "suggestion"] {
                assert!(object.contains_key(key), "{name}: {one} has no {key}");
            }
        }
    }
}

#[test]
fn lines_for_people_name_file_record_and_pointer() {
    let file = shared("scene_graphs/malformed/005_missing_relations.json");
    let output = diptych().arg("lint").arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let place = format!("{}:0:/0/relations: error E_MISSING_FIELD", file.display());
    assert!(text.contains(&place), "{text}");
}

#[test]
fn the_standard_input_is_a_file_too() {
    let file = fs_err::read(shared("scene_graphs/malformed/001_valid_minimal.json")).unwrap();
    let output = diptych().args(["lint", "--json", "-"]).write_stdin(file).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    for _ in 0..20_000 {
        writeln!(file, "{{}}").unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_diptych"))
        .args(["lint", "--json"])
        .arg(file.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some() && !text.contains("panicked"), "{:?} {text}", output.status);
}

#[test]
fn notes_are_for_people_and_findings_when_asked_for() {
    for (name, code, pointer) in [
        ("028_isolated_item.json", "W_ISOLATED_ITEM", "/0/items/2"),
        ("029_contradicting_relations.json", "W_OPPOSITE_RELATIONS", "/0/relations/1"),
    ] {
        let file = shared("scene_graphs/malformed").join(name);
        let text = diptych().arg("lint").arg(&file).output().unwrap();
        assert!(String::from_utf8(text.stdout).unwrap().contains(&format!("{pointer}: note {code}: ")), "{name}");
        let strict = diptych().args(["lint", "--json", "--strict"]).arg(&file).output().unwrap();
        let found = lines(&strict.stdout);
        assert_eq!((strict.status.code(), found.len()), (Some(0), 1), "{name}");
        assert_eq!((&found[0]["code"], &found[0]["pointer"]), (&Value::from(code), &Value::from(pointer)));
        assert_eq!(found[0]["severity"], "warning");
    }
}

#[test]
fn an_order_both_ways_is_a_warning() {
    let record = r#"[{"img_id":"1","name":"1.jpg","caption_ori":"","items":[{"item_id":0,"label":"a","attributes":[]},{"item_id":1,"label":"b","attributes":[]}],"relations":[{"item1":0,"relation":"left of","item2":1},{"item1":1,"relation":"left of","item2":0}]}]"#;
    let output = diptych().args(["lint", "--json", "-"]).write_stdin(record).output().unwrap();
    let found = lines(&output.stdout);
    assert_eq!((output.status.code(), found.len()), (Some(0), 1));
    assert_eq!(
        (&found[0]["code"], &found[0]["pointer"]),
        (&Value::from("W_CONTRADICTION"), &Value::from("/0/relations/1"))
    );
}

#[test]
fn sarif_names_rules_levels_and_places() {
    let file = shared("scene_graphs/malformed/110_mixed_good_and_bad.json");
    for arguments in [&["lint", "--sarif"][..], &["lint", "--format", "sarif"]] {
        let output = diptych().args(arguments).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let run = &document["runs"][0];
        assert_eq!(
            (&document["version"], &run["tool"]["driver"]["name"]),
            (&Value::from("2.1.0"), &Value::from("diptych lint"))
        );
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        for (result, (code, level, pointer)) in results.iter().zip([
            ("E_DANGLING_ITEM", "error", "/1/relations/0/item2"),
            ("W_NO_RELATIONS", "warning", "/2/relations"),
            ("E_EMPTY_LABEL", "error", "/3/items/0/label"),
        ]) {
            assert_eq!((&result["ruleId"], &result["level"]), (&Value::from(code), &Value::from(level)));
            assert_eq!(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], pointer);
            let rule = &rules[result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], code);
            assert!(!rule["shortDescription"]["text"].as_str().unwrap().is_empty());
        }
    }
}
