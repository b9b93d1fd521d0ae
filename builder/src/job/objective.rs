//! What a job minimises, as it is asked for: a name, or an object with the objective's own settings.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::Fields;
use crate::error::Fault;

/// Share of fresh noise in the states of a path, where none is asked for.
const DEFAULT_ETA: f64 = 0.9;

/// How the path of an image is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathChoice {
    /// Recorded where the reference made the image with these settings, else inverted.
    Auto,
    /// Recorded only; an image that the reference did not make is a fault.
    Recorded,
    /// Always inverted.
    Inverted,
}

/// What predictions on a path are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetChoice {
    /// The noise between the image and the state.
    #[default]
    Image,
    /// The noise of the path's own step.
    Step,
}

/// How several timesteps of a pair come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepReduction {
    /// The mean of their losses.
    #[default]
    Each,
    /// One loss over all of them.
    Sum,
}

/// How the published objectives leave their fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// As published: at the reference itself. The guard stops the job.
    #[default]
    None,
    /// Gaussian noise of this relative size on the trainable parameters.
    Perturb(f64),
    /// This many steps of diffusion-dpo first.
    WarmUp(usize),
}

/// The weight of a term of the published objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishedWeighting {
    /// 1/(2 ᾱ): the released script.
    #[default]
    InverseAlpha,
    /// 1: Eq. 16.
    Uniform,
}

/// How the terms of the published objective come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishedReduction {
    /// Half the mean of means: the released script.
    #[default]
    Script,
    /// The sum of sums: Eq. 16.
    Equation,
}

/// What is minimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Objective {
    /// Four terms along a path of the reference.
    InversionDpo {
        /// Where the path comes from.
        path: PathChoice,
        /// What predictions are compared with.
        #[serde(default)]
        target: TargetChoice,
        /// Timesteps of the path a pair and step; 0: all.
        #[serde(default = "one")]
        num_timesteps: usize,
        /// How they come together.
        #[serde(default)]
        timestep_reduction: TimestepReduction,
        /// Whether states between the path's own are asked at too.
        #[serde(default)]
        between_steps: bool,
        /// Share of fresh noise in a state of the path; 0: none.
        #[serde(default)]
        eta: f64,
        /// Steps of an inverted path.
        num_inversion_steps: usize,
        /// Guidance of an inversion.
        inversion_guidance_scale: f64,
    },
    /// Eq. 16 of the paper, as printed.
    InversionDpoPublished {
        /// +1: Eq. 16 and the released code. -1: the caption's direction.
        sign: i8,
        /// Weights of the terms.
        #[serde(default)]
        weighting: PublishedWeighting,
        /// How they come together.
        #[serde(default)]
        reduction: PublishedReduction,
        /// How it leaves the reference.
        start: Start,
        /// Steps of the path.
        num_inversion_steps: usize,
        /// Guidance of the inversion.
        inversion_guidance_scale: f64,
    },
    /// The released script with its own constants.
    InversionDpoOfficial {
        /// How it leaves the reference.
        start: Start,
        /// Steps of the path.
        num_inversion_steps: usize,
    },
    /// One term of Eq. 16: the paper's supplement.
    SingleTimestep {
        /// +1: Eq. 16 and the released code. -1: the caption's direction.
        sign: i8,
        /// How it leaves the reference.
        start: Start,
        /// Steps of the path, of which one is drawn.
        num_inversion_steps: usize,
        /// Guidance of the inversion and of both models.
        inversion_guidance_scale: f64,
    },
    /// Fresh noise, one timestep a pair.
    DiffusionDpo {},
    /// Noise that the trained model itself inverts the image to.
    Inpo {
        /// Steps of the inversion's schedule.
        num_inversion_steps: usize,
        /// Share of fresh noise in a state.
        eta: f64,
    },
    /// Likelihoods of single steps of the stochastic sampler.
    D3po {
        /// Largest change of a likelihood ratio that is learned from.
        clip: f64,
        /// Steps of the sampler.
        num_inference_steps: usize,
        /// Guidance of both models.
        guidance_scale: f64,
        /// η of the sampler.
        eta: f64,
    },
    /// Noise prediction on winners; the loser is not looked at.
    Sft {},
    /// Two of the others on the same pairs.
    Mixture {
        /// Has the weight 1 − `weight`.
        first: Box<Objective>,
        /// Has the weight `weight`.
        second: Box<Objective>,
        /// Of the second.
        weight: f64,
        /// β of each; `None`: the job's, or d3po's own.
        betas: [Option<f64>; 2],
    },
}

fn one() -> usize {
    1
}

