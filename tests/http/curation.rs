//! What curators do with graphs: find them by their parts, tag and collect them, edit them, take it back.

use std::sync::Arc;

use anyhow::ensure;
use axum::http::Method;
use serde_json::{Value, json};
use tests::test_app::{Answer, TestApp};

use crate::finished::{Finished, ids, import_shapes, text};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(a_subgraph_is_found_as_words_and_as_arrows),
    test!(scores_are_asked_by_kind_and_counted),
    test!(bulk_actions_are_taken_back_exactly),
    test!(a_collection_is_changed_by_who_has_seen_it),
    test!(an_edited_graph_takes_the_place_and_gives_it_back),
];

async fn change(app: &TestApp, method: Method, path: &str, etag: Option<&str>, body: &Value) -> anyhow::Result<Answer> {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(etag.map(|etag| ("if-match", etag)));
    app.request(method, path, &headers, body.to_string()).await
}

/// "(*{red})-[left of]->(*{blue})" in a graph of a list.
fn has(graph: &Value, subject: &str, predicate: &str, object: &str) -> bool {
    let is = |position: &Value, attribute: &str| {
        let objects = graph["objects"].as_array().into_iter().flatten();
        objects.into_iter().any(|one| {
            one["position"] == *position
                && one["attributes"].as_array().is_some_and(|all| all.iter().any(|a| a == attribute))
        })
    };
    graph["relations"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|one| one["predicate"] == predicate && is(&one["subject"], subject) && is(&one["object"], object))
}

async fn a_subgraph_is_found_as_words_and_as_arrows(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    import_shapes(&app, 150).await?;
    let all = app.get("/api/v1/graphs?limit=200&facets=false").await?.expect(200)?;
    let mut hits = 0;
    for (subject, object) in [("red", "blue"), ("green", "red"), ("yellow", "purple"), ("small", "large")] {
        let mut expected: Vec<&str> = Vec::new();
        for graph in
            all["items"].as_array().into_iter().flatten().filter(|graph| has(graph, subject, "left of", object))
        {
            expected.push(text(&graph["id"]));
        }
        hits += expected.len();
        for query in [
            format!("phrase=a+{subject}+thing+left+of+a+{object}+thing"),
            format!("pattern=(*%7B{subject}%7D)-%5Bleft+of%5D-%3E(*%7B{object}%7D)"),
        ] {
            let found = app.get(&format!("/api/v1/graphs?limit=200&facets=false&{query}")).await?.expect(200)?;
            ensure!(ids(&found) == expected, "{query}: {:?} {expected:?}", ids(&found));
            ensure!(found["total"] == expected.len());
        }
    }
    ensure!(hits > 3, "the world has too few such graphs to prove anything: {hits}");
    for (query, pointer) in
        [("pattern=(dog", "/pattern"), ("phrase=", "/phrase"), ("pattern=(a)&phrase=dog", "/phrase")]
    {
        let problem = app.get(&format!("/api/v1/graphs?{query}")).await?.problem(400, "malformed_query")?;
        ensure!(problem["errors"][0]["pointer"] == pointer, "{problem}");
    }
    Ok(())
}

async fn scores_are_asked_by_kind_and_counted(world: Arc<World>) -> Outcome {
    let Finished { app, .. } = world.finished().await?;
    let list = app.get("/api/v1/graphs?has_candidates=true&limit=200").await?.expect(200)?;
    let bars = list["score_histogram"].as_array().map_or(&[][..], Vec::as_slice);
    let counted: i64 = bars.iter().filter_map(|bar| bar["count"].as_i64()).sum();
    ensure!(bars.len() == 20 && counted == 32, "{bars:?}");
    ensure!(list["facets"]["tag"].is_object() && list["facets"]["lint"].is_object(), "{}", list["facets"]);
    let mut seen = std::collections::BTreeSet::new();
    for kind in ["entity", "attribute", "relation"] {
        for least in ["0", "0.5", "1"] {
            let query = format!("/api/v1/graphs?limit=200&facets=false&kind={kind}&min_score={least}");
            let found = ids(&app.get(&query).await?.expect(200)?);
            // By hand: some candidate's part by this kind reaches the bound.
            let mut expected = Vec::new();
            for id in ids(&list) {
                let candidates = app.get(&format!("/api/v1/graphs/{id}/candidates")).await?.expect(200)?;
                let mut reaches = false;
                for candidate in ids(&candidates) {
                    let scores = app.get(&format!("/api/v1/candidates/{candidate}/scores")).await?.expect(200)?;
                    reaches |= scores["items"].as_array().into_iter().flatten().any(|one| {
                        one["metric"] == "dpg" && one["parts"][kind].as_f64() >= Some(least.parse().unwrap_or(9.0))
                    });
                }
                if reaches {
                    expected.push(id);
                }
            }
            ensure!(found == expected, "{kind} {least}: {found:?} {expected:?}");
            seen.insert(found.len());
        }
    }
    ensure!(seen.len() > 1, "every bound finds the same: {seen:?}");
    let none = app.get("/api/v1/graphs?min_disagreement=0.01&facets=false").await?.expect(200)?;
    ensure!(none["total"] == 0, "one answerer does not disagree with itself: {none}");
    Ok(())
}

