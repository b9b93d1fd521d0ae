//! Lists of graphs: filters, facets, orders.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::{Value, json};
use tests::test_app::TestApp;

use crate::finished::{GRAPHS, ids, import_shapes};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(filters_hold_together_and_facets_count_them),
    test!(orders_by_score_put_the_unscored_last),
    test!(new_lists_show_what_has_just_changed),
];

async fn list(app: &TestApp, query: &str) -> anyhow::Result<Value> {
    app.get(&format!("/api/v1/graphs?limit=200&{query}")).await?.expect(200)
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

/// A filter and what it means for one graph of the list.
type Meaning = (&'static str, fn(&Value) -> bool);

fn any(graph: &Value, of: &str, holds: impl Fn(&Value) -> bool) -> bool {
    graph[of].as_array().into_iter().flatten().any(holds)
}

async fn filters_hold_together_and_facets_count_them(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    import_shapes(&app, 60).await?;
    let everything = list(&app, "").await?;
    ensure!(everything["total"] == 60 && items(&everything).len() == 60);
    let red = |object: &Value| object["attributes"].as_array().is_some_and(|all| all.iter().any(|one| one == "red"));
    let meanings: [Meaning; 7] = [
        ("split=train", |graph| graph["split"] == "train"),
        ("split=held_out", |graph| graph["split"] == "held_out"),
        ("label=circle", |graph| any(graph, "objects", |object| object["label"] == "circle")),
        ("relation=above", |graph| any(graph, "relations", |one| one["predicate"] == "above")),
        ("has_candidates=false", |_| true),
        ("has_candidates=true", |_| false),
        ("text=ShApEs-00", |graph| graph["img_id"].as_str().is_some_and(|id| id.starts_with("shapes-00"))),
    ];
    for (query, meaning) in meanings {
        let found = ids(&list(&app, query).await?);
        let expected = items(&everything).iter().filter(|graph| meaning(graph)).map(|graph| graph["id"].clone());
        ensure!(found.iter().map(|id| Value::from(id.as_str())).eq(expected), "{query}: {} found", found.len());
    }
    let both = list(&app, "label=circle&attribute=red&split=train").await?;
    let expected = items(&everything).iter().filter(|graph| {
        graph["split"] == "train"
            && any(graph, "objects", |object| object["label"] == "circle")
            && any(graph, "objects", red)
    });
    ensure!(items(&both).iter().eq(expected) && both["total"].as_u64() > Some(0), "{}", both["total"]);
    // What a facet counts is what its filter finds; the most frequent word is the first.
    for facet in ["split", "label", "attribute", "relation"] {
        let words = both["facets"][facet].as_object().into_iter().flatten();
        let counts: Vec<(&String, i64)> = words.filter_map(|(word, count)| Some((word, count.as_i64()?))).collect();
        ensure!(!counts.is_empty(), "{facet}");
        ensure!(counts.windows(2).all(|two| two[0].1 >= two[1].1), "{facet}: {counts:?}");
        for (word, count) in counts.into_iter().take(3) {
            let word = word.replace(' ', "%20");
            // The same filter twice would be one: a facet's own word narrows the list further.
            if both["facets"][facet].as_object().is_some_and(|words| words.len() > 1) && facet == "relation" {
                let narrowed = list(&app, &format!("label=circle&attribute=red&split=train&relation={word}")).await?;
                ensure!(narrowed["total"] == count, "{facet} {word}: {} instead of {count}", narrowed["total"]);
            }
        }
    }
    ensure!(list(&app, "facets=false").await?["facets"].as_object().is_some_and(serde_json::Map::is_empty));
    ensure!(list(&app, "label=' OR true --").await.is_err(), "a blank in an address is refused");
    ensure!(list(&app, "label='%20OR%20true%20--").await?["total"] == 0);
    ensure!(list(&app, "text=%25").await?["total"] == 0, "% is a character, not a pattern");
    Ok(())
}

async fn orders_by_score_put_the_unscored_last(world: Arc<World>) -> Outcome {
    let app = &world.finished().await?.app;
    let extreme = |graph: &Value, best: bool| -> Option<f64> {
        let scores = graph["candidates"].as_array()?.iter().filter_map(|one| one["scores"]["dpg"].as_f64());
        scores.reduce(if best { f64::max } else { f64::min })
    };
    for sort in ["best_score", "worst_score", "spread"] {
        let found = list(app, &format!("sort={sort}")).await?;
        let keys: Vec<Option<f64>> = items(&found)
            .iter()
            .map(|graph| match sort {
                "best_score" => extreme(graph, true),
                "worst_score" => extreme(graph, false).map(|score| -score),
                _ => Some(extreme(graph, true)? - extreme(graph, false)?),
            })
            .collect();
        ensure!(keys[..GRAPHS].iter().all(Option::is_some) && keys[GRAPHS..].iter().all(Option::is_none), "{keys:?}");
        ensure!(keys[..GRAPHS].is_sorted_by(|one, next| one >= next), "{sort}: {keys:?}");
    }
    let middle = list(app, "sort=best_score").await?["items"][GRAPHS / 2].clone();
    let border = extreme(&middle, true).unwrap_or_default();
    for graph in items(&list(app, &format!("min_score={border}")).await?) {
        ensure!(extreme(graph, true) >= Some(border), "{graph}");
    }
    for graph in items(&list(app, &format!("max_score={border}&metric=dpg")).await?) {
        ensure!(extreme(graph, false) <= Some(border), "{graph}");
    }
    ensure!(list(app, "min_score=0&metric=unheard-of").await?["total"] == 0);
    Ok(())
}

/// Rows are described from memory while nothing has changed, also in lists that nobody asked before; a change shows at once.
async fn new_lists_show_what_has_just_changed(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    import_shapes(&app, 12).await?;
    let all = list(&app, "facets=false").await?;
    // The same rows in another order, from memory, are the same rows.
    let mut newest = items(&list(&app, "facets=false&sort=newest").await?).to_vec();
    newest.reverse();
    ensure!(newest == items(&all), "{newest:?}");
    let id = all["items"][3]["id"].as_str().unwrap_or_default().to_owned();
    for (turn, tag) in ["first", "second", "third"].into_iter().enumerate() {
        let change = json!({"graph_ids": [id], "action": "add_tags", "tags": [tag]});
        app.post("/api/v1/graphs/bulk", &change).await?.expect(200)?;
        for query in [
            format!("facets=false&has_candidates=false&text={}", &"shapes"[..=turn]),
            format!("facets=false&tag={tag}"),
        ] {
            let found = list(&app, &query).await?;
            let row = items(&found).iter().find(|graph| graph["id"] == id.as_str());
            let tags = row.and_then(|row| row["tags"].as_array()).map_or(0, Vec::len);
            ensure!(tags == turn + 1, "{query}: {row:?}");
        }
    }
    Ok(())
}