impl Objective {
    /// Names as in requests.
    pub const NAMES: [&'static str; 9] = [
        "inversion-dpo",
        "inversion-dpo-published",
        "inversion-dpo-official",
        "single-timestep",
        "diffusion-dpo",
        "inpo",
        "d3po",
        "sft",
        "mixture",
    ];

    /// The objective's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InversionDpo { .. } => Self::NAMES[0],
            Self::InversionDpoPublished { .. } => Self::NAMES[1],
            Self::InversionDpoOfficial { .. } => Self::NAMES[2],
            Self::SingleTimestep { .. } => Self::NAMES[3],
            Self::DiffusionDpo {} => Self::NAMES[4],
            Self::Inpo { .. } => Self::NAMES[5],
            Self::D3po { .. } => Self::NAMES[6],
            Self::Sft {} => Self::NAMES[7],
            Self::Mixture { .. } => Self::NAMES[8],
        }
    }

    /// `inversion-dpo` as it gained most on the embedded model (docs/experiments.md): everywhere on the path, its noise mixed
    /// with fresh noise.
    pub fn inversion_dpo() -> Self {
        Self::InversionDpo {
            path: PathChoice::Auto,
            target: TargetChoice::Image,
            num_timesteps: 1,
            timestep_reduction: TimestepReduction::Each,
            between_steps: true,
            eta: DEFAULT_ETA,
            num_inversion_steps: 50,
            inversion_guidance_scale: 1.0,
        }
    }

    /// `inversion-dpo` on paths that are always inverted, with this many steps.
    pub fn inverted(num_inversion_steps: usize) -> Self {
        Self::InversionDpo {
            path: PathChoice::Inverted,
            target: TargetChoice::Image,
            num_timesteps: 1,
            timestep_reduction: TimestepReduction::Each,
            between_steps: true,
            eta: DEFAULT_ETA,
            num_inversion_steps,
            inversion_guidance_scale: 1.0,
        }
    }

    /// Eq. 16 with the released script's weights.
    pub fn published(start: Start, num_inversion_steps: usize) -> Self {
        Self::InversionDpoPublished {
            sign: 1,
            weighting: PublishedWeighting::InverseAlpha,
            reduction: PublishedReduction::Script,
            start,
            num_inversion_steps,
            inversion_guidance_scale: 2.0,
        }
    }

    /// Takes at most `steps` steps of every path and sampler, and of a warm-up one: for trying things out.
    pub fn shorten(&mut self, steps: usize) {
        match self {
            Self::InversionDpo { num_inversion_steps, .. } | Self::Inpo { num_inversion_steps, .. } => {
                *num_inversion_steps = steps.min(*num_inversion_steps);
            }
            Self::InversionDpoPublished { num_inversion_steps, start, .. }
            | Self::InversionDpoOfficial { num_inversion_steps, start }
            | Self::SingleTimestep { num_inversion_steps, start, .. } => {
                *num_inversion_steps = steps.min(*num_inversion_steps);
                if let Start::WarmUp(warm_up) = start {
                    *warm_up = 1;
                }
            }
            Self::D3po { num_inference_steps, .. } => *num_inference_steps = steps.min(*num_inference_steps),
            Self::DiffusionDpo {} | Self::Sft {} => {}
            Self::Mixture { first, second, .. } => {
                first.shorten(steps);
                second.shorten(steps);
            }
        }
    }

    /// The objectives that it is made of: itself, or both of a mixture.
    pub fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Mixture { first, second, .. } => vec![first, second],
            one => vec![one],
        }
    }

    /// β where none is asked for.
    pub fn default_beta(&self) -> f64 {
        match self {
            // Of its script; a log-likelihood ratio is clipped, so that z is small whatever β.
            Self::D3po { .. } => 0.1,
            _ => 2000.0,
        }
    }

    /// How the paths of its images are found; `None`: it needs no path of the reference.
    pub fn path(&self) -> Option<PathChoice> {
        match self {
            Self::InversionDpo { path, .. } => Some(*path),
            Self::InversionDpoPublished { .. } | Self::InversionDpoOfficial { .. } | Self::SingleTimestep { .. } => {
                Some(PathChoice::Inverted)
            }
            Self::DiffusionDpo {} | Self::Inpo { .. } | Self::D3po { .. } | Self::Sft {} => None,
            Self::Mixture { first, second, .. } => match (first.path(), second.path()) {
                // One wish among the two is enough to need the seeds; an objective that inverts does not look at them.
                (Some(PathChoice::Recorded), _) | (_, Some(PathChoice::Recorded)) => Some(PathChoice::Recorded),
                (Some(PathChoice::Auto), _) | (_, Some(PathChoice::Auto)) => Some(PathChoice::Auto),
                (first, second) => first.or(second),
            },
        }
    }

    /// Steps of an inversion of every image before training, and whether it is guided.
    pub fn inverts(&self) -> Option<(usize, bool)> {
        match self {
            Self::InversionDpo {
                path: PathChoice::Inverted, num_inversion_steps, inversion_guidance_scale, ..
            }
            | Self::InversionDpoPublished { num_inversion_steps, inversion_guidance_scale, .. }
            | Self::SingleTimestep { num_inversion_steps, inversion_guidance_scale, .. } => {
                Some((*num_inversion_steps, *inversion_guidance_scale != 1.0))
            }
            Self::InversionDpoOfficial { num_inversion_steps, .. } => Some((*num_inversion_steps, true)),
            _ => None,
        }
    }

    /// Steps of the inversion of an image whose path is not recorded; `None`: it reads no paths of the reference.
    pub fn num_inversion_steps(&self) -> Option<usize> {
        match self {
            Self::InversionDpo { num_inversion_steps, .. } => Some(*num_inversion_steps),
            other => other.inverts().map(|(steps, _)| steps),
        }
    }

    /// Whether it reads the noises between the states of a path, which the cache keeps exactly.
    pub fn reads_step_noises(&self) -> bool {
        matches!(self, Self::InversionDpo { target: TargetChoice::Step, .. })
    }

    /// What a step costs a pair, in forward passes of one image; a backward pass counts as two.
    pub fn forwards_a_pair(&self) -> f64 {
        match self {
            Self::InversionDpo { num_timesteps, num_inversion_steps, .. } => {
                8.0 * if *num_timesteps == 0 { *num_inversion_steps } else { *num_timesteps } as f64
            }
            Self::InversionDpoPublished { num_inversion_steps, .. }
            | Self::InversionDpoOfficial { num_inversion_steps, .. } => 16.0 * *num_inversion_steps as f64,
            Self::SingleTimestep { .. } | Self::D3po { .. } => 16.0,
            Self::Inpo { num_inversion_steps, .. } => 8.0 + 2.0 * *num_inversion_steps as f64,
            Self::Sft {} => 4.0,
            Self::DiffusionDpo {} => 8.0,
            Self::Mixture { first, second, .. } => first.forwards_a_pair() + second.forwards_a_pair(),
        }
    }

    /// Reads `objective` of a request.
    pub(super) fn read(value: &Value, faults: &mut Vec<Fault>) -> Self {
        Self::read_at(value, "/objective", faults).0
    }

    /// The objective at `pointer`, and the β of its own that a part of a mixture may have.
    fn read_at(value: &Value, pointer: &str, faults: &mut Vec<Fault>) -> (Self, Option<f64>) {
        let is_part = pointer != "/objective";
        let mut names: Vec<&str> = Self::NAMES.to_vec();
        if is_part {
            names.pop();
        }
        // A mixture is more than a name.
        if let Value::String(name) = value
            && (is_part || name != "mixture")
        {
            return Self::read_at(&serde_json::json!({ "name": name }), pointer, faults);
        }
        let Some(mut fields) = Fields::open(value, pointer.to_owned(), faults) else {
            return (Self::inversion_dpo(), None);
        };
        if fields.take("name").is_none() {
            faults.push(Fault::new(format!("{pointer}/name"), format!("is one of {}", names.join(", "))));
        }
        let name = fields.choice("name", names[0], &names, faults);
        let objective = Self::read_named(&name, &mut fields, pointer, faults);
        let beta = (is_part && fields.take("beta").is_some())
            .then(|| fields.number("beta", objective.default_beta(), 1e-6..=1e9, faults));
        fields.finish(faults);
        (objective, beta)
    }

    fn read_named(name: &str, fields: &mut Fields<'_>, pointer: &str, faults: &mut Vec<Fault>) -> Self {
        let steps = "num_inversion_steps";
        let guidance = "inversion_guidance_scale";
        match name {
            "diffusion-dpo" => Self::DiffusionDpo {},
            "sft" => Self::Sft {},
            "inversion-dpo-published" => Self::InversionDpoPublished {
                sign: read_sign(fields, faults),
                weighting: match fields
                    .choice("weighting", "inverse_alpha", &["inverse_alpha", "uniform"], faults)
                    .as_str()
                {
                    "uniform" => PublishedWeighting::Uniform,
                    _ => PublishedWeighting::InverseAlpha,
                },
                reduction: match fields.choice("reduction", "script", &["script", "equation"], faults).as_str() {
                    "equation" => PublishedReduction::Equation,
                    _ => PublishedReduction::Script,
                },
                start: read_start(fields, faults),
                num_inversion_steps: fields.count(steps, 20, 1..=1000, faults),
                inversion_guidance_scale: fields.number(guidance, 2.0, 0.0..=100.0, faults),
            },
            "inversion-dpo-official" => Self::InversionDpoOfficial {
                start: read_start(fields, faults),
                num_inversion_steps: fields.count(steps, 80, 1..=1000, faults),
            },
            "single-timestep" => Self::SingleTimestep {
                sign: read_sign(fields, faults),
                start: read_start(fields, faults),
                num_inversion_steps: fields.count(steps, 20, 1..=1000, faults),
                inversion_guidance_scale: fields.number(guidance, 2.0, 0.0..=100.0, faults),
            },
            "inpo" => Self::Inpo {
                num_inversion_steps: fields.count(steps, 10, 2..=1000, faults),
                eta: fields.number("eta", 0.1, 0.0..=1.0, faults),
            },
            "d3po" => Self::D3po {
                clip: fields.number("clip", 0.1, 1e-4..=0.99, faults),
                num_inference_steps: fields.count("num_inference_steps", 20, 2..=1000, faults),
                guidance_scale: fields.number("guidance_scale", 5.0, 0.0..=100.0, faults),
                eta: fields.number("eta", 1.0, 1e-3..=1.0, faults),
            },
            "mixture" => {
                let mut part = |key: &str| match fields.take(key) {
                    Some(value) => Self::read_at(value, &format!("{pointer}/{key}"), faults),
                    None => {
                        faults.push(Fault::new(format!("{pointer}/{key}"), "is an objective"));
                        (Self::inversion_dpo(), None)
                    }
                };
                let ((first, first_beta), (second, second_beta)) = (part("first"), part("second"));
                Self::Mixture {
                    first: Box::new(first),
                    second: Box::new(second),
                    weight: fields.number("weight", 0.5, 1e-6..=0.999_999, faults),
                    betas: [first_beta, second_beta],
                }
            }
            _ => {
                let target = match fields.choice("target", "image", &["image", "step"], faults).as_str() {
                    "step" => TargetChoice::Step,
                    _ => TargetChoice::Image,
                };
                // No step leads to a state with fresh noise.
                let default_eta = if target == TargetChoice::Step { 0.0 } else { DEFAULT_ETA };
                let eta = fields.number("eta", default_eta, 0.0..=1.0, faults);
                if eta > 0.0 && target == TargetChoice::Step {
                    faults.push(Fault::new(format!("{pointer}/eta"), "needs the target `image`"));
                }
                Self::InversionDpo {
                    path: match fields.choice("path", "auto", &["auto", "recorded", "inverted"], faults).as_str() {
                        "recorded" => PathChoice::Recorded,
                        "inverted" => PathChoice::Inverted,
                        _ => PathChoice::Auto,
                    },
                    target,
                    num_timesteps: fields.count("num_timesteps", 1, 0..=1000, faults),
                    timestep_reduction: match fields
                        .choice("timestep_reduction", "each", &["each", "sum"], faults)
                        .as_str()
                    {
                        "sum" => TimestepReduction::Sum,
                        _ => TimestepReduction::Each,
                    },
                    between_steps: fields.flag("between_steps", true, faults),
                    eta,
                    num_inversion_steps: fields.count(steps, 50, 1..=1000, faults),
                    inversion_guidance_scale: fields.number(guidance, 1.0, 0.0..=100.0, faults),
                }
            }
        }
    }
}

