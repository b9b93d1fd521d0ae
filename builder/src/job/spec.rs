//! A job's request: its fields, their defaults, and what is wrong with them.

use models::trainer::MixedPrecision;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::fields::Fields;
use super::objective::Objective;
use super::trainable::Trainable;
use crate::error::Fault;

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateSchedule {
    /// Stays.
    Constant,
    /// Falls in a line to zero at the last step.
    Linear,
    /// Falls along half a cosine to zero at the last step.
    Cosine,
}

/// How the logit of a pair becomes its loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossForm {
    /// −log σ(z).
    #[default]
    Sigmoid,
    /// max(0, 1 − z).
    Hinge,
    /// (z − ½)².
    Ipo,
}

/// What moves the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerChoice {
    /// First and second moment of every parameter.
    #[default]
    Adamw,
    /// Second moments by rows and columns; the paper's for SDXL.
    Adafactor,
}

/// The held-out comparison of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSpec {
    /// Held-out graphs, the first of them by content hash.
    pub num_graphs: usize,
    /// Images a graph and a model.
    pub num_noises: usize,
    /// Steps between comparisons that choose the best checkpoint; 0: never, the last is taken.
    pub every: usize,
    /// Held-out graphs of those comparisons, apart from `num_graphs`.
    pub selection_graphs: usize,
    /// Where the noises come from.
    pub seed: i64,
    /// Selections without a better one after which the training stops; 0: never before its last step.
    #[serde(default)]
    pub patience: usize,
}

impl Default for EvaluationSpec {
    fn default() -> Self {
        Self { num_graphs: 256, num_noises: 2, every: 100, selection_graphs: 64, seed: 0, patience: 0 }
    }
}

/// A training job as it was asked for, with every default written out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// A word for people.
    pub name: String,
    /// The frozen pairs.
    pub pairing_id: Uuid,
    /// The reference, by name or hash; `None`: the model that made the pairing's candidates.
    pub model: Option<String>,
    /// What is minimised.
    pub objective: Objective,
    /// What moves.
    pub trainable: Trainable,
    /// How it moves.
    #[serde(default)]
    pub optimizer: OptimizerChoice,
    /// Peak.
    pub learning_rate: f64,
    /// After the warm-up.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Steps.
    pub max_steps: usize,
    /// Pairs in a batch.
    pub batch_size: usize,
    /// Batches a step.
    #[serde(default = "one")]
    pub gradient_accumulation_steps: usize,
    /// Blocks of the UNet are computed again on the way back instead of kept: less memory for more time.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// What policy and reference compute in; what learns, its gradients and the optimizer stay in f32.
    #[serde(default)]
    pub mixed_precision: MixedPrecision,
    /// Share of pairs that are seen without their scene graph, winner and loser alike.
    #[serde(default)]
    pub caption_dropout: f64,
    /// Share of the pairs whose winner and loser are exchanged, by the seed; 0.5 is the control of random labels.
    #[serde(default)]
    pub label_noise: f64,
    /// Strength of the preference.
    pub beta: f64,
    /// Loss of a pair's logit.
    #[serde(default)]
    pub loss: LossForm,
    /// Taken off every logit first.
    #[serde(default)]
    pub margin: f64,
    /// Of the running mean of the weights, which is what is evaluated and kept.
    pub ema_decay: f64,
    /// Where the gradient is clipped.
    pub max_grad_norm: f64,
    /// The optimizer's.
    pub weight_decay: f64,
    /// Order of pairs, timesteps, noise.
    pub seed: i64,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Steps between sample pictures; 0: none.
    pub sample_every: usize,
    /// Held-out graphs in the sample pictures.
    pub sample_graphs: usize,
    /// Sampling steps; `None`: those of the pairing's candidates.
    pub num_inference_steps: Option<usize>,
    /// Guidance; `None`: that of the pairing's candidates.
    pub guidance_scale: Option<f64>,
    /// The comparison.
    pub evaluation: EvaluationSpec,
}

