//! SIGKILL at random instants of one training run: the weights are, bit for bit, those of a run that nobody disturbed.
//!
//! `make kills` kills 50 times; in `make test` it is 8 times. `DIPTYCH_KILLS` says how often, `DIPTYCH_KILL_SEED` when.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::by_hand::{run, text};
use super::data_folder;

/// Optimizer steps a kill: enough that the run is not over before the last one.
const STEPS_PER_KILL: u32 = 10;

fn number(name: &str, default: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text:?}")),
        Err(_) => default,
    }
}

/// Every file that the job left but those that tell seconds or its id.
fn left(data: &Path, job: &Value, name: &str) -> (Vec<u8>, Value) {
    let folder = data.join(name);
    run(data, &["export", "job", text(&job["id"]), "--output", folder.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&fs_err::read(folder.join("report.json")).unwrap()).unwrap();
    let told = json!([report["evaluation"], report["selection"], report["chosen_step"], report["training_steps"]]);
    (fs_err::read(folder.join("unet.safetensors")).unwrap(), told)
}

#[test]
fn a_training_that_is_killed_again_and_again_ends_with_the_same_weights() {
    let kills = number("DIPTYCH_KILLS", 8);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(number("DIPTYCH_KILL_SEED", 0).into());
    let folder = data_folder();
    let data = folder.path();
    let records: Vec<Value> =
        (0..40).map(|i| builder::shapes::generate_one(5, i).to_laion_sg(&format!("kill-{i:03}"))).collect();
    let file = data.join("graphs.json");
    fs_err::write(&file, serde_json::to_vec(&records).unwrap()).unwrap();
    run(data, &["ingest", file.to_str().unwrap()]);
    let generation = run(data, &["generate", "--num-inference-steps", "3", "--num-candidates", "2"]);
    run(data, &["score", "--generation", text(&generation["id"])]);
    let pairing = run(data, &["pair", "--weight", "dpg=1", "--freeze", "killed"]);
    let steps = kills.max(1) * STEPS_PER_KILL;
    let spec = json!({
        "pairing_id": pairing["id"], "max_steps": steps, "batch_size": 2, "checkpoint_every": 7, "sample_every": 0,
        "trainable": {"kind": "lora", "rank": 2}, "learning_rate": 1e-3,
        "evaluation": {"num_graphs": 3, "num_noises": 1, "selection_graphs": 2, "every": steps / 3},
    });
    let spec_file = data.join("spec.json");
    fs_err::write(&spec_file, spec.to_string()).unwrap();
    let spec_file = spec_file.to_str().unwrap();

    let begun = Instant::now();
    let undisturbed = run(data, &["train", "--spec", spec_file, "--pairing", text(&pairing["id"])]);
    let whole = begun.elapsed();
    assert_eq!(undisturbed["state"], "succeeded");
    let expected = left(data, &undisturbed, "undisturbed");
    // A look at a finished job is what every start costs at least.
    let begun = Instant::now();
    run(data, &["train", "--resume", text(&undisturbed["id"])]);
    let start = begun.elapsed();
    let training = whole.saturating_sub(start);

    let job = run(data, &["train", "--spec", spec_file, "--pairing", text(&pairing["id"]), "--detach"]);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.join("kills.log")).unwrap();
    let mut instants = Vec::new();
    for kill in 0..kills {
        // From the very start on, and on average through less than a share of the training.
        let latest = start + training.mul_f64(1.5 / f64::from(kills));
        let instant = Duration::from_secs_f64(rng.random_range(0.02..latest.as_secs_f64().max(0.1)));
        let mut child = Command::new(env!("CARGO_BIN_EXE_diptych"))
            .args(["--data", data.to_str().unwrap(), "train", "--resume", text(&job["id"])])
            .env_remove("DATABASE_URL")
            .stdout(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap();
        std::thread::sleep(instant);
        // On a machine that has become faster meanwhile, the training is over before the last kills.
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success() && 2 * kill > kills, "over before kill {kill} of {kills}: {ended}, {instants:?}");
            break;
        }
        instants.push(instant);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ended = run(data, &["train", "--resume", text(&job["id"])]);
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let found = left(data, &ended, "killed");
    assert!(ended["attempt"].as_i64() > Some(1), "no kill hit the training: {ended}");
    assert_eq!(found.1, expected.1, "what was measured, after kills at {instants:?}");
    assert!(found.0 == expected.0, "other weights after kills at {instants:?}");
    println!("{} kills, taken up {} times, {steps} steps: the same weights", instants.len(), ended["attempt"]);
}
