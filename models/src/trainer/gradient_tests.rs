//! The gradient that is gathered one timestep at a time against the naive one: every timestep of every pair in one graph,
//! the formula written down from the states on, one backward pass.

use super::draw::{Drawn, draw};
use super::gradient::{self, Component};
use super::gradients::Gradients;
use super::networks::{Networks, TrainedEncoder};
use super::tensor_cache::{CacheLimits, TensorCache};
use super::{ImageInput, PairInput, Trainable, Trainer, TrainerSettings, parameters, path_settings, paths_of};
use crate::objective::{
    DiffusionDpo, InversionDpo, InversionDpoOfficial, InversionDpoPublished, ObjectiveSettings, PathSource, PathTarget,
    Preference, PreferenceForm, Reduction, Sft, Start, TimestepReduction, Weighting,
};
use crate::pipeline::{Conditioning, GraphMode, Pipeline, SampleSettings};
use crate::scene_graph_encoder::{GraphFeatures, GraphText, GraphTokens};
use crate::unet::{AddedConditioning, UNet2DConditionModel};
use crate::weights::VarMap;
use candle_core::{DType, Device, Tensor};
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub(super) fn pipeline() -> Arc<Pipeline> {
    static PIPELINE: OnceLock<Arc<Pipeline>> = OnceLock::new();
    let load = || {
        crate::threads::keep_candle_single_threaded();
        Arc::new(Pipeline::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny"), &Device::Cpu).unwrap())
    };
    Arc::clone(PIPELINE.get_or_init(load))
}

pub(super) fn graphs() -> Vec<GraphText> {
    let triple = |a: &str, relation: &str, b: &str| [a, relation, b].map(str::to_owned);
    vec![
        GraphText { triples: vec![triple("red circle", "left of", "blue square")], isolated: Vec::new() },
        GraphText {
            triples: vec![triple("green star", "above", "red square")],
            isolated: vec!["blue circle".to_owned()],
        },
    ]
}

/// Pairs of images of the reference's own making, or of latents from elsewhere.
pub(super) fn pairs(count: usize, recorded: bool, sampling: SampleSettings) -> Vec<PairInput> {
    let pipeline = pipeline();
    let conditioning = pipeline.encode_graphs(&graphs(), GraphMode::SceneGraph).unwrap();
    let image = |condition: usize, seed: u64| {
        let latents = pipeline.sample(&conditioning.select(&[condition]).unwrap(), &[seed], sampling).unwrap();
        ImageInput { latent: latents.flatten_all().unwrap().to_vec1().unwrap(), seed: recorded.then_some(seed) }
    };
    (0..count)
        .map(|i| PairInput {
            condition: i % 2,
            winner: image(i % 2, 2 * i as u64),
            loser: image(i % 2, 2 * i as u64 + 1),
        })
        .collect()
}

pub(super) const SAMPLING: SampleSettings = SampleSettings { num_inference_steps: 4, guidance_scale: 2.0 };

/// Everything of a trainer, with a policy that has left its reference.
struct Bench {
    settings: TrainerSettings,
    pairs: Vec<PairInput>,
    conditioning: Conditioning,
    vars: VarMap,
    policy: UNet2DConditionModel,
    encoder: Option<TrainedEncoder>,
    component: Component,
    _cache: tempfile::TempDir,
}

impl Bench {
    fn new(objective: ObjectiveSettings, trainable: Trainable, preference: Preference) -> Self {
        let reference = pipeline();
        let recorded =
            matches!(&objective, ObjectiveSettings::InversionDpo(InversionDpo { path: PathSource::Recorded, .. }));
        let pairs = pairs(3, recorded, SAMPLING);
        let settings = TrainerSettings {
            objective: objective.clone(),
            preference,
            trainable,
            batch_size: 3,
            sampling: SAMPLING,
            ..TrainerSettings::default()
        };
        let cache = tempfile::tempdir().unwrap();
        let conditioning = reference.encode_graphs(&graphs(), GraphMode::SceneGraph).unwrap();
        let paths = path_settings(&objective, SAMPLING).map_or_else(Vec::new, |wanted| {
            paths_of(
                &reference,
                &conditioning,
                &graphs(),
                &pairs,
                wanted,
                &kept_in(cache.path()),
                &mut |_, _, _| Ok(()),
            )
            .unwrap()
        });
        let (vars, constants) = parameters::trainable(&reference, &settings).unwrap();
        parameters::jitter(&vars, 0.02, 5).unwrap();
        let policy = parameters::load_policy(&reference, &settings, &vars, &constants).unwrap();
        let encoder =
            parameters::load_encoder(&reference, &settings, &vars, &graphs(), &kept_in(cache.path())).unwrap();
        let component = Component { objective, weight: 1.0, paths };
        Self { settings, pairs, conditioning, vars, policy, encoder, component, _cache: cache }
    }

    fn drawn(&self) -> Vec<Drawn<'_>> {
        draw(&self.settings, 0, &self.pairs)
    }

    fn ours(&self) -> (f64, Gradients) {
        let outcome = self.outcome(false);
        (outcome.loss, outcome.gradients)
    }

    fn outcome(&self, one_by_one: bool) -> gradient::Outcome {
        let reference = pipeline();
        let networks = Networks {
            policy: &self.policy,
            reference: &reference,
            reference_unet: reference.unet(),
            conditioning: &self.conditioning,
            encoder: self.encoder.as_ref(),
            vars: &self.vars,
        };
        let (objective, drawn) = (&self.component.objective, self.drawn());
        gradient::of_shards(&networks, &self.settings, objective, &self.component, &drawn, one_by_one).unwrap()
    }

    /// The prediction at one state for graph `condition`, straight from the network.
    fn predict(&self, policy: bool, state: &[f32], timestep: usize, condition: usize, guidance: f64) -> Tensor {
        let reference = pipeline();
        let side = reference.latent_size();
        let state = Tensor::from_slice(state, (1, reference.latent_channels(), side, side), &Device::Cpu).unwrap();
        let conditioning = self.conditioning.select(&[condition]).unwrap();
        let unet = if policy { &self.policy } else { reference.unet() };
        let states = match (&self.encoder, policy) {
            (Some(encoder), true) => {
                let (tokens, features) = &encoder.graphs[condition];
                encoder.network.forward(tokens, features).unwrap()
            }
            _ => conditioning.encoder_hidden_states.clone(),
        };
        let timestep = Tensor::new(&[timestep as i64], &Device::Cpu).unwrap();
        let run = |states: &Tensor, embeds: &Tensor| {
            let added = AddedConditioning { text_embeds: embeds.clone(), time_ids: reference.time_ids(1).unwrap() };
            unet.forward(&state, &timestep, states, Some(&added)).unwrap()
        };
        let conditional = run(&states, &conditioning.text_embeds);
        if guidance == 1.0 {
            return conditional;
        }
        let empty = reference.unconditional(1).unwrap();
        let without = run(&empty.encoder_hidden_states, &empty.text_embeds);
        // e_u + g (e_c − e_u)
        ((&without * (1.0 - guidance)).unwrap() + (conditional * guidance).unwrap()).unwrap()
    }
}

