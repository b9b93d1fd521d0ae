//! Networks that compute in bf16 while what learns stays in f32.

use super::gradient_tests::{SAMPLING, graphs, lora, pairs, pipeline};
use super::gradients::Gradients;
use super::tensor_cache::{CacheLimits, TensorCache};
use super::{Control, MixedPrecision, Trainable, Trainer, TrainerSettings};
use crate::objective::{DiffusionDpo, ObjectiveSettings};
use crate::pipeline::{GraphMode, Pipeline};
use candle_core::{DType, Device, Tensor};
use std::path::Path;
use std::sync::Arc;

fn in_bf16() -> Arc<Pipeline> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
    Arc::new(Pipeline::load_in(&folder, DType::BF16, &Device::Cpu).unwrap())
}

fn trainer(reference: Arc<Pipeline>, settings: TrainerSettings, folder: &Path) -> Trainer {
    let pairs = pairs(3, false, SAMPLING);
    let cache = TensorCache::new(&folder.join("cache"), CacheLimits::default());
    Trainer::new(reference, &graphs(), pairs, settings, &cache, &mut |_| Control::Continue).unwrap()
}

fn settings(trainable: Trainable, mixed_precision: MixedPrecision) -> TrainerSettings {
    let objective = ObjectiveSettings::DiffusionDpo(DiffusionDpo::default());
    TrainerSettings { objective, trainable, mixed_precision, batch_size: 3, ..TrainerSettings::default() }
}

fn cosine(a: &Gradients, b: &Gradients) -> f64 {
    assert!(a.names().eq(b.names()), "the same parameters have gradients");
    let dot = |x: &Gradients, y: &Gradients| -> f64 {
        let both = x.names().flat_map(|name| x.values(name).into_iter().zip(y.values(name)));
        both.map(|(a, b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn the_gradient_is_that_of_full_precision_but_for_rounding() {
    let targets = vec!["to_q".to_owned(), "to_v".to_owned()];
    let encoder_too = Trainable::SceneGraphEncoderLora { rank: 2, alpha: 4.0, targets };
    let (full, half) = (pipeline(), in_bf16());
    for trainable in [Trainable::Unet, lora(), Trainable::SceneGraphEncoder, encoder_too] {
        let folder = tempfile::tempdir().unwrap();
        let first = |reference: &Arc<Pipeline>, mixed| {
            let outcome = trainer(Arc::clone(reference), settings(trainable.clone(), mixed), folder.path()).outcome(0);
            outcome.unwrap()
        };
        let exact = first(&full, MixedPrecision::No);
        for (reference, mixed) in [(&full, MixedPrecision::Bf16), (&half, MixedPrecision::No)] {
            let rounded = first(reference, mixed);
            // Policy and reference are the same network, rounded in the same way.
            assert!((rounded.loss - std::f64::consts::LN_2).abs() < 1e-9, "{trainable:?}: {}", rounded.loss);
            assert_eq!(rounded.drift, 0.0);
            let cosine = cosine(&exact.gradients, &rounded.gradients);
            assert!(cosine > 0.98, "{trainable:?}: {cosine}");
        }
    }
}

#[test]
fn a_step_sees_what_the_one_before_changed_and_a_resumed_run_is_the_same() {
    for (reference, mixed) in [(pipeline(), MixedPrecision::Bf16), (in_bf16(), MixedPrecision::No)] {
        let folder = tempfile::tempdir().unwrap();
        let settings = TrainerSettings { learning_rate: 1e-2, warmup_steps: 0, ..settings(lora(), mixed) };
        let exported = |trainer: &Trainer| {
            trainer.export(&folder.path().join("weights.safetensors")).unwrap();
            fs_err::read(folder.path().join("weights.safetensors")).unwrap()
        };
        let mut straight = trainer(Arc::clone(&reference), settings.clone(), folder.path());
        let before = exported(&straight);
        straight.step().unwrap();
        straight.save(&folder.path().join("checkpoint")).unwrap();
        let second = straight.step().unwrap();
        assert!(second.drift > 0.0, "the second step sees what the first one changed");
        let expected = exported(&straight);
        assert_ne!(before, expected);
        let mut resumed = trainer(Arc::clone(&reference), settings, folder.path());
        resumed.restore(&folder.path().join("checkpoint")).unwrap();
        resumed.step().unwrap();
        assert_eq!(exported(&resumed), expected);
        let trained = reference.with_unet(&folder.path().join("weights.safetensors")).unwrap();
        assert_eq!(trained.unet().dtype(), reference.unet().dtype());
    }
}

/// A weight of 1 in bf16 has neighbours 0.008 away: what learns must not be rounded to it.
#[test]
fn steps_smaller_than_the_rounding_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        TrainerSettings { learning_rate: 1e-6, warmup_steps: 0, ..settings(Trainable::Unet, MixedPrecision::No) };
    let mut trainer = trainer(in_bf16(), settings, folder.path());
    let before: Vec<Tensor> = trainer.vars.values().map(|var| var.as_tensor().copy().unwrap()).collect();
    trainer.step().unwrap();
    for ((name, var), before) in trainer.vars.iter().zip(before) {
        let moved = (var.as_tensor() - before).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((5e-7..2e-6).contains(&moved), "{name}: {moved}");
    }
}

#[test]
fn pictures_in_bf16_are_those_of_f32_but_for_rounding_and_are_known_apart() {
    let (full, half) = (pipeline(), in_bf16());
    assert_ne!(full.hash(), half.hash(), "other images, so another model");
    let latents = |pipeline: &Pipeline| -> Tensor {
        let conditioning = pipeline.encode_graphs(&graphs(), GraphMode::SceneGraph).unwrap();
        pipeline.sample(&conditioning, &[3, 4], SAMPLING).unwrap()
    };
    let (exact, rounded) = (latents(&full), latents(&half));
    assert_eq!(rounded.dtype(), DType::F32);
    let size = |x: Tensor| f64::from(x.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    let error = size((&rounded - &exact).unwrap()) / size(exact.clone());
    assert!(error > 0.0 && error < 0.05, "{error}");
    let pictures = half.decode(&rounded).unwrap();
    let of_the_same = full.decode(&rounded).unwrap();
    let apart = pictures.concat().iter().zip(of_the_same.concat()).map(|(a, b)| a.abs_diff(b)).max().unwrap();
    assert!(apart > 0 && apart <= 24, "{apart} of 255");
    let again = half.encode_images(&pictures).unwrap();
    assert_eq!(again.dims(), exact.dims());
}
