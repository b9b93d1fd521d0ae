//! Files taken in through the API, and what is wrong with the records that are not.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use axum::http::Method;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tests::test_app::{Answer, TestApp};

use crate::finished::text;
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(every_form_of_a_file_is_taken_once),
    test!(real_files_are_taken_whole),
    test!(rejects_name_record_pointer_and_reason),
    test!(what_is_no_file_is_refused),
];

/// A file of the shared data, which lies beside the repository.
pub fn shared(path: &str) -> anyhow::Result<Vec<u8>> {
    Ok(fs_err::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path))?)
}

pub async fn import(app: &TestApp, name: &str, media_type: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
    let path = format!("/api/v1/imports?name={name}");
    app.request(Method::POST, &path, &[("content-type", media_type)], body).await
}

fn gzip(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

fn form(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--edge\r\nContent-Disposition: \
         form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/json\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--edge--\r\n"].concat()
}

async fn every_form_of_a_file_is_taken_once(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let records: Vec<Value> =
        (0..5).map(|i| builder::shapes::generate_one(3, i).to_laion_sg(&format!("form-{i}"))).collect();
    let array = serde_json::to_vec(&records)?;
    let lines = records.iter().map(|one| format!("{one}\n")).collect::<String>().into_bytes();
    let forms = [
        ("a.json", "application/json", array.clone()),
        ("a.jsonl", "application/x-ndjson", lines.clone()),
        ("a.json.gz", "application/gzip", gzip(&array)?),
        ("a.jsonl.gz", "application/octet-stream", gzip(&lines)?),
        ("a.json", "multipart/form-data; boundary=edge", form("b.json", &array)),
    ];
    for (place, (name, media_type, body)) in forms.into_iter().enumerate() {
        let imported = import(&app, name, media_type, body).await?.expect(201)?;
        let expected = if place == 0 { (5, 0) } else { (0, 5) };
        ensure!(imported["read"] == 5 && imported["rejected"] == 0, "{name} {media_type}: {imported}");
        ensure!(
            (&imported["accepted"], &imported["unchanged"]) == (&expected.0.into(), &expected.1.into()),
            "{imported}"
        );
        ensure!(imported["file"] == name, "{imported}");
    }
    let body = form("../../own name.json", &array);
    let headers = [("content-type", "multipart/form-data; boundary=edge")];
    let named = app.request(Method::POST, "/api/v1/imports", &headers, body).await?.expect(201)?;
    ensure!(named["file"] == "own name.json", "{named}");
    ensure!(app.get("/api/v1/graphs").await?.expect(200)?["total"] == 5);
    Ok(())
}

async fn real_files_are_taken_whole(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    for name in ["real/vg10.json", "real/laion_sg_repo_example.json", "real/vg_regions_2785.json"] {
        let content = shared(&format!("scene_graphs/{name}"))?;
        let records = serde_json::from_slice::<Value>(&content)?.as_array().map_or(1, Vec::len);
        let imported = import(&app, "real.json", "application/json", content).await?.expect(201)?;
        ensure!(imported["read"] == records && imported["rejected"] == 0, "{name}: {imported}");
        ensure!(imported["accepted"] == records, "{name}: {imported}");
    }
    Ok(())
}

async fn rejects_name_record_pointer_and_reason(world: Arc<World>) -> Outcome {
    let expected: Value = serde_json::from_slice(&shared("scene_graphs/malformed/expected.json")?)?;
    let cases = expected["cases"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(cases.len() > 30);
    for case in cases {
        // A store of its own: the files share their img_ids.
        let app = TestApp::new(&world.cluster).await?;
        let name = text(&case["file"]);
        let content = shared(&format!("scene_graphs/malformed/{name}"))?;
        let imported = import(&app, name, "application/json", content).await?.expect(201)?;
        let path = format!("/api/v1/imports/{}/rejects?limit=200", text(&imported["id"]));
        let rejects = app.get(&path).await?.expect(200)?;
        let rejects = rejects["items"].as_array().map_or(&[][..], Vec::as_slice);
        for finding in case["findings"].as_array().into_iter().flatten().filter(|one| one["severity"] == "error") {
            let same = |one: &Value| {
                let record = finding.get("record").unwrap_or(&Value::Null);
                one["code"] == finding["code"] && one["pointer"] == finding["pointer"] && one["record"] == *record
            };
            ensure!(rejects.iter().any(same), "{name}: {finding} is not among {rejects:#?}");
        }
        for one in rejects {
            ensure!(one["file"] == name && !text(&one["message"]).is_empty(), "{one}");
        }
        // A fault of the file as a whole, of a record, or none.
        let whole = rejects.iter().any(|one| one["record"].is_null());
        ensure!((imported["state"] == "failed") == whole, "{name}: {imported}");
        ensure!(imported["error"]["message"].is_string() == whole, "{name}: {imported}");
        ensure!((imported["rejected"] != 0 || whole) == (case["outcome"] == "error"), "{name}: {imported}");
    }
    Ok(())
}

async fn what_is_no_file_is_refused(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    import(&app, "a.png", "image/png", vec![1, 2, 3]).await?.problem(415, "unsupported_media_type")?;
    let empty = b"--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--edge--\r\n".to_vec();
    for body in [empty, b"--edge\r\nbroken".to_vec(), Vec::new()] {
        import(&app, "a.json", "multipart/form-data; boundary=edge", body).await?.problem(400, "malformed_body")?;
    }
    import(&app, "a.json", "multipart/form-data", Vec::new()).await?.problem(400, "malformed_body")?;
    // One record within the file is no reason to refuse the others.
    let good = builder::shapes::generate_one(3, 9).to_laion_sg("good");
    let file = serde_json::to_vec(&json!([good, {"img_id": "bad"}, 7]))?;
    let imported = import(&app, "mixed.json", "application/json", file).await?.expect(201)?;
    ensure!(imported["accepted"] == 1 && imported["rejected"] == 2, "{imported}");
    Ok(())
}
