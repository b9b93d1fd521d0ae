//! What all optimizers have in common: parameters with their moments and moving average, one update over all of them, and
//! the whole as named tensors for an exact resume.

use super::Gradients;
use crate::weights::{TensorMap, VarMap};
use crate::{Error, Result};
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;

/// What an optimizer keeps for a parameter beside its value.
pub(super) trait Moments: Send {
    /// The moments by name.
    fn named(&self) -> [(&'static str, &Vec<f32>); 2];
    /// The same, to be written over.
    fn named_mut(&mut self) -> [(&'static str, &mut Vec<f32>); 2];
}

/// What can be read of the parameters, whatever their moments.
pub(super) trait Kept {
    /// Steps taken.
    fn step_count(&self) -> u64;
    /// The moving average as tensors, or the parameters themselves where none is kept.
    fn averaged(&self) -> Result<TensorMap>;
    /// Everything that a resume needs: parameters, moments, average and the step.
    fn state(&self) -> Result<TensorMap>;
}

/// A parameter.
struct Slot<M> {
    name: String,
    var: Var,
    value: Vec<f32>,
    /// Moving average of the value; empty where none is kept.
    ema: Vec<f32>,
    moments: M,
}

/// All parameters.
pub(super) struct Slots<M> {
    ema_decay: f32,
    step: u64,
    slots: Vec<Slot<M>>,
}

impl<M: Moments> Slots<M> {
    /// The average starts at the parameters; `ema_decay` 0 keeps none. `moments(shape)` are those of a parameter.
    pub(super) fn new(vars: &VarMap, ema_decay: f32, moments: impl Fn(&[usize]) -> M) -> Result<Self> {
        let slots = vars
            .iter()
            .map(|(name, var)| {
                let value = var.flatten_all()?.to_vec1::<f32>()?;
                Ok(Slot {
                    name: name.clone(),
                    var: var.clone(),
                    ema: if ema_decay > 0.0 { value.clone() } else { Vec::new() },
                    value,
                    moments: moments(var.dims()),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { ema_decay, step: 0, slots })
    }

    /// Changes the moments of each parameter by its name.
    pub(super) fn adjust(&mut self, change: impl Fn(&str, &mut M)) {
        self.slots.iter_mut().for_each(|slot| change(&slot.name, &mut slot.moments));
    }

    /// One step: `update(step, value, moments, gradient)` moves a parameter; those without a gradient stay as they are.
    pub(super) fn update(
        &mut self,
        gradients: &Gradients,
        update: impl Fn(u64, &mut [f32], &mut M, &[f32]) + Sync,
    ) -> Result<()> {
        self.step += 1;
        let step = self.step;
        let decay = average_decay(self.ema_decay, step);
        self.slots.par_iter_mut().try_for_each(|slot| -> Result<()> {
            let Some(gradient) = gradients.get(&slot.name) else { return Ok(()) };
            update(step, &mut slot.value, &mut slot.moments, gradient);
            for (average, value) in slot.ema.iter_mut().zip(&slot.value) {
                *average = decay * *average + (1.0 - decay) * value;
            }
            slot.write_back()
        })
    }

    /// Takes back what [`Kept::state`] gave; the variables too.
    ///
    /// # Errors
    /// A part is missing or has another size.
    pub(super) fn restore(&mut self, state: &TensorMap) -> Result<()> {
        for slot in &mut self.slots {
            let [first, second] = slot.moments.named_mut();
            for (kind, values) in [("value", &mut slot.value), first, second, ("ema", &mut slot.ema)] {
                read_values(state, &format!("{kind}/{}", slot.name), values)?;
            }
            slot.write_back()?;
        }
        let missing = || Error::Training("the checkpoint lacks `step`".to_owned());
        let step = state.get("step").ok_or_else(missing)?.to_vec1::<i64>()?;
        self.step = step.first().map(|step| *step as u64).ok_or_else(missing)?;
        Ok(())
    }
}

impl<M: Moments> Kept for Slots<M> {
    fn step_count(&self) -> u64 {
        self.step
    }

    fn averaged(&self) -> Result<TensorMap> {
        self.slots
            .iter()
            .map(|slot| {
                let values = if slot.ema.is_empty() { &slot.value } else { &slot.ema };
                Ok((slot.name.clone(), Tensor::from_slice(values, slot.var.shape(), slot.var.device())?))
            })
            .collect()
    }

    fn state(&self) -> Result<TensorMap> {
        let mut state = TensorMap::new();
        for slot in &self.slots {
            let [first, second] = slot.moments.named();
            for (kind, values) in [("value", &slot.value), first, second, ("ema", &slot.ema)] {
                if !values.is_empty() {
                    let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
                    state.insert(format!("{kind}/{}", slot.name), tensor);
                }
            }
        }
        state.insert("step".to_owned(), Tensor::new(&[self.step as i64], &Device::Cpu)?);
        Ok(state)
    }
}

impl<M> Slot<M> {
    fn write_back(&self) -> Result<()> {
        Ok(self.var.set(&Tensor::from_slice(&self.value, self.var.shape(), self.var.device())?)?)
    }
}

/// The decay of the moving average at a step (1-based): it warms up, for the first values are far from the last.
fn average_decay(decay: f32, step: u64) -> f32 {
    let step = step as f64;
    decay.min(((1.0 + step) / (10.0 + step)) as f32)
}

fn read_values(state: &TensorMap, name: &str, values: &mut Vec<f32>) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let wrong = |message: String| Error::Training(format!("the checkpoint's `{name}` {message}"));
    let tensor = state.get(name).ok_or_else(|| wrong("is missing".to_owned()))?;
    if tensor.elem_count() != values.len() {
        return Err(wrong(format!("has {} values, not {}", tensor.elem_count(), values.len())));
    }
    *values = tensor.flatten_all()?.to_vec1()?;
    Ok(())
}
