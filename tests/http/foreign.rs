//! Graphs from elsewhere go the same way as synthetic ones: conditioning, candidates, questions, browsing.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::finished::{Finished, accept, ids, settled, text};
use crate::imports::{import, shared};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[test!(graphs_from_elsewhere_get_candidates_questions_and_pages)];

async fn graphs_from_elsewhere_get_candidates_questions_and_pages(world: Arc<World>) -> Outcome {
    let app = tests::test_app::TestApp::with_worker(&world.cluster).await?;
    let vg = shared("scene_graphs/real/vg10.json")?;
    let laion = shared("scene_graphs/real/laion_sg_repo_example.json")?;
    import(&app, "vg10.json", "application/json", vg).await?.expect(201)?;
    import(&app, "laion.json", "application/json", laion).await?.expect(201)?;
    let graphs = ids(&app.get("/api/v1/graphs?limit=200").await?.expect(200)?);
    ensure!(graphs.len() == 11, "{}", graphs.len());
    let request = json!({"graph_ids": graphs, "num_candidates": 2, "num_inference_steps": 2});
    let generation = accept(&app, "/api/v1/generations", &request).await?;
    let generation = settled(&app, "generations", &generation).await?;
    ensure!(generation["progress"]["done"] == 22, "{generation}");
    let run = accept(&app, "/api/v1/score-runs", &json!({})).await?;
    settled(&app, "score-runs", &run).await?;
    let mut pictures = std::collections::BTreeSet::new();
    for id in graphs {
        let graph = app.get(&format!("/api/v1/graphs/{id}")).await?.expect(200)?;
        let (objects, relations) = (graph["num_objects"].as_u64(), graph["num_relations"].as_u64());
        let count = |kind: &str| {
            graph["questions"].as_array().into_iter().flatten().filter(|one| one["kind"] == kind).count() as u64
        };
        ensure!(Some(count("entity")) >= objects.map(|_| 1) && count("entity") > 0, "{graph}");
        ensure!(relations == Some(0) || count("relation") > 0, "{graph}");
        ensure!(graph["objects"].as_array().map(Vec::len) == objects.map(|one| one as usize), "{graph}");
        for candidate in graph["candidates"].as_array().into_iter().flatten() {
            let picture = app.get(text(&candidate["image_url"])).await?;
            ensure!(picture.status == 200);
            pictures.insert(picture.body);
            let path = format!("/api/v1/candidates/{}", text(&candidate["id"]));
            let candidate: Value = app.get(&path).await?.expect(200)?;
            let answers = candidate["answers"].as_array().map_or(&[][..], Vec::as_slice);
            ensure!(answers.len() == graph["questions"].as_array().map_or(0, Vec::len), "{candidate}");
            // The answerer of the shapes world knows nothing of clocks and streets, and says so.
            ensure!(answers.iter().any(|one| one["answer"] == "cannot_answer"), "{candidate}");
        }
    }
    ensure!(pictures.len() == 22, "each graph conditions its own pictures: {}", pictures.len());
    let finished: &Finished = world.finished().await?;
    ensure!(finished.generation["model_hash"] == generation["model_hash"], "the same model as for synthetic graphs");
    Ok(())
}
