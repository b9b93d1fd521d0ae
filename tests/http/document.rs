//! The OpenAPI document: what is in git is what is served, and it holds together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::http::Method;
use serde_json::Value;
use tests::test_app::TestApp;

use crate::{Outcome, Test, World, problems, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(the_document_in_git_is_what_is_served),
    test!(every_reference_leads_somewhere),
    test!(every_operation_is_named_and_tells_its_problems),
    test!(the_examples_of_bodies_are_understood),
];

/// The document in git.
pub fn kept() -> anyhow::Result<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../server/openapi.json");
    Ok(serde_json::from_slice(&fs_err::read(path)?)?)
}

async fn the_document_in_git_is_what_is_served(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let served = app.get("/api/v1/openapi.json").await?.expect(200)?;
    ensure!(served["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", served["openapi"]);
    ensure!(served == kept()?, "server/openapi.json is stale; UPDATE_OPENAPI=1 cargo test --release -p server openapi");
    Ok(())
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|one| references(one, found));
        }
        Value::Array(items) => items.iter().for_each(|one| references(one, found)),
        _ => {}
    }
}

async fn every_reference_leads_somewhere(_: Arc<World>) -> Outcome {
    let document = kept()?;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    ensure!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').with_context(|| reference.to_owned())?;
        ensure!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    Ok(())
}

async fn every_operation_is_named_and_tells_its_problems(_: Arc<World>) -> Outcome {
    let document = kept()?;
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            ensure!(!name.is_empty() && names.insert(name), "{method} {path} is called {name:?}");
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"];
            ensure!(problem["$ref"] == "#/components/schemas/Problem", "{method} {path} tells no problem");
            ensure!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path} says nothing");
            for parameter in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                let known = operation["parameters"].as_array().into_iter().flatten();
                ensure!(known.into_iter().any(|one| one["name"] == parameter), "{method} {path}: {parameter}");
            }
        }
    }
    Ok(())
}

/// An example may name what is not there; otherwise it must be taken.
async fn the_examples_of_bodies_are_understood(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let document = kept()?;
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(pointer) = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#')) else { continue };
            let schema = document.pointer(pointer).context("a schema")?;
            let example = &schema["example"];
            ensure!(example.is_object(), "the body of {method} {path} has no example");
            if path.contains('{') {
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes())?;
            let headers = [("content-type", "application/json")];
            let answer = app.request(method, path, &headers, example.to_string()).await?;
            let status = answer.status.as_u16();
            if status == 422 {
                let problem = answer.json()?;
                let named = problems::pointers(&problem);
                // Networks and features are registered by an operator.
                let may_lack = |one: &&str| one.contains("_id") || ["/network", "/reference_features"].contains(one);
                ensure!(named.iter().all(may_lack), "{path}: {problem}");
            } else if path == "/api/v1/session" {
                // Nobody has the token of the example.
                answer.problem(401, "unauthenticated")?;
            } else {
                ensure!((200..300).contains(&status), "{path}: {status} {}", answer.text());
            }
            tried += 1;
        }
    }
    ensure!(tried >= 5, "{tried} examples");
    Ok(())
}
