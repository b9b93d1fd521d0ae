//! A training job: what it is asked for, which states it goes through, and what is wrong with a request.
//!
//! The states are those of the API and of the SQL type `job_state`. [`JobState::next`] is the only place where one becomes
//! another; whoever writes a state to the store asks it first.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use crate::error::Fault;
pub use crate::store::state::JobState;

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobChange {
    /// Everything that the job names exists and fits.
    Validate,
    /// A worker took it up (also: again, after another was killed).
    Prepare,
    /// The first step can be taken.
    Run,
    /// A worker let it go unfinished, because the service stops.
    Release,
    /// Asked from outside.
    Pause,
    /// The worker saved a checkpoint and let go.
    Paused,
    /// Asked from outside.
    Resume,
    /// Asked from outside.
    Cancel,
    /// The worker let go.
    Cancelled,
    /// Done.
    Succeed,
    /// Cannot be done.
    Fail,
}

impl JobState {
    /// Whether a worker holds the job, or should.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Preparing | Self::Running | Self::Pausing | Self::Cancelling)
    }

    /// The state after `change`; `None` where that change is not allowed.
    ///
    /// Without a worker a request is granted at once (`Queued` + `Pause` = `Paused`); with one it becomes a wish that the
    /// worker sees within a step.
    pub fn next(self, change: JobChange) -> Option<Self> {
        use JobChange as C;
        use JobState as S;
        match (self, change) {
            (S::Validating, C::Validate) | (S::Preparing | S::Running, C::Release) | (S::Paused, C::Resume) => {
                Some(S::Queued)
            }
            // `Preparing` and `Running` too: the worker before was killed, and did not say so.
            (S::Queued | S::Preparing | S::Running, C::Prepare) => Some(S::Preparing),
            (S::Preparing | S::Running, C::Pause) => Some(S::Pausing),
            (S::Queued, C::Pause) | (S::Pausing, C::Paused) => Some(S::Paused),
            // The second: changed one's mind before the worker saw it.
            (S::Preparing, C::Run) | (S::Pausing, C::Resume) => Some(S::Running),
            (S::Validating | S::Queued | S::Paused, C::Cancel) | (S::Cancelling, C::Cancelled) => Some(S::Cancelled),
            (S::Preparing | S::Running | S::Pausing, C::Cancel) => Some(S::Cancelling),
            // A wish that came too late: the job was through.
            (S::Running | S::Pausing | S::Cancelling, C::Succeed) => Some(S::Succeeded),
            (state, C::Fail) if !state.is_final() => Some(S::Failed),
            _ => None,
        }
    }

    /// Every state from which `change` leads to `to`.
    pub fn sources(change: JobChange, to: Self) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|state| state.next(change) == Some(to)).collect()
    }
}

/// The parts of a job's work, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStage {
    /// Waits.
    Waiting,
    /// Graphs into embeddings; latents out of the store.
    Encode,
    /// Paths of candidates that the reference made, from their seeds.
    Replay,
    /// Paths of other images.
    Invert,
    /// Steps.
    Train,
    /// Held-out comparison.
    Evaluate,
}

impl JobStage {
    /// The stage's word in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Encode => "encode",
            Self::Replay => "replay",
            Self::Invert => "invert",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
        }
    }
}

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

/// How the published objective leaves its fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// As published: at the reference itself. The guard stops the job.
    None,
    /// Gaussian noise of this relative size on the trainable parameters.
    Perturb(f64),
    /// This many steps of diffusion-dpo first.
    WarmUp(usize),
}

/// What is minimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Objective {
    /// Four terms along a path of the reference.
    InversionDpo {
        /// Where the path comes from.
        path: PathChoice,
        /// Steps of an inverted path.
        num_inversion_steps: usize,
        /// Guidance of an inversion.
        inversion_guidance_scale: f64,
    },
    /// Eq. 16 of the paper, as printed.
    InversionDpoPublished {
        /// +1: Eq. 16 and the released code. -1: the caption's direction.
        sign: i8,
        /// How it leaves the reference.
        start: Start,
        /// Steps of the path.
        num_inversion_steps: usize,
        /// Guidance of the inversion.
        inversion_guidance_scale: f64,
    },
    /// Fresh noise, one timestep a pair.
    DiffusionDpo {},
}

impl Objective {
    /// Names as in requests.
    pub const NAMES: [&'static str; 3] = ["inversion-dpo", "inversion-dpo-published", "diffusion-dpo"];

    /// The objective's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InversionDpo { .. } => Self::NAMES[0],
            Self::InversionDpoPublished { .. } => Self::NAMES[1],
            Self::DiffusionDpo {} => Self::NAMES[2],
        }
    }

    /// `inversion-dpo` as the pilot found it best.
    pub fn inversion_dpo() -> Self {
        Self::InversionDpo { path: PathChoice::Auto, num_inversion_steps: 50, inversion_guidance_scale: 1.0 }
    }
}

