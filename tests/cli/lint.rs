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
