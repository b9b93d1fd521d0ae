//! Pages: every list is covered exactly once by its cursors, whatever the size of a page.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::{Value, json};
use tests::test_app::TestApp;

use crate::finished::{import_shapes, text};
use crate::imports::import;
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[test!(pages_cover_a_list_exactly_once), test!(a_cursor_belongs_to_its_order)];

/// All items of a list, `limit` a page.
async fn all(app: &TestApp, path: &str, limit: usize) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut cursor = None;
    let separator = if path.contains('?') { '&' } else { '?' };
    loop {
        let mut address = format!("{path}{separator}limit={limit}");
        if let Some(cursor) = &cursor {
            address = format!("{address}&cursor={cursor}");
        }
        let page = app.get(&address).await?.expect(200)?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        ensure!(!items.is_empty() && items.len() <= limit, "{address}: {} items", items.len());
        found.extend(items);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => {
                ensure!(page["total"] == found.len(), "{address}: {} of {}", found.len(), page["total"]);
                return Ok(found);
            }
        }
    }
}

async fn pages_cover_a_list_exactly_once(world: Arc<World>) -> Outcome {
    let finished = world.finished().await?;
    let app = &finished.app;
    let job = text(&finished.job["id"]);
    let evaluations = app.get(&format!("/api/v1/evaluations?job_id={job}&limit=200")).await?.expect(200)?;
    let evaluation = text(&evaluations["items"][0]["id"]).to_owned();
    for path in [
        "/api/v1/graphs?facets=false".to_owned(),
        "/api/v1/graphs?facets=false&sort=newest".to_owned(),
        "/api/v1/graphs?facets=false&sort=best_score".to_owned(),
        "/api/v1/graphs?facets=false&sort=worst_score".to_owned(),
        "/api/v1/graphs?facets=false&sort=spread".to_owned(),
        "/api/v1/graphs?facets=false&has_candidates=true&min_score=0".to_owned(),
        format!("/api/v1/pairings/{}/pairs", text(&finished.pairing["id"])),
        format!("/api/v1/jobs/{job}/events"),
        format!("/api/v1/evaluations/{evaluation}/images"),
    ] {
        let whole = all(app, &path, 200).await?;
        ensure!(whole.len() > 1, "{path} has only {}", whole.len());
        for limit in [1, 3] {
            ensure!(all(app, &path, limit).await? == whole, "{path} by {limit}");
        }
    }
    Ok(())
}

async fn a_cursor_belongs_to_its_order(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    import_shapes(&app, 5).await?;
    for name in ["a", "b", "c"] {
        import(&app, name, "application/json", b"[7, 8]".to_vec()).await?.expect(201)?;
    }
    let policy = |margin: f64| json!({"name": "none", "policy": {"weights": {"dpg": 1}, "margin": margin}});
    for margin in [0.1, 0.2] {
        app.post("/api/v1/pairings", &policy(margin)).await?.expect(201)?;
    }
    let imports = all(&app, "/api/v1/imports", 1).await?;
    ensure!(imports.len() == 4 && all(&app, "/api/v1/pairings", 1).await?.len() == 2);
    let rejects = format!("/api/v1/imports/{}/rejects", text(&imports[0]["id"]));
    ensure!(all(&app, &rejects, 1).await?.len() == 2);
    let page = app.get("/api/v1/graphs?limit=2&sort=oldest").await?.expect(200)?;
    let cursor = text(&page["next_cursor"]);
    let problem = app.get(&format!("/api/v1/graphs?limit=2&sort=newest&cursor={cursor}")).await?;
    ensure!(problem.problem(400, "malformed_query")?["errors"][0]["pointer"] == "/cursor");
    Ok(())
}
