//! AdamW with an exponential moving average of the parameters, and its state as named tensors for an exact resume.
//!
//! Source: Loshchilov & Hutter 2019 (decoupled weight decay); torch `optim.AdamW`.

use crate::Result;
use crate::weights::{TensorMap, VarMap};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Gradients by parameter name, each flattened.
pub type Gradients = BTreeMap<String, Vec<f32>>;

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
        let ema_decay = ema_decay.min(((1.0 + step) / (10.0 + step)) as f32);
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
            for (average, value) in slot.ema.iter_mut().zip(&slot.value) {
                *average = ema_decay * *average + (1.0 - ema_decay) * value;
            }
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
        let get = |name: &str| {
            state.get(name).ok_or_else(|| crate::Error::Training(format!("the checkpoint lacks `{name}`")))
        };
        for slot in &mut self.slots {
            slot.value = get(&format!("value/{}", slot.name))?.flatten_all()?.to_vec1()?;
            slot.first = get(&format!("first/{}", slot.name))?.flatten_all()?.to_vec1()?;
            slot.second = get(&format!("second/{}", slot.name))?.flatten_all()?.to_vec1()?;
            if !slot.ema.is_empty() {
                slot.ema = get(&format!("ema/{}", slot.name))?.flatten_all()?.to_vec1()?;
            }
            slot.var.set(&Tensor::from_slice(&slot.value, slot.var.shape(), slot.var.device())?)?;
        }
        self.step = get("step")?.to_vec1::<i64>()?.first().copied().unwrap_or_default() as u64;
        Ok(())
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
