//! The whole demo, small: killed in every stage it ends with the very summary of an undisturbed run.

use builder::task::demo::{self, DemoPlan};
use serde_json::Value;

use crate::life::{Life, World};

fn start(world: &World) -> (Life, tokio::task::JoinHandle<builder::Result<Value>>) {
    let life = world.start_with_worker();
    let context = life.context.clone();
    let running = life.spawn(async move { demo::run(&context, DemoPlan::small(0)).await });
    (life, running)
}

fn finish(world: &World) -> Value {
    let (life, running) = start(world);
    let summary = life.run(async { running.await.unwrap() });
    life.stop();
    summary
}

/// Without what a clock or an id generator says.
fn timeless(mut summary: Value) -> Value {
    fn strip(value: &mut Value) {
        if let Value::Object(fields) = value {
            for key in ["seconds", "stage_seconds", "training_seconds", "job_id", "pairing_hash"] {
                fields.shift_remove(key);
            }
            fields.values_mut().for_each(strip);
        }
    }
    strip(&mut summary);
    summary
}

#[test]
fn a_demo_killed_in_every_stage_ends_as_an_undisturbed_one() {
    let expected = finish(&World::new());
    for field in [
        "graphs",
        "candidates",
        "mean_score",
        "best_of_four_score",
        "pairs",
        "training_steps",
        "training_seconds",
        "base_score",
        "trained_score",
        "delta",
        "delta_se",
        "delta_ci95",
        "evaluated_images",
    ] {
        assert!(!expected[field].is_null(), "{field} is missing: {expected}");
    }
    assert_eq!((&expected["graphs"], &expected["candidates"]), (&8.into(), &32.into()));

    let world = World::new();
    let stages = [
        "graphs",
        "generate",
        "score",
        "pair",
        "train:inversion-dpo",
        "evaluate:inversion-dpo",
        "train:diffusion-dpo",
        "evaluate:diffusion-dpo",
    ];
    for stage in stages {
        let (life, _running) = start(&world);
        life.wait_for(stage, async |context| {
            let status = demo::status(&mut context.pool.acquire().await.unwrap()).await.unwrap()?;
            let found = status["stages"].as_array()?.iter().find(|one| one["name"] == stage)?;
            (found["state"] != "waiting").then_some(())
        });
        life.kill();
    }
    assert_eq!(timeless(finish(&world)), timeless(expected.clone()));
    // Once more on the same folder: nothing is left to do.
    let again = std::time::Instant::now();
    assert_eq!(timeless(finish(&world)), timeless(expected));
    assert!(again.elapsed().as_secs() < 10);
}
