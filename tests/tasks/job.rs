//! Training jobs: states, wishes from outside, and that a kill changes nothing of what comes out.

use std::time::Duration;

use builder::job::{EvaluationSpec, JobSpec, JobState, Objective, Start};
use builder::policy::Policy;
use builder::store::{checkpoint, evaluation, job, job_event, job_metric, job_sample};
use builder::task::generate::{self, GenerationRequest};
use builder::task::score::ScoreRequest;
use builder::task::train::{self, JobAction, JobRequest};
use builder::task::{freeze, ingest, score};
use builder::{Error, shapes};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::generate::{finish, finish_scores};
use crate::life::{Life, World};

/// Graphs, candidates, scores and pairs: what a job needs.
pub fn pairing(world: &World, life: &Life) -> Uuid {
    // Enough that some are held out on either side.
    let records: Vec<Value> =
        (0..60).map(|i| shapes::generate_one(11, i as u64).to_laion_sg(&format!("job-{i:03}"))).collect();
    let file = world.folder().join("graphs.json");
    fs_err::write(&file, serde_json::to_vec(&records).unwrap()).unwrap();
    life.run(ingest::run(&life.context, &file));
    let names: Vec<String> = (0..14).map(|i| format!("job-{i:03}")).collect();
    let graph_ids = life
        .run(async { builder::store::graph::ids_of_img_ids(&mut *life.context.pool.acquire().await?, &names).await });
    let request = GenerationRequest { graph_ids, num_inference_steps: 3, ..GenerationRequest::default() };
    let generation = life.run(generate::create(&life.context, &request));
    finish(life, generation);
    let request = ScoreRequest { generation_id: Some(generation), ..ScoreRequest::new("shapes") };
    let run = life.run(score::create(&life.context, &request));
    finish_scores(life, run);
    let (pairing, _) = life.run(freeze::freeze(&life.context, "test", &Policy::default(), &freeze::training_scope()));
    assert!(pairing.num_pairs > 0, "an untrained model's candidates all score the same");
    pairing.id
}

pub fn spec(pairing: Uuid, objective: Objective) -> JobSpec {
    JobSpec {
        max_steps: 6,
        warmup_steps: 2,
        batch_size: 2,
        checkpoint_every: 2,
        sample_every: 3,
        sample_graphs: 2,
        evaluation: EvaluationSpec {
            num_graphs: 3,
            num_noises: 1,
            every: 3,
            selection_graphs: 2,
            ..EvaluationSpec::default()
        },
        ..JobSpec::new(pairing, objective)
    }
}

pub fn create(life: &Life, spec: &JobSpec) -> Uuid {
    life.run(train::create(&life.context, spec, &JobRequest::default())).id
}