fn read_sign(fields: &mut Fields<'_>, faults: &mut Vec<Fault>) -> i8 {
    if fields.choice_of_numbers("sign", 1, &[1, -1], faults) < 0 { -1 } else { 1 }
}

fn read_start(fields: &mut Fields<'_>, faults: &mut Vec<Fault>) -> Start {
    let pointer = fields.pointer("start");
    match fields.take("start") {
        None => Start::None,
        Some(Value::String(word)) if word == "none" => Start::None,
        Some(value @ Value::Object(_)) => {
            let Some(mut inner) = Fields::open(value, pointer.clone(), faults) else {
                return Start::None;
            };
            let start = if inner.take("perturb").is_some() {
                Start::Perturb(inner.number("perturb", 0.02, 1e-6..=1.0, faults))
            } else if inner.take("warm_up").is_some() {
                Start::WarmUp(inner.count("warm_up", 20, 1..=100_000, faults))
            } else {
                faults.push(Fault::new(pointer, "is \"none\", {\"perturb\": SIZE} or {\"warm_up\": STEPS}"));
                Start::None
            };
            inner.finish(faults);
            start
        }
        Some(_) => {
            faults.push(Fault::new(pointer, "is \"none\", {\"perturb\": SIZE} or {\"warm_up\": STEPS}"));
            Start::None
        }
    }
}