/// Mean over the elements of the squared difference, a scalar.
fn mean_square(a: &Tensor, b: &Tensor) -> Tensor {
    (a - b).unwrap().sqr().unwrap().mean_all().unwrap()
}

fn number(tensor: &Tensor) -> f64 {
    f64::from(tensor.to_scalar::<f32>().unwrap())
}

/// Both gradients within 1e-5 of the scale of the whole gradient.
fn compare(what: &str, ours: (f64, Gradients), naive_loss: &Tensor, vars: &VarMap) {
    let naive = Gradients::of(vars, naive_loss).unwrap();
    let (loss, gradients) = ours;
    assert!((loss - number(naive_loss)).abs() <= 1e-5 * loss.abs(), "{what}: loss {loss}, should be {naive_loss}");
    let flat = |gradients: &Gradients| -> Vec<f64> {
        vars.keys().flat_map(|name| gradients.values(name)).map(f64::from).collect()
    };
    let (ours, naive) = (flat(&gradients), flat(&naive));
    let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let difference: Vec<f64> = ours.iter().zip(&naive).map(|(a, b)| a - b).collect();
    let relative = norm(&difference) / norm(&naive);
    assert!(norm(&naive) > 1e-6, "{what}: there is nothing to compare");
    assert!(relative < 1e-5, "{what}: the gradient is {relative} off");
}

