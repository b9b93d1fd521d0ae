//! Optimizers with an exponential moving average of the parameters, and their state as named tensors for an exact resume:
//! AdamW here, [`Adafactor`] beside it.
//!
//! Source of AdamW: Loshchilov & Hutter 2019 (decoupled weight decay); torch `optim.AdamW`.

mod adafactor;
mod slots;

pub use adafactor::Adafactor;

use crate::Result;
use crate::weights::{TensorMap, VarMap};
use serde::{Deserialize, Serialize};
use slots::{Kept, Moments, Slots};
use std::collections::BTreeMap;

/// Gradients by parameter name, each flattened.
pub type Gradients = BTreeMap<String, Vec<f32>>;

/// Which optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// [`AdamW`], with torch's settings.
    #[default]
    Adamw,
    /// [`Adafactor`], the paper's for SDXL.
    Adafactor,
}

/// One of the optimizers.
pub enum Optimizer {
    /// First and second moment of every parameter.
    AdamW(AdamW),
    /// Second moments of rows and columns.
    Adafactor(Adafactor),
}

impl Optimizer {
    /// Moments zero, moving average equal to the parameters; `ema_decay` 0 keeps none.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(kind: OptimizerKind, vars: &VarMap, weight_decay: f32, ema_decay: f32) -> Result<Self> {
        let adam = AdamWSettings { weight_decay, ema_decay, ..AdamWSettings::default() };
        Ok(match kind {
            OptimizerKind::Adamw => Self::AdamW(AdamW::new(vars, adam)?),
            OptimizerKind::Adafactor => Self::Adafactor(Adafactor::new(vars, weight_decay, ema_decay)?),
        })
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.kept().step_count()
    }

    /// One update; parameters without a gradient stay as they are.
    ///
    /// # Errors
    /// Candle's.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        match self {
            Self::AdamW(one) => one.step(gradients, learning_rate),
            Self::Adafactor(one) => one.step(gradients, learning_rate),
        }
    }

    /// The moving average as tensors, or the parameters themselves where none is kept.
    ///
    /// # Errors
    /// Candle's.
    pub fn averaged(&self) -> Result<TensorMap> {
        self.kept().averaged()
    }

    /// Everything that a resume needs: parameters, moments, average and the step.
    ///
    /// # Errors
    /// Candle's.
    pub fn state(&self) -> Result<TensorMap> {
        self.kept().state()
    }

    /// Takes back what [`state`](Self::state) gave; the variables too.
    ///
    /// # Errors
    /// A part is missing or has another size.
    pub fn restore(&mut self, state: &TensorMap) -> Result<()> {
        match self {
            Self::AdamW(one) => one.slots.restore(state),
            Self::Adafactor(one) => one.slots.restore(state),
        }
    }

    fn kept(&self) -> &dyn Kept {
        match self {
            Self::AdamW(one) => &one.slots,
            Self::Adafactor(one) => &one.slots,
        }
    }
}

/// Settings of [`AdamW`], with torch's defaults but for the weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Share of a parameter taken away a step, times the learning rate.
    pub weight_decay: f32,
    /// Decay of the moving average of the parameters; 0 keeps none.
    pub ema_decay: f32,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, ema_decay: 0.0 }
    }
}

struct AdamMoments {
    first: Vec<f32>,
    second: Vec<f32>,
    /// Factor on the learning rate.
    share: f32,
}

impl Moments for AdamMoments {
    fn named(&self) -> [(&'static str, &Vec<f32>); 2] {
        [("first", &self.first), ("second", &self.second)]
    }

    fn named_mut(&mut self) -> [(&'static str, &mut Vec<f32>); 2] {
        [("first", &mut self.first), ("second", &mut self.second)]
    }
}

/// The optimizer; it owns the moments and the moving average, the parameters stay in their variables.
pub struct AdamW {
    settings: AdamWSettings,
    slots: Slots<AdamMoments>,
}

impl AdamW {
    /// Moments zero, moving average equal to the parameters.
    pub fn new(vars: &VarMap, settings: AdamWSettings) -> Result<Self> {
        let slots = Slots::new(vars, settings.ema_decay, |shape| {
            let count = shape.iter().product();
            AdamMoments { first: vec![0.0; count], second: vec![0.0; count], share: 1.0 }
        })?;
        Ok(Self { settings, slots })
    }

    /// Lets the parameters whose name begins with `prefix` learn at `share` of the rate.
    pub fn slow_down(&mut self, prefix: &str, share: f32) {
        self.slots.adjust(|name, moments| {
            if name.starts_with(prefix) {
                moments.share = share;
            }
        });
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.slots.step_count()
    }

    /// One update; parameters without a gradient stay as they are.
    ///
    /// The moving average warms up: its decay is at most `(1 + step) / (10 + step)`.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay, .. } = self.settings;
        self.slots.update(gradients, |step, value, moments, gradient| {
            let step = step as f64;
            let correction1 = 1.0 - f64::from(beta1).powf(step);
            let correction2 = (1.0 - f64::from(beta2).powf(step)).sqrt() as f32;
            let rate = (learning_rate / correction1) as f32 * moments.share;
            let keep = 1.0 - (learning_rate as f32) * moments.share * weight_decay;
            let both = moments.first.iter_mut().zip(moments.second.iter_mut());
            for ((value, (first, second)), &g) in value.iter_mut().zip(both).zip(gradient) {
                *first = beta1 * *first + (1.0 - beta1) * g;
                *second = beta2 * *second + (1.0 - beta2) * g * g;
                *value = *value * keep - rate * *first / (second.sqrt() / correction2 + epsilon);
            }
        })
    }

    /// As [`Optimizer::averaged`].
    pub fn averaged(&self) -> Result<TensorMap> {
        self.slots.averaged()
    }

    /// As [`Optimizer::state`].
    pub fn state(&self) -> Result<TensorMap> {
        self.slots.state()
    }

    /// As [`Optimizer::restore`].
    pub fn restore(&mut self, state: &TensorMap) -> Result<()> {
        self.slots.restore(state)
    }
}

/// Euclidean norm over all gradients, summed in f64 in the order of the names.
pub fn gradient_norm(gradients: &Gradients) -> f64 {
    gradients.values().flat_map(|g| g.iter()).map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt()
}

/// Scales all gradients down so that their norm is at most `max_norm`; returns the norm before.
pub fn clip_gradients(gradients: &mut Gradients, max_norm: f64) -> f64 {
    let norm = gradient_norm(gradients);
    if norm > max_norm && norm.is_finite() {
        let factor = (max_norm / norm) as f32;
        gradients.values_mut().flat_map(|g| g.iter_mut()).for_each(|g| *g *= factor);
    }
    norm
}
