//! What a training job resumes from, and what it leaves: damaged checkpoints, every objective, every part that can learn.

use std::path::PathBuf;

use builder::job::{JobState, LearningRateSchedule, LossForm, Objective, OptimizerChoice, Start, Trainable};
use builder::store::{checkpoint, job_event};
use builder::task::train;
use uuid::Uuid;

use crate::job::{create, outcome, pairing, spec, wait_for_state, wait_for_step};
use crate::life::{Life, World};

fn checkpoints(life: &Life, id: Uuid) -> Vec<checkpoint::Checkpoint> {
    life.run(async { checkpoint::list(&mut *life.context.pool.acquire().await?, id).await })
}

/// The only file in the blob store with this key in its name.
fn file_of(world: &World, key: &str) -> PathBuf {
    let folder = world.folder().join("blobs");
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap().to_str().unwrap().contains(key) {
                return path;
            }
        }
    }
    panic!("no file of blob {key}");
}

#[test]
fn a_damaged_checkpoint_is_seen_and_the_one_before_is_used() {
    let world = World::new();
    let life = world.start_with_worker();
    let pairing = pairing(&world, &life);
    let mut wanted = spec(pairing, Objective::inversion_dpo());
    wanted.max_steps = 12;
    wanted.optimizer = OptimizerChoice::Adafactor;
    wanted.learning_rate_schedule = LearningRateSchedule::Cosine;
    wanted.trainable = Trainable::Lora { rank: 2, alpha: 2.0, targets: None };
    let undisturbed = create(&life, &wanted);
    wait_for_state(&life, undisturbed, JobState::Succeeded);
    let expected = outcome(&life, undisturbed);

    let id = create(&life, &wanted);
    wait_for_step(&life, id, 5);
    life.run(train::pause(&life.context, id));
    wait_for_state(&life, id, JobState::Paused);
    let kept = checkpoints(&life, id);
    let [before, newest] = kept.as_slice() else { panic!("{kept:?}") };
    assert!(before.step < newest.step && newest.step < 12, "{} {}", before.step, newest.step);
    life.stop();
    // One bit of the weights, somewhere in the middle.
    let weights = newest.files.iter().find(|file| file.name == "state.safetensors").unwrap();
    let file = file_of(&world, &weights.blob);
    let mut bytes = fs_err::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&file, bytes).unwrap();

    let life = world.start_with_worker();
    life.run(train::resume(&life.context, id));
    wait_for_state(&life, id, JobState::Succeeded);
    let found = outcome(&life, id);
    assert_eq!(found.0, expected.0, "weights");
    assert_eq!(found.1, expected.1, "metrics");
    assert_eq!(found.2, expected.2, "evaluation");
    let events =
        life.run(async { job_event::list_after(&mut *life.context.pool.acquire().await?, id, 0, 10_000).await });
    let messages: Vec<&str> = events.iter().filter_map(|event| event.data["message"].as_str()).collect();
    let damaged = format!("the checkpoint at step {} is damaged", newest.step);
    assert!(messages.iter().any(|message| message.contains(&damaged)), "{messages:?}");
    let going_on = format!("going on from the checkpoint at step {}", before.step);
    assert!(messages.iter().any(|message| message.contains(&going_on)), "{messages:?}");
    life.stop();
}

/// Every objective by name, on every part that can learn, with every form and schedule, from the request to the result.
#[test]
fn every_objective_and_every_part_trains() {
    let world = World::new();
    let life = world.start_with_worker();
    let pairing = pairing(&world, &life);
    let lora = Trainable::Lora { rank: 2, alpha: 4.0, targets: Some(vec!["to_q".to_owned()]) };
    let encoder = Trainable::SceneGraphEncoder {};
    let both = Trainable::SceneGraphEncoderLora { rank: 2, alpha: 2.0, targets: None };
    let mixture = Objective::Mixture {
        first: Box::new(Objective::inversion_dpo()),
        second: Box::new(Objective::Sft {}),
        weight: 0.5,
        betas: [Some(1000.0), None],
    };
    let official = Objective::InversionDpoOfficial { start: Start::Perturb(0.02), num_inversion_steps: 3 };
    let single = Objective::SingleTimestep {
        sign: -1,
        start: Start::WarmUp(1),
        num_inversion_steps: 3,
        inversion_guidance_scale: 1.0,
    };
    let inpo = Objective::Inpo { num_inversion_steps: 3, eta: 0.1 };
    let d3po = Objective::D3po { clip: 0.1, num_inference_steps: 3, guidance_scale: 2.0, eta: 1.0 };
    let cases = [
        (Objective::Sft {}, lora.clone(), LossForm::Sigmoid),
        (official, lora, LossForm::Sigmoid),
        (single, both, LossForm::Sigmoid),
        (inpo, encoder, LossForm::Ipo),
        (d3po, Trainable::Unet {}, LossForm::Sigmoid),
        (mixture, Trainable::Unet {}, LossForm::Hinge),
    ];
    for (objective, trainable, loss) in cases {
        let name = objective.name();
        let mut wanted = spec(pairing, objective);
        wanted.max_steps = 2;
        wanted.checkpoint_every = 2;
        wanted.sample_every = 0;
        wanted.evaluation.every = 0;
        wanted.evaluation.num_graphs = 2;
        wanted.trainable = trainable;
        wanted.loss = loss;
        wanted.caption_dropout = 0.5;
        wanted.gradient_accumulation_steps = 2;
        let id = create(&life, &wanted);
        wait_for_state(&life, id, JobState::Succeeded);
        let (_, metrics, result) = outcome(&life, id);
        assert_eq!(result["evaluated_graphs"], 2, "{name}");
        assert_eq!(metrics[1][1]["pair_accuracy"].is_number(), name != "sft", "{name}: {metrics:?}");
        // Not at every step: where captions are dropped, nothing reaches their encoder.
        let moved = metrics.iter().any(|one| one[1]["grad_norm"].as_f64() > Some(0.0));
        assert!(moved, "{name}: {metrics:?}");
    }
    life.stop();
}