/// Four-term losses over the whole path of each pair, all in one graph.
fn check_path(objective: InversionDpo, trainable: Trainable, preference: Preference) {
    let bench = Bench::new(ObjectiveSettings::InversionDpo(objective), trainable, preference);
    let schedule = pipeline().schedule().clone();
    let mut total: Option<Tensor> = None;
    for drawn in bench.drawn() {
        let paths = &bench.component.paths[drawn.index];
        let length = paths[0].timesteps.len();
        let mut logits = Vec::new();
        for k in 0..length {
            let side = |side: usize| {
                let (timestep, mut state) = match objective.between_steps {
                    true => paths[side].between(k, drawn.place, &schedule).unwrap(),
                    false => (paths[side].timesteps[k], paths[side].state(k).unwrap()),
                };
                let alpha = schedule.alpha_cumprod(timestep as i64).unwrap();
                let mut target: Vec<f32> = match objective.target {
                    PathTarget::Image => drawn
                        .image(side)
                        .iter()
                        .zip(&state)
                        .map(|(x0, x)| ((f64::from(*x) - alpha.sqrt() * f64::from(*x0)) / (1.0 - alpha).sqrt()) as f32)
                        .collect(),
                    PathTarget::Step => paths[side].step_noise(k).unwrap(),
                };
                if objective.eta > 0.0 {
                    let fresh = pipeline().initial_latent(drawn.noise + k as u64).unwrap().flatten_all().unwrap();
                    let (kept, eta) = ((1.0 - objective.eta.powi(2)).sqrt(), objective.eta);
                    let mix = |(old, new): (&f32, f32)| (f64::from(*old) * kept + f64::from(new) * eta) as f32;
                    target = target.iter().zip(fresh.to_vec1::<f32>().unwrap()).map(mix).collect();
                    let noised = |(x0, noise): (&f32, &f32)| {
                        (f64::from(*x0) * alpha.sqrt() + f64::from(*noise) * (1.0 - alpha).sqrt()) as f32
                    };
                    state = drawn.image(side).iter().zip(&target).map(noised).collect();
                }
                let predict = |policy| bench.predict(policy, &state, timestep, drawn.pair.condition, 1.0);
                let policy = predict(true);
                let target = Tensor::from_vec(target, policy.shape(), &Device::Cpu).unwrap();
                (mean_square(&policy, &target) - mean_square(&predict(false), &target).detach()).unwrap()
            };
            logits.push(((side(0) - side(1)).unwrap() * -objective.beta).unwrap());
        }
        let logits = Tensor::stack(&logits, 0).unwrap();
        let loss = match objective.timestep_reduction {
            TimestepReduction::Each => preference.losses(&logits).unwrap().mean_all().unwrap(),
            TimestepReduction::Sum => {
                preference.losses(&logits.mean_all().unwrap().unsqueeze(0).unwrap()).unwrap().mean_all().unwrap()
            }
        };
        total = Some(total.map_or_else(|| loss.clone(), |total| (total + &loss).unwrap()));
    }
    let naive = (total.unwrap() / 3.0).unwrap();
    compare(&format!("{objective:?}"), bench.ours(), &naive, &bench.vars);
}

pub(super) fn lora() -> Trainable {
    Trainable::Lora { rank: 2, alpha: 4.0, targets: vec!["to_q".to_owned(), "to_v".to_owned()] }
}

#[test]
fn a_loss_for_every_timestep_has_the_naive_gradient() {
    let objective = InversionDpo { num_timesteps: 0, beta: 20.0, ..InversionDpo::default() };
    check_path(objective, Trainable::Unet, Preference::default());
    check_path(InversionDpo { eta: 0.6, ..objective }, lora(), Preference::default());
    check_path(InversionDpo { between_steps: true, ..objective }, lora(), Preference::default());
}

#[test]
fn one_loss_over_the_sum_has_the_naive_gradient() {
    let objective = InversionDpo {
        num_timesteps: 0,
        beta: 20.0,
        timestep_reduction: TimestepReduction::Sum,
        ..InversionDpo::default()
    };
    check_path(objective, Trainable::Unet, Preference::default());
    let inverted =
        InversionDpo { path: PathSource::Inverted, inversion_steps: 5, target: PathTarget::Step, ..objective };
    check_path(inverted, lora(), Preference { form: PreferenceForm::Ipo, margin: 0.1 });
}