impl JobSpec {
    /// The settings that gained most on the embedded model (docs/experiments.md), for `pairing_id`.
    pub fn new(pairing_id: Uuid, objective: Objective) -> Self {
        Self {
            name: objective.name().to_owned(),
            pairing_id,
            model: None,
            beta: objective.default_beta(),
            objective,
            trainable: Trainable::Unet {},
            optimizer: OptimizerChoice::Adamw,
            learning_rate: 1e-4,
            learning_rate_schedule: LearningRateSchedule::Linear,
            warmup_steps: 10,
            max_steps: 300,
            batch_size: 16,
            gradient_accumulation_steps: 1,
            gradient_checkpointing: false,
            mixed_precision: MixedPrecision::No,
            caption_dropout: 0.0,
            label_noise: 0.0,
            loss: LossForm::Sigmoid,
            margin: 0.0,
            ema_decay: 0.97,
            max_grad_norm: 1.0,
            weight_decay: 0.0,
            seed: 0,
            checkpoint_every: 50,
            sample_every: 50,
            sample_graphs: 4,
            num_inference_steps: None,
            guidance_scale: None,
            evaluation: EvaluationSpec::default(),
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// Every fault of it at once, each with a JSON pointer.
    pub fn parse(request: &Value) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let Some(mut fields) = Fields::open(request, String::new(), &mut faults) else {
            return Err(faults);
        };
        let pairing_id = fields.uuid("pairing_id", &mut faults);
        let objective = match fields.take("objective") {
            None => Objective::inversion_dpo(),
            Some(value) => Objective::read(value, &mut faults),
        };
        let defaults = Self::new(pairing_id, objective);
        let spec = Self {
            name: fields.text("name", &mut faults).unwrap_or_else(|| defaults.name.clone()),
            model: fields.text("model", &mut faults),
            trainable: fields.take("trainable").map_or(Trainable::Unet {}, |value| Trainable::read(value, &mut faults)),
            optimizer: match fields.choice("optimizer", "adamw", &["adamw", "adafactor"], &mut faults).as_str() {
                "adafactor" => OptimizerChoice::Adafactor,
                _ => OptimizerChoice::Adamw,
            },
            learning_rate: fields.number("learning_rate", defaults.learning_rate, 1e-9..=1.0, &mut faults),
            learning_rate_schedule: match fields
                .choice("learning_rate_schedule", "linear", &["linear", "constant", "cosine"], &mut faults)
                .as_str()
            {
                "constant" => LearningRateSchedule::Constant,
                "cosine" => LearningRateSchedule::Cosine,
                _ => LearningRateSchedule::Linear,
            },
            warmup_steps: fields.count("warmup_steps", defaults.warmup_steps, 0..=1_000_000, &mut faults),
            max_steps: fields.count("max_steps", defaults.max_steps, 1..=10_000_000, &mut faults),
            batch_size: fields.count("batch_size", defaults.batch_size, 1..=4096, &mut faults),
            gradient_accumulation_steps: fields.count("gradient_accumulation_steps", 1, 1..=4096, &mut faults),
            gradient_checkpointing: fields.flag("gradient_checkpointing", false, &mut faults),
            mixed_precision: match fields.choice("mixed_precision", "no", &["no", "bf16"], &mut faults).as_str() {
                "bf16" => MixedPrecision::Bf16,
                _ => MixedPrecision::No,
            },
            caption_dropout: fields.number("caption_dropout", 0.0, 0.0..=0.99, &mut faults),
            label_noise: fields.number("label_noise", 0.0, 0.0..=1.0, &mut faults),
            loss: match fields.choice("loss", "sigmoid", &["sigmoid", "hinge", "ipo"], &mut faults).as_str() {
                "hinge" => LossForm::Hinge,
                "ipo" => LossForm::Ipo,
                _ => LossForm::Sigmoid,
            },
            margin: fields.number("margin", 0.0, -1e6..=1e6, &mut faults),
            beta: fields.number("beta", defaults.beta, 1e-6..=1e9, &mut faults),
            ema_decay: fields.number("ema_decay", defaults.ema_decay, 0.0..=0.999_999, &mut faults),
            max_grad_norm: fields.number("max_grad_norm", defaults.max_grad_norm, 1e-6..=1e6, &mut faults),
            weight_decay: fields.number("weight_decay", defaults.weight_decay, 0.0..=1.0, &mut faults),
            seed: fields.seed("seed", defaults.seed, &mut faults),
            checkpoint_every: fields.count("checkpoint_every", defaults.checkpoint_every, 1..=1_000_000, &mut faults),
            sample_every: fields.count("sample_every", defaults.sample_every, 0..=1_000_000, &mut faults),
            sample_graphs: fields.count("sample_graphs", defaults.sample_graphs, 0..=64, &mut faults),
            num_inference_steps: fields
                .take("num_inference_steps")
                .map(|_| fields.count("num_inference_steps", 20, 1..=1000, &mut faults)),
            guidance_scale: fields
                .take("guidance_scale")
                .map(|_| fields.number("guidance_scale", 3.0, 0.0..=100.0, &mut faults)),
            evaluation: fields
                .take("evaluation")
                .map_or_else(EvaluationSpec::default, |value| read_evaluation(value, &mut faults)),
            ..defaults
        };
        fields.finish(&mut faults);
        if faults.is_empty() { Ok(spec) } else { Err(faults) }
    }
}

fn one() -> usize {
    1
}

fn read_evaluation(value: &Value, faults: &mut Vec<Fault>) -> EvaluationSpec {
    let defaults = EvaluationSpec::default();
    let Some(mut fields) = Fields::open(value, "/evaluation".to_owned(), faults) else {
        return defaults;
    };
    let spec = EvaluationSpec {
        num_graphs: fields.count("num_graphs", defaults.num_graphs, 0..=100_000, faults),
        num_noises: fields.count("num_noises", defaults.num_noises, 1..=64, faults),
        every: fields.count("every", defaults.every, 0..=1_000_000, faults),
        selection_graphs: fields.count("selection_graphs", defaults.selection_graphs, 0..=10_000, faults),
        seed: fields.seed("seed", defaults.seed, faults),
        patience: fields.count("patience", defaults.patience, 0..=1_000_000, faults),
    };
    fields.finish(faults);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{PathChoice, Start, TargetChoice, TimestepReduction};
    use serde_json::json;

    #[test]
    fn a_request_with_one_field_has_the_default_settings() {
        let id = Uuid::from_u128(7);
        let spec = JobSpec::parse(&json!({ "pairing_id": id })).unwrap();
        assert_eq!(spec, JobSpec::new(id, Objective::inversion_dpo()));
        let stored = serde_json::to_value(&spec).unwrap();
        assert_eq!(serde_json::from_value::<JobSpec>(stored).unwrap(), spec);
    }

    #[test]
    fn all_faults_come_at_once() {
        let faults = JobSpec::parse(&json!({
            "pairing_id": "x",
            "objective": {"name": "inversion-dpo", "path": "guessed", "sign": 1},
            "trainable": {"kind": "lora", "rank": 0},
            "learning_rate": "fast",
            "max_steps": -1,
            "batch_size": 1.5,
            "evaluation": {"num_noises": 0, "a/b~": 1},
            "steps": 3,
        }))
        .unwrap_err();
        let mut found: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "/batch_size",
                "/evaluation/a~1b~0",
                "/evaluation/num_noises",
                "/learning_rate",
                "/max_steps",
                "/objective/path",
                "/objective/sign",
                "/pairing_id",
                "/steps",
                "/trainable/rank",
            ]
        );
    }

    #[test]
    fn short_spellings_are_understood() {
        let id = Uuid::from_u128(7);
        let spec = JobSpec::parse(&json!({
            "pairing_id": id,
            "objective": "diffusion-dpo",
            "trainable": "lora",
        }))
        .unwrap();
        assert_eq!(spec.objective, Objective::DiffusionDpo {});
        assert_eq!(spec.trainable, Trainable::Lora { rank: 8, alpha: 8.0, targets: None });
        let spec = JobSpec::parse(&json!({
            "pairing_id": id,
            "objective": {"name": "inversion-dpo-published", "start": {"warm_up": 5}, "sign": -1},
        }))
        .unwrap();
        assert!(matches!(spec.objective, Objective::InversionDpoPublished { sign: -1, start: Start::WarmUp(5), .. }));
    }

    #[test]
    fn every_objective_is_read_from_its_name() {
        let id = Uuid::from_u128(7);
        for name in Objective::NAMES.iter().filter(|name| **name != "mixture") {
            let spec = JobSpec::parse(&json!({ "pairing_id": id, "objective": name })).unwrap();
            assert_eq!(spec.objective.name(), *name);
            let stored = serde_json::to_value(&spec).unwrap();
            assert_eq!(serde_json::from_value::<JobSpec>(stored).unwrap(), spec);
        }
        let spec = JobSpec::parse(&json!({
            "pairing_id": id,
            "objective": {
                "name": "mixture", "weight": 0.25,
                "first": {"name": "inversion-dpo", "target": "step", "num_timesteps": 0, "timestep_reduction": "sum"},
                "second": {"name": "d3po", "beta": 0.5},
            },
            "loss": "ipo", "margin": 0.1, "optimizer": "adafactor", "learning_rate_schedule": "cosine",
            "gradient_accumulation_steps": 4, "gradient_checkpointing": true, "caption_dropout": 0.2,
            "mixed_precision": "bf16",
            "trainable": {"kind": "scene-graph-encoder-lora", "rank": 2, "targets": ["to_q"]},
        }))
        .unwrap();
        assert!(spec.gradient_checkpointing);
        assert_eq!(spec.mixed_precision, MixedPrecision::Bf16);
        let Objective::Mixture { first, betas, weight, .. } = &spec.objective else { panic!("{spec:?}") };
        assert_eq!((*weight, *betas), (0.25, [None, Some(0.5)]));
        assert!(matches!(
            **first,
            Objective::InversionDpo {
                target: TargetChoice::Step,
                num_timesteps: 0,
                timestep_reduction: TimestepReduction::Sum,
                path: PathChoice::Auto,
                ..
            }
        ));
        let stored = serde_json::to_value(&spec).unwrap();
        assert_eq!(serde_json::from_value::<JobSpec>(stored).unwrap(), spec);
    }

    #[test]
    fn faults_within_a_mixture_are_found_where_they_are() {
        let faults = JobSpec::parse(&json!({
            "pairing_id": Uuid::from_u128(7),
            "objective": {"name": "mixture", "first": {"name": "inpo", "eta": 2}, "second": "mixture", "weight": 1},
            "loss": "square",
            "trainable": {"kind": "lora", "targets": []},
        }))
        .unwrap_err();
        let noisy_step = json!({ "name": "inversion-dpo", "target": "step", "eta": 0.5 });
        let refused =
            JobSpec::parse(&json!({ "pairing_id": Uuid::from_u128(7), "objective": noisy_step })).unwrap_err();
        assert_eq!(refused[0].pointer, "/objective/eta");
        let mut found: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            ["/loss", "/objective/first/eta", "/objective/second/name", "/objective/weight", "/trainable/targets"]
        );
        let missing = json!({ "pairing_id": Uuid::from_u128(7), "objective": {"name": "mixture", "first": "sft"} });
        assert_eq!(JobSpec::parse(&missing).unwrap_err()[0].pointer, "/objective/second");
        let alone = json!({ "pairing_id": Uuid::from_u128(7), "objective": "mixture" });
        assert!(JobSpec::parse(&alone).is_err());
    }

    #[test]
    fn a_job_of_before_there_were_these_settings_is_still_read() {
        let mut stored = serde_json::to_value(JobSpec::new(Uuid::from_u128(7), Objective::inversion_dpo())).unwrap();
        let fields = stored.as_object_mut().unwrap();
        for name in [
            "loss",
            "margin",
            "optimizer",
            "gradient_accumulation_steps",
            "gradient_checkpointing",
            "mixed_precision",
            "caption_dropout",
        ] {
            fields.remove(name).unwrap();
        }
        let objective = fields["objective"].as_object_mut().unwrap();
        for name in ["target", "num_timesteps", "timestep_reduction"] {
            objective.remove(name).unwrap();
        }
        let read: JobSpec = serde_json::from_value(stored).unwrap();
        assert_eq!(read, JobSpec::new(Uuid::from_u128(7), Objective::inversion_dpo()));
    }
}