async fn bulk_actions_are_taken_back_exactly(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    import_shapes(&app, 30).await?;
    let all = ids(&app.get("/api/v1/graphs?limit=200&facets=false").await?.expect(200)?);
    let bulk = async |body: Value| app.post("/api/v1/graphs/bulk", &body).await;
    let tagged = async |tag: &str| -> anyhow::Result<Vec<String>> {
        Ok(ids(&app.get(&format!("/api/v1/graphs?limit=200&facets=false&tag={tag}")).await?.expect(200)?))
    };
    bulk(json!({"graph_ids": [all[0]], "action": "add_tags", "tags": ["look"]})).await?.expect(200)?;
    let done =
        bulk(json!({"graph_ids": all[..10], "action": "add_tags", "tags": ["look", "new"]})).await?.expect(200)?;
    ensure!(
        done["matched"] == 10 && done["edits"][0]["num_graphs"] == 9 && done["edits"][1]["num_graphs"] == 10,
        "{done}"
    );
    ensure!(tagged("look").await? == all[..10]);
    // The graph that had the tag before keeps it.
    let undo = format!("/api/v1/edits/{}/undo", text(&done["edits"][0]["id"]));
    let undone = app.post(&undo, &json!({})).await?.expect(200)?;
    ensure!(undone["undone_at"].is_string() && tagged("look").await? == all[..1]);
    app.post(&undo, &json!({})).await?.problem(409, "undone_already")?;
    let red = ids(&app.get("/api/v1/graphs?limit=200&facets=false&attribute=red").await?.expect(200)?);
    let done =
        bulk(json!({"filter": {"attribute": "red"}, "action": "add_tags", "tags": ["red"]})).await?.expect(200)?;
    ensure!(done["matched"] == red.len() && tagged("red").await? == red && red.len() > 2);
    let list = app.get("/api/v1/graphs").await?.expect(200)?;
    ensure!(list["facets"]["tag"]["red"] == red.len(), "{}", list["facets"]);
    let edits = app.get("/api/v1/edits?limit=2").await?.expect(200)?;
    ensure!(edits["items"][0]["subject"] == "red" && edits["next_cursor"].is_string(), "{edits}");
    let faults =
        bulk(json!({"graph_ids": [], "filter": {}, "action": "add_tags", "collection_id": "x", "tags": [" a"]}))
            .await?;
    let problem = faults.problem(422, "invalid_fields")?;
    let pointers = crate::problems::pointers(&problem);
    ensure!(["", "/collection_id", "/tags/0"].iter().all(|one| pointers.contains(one)), "{problem}");
    let problem = bulk(json!({"filter": {"kind": "x", "min_score": "y"}, "action": "add_tags", "tags": ["a"]})).await?;
    let problem = problem.problem(422, "invalid_fields")?;
    ensure!(crate::problems::pointers(&problem) == ["/filter/kind", "/filter/min_score"], "{problem}");
    Ok(())
}

