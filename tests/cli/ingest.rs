//! `diptych ingest` on the shared files: counts, rejects, exit codes.

use std::path::Path;

use serde_json::Value;

use super::{data_folder, diptych, lines, shared};

/// Exit code, summary, and the findings on stderr.
fn ingest(data: &Path, file: &Path) -> (Option<i32>, Value, Vec<Value>) {
    let output = diptych().args(["--data", data.to_str().unwrap(), "ingest", "--json"]).arg(file).output().unwrap();
    let mut found = lines(&output.stdout);
    let errors = String::from_utf8(output.stderr).unwrap();
    let findings = errors.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(found.len(), 1, "{errors}");
    (output.status.code(), found.remove(0), findings)
}

#[test]
fn files_are_taken_once_and_bad_records_are_told() {
    let data = data_folder();
    let real = shared("scene_graphs/real/vg_regions_2785.json");
    let (code, summary, findings) = ingest(data.path(), &real);
    assert_eq!((code, &summary["read"], &summary["accepted"]), (Some(0), &2785.into(), &2785.into()), "{summary}");
    assert!(findings.is_empty() && summary["seconds"].as_f64().unwrap() > 0.0, "{findings:?}");
    let (code, summary, _) = ingest(data.path(), &real);
    assert_eq!((code, &summary["accepted"], &summary["unchanged"]), (Some(0), &0.into(), &2785.into()), "{summary}");

    let mixed = shared("scene_graphs/malformed/110_mixed_good_and_bad.json");
    let (code, summary, findings) = ingest(data.path(), &mixed);
    assert_eq!(code, Some(1));
    let count = |key: &str| summary[key].as_i64().unwrap();
    assert!(count("accepted") > 0 && count("rejected") > 0, "{summary}");
    assert_eq!(count("read"), count("accepted") + count("unchanged") + count("rejected"), "{summary}");
    for key in ["file", "record", "pointer", "code", "severity", "message", "suggestion"] {
        assert!(findings.iter().all(|one| one.get(key).is_some()), "{key}: {findings:?}");
    }
    assert!(findings.iter().all(|one| one["file"] == mixed.to_str().unwrap()));

    // A fault of the file as a whole is no record's, and a failure all the same.
    let (code, summary, findings) = ingest(data.path(), &shared("scene_graphs/malformed/070_truncated.json"));
    assert_eq!((code, &findings[0]["code"]), (Some(1), &"E_JSON_SYNTAX".into()), "{summary}");
}

#[test]
fn a_file_that_is_not_there_is_named_and_nothing_is_started() {
    let data = data_folder();
    let args = ["--data", data.path().to_str().unwrap(), "ingest", "/nowhere/graphs.json"];
    let output = diptych().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nowhere/graphs.json"));
    assert!(fs_err::read_dir(data.path()).unwrap().next().is_none());
}