#[test]
fn the_encoder_learns_through_the_conditions_of_both_sides() {
    let objective = InversionDpo { num_timesteps: 0, beta: 20.0, ..InversionDpo::default() };
    check_path(objective, Trainable::SceneGraphEncoder, Preference::default());
}

/// The two-term family, its sum in one graph, written from equation 16 and from the script.
fn check_two_term(objective: ObjectiveSettings) {
    let bench = Bench::new(objective.clone(), lora(), Preference::default());
    let schedule = pipeline().schedule().clone();
    let settings = objective.two_term().unwrap();
    let mut total: Option<Tensor> = None;
    for drawn in bench.drawn() {
        let paths = &bench.component.paths[drawn.index];
        let length = paths[0].timesteps.len();
        let mut logit: Option<Tensor> = None;
        for k in 0..length {
            let side = |side: usize| {
                let (state, timestep) = (&paths[side].state(k).unwrap(), paths[side].timesteps[k]);
                let guidance = settings.guidance_scale;
                let predict = |policy| bench.predict(policy, state, timestep, drawn.pair.condition, guidance);
                (predict(true), predict(false).detach())
            };
            let alpha = schedule.alpha_cumprod(paths[0].timesteps[k] as i64).unwrap();
            let difference = |(policy, reference): (Tensor, Tensor)| {
                if settings.reduction == Reduction::Equation {
                    ((policy - reference).unwrap().sqr().unwrap().sum_all().unwrap() * settings.beta).unwrap()
                } else {
                    let weight = 0.5 * settings.beta / length as f64 / (2.0 * alpha);
                    (mean_square(&policy, &reference) * weight).unwrap()
                }
            };
            let part = (difference(side(0)) - difference(side(1))).unwrap();
            logit = Some(logit.map_or_else(|| part.clone(), |logit| (logit + &part).unwrap()));
        }
        let loss = Preference::default().losses(&logit.unwrap().unsqueeze(0).unwrap()).unwrap().sum_all().unwrap();
        total = Some(total.map_or_else(|| loss.clone(), |total| (total + &loss).unwrap()));
    }
    let naive = (total.unwrap() / 3.0).unwrap();
    compare(objective.name(), bench.ours(), &naive, &bench.vars);
}

#[test]
fn published_and_official_have_the_naive_gradient() {
    let start = Start::Jitter { std: 0.02 };
    check_two_term(ObjectiveSettings::InversionDpoOfficial(InversionDpoOfficial {
        inversion_steps: 4,
        start,
        ..InversionDpoOfficial::default()
    }));
    check_two_term(ObjectiveSettings::InversionDpoPublished(InversionDpoPublished {
        beta: 1.0,
        inversion_steps: 4,
        weighting: Weighting::Uniform,
        reduction: Reduction::Equation,
        start,
        ..InversionDpoPublished::default()
    }));
}

/// The script pairs x_{k−1} with t_k: x₀ is asked twice, and N states in all.
#[test]
fn the_official_pairing_starts_at_the_image() {
    let objective = ObjectiveSettings::InversionDpoOfficial(InversionDpoOfficial {
        inversion_steps: 4,
        start: Start::Jitter { std: 0.02 },
        ..InversionDpoOfficial::default()
    });
    let bench = Bench::new(objective, lora(), Preference::default());
    let drawn = bench.drawn();
    let path = &bench.component.paths[drawn[0].index][0];
    assert_eq!(*path.timesteps, [0, 250, 500, 750]);
    // As exact as f16.
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let states = [0, 1, 2].map(|k| path.state(k).unwrap());
    assert!(apart(&states[0], drawn[0].image(0)) < 2e-3);
    // The step to t_0 leads from ᾱ(0) to ᾱ(0): the same again, but for rounding.
    assert!(apart(&states[1], &states[0]) < 2e-3);
    assert!(apart(&states[2], &states[1]) > 1e-2);
}

