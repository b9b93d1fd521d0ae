//! Votes: the queue, one vote a voter and pair, taking back, agreement, and pairs made of votes.

use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::http::Method;
use serde_json::{Value, json};
use tests::test_app::TestApp;
use uuid::Uuid;

use crate::finished::{CANDIDATES, Finished, GRAPHS, import_shapes, text};
use crate::problems::pointers;
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(votes_leave_the_queue_and_come_back),
    test!(a_voter_has_one_vote_on_a_pair),
    test!(votes_that_mean_nothing_are_refused),
    test!(votes_agree_with_scores_and_make_pairs),
    test!(pairings_are_compared),
    test!(a_demo_is_started_once),
];

/// Unordered pairs among the candidates of the graphs.
const PAIRS: usize = GRAPHS * CANDIDATES * (CANDIDATES - 1) / 2;

async fn queue(app: &TestApp, voter: &str, limit: usize) -> anyhow::Result<Value> {
    app.get(&format!("/api/v1/votes/queue?voter={voter}&limit={limit}")).await?.expect(200)
}

fn ballot(contest: &Value, choice: &str, voter: &str) -> Value {
    json!({"left_id": contest["left"]["id"], "right_id": contest["right"]["id"], "choice": choice, "voter": voter})
}

async fn votes_leave_the_queue_and_come_back(world: Arc<World>) -> Outcome {
    let Finished { app, .. } = world.finished().await?;
    let before = queue(app, "queue", 200).await?;
    let items = before["items"].as_array().context("items")?;
    ensure!(items.len() == PAIRS && before["remaining"] == PAIRS && before["voted"] == 0, "{before}");
    // What scorers dispute comes first, and nothing tells what they think.
    let disputed = before["disputed"].as_u64().context("disputed")?;
    ensure!(disputed <= PAIRS as u64, "{before}");
    ensure!(!before.to_string().contains("score"), "the queue is blind: {}", items[0]);
    ensure!(!text(&items[0]["caption"]).is_empty(), "{}", items[0]);
    ensure!(queue(app, "queue", 3).await?["items"].as_array().is_some_and(|few| few[..] == items[..3]));

    let cast = app.post("/api/v1/votes", &ballot(&items[0], "left", "queue")).await?;
    let vote = cast.expect(201)?;
    ensure!(cast.header("location") == format!("/api/v1/votes/{}", text(&vote["id"])));
    ensure!(app.get(cast.header("location")).await?.expect(200)? == vote);
    let after = queue(app, "queue", 200).await?;
    ensure!(after["remaining"] == PAIRS - 1 && after["voted"] == 1 && after["items"][0] == items[1], "{after}");
    // Another voter's queue is as long as ever.
    ensure!(queue(app, "another", 1).await?["remaining"] == PAIRS);

    let gone = app.request(Method::DELETE, cast.header("location"), &[], "").await?;
    ensure!(gone.status == 204 && gone.body.is_empty(), "{}", gone.text());
    ensure!(queue(app, "queue", 200).await? == before);
    app.request(Method::DELETE, cast.header("location"), &[], "").await?.problem(404, "not_found")?;
    Ok(())
}

async fn a_voter_has_one_vote_on_a_pair(world: Arc<World>) -> Outcome {
    let Finished { app, .. } = world.finished().await?;
    let contest = queue(app, "once", 1).await?["items"][0].clone();
    let vote = app.post("/api/v1/votes", &ballot(&contest, "right", "once")).await?.expect(201)?;
    ensure!(app.post("/api/v1/votes", &ballot(&contest, "right", "once")).await?.expect(200)? == vote);
    // Shown the other way round it is the same pair.
    let turned = json!({"left": contest["right"], "right": contest["left"]});
    let changed = app.post("/api/v1/votes", &ballot(&turned, "both_bad", "once")).await?.expect(200)?;
    ensure!(changed["id"] == vote["id"] && changed["choice"] == "both_bad", "{changed}");
    ensure!(changed["left_id"] == vote["right_id"], "{changed}");
    let list = app.get("/api/v1/votes?voter=once").await?.expect(200)?;
    ensure!(list["total"] == 1 && list["items"][0] == changed, "{list}");
    Ok(())
}