/// Which parameters move.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Trainable {
    /// All of the UNet.
    Unet {},
    /// Low-rank adapters on its attention.
    Lora {
        /// Rank.
        rank: usize,
        /// Scale is `alpha / rank`.
        alpha: f64,
    },
}

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateSchedule {
    /// Stays.
    Constant,
    /// Falls in a line to zero at the last step.
    Linear,
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
}

impl Default for EvaluationSpec {
    fn default() -> Self {
        Self { num_graphs: 256, num_noises: 2, every: 100, selection_graphs: 64, seed: 0 }
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
    /// Peak.
    pub learning_rate: f64,
    /// After the warm-up.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Steps.
    pub max_steps: usize,
    /// Pairs a step.
    pub batch_size: usize,
    /// Strength of the preference.
    pub beta: f64,
    /// Of the running mean of the weights, which is what is evaluated and kept.
    pub ema_decay: f64,
    /// Where the gradient is clipped.
    pub max_grad_norm: f64,
    /// AdamW's.
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
    /// The pilot's settings for `pairing_id`.
    pub fn new(pairing_id: Uuid, objective: Objective) -> Self {
        Self {
            name: objective.name().to_owned(),
            pairing_id,
            model: None,
            objective,
            trainable: Trainable::Unet {},
            learning_rate: 3e-5,
            learning_rate_schedule: LearningRateSchedule::Linear,
            warmup_steps: 10,
            max_steps: 300,
            batch_size: 16,
            beta: 2000.0,
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
            Some(value) => read_objective(value, &mut faults),
        };
        let defaults = Self::new(pairing_id, objective);
        let spec = Self {
            name: fields.text("name", &mut faults).unwrap_or_else(|| defaults.name.clone()),
            model: fields.text("model", &mut faults),
            trainable: fields.take("trainable").map_or(defaults.trainable, |value| read_trainable(value, &mut faults)),
            learning_rate: fields.number("learning_rate", defaults.learning_rate, 1e-9..=1.0, &mut faults),
            learning_rate_schedule: if fields.choice(
                "learning_rate_schedule",
                "linear",
                &["linear", "constant"],
                &mut faults,
            ) == "constant"
            {
                LearningRateSchedule::Constant
            } else {
                LearningRateSchedule::Linear
            },
            warmup_steps: fields.count("warmup_steps", defaults.warmup_steps, 0..=1_000_000, &mut faults),
            max_steps: fields.count("max_steps", defaults.max_steps, 1..=10_000_000, &mut faults),
            batch_size: fields.count("batch_size", defaults.batch_size, 1..=4096, &mut faults),
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

fn read_objective(value: &Value, faults: &mut Vec<Fault>) -> Objective {
    let pointer = "/objective";
    if let Value::String(name) = value {
        let named = serde_json::json!({ "name": name });
        return read_objective(&named, faults);
    }
    let Some(mut fields) = Fields::open(value, pointer.to_owned(), faults) else {
        return Objective::inversion_dpo();
    };
    if fields.take("name").is_none() {
        faults.push(Fault::new(format!("{pointer}/name"), format!("is one of {}", Objective::NAMES.join(", "))));
    }
    let name = fields.choice("name", Objective::NAMES[0], &Objective::NAMES, faults);
    let objective = match name.as_str() {
        "diffusion-dpo" => Objective::DiffusionDpo {},
        "inversion-dpo-published" => Objective::InversionDpoPublished {
            sign: if fields.choice_of_numbers("sign", 1, &[1, -1], faults) < 0 { -1 } else { 1 },
            start: read_start(&mut fields, faults),
            num_inversion_steps: fields.count("num_inversion_steps", 20, 1..=1000, faults),
            inversion_guidance_scale: fields.number("inversion_guidance_scale", 2.0, 0.0..=100.0, faults),
        },
        _ => Objective::InversionDpo {
            path: match fields.choice("path", "auto", &["auto", "recorded", "inverted"], faults).as_str() {
                "recorded" => PathChoice::Recorded,
                "inverted" => PathChoice::Inverted,
                _ => PathChoice::Auto,
            },
            num_inversion_steps: fields.count("num_inversion_steps", 50, 1..=1000, faults),
            inversion_guidance_scale: fields.number("inversion_guidance_scale", 1.0, 0.0..=100.0, faults),
        },
    };
    fields.finish(faults);
    objective
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

fn read_trainable(value: &Value, faults: &mut Vec<Fault>) -> Trainable {
    if let Value::String(kind) = value {
        let spelled = serde_json::json!({ "kind": kind });
        return read_trainable(&spelled, faults);
    }
    let Some(mut fields) = Fields::open(value, "/trainable".to_owned(), faults) else {
        return Trainable::Unet {};
    };
    let kind = fields.choice("kind", "unet", &["unet", "lora"], faults);
    let trainable = if kind == "lora" {
        let rank = fields.count("rank", 8, 1..=1024, faults);
        Trainable::Lora { rank, alpha: fields.number("alpha", rank as f64, 1e-3..=1e5, faults) }
    } else {
        Trainable::Unet {}
    };
    fields.finish(faults);
    trainable
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
    };
    fields.finish(faults);
    spec
}

/// The fields of one JSON object, read one by one; what is wrong is noted and reading goes on.
pub struct Fields<'a> {
    pointer: String,
    map: &'a Map<String, Value>,
    known: Vec<String>,
}

impl<'a> Fields<'a> {
    /// Opens `value`, which stands at `pointer`; notes a fault and gives `None` where it is not an object.
    pub fn open(value: &'a Value, pointer: String, faults: &mut Vec<Fault>) -> Option<Self> {
        if let Value::Object(map) = value {
            return Some(Self { pointer, map, known: Vec::new() });
        }
        faults.push(Fault::new(pointer, "is an object"));
        None
    }

    /// The JSON pointer of `key`.
    pub fn pointer(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"))
    }

    /// The value of `key`; null counts as absent. `key` is known from now on.
    pub fn take(&mut self, key: &str) -> Option<&'a Value> {
        if !self.known.iter().any(|known| known == key) {
            self.known.push(key.to_owned());
        }
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A number within `range`.
    pub fn number(&mut self, key: &str, default: f64, range: RangeInclusive<f64>, faults: &mut Vec<Fault>) -> f64 {
        let Some(value) = self.take(key) else {
            return default;
        };
        let pointer = self.pointer(key);
        match value.as_f64() {
            Some(number) if range.contains(&number) => number,
            Some(_) => {
                faults.push(Fault::new(pointer, format!("is between {} and {}", range.start(), range.end())));
                default
            }
            None => {
                faults.push(Fault::new(pointer, "is a number"));
                default
            }
        }
    }

    /// A whole number within `range`.
    pub fn count(&mut self, key: &str, default: usize, range: RangeInclusive<usize>, faults: &mut Vec<Fault>) -> usize {
        let Some(value) = self.take(key) else {
            return default;
        };
        let pointer = self.pointer(key);
        match value.as_u64() {
            Some(number) if range.contains(&(number as usize)) => number as usize,
            None if !value.is_number() => {
                faults.push(Fault::new(pointer, "is a whole number"));
                default
            }
            _ => {
                faults
                    .push(Fault::new(pointer, format!("is a whole number from {} to {}", range.start(), range.end())));
                default
            }
        }
    }

    /// A seed: a whole number that a double holds.
    pub fn seed(&mut self, key: &str, default: i64, faults: &mut Vec<Fault>) -> i64 {
        self.count(key, default as usize, 0..=(1 << 53) - 1, faults) as i64
    }

    /// One of `words`.
    pub fn choice(&mut self, key: &str, default: &str, words: &[&str], faults: &mut Vec<Fault>) -> String {
        let Some(value) = self.take(key) else {
            return default.to_owned();
        };
        match value.as_str() {
            Some(word) if words.contains(&word) => return word.to_owned(),
            Some(word) => {
                faults.push(Fault::new(self.pointer(key), format!("{word:?} is not one of {}", words.join(", "))));
            }
            None => faults.push(Fault::new(self.pointer(key), "is a text")),
        }
        default.to_owned()
    }

    fn choice_of_numbers(&mut self, key: &str, default: i64, numbers: &[i64], faults: &mut Vec<Fault>) -> i64 {
        let Some(value) = self.take(key) else {
            return default;
        };
        match value.as_i64() {
            Some(number) if numbers.contains(&number) => number,
            _ => {
                faults.push(Fault::new(self.pointer(key), format!("is one of {numbers:?}")));
                default
            }
        }
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &str, faults: &mut Vec<Fault>) -> Option<String> {
        let value = self.take(key)?;
        match value.as_str() {
            Some(text) if !text.trim().is_empty() && text.len() <= 1000 => Some(text.to_owned()),
            Some(_) => {
                faults.push(Fault::new(self.pointer(key), "has 1 to 1000 characters"));
                None
            }
            None => {
                faults.push(Fault::new(self.pointer(key), "is a text"));
                None
            }
        }
    }

    /// A UUID that must be there.
    pub fn uuid(&mut self, key: &str, faults: &mut Vec<Fault>) -> Uuid {
        let pointer = self.pointer(key);
        match self.take(key) {
            None => faults.push(Fault::new(pointer, "is the id of a pairing")),
            Some(value) => match value.as_str().map(Uuid::parse_str) {
                Some(Ok(id)) => return id,
                _ => faults.push(Fault::new(pointer, "is a UUID")),
            },
        }
        Uuid::nil()
    }

    /// Notes every field that was not asked for.
    pub fn finish(self, faults: &mut Vec<Fault>) {
        for key in self.map.keys() {
            if !self.known.iter().any(|known| known == key) {
                faults
                    .push(Fault::new(self.pointer(key), format!("is not known; known are {}", self.known.join(", "))));
            }
        }
    }
}

/// How long a job will take, in seconds, from what one forward pass of one image costs.
///
/// A pair's step is four forwards and two backwards (a backward counts as two forwards); a sampled image is two forwards
/// a step, conditional and unconditional.
pub fn estimate_seconds(spec: &JobSpec, num_pairs: usize, num_inference_steps: usize, seconds_per_forward: f64) -> f64 {
    let sampled = |images: usize| (images * num_inference_steps * 2) as f64;
    let paths = match &spec.objective {
        Objective::DiffusionDpo {} => 0.0,
        // A path a candidate and the reference's prediction on it, once, before the first step.
        Objective::InversionDpo { .. } => sampled(num_pairs * 2) * 1.5,
        Objective::InversionDpoPublished { num_inversion_steps, .. } => {
            (num_pairs * 2 * num_inversion_steps * 2) as f64
        }
    };
    let steps = (spec.max_steps * spec.batch_size) as f64 * 8.0;
    let evaluation = sampled(spec.evaluation.num_graphs * spec.evaluation.num_noises * 2);
    let selection = spec
        .max_steps
        .checked_div(spec.evaluation.every)
        .map_or(0.0, |times| sampled((times + 1) * spec.evaluation.selection_graphs));
    let samples =
        spec.max_steps.checked_div(spec.sample_every).map_or(0.0, |times| sampled((times + 1) * spec.sample_graphs));
    (paths + steps + evaluation + selection + samples) * seconds_per_forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const CHANGES: [JobChange; 11] = [
        JobChange::Validate,
        JobChange::Prepare,
        JobChange::Run,
        JobChange::Release,
        JobChange::Pause,
        JobChange::Paused,
        JobChange::Resume,
        JobChange::Cancel,
        JobChange::Cancelled,
        JobChange::Succeed,
        JobChange::Fail,
    ];

    proptest! {
        #[test]
        fn a_final_state_stays(changes in prop::collection::vec(0..CHANGES.len(), 0..40)) {
            let mut state = JobState::Validating;
            for change in changes {
                let next = state.next(CHANGES[change]);
                if state.is_final() {
                    prop_assert_eq!(next, None);
                }
                state = next.unwrap_or(state);
            }
            // Whatever happened, a job that is not through can still be ended from outside.
            if !state.is_final() {
                prop_assert_eq!(state.next(JobChange::Fail), Some(JobState::Failed));
                if state != JobState::Cancelling {
                    prop_assert!(state.next(JobChange::Cancel).is_some());
                }
            }
        }
    }

    #[test]
    fn the_usual_way_goes_through() {
        let mut state = JobState::Validating;
        for (change, expected) in [
            (JobChange::Validate, JobState::Queued),
            (JobChange::Prepare, JobState::Preparing),
            (JobChange::Run, JobState::Running),
            (JobChange::Pause, JobState::Pausing),
            (JobChange::Paused, JobState::Paused),
            (JobChange::Resume, JobState::Queued),
            (JobChange::Prepare, JobState::Preparing),
            // killed here: another worker takes it up
            (JobChange::Prepare, JobState::Preparing),
            (JobChange::Run, JobState::Running),
            (JobChange::Succeed, JobState::Succeeded),
        ] {
            state = state.next(change).unwrap();
            assert_eq!(state, expected);
        }
    }

    #[test]
    fn a_request_with_one_field_has_the_pilots_settings() {
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
        assert_eq!(spec.trainable, Trainable::Lora { rank: 8, alpha: 8.0 });
        let spec = JobSpec::parse(&json!({
            "pairing_id": id,
            "objective": {"name": "inversion-dpo-published", "start": {"warm_up": 5}, "sign": -1},
        }))
        .unwrap();
        assert!(matches!(spec.objective, Objective::InversionDpoPublished { sign: -1, start: Start::WarmUp(5), .. }));
    }
}
