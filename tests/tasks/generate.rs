//! Candidates: the same pixels for the same request, whatever happened in between.

use std::collections::BTreeMap;

use builder::policy::Policy;
use builder::scene_graph::SceneGraph;
use builder::store::state::TaskState;
use builder::store::{answer, candidate, generation, graph, question, queue, score_card, score_run};
use builder::task::generate::{self, GenerationRequest};
use builder::task::score::ScoreRequest;
use builder::task::{freeze, ingest, score};
use builder::{Error, shapes};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::life::{Life, World};

/// `count` synthetic graphs, in the store; their ids.
pub fn graphs(world: &World, life: &Life, count: usize) -> Vec<Uuid> {
    let records: Vec<_> =
        (0..count).map(|i| shapes::generate_one(5, i as u64).to_laion_sg(&format!("test-{i:03}"))).collect();
    let file = world.folder().join("graphs.json");
    fs_err::write(&file, serde_json::to_vec(&records).unwrap()).unwrap();
    let summary = life.run(ingest::run(&life.context, &file));
    assert_eq!((summary.read, summary.rejected), (count as i64, 0));
    let names: Vec<String> = (0..count).map(|i| format!("test-{i:03}")).collect();
    life.run(async { graph::ids_of_img_ids(&mut *life.context.pool.acquire().await?, &names).await })
}

fn request(graph_ids: Vec<Uuid>, seed: i64) -> GenerationRequest {
    GenerationRequest { graph_ids, seed, num_inference_steps: 3, ..GenerationRequest::default() }
}

/// (img_id, index) → (seed, image, latent): the same in every store.
fn pixels(life: &Life, graphs: &[Uuid]) -> BTreeMap<(String, i32), (i64, String, Option<String>)> {
    life.run(async {
        let mut connection = life.context.pool.acquire().await?;
        let names: BTreeMap<Uuid, String> =
            graph::load_many(&mut connection, graphs).await?.into_iter().map(|one| (one.id, one.img_id)).collect();
        let made = candidate::of_graphs(&mut connection, graphs).await?;
        Ok(made
            .into_iter()
            .map(|one| ((names[&one.graph_id].clone(), one.index), (one.seed, one.image_blob, one.latent_blob)))
            .collect())
    })
}