pub fn wait_for_state(life: &Life, id: Uuid, wanted: JobState) -> job::Job {
    life.wait_for(wanted.as_str(), async |context| {
        let row = job::find(&mut context.pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
        assert!(row.state == wanted || !row.state.is_final(), "the job is {}: {:?}", row.state, row.error);
        (row.state == wanted).then_some(row)
    })
}

pub fn wait_for_step(life: &Life, id: Uuid, step: i64) {
    life.wait_for("a step", async |context| {
        let row = job::find(&mut context.pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
        assert_ne!(row.state, JobState::Failed, "{:?}", row.error);
        (row.stage == "train" && row.done >= step).then_some(())
    });
}

/// What a job leaves that no clock has touched.
pub fn outcome(life: &Life, id: Uuid) -> (String, Vec<Value>, Value) {
    life.run(async {
        let mut connection = life.context.pool.acquire().await?;
        let weights = checkpoint::find_artifact(&mut connection, id, "unet.safetensors").await?.unwrap().blob;
        let metrics = job_metric::list(&mut connection, id, 0, 1)
            .await?
            .into_iter()
            .map(|one| {
                let mut metrics = one.metrics;
                metrics.as_object_mut().unwrap().remove("seconds");
                json!([one.step, metrics])
            })
            .collect();
        let result = evaluation::of_job(&mut connection, id).await?.remove(0).result.unwrap();
        Ok((weights, metrics, result))
    })
}

#[test]
fn a_killed_job_ends_with_the_same_weights() {
    let world = World::new();
    let life = world.start_with_worker();
    let pairing = pairing(&world, &life);
    let wanted = spec(pairing, Objective::inversion_dpo());
    let undisturbed = create(&life, &wanted);
    wait_for_state(&life, undisturbed, JobState::Succeeded);
    let expected = outcome(&life, undisturbed);

    let id = create(&life, &wanted);
    let mut life = life;
    // While it prepares; after a step; after a checkpoint; while it compares.
    for place in ["preparing", "step", "checkpoint", "evaluate"] {
        match place {
            "preparing" => {
                wait_for_state(&life, id, JobState::Preparing);
            }
            "step" => wait_for_step(&life, id, 1),
            "checkpoint" => wait_for_step(&life, id, 4),
            _ => life.wait_for("the comparison", async |context| {
                let row = job::find(&mut context.pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
                (row.stage == "evaluate").then_some(())
            }),
        }
        life.kill();
        life = world.start_with_worker();
    }
    let row = wait_for_state(&life, id, JobState::Succeeded);
    assert!(row.attempt > 1);
    let found = outcome(&life, id);
    assert_eq!(found.0, expected.0, "weights");
    assert_eq!(found.1, expected.1, "metrics");
    assert_eq!(found.2, expected.2, "evaluation");
    // Gapless, whatever happened.
    let events =
        life.run(async { job_event::list_after(&mut *life.context.pool.acquire().await?, id, 0, 10_000).await });
    assert!(events.iter().enumerate().all(|(place, event)| event.sequence == place as i64 + 1));
    life.stop();
}

#[test]
fn wishes_are_fulfilled_within_a_step() {
    let world = World::new();
    let life = world.start_with_worker();
    let pairing = pairing(&world, &life);
    let mut wanted = spec(pairing, Objective::DiffusionDpo {});
    wanted.max_steps = 100_000;
    wanted.checkpoint_every = 50_000;
    wanted.sample_every = 0;
    wanted.evaluation.every = 0;
    let id = create(&life, &wanted);
    wait_for_step(&life, id, 1);

    life.run(train::request(&life.context, id, JobAction::Save));
    life.run(train::request(&life.context, id, JobAction::Sample));
    life.wait_for("a checkpoint and samples", async |context| {
        let mut connection = context.pool.acquire().await.unwrap();
        let saved = checkpoint::latest(&mut connection, id).await.unwrap().is_some();
        (saved && !job_sample::list(&mut connection, id).await.unwrap().is_empty()).then_some(())
    });
    life.run(train::pause(&life.context, id));
    let begun = std::time::Instant::now();
    let paused = wait_for_state(&life, id, JobState::Paused);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let step = paused.done;
    // It paused with a checkpoint of its very step.
    let latest = life.run(async { checkpoint::latest(&mut *life.context.pool.acquire().await?, id).await }).unwrap();
    assert_eq!(i64::from(latest.step), step);
    assert!(matches!(
        life.try_run(train::pause(&life.context, id)),
        Err(Error::Conflict { code: "illegal_transition", .. })
    ));
    life.run(train::resume(&life.context, id));
    wait_for_step(&life, id, step + 1);
    life.run(train::cancel(&life.context, id));
    wait_for_state(&life, id, JobState::Cancelled);
    assert!(life.try_run(train::resume(&life.context, id)).is_err());
    life.stop();
}

#[test]
fn what_cannot_move_fails_with_the_reason() {
    let world = World::new();
    let life = world.start_with_worker();
    let pairing = pairing(&world, &life);
    let id = create(&life, &spec(pairing, Objective::published(Start::None, 3)));
    let row = wait_for_state(&life, id, JobState::Failed);
    let message = row.error.unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("gradient"), "{message}");
    life.stop();
}

#[test]
fn every_objective_trains() {
    let world = World::new();
    let life = world.start_with_worker();
    let pairing = pairing(&world, &life);
    let inverted = Objective::inverted(3);
    let warmed = Objective::published(Start::WarmUp(1), 3);
    for objective in [inverted, warmed, Objective::DiffusionDpo {}] {
        let id = create(&life, &spec(pairing, objective));
        wait_for_state(&life, id, JobState::Succeeded);
        let result = outcome(&life, id).2;
        assert_eq!(result["evaluated_graphs"], 3);
    }
    life.stop();
}

#[test]
fn requests_are_checked_and_repeated_safely() {
    let world = World::new();
    let life = world.start();
    let absent = spec(Uuid::from_u128(1), Objective::inversion_dpo());
    match life.try_run(train::create(&life.context, &absent, &JobRequest::default())) {
        Err(Error::Invalid(faults)) => assert_eq!(faults[0].pointer, "/pairing_id"),
        other => panic!("{other:?}"),
    }
    let life = {
        life.stop();
        world.start_with_worker()
    };
    let pairing = pairing(&world, &life);
    life.stop();
    // Nobody works on it here.
    let life = world.start();
    let wanted = spec(pairing, Objective::inversion_dpo());
    let keyed = JobRequest { idempotency_key: Some("once".to_owned()) };
    let first = life.run(train::create(&life.context, &wanted, &keyed));
    let again = life.run(train::create(&life.context, &wanted, &keyed));
    assert_eq!(first.id, again.id);
    let mut other = wanted.clone();
    other.seed = 1;
    assert!(matches!(life.try_run(train::create(&life.context, &other, &keyed)), Err(Error::Conflict { .. })));
    // Without a worker a wish is granted at once.
    assert_eq!(life.run(train::pause(&life.context, first.id)).state, JobState::Paused);
    assert_eq!(life.run(train::resume(&life.context, first.id)).state, JobState::Queued);
    assert_eq!(life.run(train::cancel(&life.context, first.id)).state, JobState::Cancelled);
    life.stop();
}