fn trainer(settings: TrainerSettings, cache: &Path) -> Trainer {
    let pairs = pairs(6, true, SAMPLING);
    let settings = TrainerSettings { sampling: SAMPLING, max_steps: 4, warmup_steps: 0, ..settings };
    Trainer::new(pipeline(), &graphs(), pairs, settings, &kept_in(cache), &mut |_| super::Control::Continue).unwrap()
}

fn kept_in(folder: &Path) -> TensorCache {
    TensorCache::new(folder, CacheLimits::default())
}

fn exported(trainer: &Trainer, folder: &Path) -> Vec<u8> {
    let file = folder.join("weights.safetensors");
    trainer.export(&file).unwrap();
    fs_err::read(file).unwrap()
}

#[test]
fn accumulated_batches_make_the_step_of_a_large_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = |batch_size, gradient_accumulation_steps| {
        let settings = TrainerSettings {
            batch_size,
            gradient_accumulation_steps,
            trainable: lora(),
            ..TrainerSettings::default()
        };
        let mut trainer = trainer(settings, folder.path());
        trainer.step().unwrap();
        trainer.step().unwrap();
        exported(&trainer, folder.path())
    };
    let large = run(6, 1);
    assert_eq!(run(2, 3), large);
    assert_ne!(run(2, 1), large);
}

/// Every objective moves every kind of trained part, and a run that is saved, thrown away and restored goes on bit for bit.
#[test]
fn every_objective_moves_and_resumes() {
    use crate::objective::{D3po, DiffusionDpo, Inpo, Mixture, Sft, SingleTimestep};
    let start = Start::Jitter { std: 0.02 };
    let folder = tempfile::tempdir().unwrap();
    let encoder_lora = Trainable::SceneGraphEncoderLora { rank: 2, alpha: 2.0, targets: vec!["to_k".to_owned()] };
    let sft = ObjectiveSettings::Sft(Sft::default());
    let mixture =
        Mixture { first: Box::new(sft.clone()), second: Box::new(ObjectiveSettings::default()), weight: 0.25 };
    let cases = [
        (sft, lora()),
        (ObjectiveSettings::DiffusionDpo(DiffusionDpo::default()), Trainable::SceneGraphEncoder),
        (ObjectiveSettings::InversionDpo(InversionDpo::default()), encoder_lora.clone()),
        (ObjectiveSettings::Inpo(Inpo { inversion_steps: 4, ..Inpo::default() }), lora()),
        (ObjectiveSettings::D3po(D3po { beta: 10.0, num_inference_steps: 4, ..D3po::default() }), lora()),
        (
            ObjectiveSettings::SingleTimestep(SingleTimestep { inversion_steps: 4, start, ..Default::default() }),
            encoder_lora,
        ),
        (
            ObjectiveSettings::InversionDpoOfficial(InversionDpoOfficial {
                inversion_steps: 3,
                start: Start::DiffusionDpo { steps: 1 },
                ..Default::default()
            }),
            lora(),
        ),
        (ObjectiveSettings::Mixture(mixture), lora()),
    ];
    for (number, (objective, trainable)) in cases.into_iter().enumerate() {
        let name = objective.name();
        let optimizer = if number % 2 == 0 {
            super::optimizer::OptimizerKind::Adamw
        } else {
            super::optimizer::OptimizerKind::Adafactor
        };
        let settings = TrainerSettings {
            objective,
            trainable,
            optimizer,
            batch_size: 2,
            caption_dropout: 0.3,
            ..TrainerSettings::default()
        };
        let mut straight = trainer(settings.clone(), folder.path());
        let before = exported(&straight, folder.path());
        let first = straight.step().unwrap();
        assert!(first.gradient_norm > 0.0 && first.loss.is_finite(), "{name}: {first:?}");
        assert_eq!(first.pair_accuracy.is_some(), name != "sft");
        straight.save(&folder.path().join("checkpoint")).unwrap();
        straight.step().unwrap();
        let expected = exported(&straight, folder.path());
        assert_ne!(before, expected, "{name} does not move");
        let mut resumed = trainer(settings, folder.path());
        resumed.restore(&folder.path().join("checkpoint")).unwrap();
        resumed.step().unwrap();
        assert_eq!(exported(&resumed, folder.path()), expected, "{name}");
        // What was exported is what a pipeline takes.
        let file = folder.path().join("weights.safetensors");
        assert_ne!(pipeline().with_unet(&file).unwrap().hash(), pipeline().hash());
    }
}