pub fn finish(life: &Life, id: Uuid) {
    life.wait_for("the generation", async |context| {
        let row = generation::find(&mut context.pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
        assert_ne!(row.state, TaskState::Failed, "{:?}", row.error);
        (row.state == TaskState::Succeeded).then_some(())
    });
}

pub fn finish_scores(life: &Life, id: Uuid) -> (i64, i64) {
    life.wait_for("the score run", async |context| {
        let row = score_run::find(&mut context.pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
        assert_ne!(row.state, TaskState::Failed, "{:?}", row.error);
        (row.state == TaskState::Succeeded).then_some((row.done, row.total))
    })
}

#[test]
fn a_killed_generation_is_finished_with_the_same_pixels() {
    let world = World::new();
    let life = world.start_with_worker();
    let ids = graphs(&world, &life, 20);
    let id = life.run(generate::create(&life.context, &request(ids.clone(), 7)));
    let done = life.wait_for("the first batch", async |context| {
        let row = generation::find(&mut context.pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
        (row.done > 0).then_some(row.done)
    });
    assert!(done < 80, "killed too late to show anything");
    life.kill();

    let life = world.start_with_worker();
    finish(&life, id);
    let killed = pixels(&life, &ids);
    assert_eq!(killed.len(), 80);
    life.stop();

    let world = World::new();
    let life = world.start_with_worker();
    // Other ids, another order: what counts is the graphs and the request.
    let mut ids = graphs(&world, &life, 20);
    ids.reverse();
    let id = life.run(generate::create(&life.context, &request(ids.clone(), 7)));
    finish(&life, id);
    assert_eq!(pixels(&life, &ids), killed);
    let other = life.run(generate::create(&life.context, &request(ids[..1].to_vec(), 8)));
    finish(&life, other);
    life.stop();
}

/// A task that has taken 25 processes down is given up, but what got further in between may die again.
#[test]
fn a_generation_that_gets_further_outlives_any_number_of_deaths() {
    let world = World::new();
    let life = world.start();
    let ids = graphs(&world, &life, 20);
    let id = life.run(generate::create(&life.context, &request(ids, 7)));
    let deaths = format!("UPDATE {}._private_jobs SET attempts = max_attempts - 1", queue::SCHEMA);
    let told = life.run(async { Ok(sqlx::query(AssertSqlSafe(deaths)).execute(&life.context.pool).await?) });
    assert_eq!(told.rows_affected(), 1);
    life.kill();

    let life = world.start_with_worker();
    life.wait_for("the first batch", async |context| {
        let row = generation::find(&mut context.pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
        assert!(row.done < 80, "nothing is left to be done after a death");
        (row.done > 0).then_some(())
    });
    life.kill();
    let life = world.start_with_worker();
    finish(&life, id);
    life.stop();
}

#[test]
fn a_graceful_stop_puts_the_work_back() {
    let world = World::new();
    let life = world.start_with_worker();
    let ids = graphs(&world, &life, 20);
    let id = life.run(generate::create(&life.context, &request(ids, 7)));
    life.wait_for("the first batch", async |context| {
        let row = generation::find(&mut context.pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
        (row.done > 0).then_some(())
    });
    life.stop();
    let life = world.start_with_worker();
    finish(&life, id);
    life.stop();
}

#[test]
fn what_cannot_be_done_is_said_in_the_row() {
    let world = World::new();
    let life = world.start_with_worker();
    let ids = graphs(&world, &life, 1);
    let mut wanted = request(ids, 0);
    wanted.model = Some("no-such-model".to_owned());
    let refused = life.try_run(generate::create(&life.context, &wanted));
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    life.stop();
}

#[test]
fn scores_are_written_once_and_pairs_follow() {
    let world = World::new();
    let life = world.start_with_worker();
    let ids = graphs(&world, &life, 12);
    let generation = life.run(generate::create(&life.context, &request(ids.clone(), 1)));
    finish(&life, generation);
    let score = |life: &Life| {
        let request = ScoreRequest { generation_id: Some(generation), ..ScoreRequest::new("shapes") };
        let id = life.run(score::create(&life.context, &request));
        finish_scores(life, id)
    };
    assert_eq!(score(&life), (48, 48));
    let rows = |life: &Life| {
        life.run(async {
            let mut connection = life.context.pool.acquire().await?;
            let candidates: Vec<Uuid> =
                candidate::of_graphs(&mut connection, &ids).await?.into_iter().map(|one| one.id).collect();
            let questions = question::of_graphs(&mut connection, &ids).await?.len();
            let answers = answer::of_candidates(&mut connection, &candidates).await?.len();
            let cards = score_card::of_candidates(&mut connection, &candidates).await?.len();
            Ok((questions, answers, cards))
        })
    };
    let (questions, answers, cards) = rows(&life);
    assert_eq!(answers, questions * 4);
    assert!(cards >= 48);
    assert_eq!(score(&life), (48, 48));
    assert_eq!(rows(&life), (questions, answers, cards));

    let frozen = || life.run(freeze::freeze(&life.context, "test", &Policy::default(), &freeze::training_scope()));
    let (first, is_new) = frozen();
    assert!(is_new);
    let (second, is_new) = frozen();
    assert!(!is_new);
    assert_eq!((first.id, first.hash), (second.id, second.hash));
    // None of them from a held-out graph.
    life.run(async {
        let mut connection = life.context.pool.acquire().await?;
        let pairs = builder::store::pairing::pairs(&mut connection, first.id).await?;
        let graphs: Vec<Uuid> = pairs.iter().map(|pair| pair.graph_id).collect();
        for one in graph::scene_graphs(&mut connection, &graphs).await? {
            assert_eq!(SceneGraph::split(&one.graph), builder::store::state::Split::Train);
        }
        Ok(())
    });
    life.stop();
}
