//! Optimizers with an exponential moving average of the parameters, and their state as named tensors for an exact resume:
//! AdamW here, [`Adafactor`] beside it.
//!
//! Source of AdamW: Loshchilov & Hutter 2019 (decoupled weight decay); torch `optim.AdamW`.

mod adafactor;

pub use adafactor::Adafactor;

use crate::Result;
use crate::weights::{TensorMap, VarMap};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
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
        match self {
            Self::AdamW(one) => one.step_count(),
            Self::Adafactor(one) => one.step_count(),
        }
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
        match self {
            Self::AdamW(one) => one.averaged(),
            Self::Adafactor(one) => one.averaged(),
        }
    }

    /// Everything that a resume needs: parameters, moments, average and the step.
    ///
    /// # Errors
    /// Candle's.
    pub fn state(&self) -> Result<TensorMap> {
        match self {
            Self::AdamW(one) => one.state(),
            Self::Adafactor(one) => one.state(),
        }
    }

    /// Takes back what [`state`](Self::state) gave; the variables too.
    ///
    /// # Errors
    /// A part is missing or has another size.
    pub fn restore(&mut self, state: &TensorMap) -> Result<()> {
        match self {
            Self::AdamW(one) => one.restore(state),
            Self::Adafactor(one) => one.restore(state),
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

struct Slot {
    name: String,
    var: candle_core::Var,
    value: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    ema: Vec<f32>,
    /// Factor on the learning rate.
    share: f32,
}

/// The optimizer; it owns the moments and the moving average, the parameters stay in their variables.
pub struct AdamW {
    settings: AdamWSettings,
    step: u64,
    slots: Vec<Slot>,
}

impl AdamW {
    /// Moments zero, moving average equal to the parameters.
    pub fn new(vars: &VarMap, settings: AdamWSettings) -> Result<Self> {
        let slots = vars
            .iter()
            .map(|(name, var)| {
                let value = var.flatten_all()?.to_vec1::<f32>()?;
                Ok(Slot {
                    name: name.clone(),
                    var: var.clone(),
                    first: vec![0.0; value.len()],
                    second: vec![0.0; value.len()],
                    ema: if settings.ema_decay > 0.0 { value.clone() } else { Vec::new() },
                    value,
                    share: 1.0,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { settings, step: 0, slots })
    }

    /// Lets the parameters whose name begins with `prefix` learn at `share` of the rate.
    pub fn slow_down(&mut self, prefix: &str, share: f32) {
        self.slots.iter_mut().filter(|slot| slot.name.starts_with(prefix)).for_each(|slot| slot.share = share);
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// One update; parameters without a gradient stay as they are.
    ///
    /// The moving average warms up: its decay is at most `(1 + step) / (10 + step)`.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        self.step += 1;
        let AdamWSettings { beta1, beta2, epsilon, weight_decay, ema_decay } = self.settings;
        let step = self.step as f64;
        let correction1 = 1.0 - f64::from(beta1).powf(step);
        let correction2 = (1.0 - f64::from(beta2).powf(step)).sqrt() as f32;
        let rate = (learning_rate / correction1) as f32;
        let ema_decay = average_decay(ema_decay, self.step);
        self.slots.par_iter_mut().try_for_each(|slot| -> Result<()> {
            let Some(gradient) = gradients.get(&slot.name) else { return Ok(()) };
            let rate = rate * slot.share;
            let keep = 1.0 - (learning_rate as f32) * slot.share * weight_decay;
            let moments = slot.first.iter_mut().zip(slot.second.iter_mut());
            for ((value, (first, second)), &g) in slot.value.iter_mut().zip(moments).zip(gradient) {
                *first = beta1 * *first + (1.0 - beta1) * g;
                *second = beta2 * *second + (1.0 - beta2) * g * g;
                *value = *value * keep - rate * *first / (second.sqrt() / correction2 + epsilon);
            }
            average(&mut slot.ema, &slot.value, ema_decay);
            slot.var.set(&Tensor::from_slice(&slot.value, slot.var.shape(), slot.var.device())?)?;
            Ok(())
        })
    }

    /// The moving average as tensors, or the parameters themselves where none is kept.
    pub fn averaged(&self) -> Result<TensorMap> {
        self.slots
            .iter()
            .map(|slot| {
                let values = if slot.ema.is_empty() { &slot.value } else { &slot.ema };
                Ok((slot.name.clone(), Tensor::from_slice(values, slot.var.shape(), slot.var.device())?))
            })
            .collect()
    }

    /// Everything that a resume needs: parameters, moments, average and the step.
    pub fn state(&self) -> Result<TensorMap> {
        let mut state = TensorMap::new();
        for slot in &self.slots {
            for (kind, values) in
                [("value", &slot.value), ("first", &slot.first), ("second", &slot.second), ("ema", &slot.ema)]
            {
                if !values.is_empty() {
                    let tensor = Tensor::from_slice(values, slot.var.shape(), &Device::Cpu)?;
                    state.insert(format!("{kind}/{}", slot.name), tensor);
                }
            }
        }
        state.insert("step".to_owned(), Tensor::new(&[self.step as i64], &Device::Cpu)?);
        Ok(state)
    }

    /// Takes back what [`state`](Self::state) gave; the variables too.
    pub fn restore(&mut self, state: &TensorMap) -> Result<()> {
        for slot in &mut self.slots {
            read_values(state, &format!("value/{}", slot.name), &mut slot.value)?;
            read_values(state, &format!("first/{}", slot.name), &mut slot.first)?;
            read_values(state, &format!("second/{}", slot.name), &mut slot.second)?;
            read_values(state, &format!("ema/{}", slot.name), &mut slot.ema)?;
            slot.var.set(&Tensor::from_slice(&slot.value, slot.var.shape(), slot.var.device())?)?;
        }
        self.step = read_step(state)?;
        Ok(())
    }
}

/// The decay of the moving average at a step (1-based): it warms up, for the first values are far from the last.
fn average_decay(decay: f32, step: u64) -> f32 {
    let step = step as f64;
    decay.min(((1.0 + step) / (10.0 + step)) as f32)
}

fn average(averages: &mut [f32], values: &[f32], decay: f32) {
    for (average, value) in averages.iter_mut().zip(values) {
        *average = decay * *average + (1.0 - decay) * value;
    }
}

/// Reads the values of `name` over `values`; nothing where none are kept.
fn read_values(state: &TensorMap, name: &str, values: &mut Vec<f32>) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let wrong = |message: String| crate::Error::Training(format!("the checkpoint's `{name}` {message}"));
    let tensor = state.get(name).ok_or_else(|| wrong("is missing".to_owned()))?;
    if tensor.elem_count() != values.len() {
        return Err(wrong(format!("has {} values, not {}", tensor.elem_count(), values.len())));
    }
    *values = tensor.flatten_all()?.to_vec1()?;
    Ok(())
}

fn read_step(state: &TensorMap) -> Result<u64> {
    let missing = || crate::Error::Training("the checkpoint lacks `step`".to_owned());
    let step = state.get("step").ok_or_else(missing)?.to_vec1::<i64>()?;
    step.first().map(|step| *step as u64).ok_or_else(missing)
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