async fn votes_that_mean_nothing_are_refused(world: Arc<World>) -> Outcome {
    let Finished { app, .. } = world.finished().await?;
    let items = queue(app, "wrong", 200).await?["items"].clone();
    let first = &items[0];
    let other =
        items.as_array().into_iter().flatten().find(|one| one["graph_id"] != first["graph_id"]).context("other")?;
    let id = &first["left"]["id"];
    for (body, expected) in [
        (json!({}), &["/choice", "/left_id", "/right_id"][..]),
        (
            json!({"left_id": id, "right_id": "x", "choice": "maybe", "voter": 3, "who": 1}),
            &["/choice", "/right_id", "/voter", "/who"],
        ),
        (json!({"left_id": id, "right_id": id, "choice": "left"}), &["/right_id"]),
        (json!({"left_id": Uuid::nil(), "right_id": Uuid::max(), "choice": "left"}), &["/left_id", "/right_id"]),
        (json!({"left_id": id, "right_id": other["left"]["id"], "choice": "left"}), &["/right_id"]),
        (
            json!({"left_id": id, "right_id": first["right"]["id"], "choice": "left", "voter": "x".repeat(101)}),
            &["/voter"],
        ),
    ] {
        let problem = app.post("/api/v1/votes", &body).await?.problem(422, "invalid_fields")?;
        ensure!(pointers(&problem) == expected, "{body}: {problem}");
    }
    ensure!(queue(app, "wrong", 1).await?["voted"] == 0);
    Ok(())
}