async fn a_collection_is_changed_by_who_has_seen_it(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    import_shapes(&app, 12).await?;
    let all = ids(&app.get("/api/v1/graphs?limit=200&facets=false").await?.expect(200)?);
    let made = app.post("/api/v1/collections", &json!({"name": "hard", "description": "d"})).await?;
    let made_document = made.expect(201)?;
    let path = made.header("location").to_owned();
    app.post("/api/v1/collections", &json!({"name": "hard"})).await?.problem(409, "duplicate_name")?;
    let bulk = json!({"graph_ids": all[..4], "action": "add_to_collection", "collection_id": made_document["id"]});
    app.post("/api/v1/graphs/bulk", &bulk).await?.expect(200)?;
    let found = app.get(&path).await?;
    ensure!(found.expect(200)?["num_graphs"] == 4);
    let etag = found.header("etag").to_owned();
    let inside = format!("/api/v1/graphs?limit=200&facets=false&collection_id={}", text(&made_document["id"]));
    ensure!(ids(&app.get(&inside).await?.expect(200)?) == all[..4]);
    let rename = json!({"name": "harder"});
    change(&app, Method::PATCH, &path, None, &rename).await?.problem(428, "precondition_required")?;
    let renamed = change(&app, Method::PATCH, &path, Some(&etag), &rename).await?;
    ensure!(renamed.expect(200)?["name"] == "harder" && renamed.header("etag") != etag);
    change(&app, Method::PATCH, &path, Some(&etag), &rename).await?.problem(412, "precondition_failed")?;
    change(&app, Method::DELETE, &path, Some("*"), &Value::Null).await?.problem(412, "precondition_failed")?;
    let current = renamed.header("etag").to_owned();
    let deleted = change(&app, Method::DELETE, &path, Some(&current), &json!({})).await?;
    ensure!(deleted.status == 204, "{}", deleted.text());
    ensure!(app.get("/api/v1/collections").await?.expect(200)?["total"] == 0);
    ensure!(app.get("/api/v1/graphs?facets=false").await?.expect(200)?["total"] == 12, "its graphs stay");
    Ok(())
}

async fn an_edited_graph_takes_the_place_and_gives_it_back(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    import_shapes(&app, 8).await?;
    let id = ids(&app.get("/api/v1/graphs?limit=1&facets=false").await?.expect(200)?).remove(0);
    let path = format!("/api/v1/graphs/{id}");
    let tags = format!("{path}/tags");
    let seen = app.get(&path).await?;
    let old = seen.expect(200)?;
    let tagged = change(&app, Method::PUT, &tags, Some(seen.header("etag")), &json!({"tags": ["b", "a"]})).await?;
    ensure!(tagged.expect(200)?["tags"] == json!(["a", "b"]));
    change(&app, Method::PUT, &tags, Some(seen.header("etag")), &json!({"tags": []}))
        .await?
        .problem(412, "precondition_failed")?;
    let mut record = old["document"].clone();
    record["items"][0]["label"] = "star".into();
    record["items"][0]["attributes"] = json!(["golden"]);
    record["caption_ori"] = "edited".into();
    let document = format!("{path}/document");
    change(&app, Method::PUT, &document, Some(seen.header("etag")), &record)
        .await?
        .problem(412, "precondition_failed")?;
    let revised = change(&app, Method::PUT, &document, Some(tagged.header("etag")), &record).await?;
    let revision = revised.expect(201)?;
    let new = &revision["graph"];
    ensure!(new["img_id"] == old["img_id"] && new["revises"] == id.as_str() && new["revision"] == 2, "{new}");
    ensure!(new["tags"] == json!(["a", "b"]) && new["split"] == old["split"] && new["caption"] == "edited", "{new}");
    let golden = "/api/v1/graphs?attribute=golden&facets=false";
    ensure!(ids(&app.get(golden).await?.expect(200)?) == [text(&new["id"])]);
    ensure!(app.get("/api/v1/graphs?facets=false").await?.expect(200)?["total"] == 8, "one graph a name");
    ensure!(app.get(&path).await?.expect(200)?["is_current"] == false, "the old one is kept");
    let revisions = app.get(&format!("{path}/revisions")).await?.expect(200)?;
    ensure!(ids(&revisions) == [text(&new["id"]), &id], "{revisions}");
    // A bad record is told with its places.
    let etag = app.get(revised.header("location")).await?.header("etag").to_owned();
    let newer = format!("{}/document", revised.header("location"));
    let bad =
        json!({"img_id": "other", "name": "x.png", "caption_ori": "", "items": [{"item_id": 0}], "relations": []});
    let problem = change(&app, Method::PUT, &newer, Some(&etag), &bad).await?.problem(422, "invalid_fields")?;
    ensure!(crate::problems::pointers(&problem).contains(&"/img_id"), "{problem}");
    let undo = format!("/api/v1/edits/{}/undo", text(&revision["edit"]["id"]));
    app.post(&undo, &json!({})).await?.expect(200)?;
    ensure!(
        app.get(golden).await?.expect(200)?["total"] == 0 && app.get(&path).await?.expect(200)?["is_current"] == true
    );
    Ok(())
}