/// Every parameter's within 1e-5 of the norm of the whole.
fn assert_same(ours: &Gradients, theirs: &Gradients) {
    assert!(ours.names().eq(theirs.names()));
    let largest = ours.norm().unwrap();
    for name in ours.names() {
        let both = ours.values(name).into_iter().zip(theirs.values(name));
        let difference = both.map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
        assert!(f64::from(difference) <= 1e-5 * largest, "{name}: {difference} of {largest}");
    }
}

/// Blocks that are computed again give the gradients that kept ones give, whatever learns.
#[test]
fn checkpointed_gradients_are_the_same() {
    let targets = vec!["to_q".to_owned(), "to_v".to_owned()];
    let encoder_too = Trainable::SceneGraphEncoderLora { rank: 2, alpha: 4.0, targets };
    for trainable in [Trainable::Unet, lora(), Trainable::SceneGraphEncoder, encoder_too] {
        let objective = ObjectiveSettings::DiffusionDpo(DiffusionDpo::default());
        let mut bench = Bench::new(objective, trainable.clone(), Preference::default());
        let (loss, kept) = bench.ours();
        bench.policy = bench.policy.with_gradient_checkpointing(true);
        let (again, computed_again) = bench.ours();
        assert_eq!(loss, again);
        assert_same(&kept, &computed_again);
    }
}

/// On an accelerator shards go one by one, and their gradients are added where they arise.
#[test]
fn shards_one_by_one_have_the_gradient_of_shards_side_by_side() {
    let sum = InversionDpo { num_timesteps: 3, timestep_reduction: TimestepReduction::Sum, ..InversionDpo::default() };
    for objective in [
        ObjectiveSettings::DiffusionDpo(DiffusionDpo::default()),
        ObjectiveSettings::InversionDpo(sum),
        ObjectiveSettings::Sft(Sft::default()),
    ] {
        for checkpointing in [false, true] {
            let mut bench = Bench::new(objective.clone(), lora(), Preference::default());
            bench.settings.gradient_accumulation_steps = 3;
            bench.policy = bench.policy.with_gradient_checkpointing(checkpointing);
            let [together, alone] = [false, true].map(|one_by_one| bench.outcome(one_by_one));
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(1.0);
            assert!(close(together.loss, alone.loss) && close(together.drift, alone.drift));
            assert_same(&together.gradients, &alone.gradients);
        }
    }
}

/// At the reference z is 0, the loss ln 2, and the gradient is exactly zero: the job stops with a reason.
#[test]
fn two_term_objectives_refuse_to_pretend() {
    let folder = tempfile::tempdir().unwrap();
    let official =
        InversionDpoOfficial { inversion_steps: 3, start: Start::Jitter { std: 0.02 }, ..Default::default() };
    let bench = Bench::new(ObjectiveSettings::InversionDpoOfficial(official), lora(), Preference::default());
    // Back to the reference: adapters whose upper half is zero.
    for (name, var) in bench.vars.iter().filter(|(name, _)| name.ends_with("lora_B.weight")) {
        assert!(!name.is_empty());
        var.set(&var.zeros_like().unwrap()).unwrap();
    }
    let (loss, gradients) = bench.ours();
    assert!((loss - std::f64::consts::LN_2).abs() < 1e-12);
    assert_eq!(gradients.norm().unwrap(), 0.0);
    let settings = TrainerSettings {
        objective: ObjectiveSettings::InversionDpoOfficial(InversionDpoOfficial::default()),
        ..TrainerSettings::default()
    };
    let refused =
        Trainer::new(pipeline(), &graphs(), pairs(1, false, SAMPLING), settings, &kept_in(folder.path()), &mut |_| {
            super::Control::Continue
        });
    assert!(matches!(refused, Err(crate::Error::Training(reason)) if reason.contains("objective.start")));
}