/// Votes as the DPG score would cast them agree with it everywhere; what they win is what a pairing of votes pairs.
async fn votes_agree_with_scores_and_make_pairs(world: Arc<World>) -> Outcome {
    let Finished { app, .. } = world.finished().await?;
    let items = queue(app, "dpg", 200).await?["items"].clone();
    let policy = json!({"policy": {"weights": {"votes": 1}, "select": "best_worst"}});
    let (mut sided, mut alike) = (0_u64, 0_u64);
    for contest in items.as_array().into_iter().flatten() {
        let mut scores = Vec::new();
        for side in ["left", "right"] {
            let candidate =
                app.get(&format!("/api/v1/candidates/{}", text(&contest[side]["id"]))).await?.expect(200)?;
            scores.push(candidate["scores"]["dpg"].as_f64().context("a score")?);
        }
        let choice = match scores[0].total_cmp(&scores[1]) {
            std::cmp::Ordering::Greater => "left",
            std::cmp::Ordering::Less => "right",
            std::cmp::Ordering::Equal => "both_good",
        };
        if choice == "both_good" {
            alike += 1;
        } else {
            sided += 1;
        }
        app.post("/api/v1/votes", &ballot(contest, choice, "dpg")).await?.expect(201)?;
    }
    ensure!(sided > 0, "no pair differs");
    let queue = queue(app, "dpg", 5).await?;
    ensure!(queue["remaining"] == 0 && queue["items"] == json!([]) && queue["voted"] == PAIRS, "{queue}");

    let agreement = app.get("/api/v1/votes/agreement?voter=dpg").await?.expect(200)?;
    let scorers = agreement["scorers"].as_array().context("scorers")?;
    let dpg = scorers.iter().find(|one| one["metric"] == "dpg").context("dpg")?;
    ensure!(dpg["agreed"] == sided && dpg["disagreed"] == 0 && dpg["tied"] == 0, "{dpg}");
    ensure!(dpg["ci95"][1] == 1.0 && dpg["ci95"][0].as_f64().is_some_and(|low| low > 0.2 && low < 1.0), "{dpg}");
    ensure!(agreement["choices"]["both_good"] == alike, "{agreement}");

    // The same winners as by the score itself: both count who beats whom, unless other voters' votes outweigh them.
    let by_votes = app.post("/api/v1/pairings/preview", &policy).await?.expect(200)?;
    let first = by_votes["pairs"].as_array().and_then(|pairs| pairs.first()).context("pairs of votes")?;
    for side in ["winner", "loser"] {
        ensure!(first[side]["score"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{first}");
    }
    ensure!(by_votes["num_pairs"].as_u64().is_some_and(|count| count > 0 && count <= GRAPHS as u64), "{by_votes}");
    // Mixed with a score, and on a side of the split without votes.
    let mixed = json!({"policy": {"weights": {"votes": 1, "dpg": 1}}});
    ensure!(app.post("/api/v1/pairings/preview", &mixed).await?.expect(200)?["num_pairs"].as_u64() > Some(0));
    let held_out = json!({"policy": policy["policy"], "split": "held_out"});
    ensure!(app.post("/api/v1/pairings/preview", &held_out).await?.expect(200)?["num_pairs"] == 0);
    Ok(())
}

async fn pairings_are_compared(world: Arc<World>) -> Outcome {
    let Finished { app, pairing, .. } = world.finished().await?;
    let id = text(&pairing["id"]);
    let freeze = async |name: &str, policy: Value| {
        let frozen = app.post("/api/v1/pairings", &json!({"name": name, "policy": policy})).await?;
        ensure!(frozen.status.is_success(), "{}", frozen.text());
        frozen.json()
    };
    let compare = async |with: &Value| {
        app.get(&format!("/api/v1/pairings/{id}/comparison?with={}", text(&with["id"]))).await?.expect(200)
    };
    let all = &pairing["num_pairs"];
    let same = compare(pairing).await?;
    ensure!(same["same"] == *all && same["flipped"]["count"] == 0 && same["only_here"]["count"] == 0, "{same}");
    let turned = freeze("turned", json!({"weights": {"dpg": -1}, "select": "all_above_margin"})).await?;
    let found = compare(&turned).await?;
    ensure!(found["same"] == 0 && found["flipped"]["count"] == *all, "{found}");
    let few = freeze("few", json!({"weights": {"dpg": 1}, "select": "best_worst"})).await?;
    let found = compare(&few).await?;
    let counts =
        [&found["same"], &found["flipped"]["count"], &found["only_here"]["count"], &found["only_there"]["count"]];
    let counts: Vec<u64> = counts.iter().filter_map(|count| count.as_u64()).collect();
    ensure!(few["num_pairs"] == counts[0] && counts[1] == 0 && counts[3] == 0, "{counts:?}");
    ensure!(*all == counts[0] + counts[2] && counts[2] > 0, "{counts:?}");
    let examples = found["only_here"]["examples"].as_array().context("examples")?;
    ensure!(examples.len() as u64 == counts[2].min(12) && examples[0]["winner"]["score"].is_number(), "{found}");

    let without = app.get(&format!("/api/v1/pairings/{id}/comparison")).await?.problem(400, "malformed_query")?;
    ensure!(pointers(&without) == ["/with"], "{without}");
    let unknown = format!("/api/v1/pairings/{id}/comparison?with={}", Uuid::nil());
    app.get(&unknown).await?.problem(404, "not_found")?;
    Ok(())
}

async fn a_demo_is_started_once(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    let started = app.post("/api/v1/demo", &json!({"size": "small"})).await?;
    let demo = started.expect(202)?;
    ensure!(started.header("location") == "/api/v1/demo" && demo["running"] == true, "{demo}");
    ensure!(demo["stages"].as_array().is_some_and(|stages| stages.len() > 4), "{demo}");
    // Nobody works in this store, so it still waits for its candidates.
    app.post("/api/v1/demo", &json!({"size": "small"})).await?.problem(409, "demo_running")?;
    let problem =
        app.post("/api/v1/demo", &json!({"size": "huge", "seed": -1})).await?.problem(422, "invalid_fields")?;
    ensure!(pointers(&problem) == ["/seed", "/size"], "{problem}");
    // A store with graphs of its own keeps them.
    let other = TestApp::new(&world.cluster).await?;
    import_shapes(&other, 3).await?;
    other.post("/api/v1/demo", &json!({"size": "small"})).await?.expect(202)?;
    ensure!(other.get("/api/v1/graphs?limit=1").await?.expect(200)?["total"].as_u64() >= Some(3));
    Ok(())
}
