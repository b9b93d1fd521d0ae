//! Pairs: previewed under a policy, frozen, and the same ever after.

use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::finished::{Finished, text};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[test!(a_preview_is_what_freezing_gives), test!(previews_follow_their_policy)];

async fn a_preview_is_what_freezing_gives(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    let policy = pairing["policy"].clone();
    let preview = app.post("/api/v1/pairings/preview", &json!({ "policy": policy })).await?.expect(200)?;
    ensure!(
        preview["num_pairs"] == pairing["num_pairs"] && preview["num_graphs"] == pairing["num_graphs"],
        "{preview}"
    );
    let mean = (preview["mean_margin"].as_f64(), pairing["mean_margin"].as_f64());
    ensure!(mean.0.zip(mean.1).is_some_and(|(one, other)| (one - other).abs() < 1e-12), "{mean:?}");
    let bars = preview["histogram"].as_array().context("a histogram")?;
    let counted: u64 = bars.iter().filter_map(|bar| bar["count"].as_u64()).sum();
    ensure!(preview["num_pairs"] == counted, "{preview}");

    let path = format!("/api/v1/pairings/{}/pairs?limit=20", text(&pairing["id"]));
    let pairs = app.get(&path).await?.expect(200)?;
    ensure!(pairs["items"] == preview["pairs"], "{pairs:#} {preview:#}");
    for pair in pairs["items"].as_array().into_iter().flatten() {
        let score = |side: &str| pair[side]["score"].as_f64().unwrap_or_default();
        let margin = pair["margin"].as_f64().unwrap_or_default();
        ensure!(margin > 0.0 && (score("winner") - score("loser") - margin).abs() < 1e-9, "{pair}");
        ensure!(!text(&pair["caption"]).is_empty(), "{pair}");
        let differing = pair["differing_questions"].as_array().context("questions")?;
        ensure!(!differing.is_empty() && differing.iter().all(|one| one["winner"] != one["loser"]), "{pair}");
    }
    let third = app.get(&format!("{path}&from=2")).await?.expect(200)?;
    ensure!(third["items"][0] == pairs["items"][2] && third["total"] == pairs["total"], "{third}");
    let beyond = app.get(&format!("{path}&from=4000000000")).await?.expect(200)?;
    ensure!(beyond["items"].as_array().is_some_and(Vec::is_empty), "{beyond}");
    app.get(&format!("{path}&from=-1")).await?.problem(400, "malformed_query")?;
    // Frozen again, under another name: the same pairing.
    let again = app.post("/api/v1/pairings", &json!({"name": "again", "policy": policy})).await?;
    ensure!(again.expect(200)? == *pairing, "{}", again.text());
    ensure!(again.header("location") == format!("/api/v1/pairings/{}", text(&pairing["id"])));
    Ok(())
}

async fn previews_follow_their_policy(world: Arc<World>) -> Outcome {
    let Finished { app, generation, .. } = world.finished().await?;
    let preview = async |request: Value| app.post("/api/v1/pairings/preview", &request).await?.expect(200);
    let count = |preview: &Value| preview["num_pairs"].as_u64().unwrap_or_default();
    let policy = |margin: f64, select: &str| json!({"weights": {"dpg": 1}, "margin": margin, "select": select});
    let mut last = u64::MAX;
    for margin in [0.0, 0.2, 0.5, 0.9, 2.0] {
        let found = preview(json!({ "policy": policy(margin, "all_above_margin") })).await?;
        ensure!(count(&found) <= last, "a wider margin gives no more pairs");
        last = count(&found);
        if margin > 1.0 {
            ensure!(last == 0 && found["mean_margin"].is_null() && found["pairs"] == json!([]), "{found}");
        }
    }
    let best_worst = preview(json!({ "policy": policy(0.0, "best_worst") })).await?;
    ensure!(best_worst["num_pairs"] == best_worst["num_graphs"], "at most one pair a graph");
    let all = preview(json!({ "policy": policy(0.0, "all_above_margin") })).await?;
    ensure!(count(&all) >= count(&best_worst) && count(&best_worst) > 0);
    let scoped = preview(json!({"policy": policy(0.0, "best_worst"), "generation_id": generation["id"]})).await?;
    ensure!(scoped == best_worst);
    ensure!(count(&preview(json!({"policy": policy(0.0, "best_worst"), "split": "held_out"})).await?) == 0);
    ensure!(count(&preview(json!({"policy": {"weights": {"unheard-of": 1}}})).await?) == 0);
    let turned = preview(json!({"policy": {"weights": {"dpg": -1}, "select": "all_above_margin"}})).await?;
    ensure!(count(&turned) == count(&all), "a negative weight turns every pair round");
    // Numbers at the edge of what a double holds stay numbers.
    let huge = preview(json!({"policy": {"weights": {"dpg": 1e308, "attribute": 1e308}}})).await?;
    ensure!(huge["histogram"].as_array().into_iter().flatten().all(|bar| bar["to"].is_number()), "{huge}");
    let problem = app
        .post("/api/v1/pairings/preview", &json!({"policy": policy(0.0, "best_worst"), "generation_id": Uuid::nil()}))
        .await?
        .problem(422, "invalid_fields")?;
    ensure!(problem["errors"][0]["pointer"] == "/generation_id", "{problem}");
    Ok(())
}