/// A loss that is flat because the pairs of a batch are told apart by far is no end: other pairs have more to say.
#[test]
fn a_training_outlives_batches_that_have_no_more_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TrainerSettings {
        objective: ObjectiveSettings::DiffusionDpo(DiffusionDpo { beta: 1e8 }),
        batch_size: 1,
        max_steps: 12,
        learning_rate: 1e-3,
        warmup_steps: 0,
        ..TrainerSettings::default()
    };
    let mut go_on = |_| super::Control::Continue;
    let pairs = pairs(1, false, SAMPLING);
    let mut trainer =
        Trainer::new(pipeline(), &graphs(), pairs, settings, &kept_in(folder.path()), &mut go_on).unwrap();
    let norms: Vec<f64> = (0..12).map(|_| trainer.step().unwrap().gradient_norm).collect();
    assert!(norms[0] > 0. && norms.contains(&0.), "{norms:?}");
}

/// Between two states of a path: its noise is that of the step, and its ends are the two states.
#[test]
fn a_state_between_two_lies_on_the_step_from_one_to_the_other() {
    let schedule = pipeline().schedule().clone();
    for objective in [
        InversionDpo::default(),
        InversionDpo { path: PathSource::Inverted, inversion_steps: 5, ..InversionDpo::default() },
    ] {
        let bench = Bench::new(ObjectiveSettings::InversionDpo(objective), lora(), Preference::default());
        let path = &bench.component.paths[0][0];
        let alpha = |timestep: usize| schedule.alpha_cumprod(timestep as i64).unwrap();
        let mut timesteps_met = std::collections::BTreeSet::new();
        for k in 0..path.timesteps.len() {
            let (first, start) = path.between(k, 0.0, &schedule).unwrap();
            assert_eq!(first, path.timesteps[k]);
            let close = |a: &[f32], b: &[f32], bound: f32| {
                let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < bound, "{objective:?} {k}: {apart}");
            };
            close(&start, &path.state(k).unwrap(), 1e-6);
            for share in [0.25, 0.6, 0.999] {
                let (timestep, state) = path.between(k, share, &schedule).unwrap();
                assert!(timestep < first || first == 0);
                timesteps_met.insert(timestep);
                // What leads from it to the start of the step is the noise of the step.
                let noise = crate::objective::inversion_dpo::step_noise(&start, alpha(first), &state, alpha(timestep));
                if share > 0.5 {
                    close(&noise.unwrap(), &path.step_noise(k).unwrap(), 0.02);
                }
            }
        }
        assert!(timesteps_met.len() > path.timesteps.len(), "{timesteps_met:?}");
    }
}

/// What is kept of the texts of graphs is, to the last bit, what the text encoders say, computed or read.
#[test]
fn texts_of_graphs_are_kept_as_they_are() {
    let (folder, reference) = (tempfile::tempdir().unwrap(), pipeline());
    let settings = TrainerSettings { trainable: Trainable::SceneGraphEncoder, ..TrainerSettings::default() };
    let (vars, _) = parameters::trainable(&reference, &settings).unwrap();
    parameters::jitter(&vars, 0.1, 3).unwrap();
    let states = |cache: &TensorCache| -> Vec<Vec<f32>> {
        let encoder = parameters::load_encoder(&reference, &settings, &vars, &graphs(), cache).unwrap().unwrap();
        let of = |(tokens, features): &(Vec<GraphTokens>, GraphFeatures)| {
            encoder.network.forward(tokens, features).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        encoder.graphs.iter().map(of).collect()
    };
    let network = parameters::encoder_network(&reference, &vars).unwrap();
    let direct: Vec<Vec<f32>> = graphs()
        .iter()
        .map(|graph| {
            let tokens = [GraphTokens::prepare(graph, reference.tokenizer()).unwrap()];
            let features = GraphFeatures::encode(&tokens, |sequences| {
                let features = reference.text_encoders().encode(sequences, reference.device())?;
                Ok((features.hidden_states, features.pooled))
            });
            network.forward(&tokens, &features.unwrap()).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        })
        .collect();
    let cache = kept_in(folder.path());
    assert_eq!(states(&cache), direct);
    assert_eq!(states(&cache), direct);
    let tokens = GraphTokens::prepare(&graphs()[0], reference.tokenizer()).unwrap();
    let place = (DType::F32, reference.device());
    assert!(GraphFeatures::from_values(&tokens, &[0.0; 7], 1000, place).is_err());
}
