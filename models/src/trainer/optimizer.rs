//! Optimizers with an exponential moving average of the parameters, and their state as named tensors for an exact resume.
//!
//! A rule says how one parameter moves: [`adamw`] or [`adafactor`]. On CPU it goes over a parameter once; elsewhere it is made
//! of tensor operations, so that neither gradients nor moments leave the accelerator.

mod adafactor;
mod adamw;
mod parameter;
mod rule;

use super::gradients::Gradients;
use crate::weights::{TensorMap, VarMap};
use crate::{Error, Result};
use adafactor::Adafactor;
use adamw::AdamW;
use candle_core::{Device, Tensor};
use parameter::Parameter;
use rayon::prelude::*;
use rule::{Rule, Step};
use serde::{Deserialize, Serialize};

/// Which optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// AdamW, with torch's settings.
    #[default]
    Adamw,
    /// Adafactor, the paper's for SDXL.
    Adafactor,
}

/// All parameters with their moments and moving average; the parameters themselves stay in their variables, too.
pub struct Optimizer {
    rule: Box<dyn Rule>,
    ema_decay: f32,
    /// Whether parameters are moved by a loop over their values, not by tensor operations.
    in_one_pass: bool,
    step: u64,
    parameters: Vec<Parameter>,
}

impl Optimizer {
    /// Moments zero, moving average equal to the parameters; `ema_decay` 0 keeps none.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(kind: OptimizerKind, vars: &VarMap, weight_decay: f32, ema_decay: f32) -> Result<Self> {
        let rule: Box<dyn Rule> = match kind {
            OptimizerKind::Adamw => Box::new(AdamW { weight_decay }),
            OptimizerKind::Adafactor => Box::new(Adafactor { weight_decay }),
        };
        let in_one_pass = vars.values().all(|var| var.device().is_cpu());
        Self::placed(rule, vars, ema_decay, in_one_pass)
    }

    fn placed(rule: Box<dyn Rule>, vars: &VarMap, ema_decay: f32, in_one_pass: bool) -> Result<Self> {
        let parameters = vars
            .iter()
            .map(|(name, var)| Parameter::new(name, var, &*rule, ema_decay > 0.0, in_one_pass))
            .collect::<Result<_>>()?;
        Ok(Self { rule, ema_decay, in_one_pass, step: 0, parameters })
    }

    /// Lets the parameters whose name begins with `prefix` learn at `share` of the rate.
    pub fn slow_down(&mut self, prefix: &str, share: f32) {
        self.parameters.iter_mut().filter(|one| one.name.starts_with(prefix)).for_each(|one| one.share = share);
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// One update; parameters without a gradient stay as they are.
    ///
    /// The moving average warms up: its decay is at most `(1 + step) / (10 + step)`.
    ///
    /// # Errors
    /// Candle's.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        self.step += 1;
        let (number, decay) = (self.step, average_decay(self.ema_decay, self.step));
        let rule = &*self.rule;
        let update = |one: &mut Parameter| match gradients.get(&one.name) {
            Some(gradient) => {
                let step = Step { number, learning_rate, share: one.share };
                one.update(rule, &step, gradient, decay)
            }
            None => Ok(()),
        };
        if self.in_one_pass {
            self.parameters.par_iter_mut().try_for_each(update)
        } else {
            // What one needs beside itself is as large as a few of it.
            self.parameters.iter_mut().try_for_each(update)
        }
    }

    /// The moving average as tensors, or the parameters themselves where none is kept.
    ///
    /// # Errors
    /// Candle's.
    pub fn averaged(&self) -> Result<TensorMap> {
        self.parameters.iter().map(|one| Ok((one.name.clone(), one.averaged()?))).collect()
    }

    /// Everything that a resume needs: parameters, moments, average and the step, on the host.
    ///
    /// # Errors
    /// Candle's.
    pub fn state(&self) -> Result<TensorMap> {
        let mut state = TensorMap::new();
        for one in &self.parameters {
            one.state(&mut state)?;
        }
        state.insert("step".to_owned(), Tensor::new(&[self.step as i64], &Device::Cpu)?);
        Ok(state)
    }

    /// Takes back what [`state`](Self::state) gave; the variables too.
    ///
    /// # Errors
    /// A part is missing or has another size.
    pub fn restore(&mut self, state: &TensorMap) -> Result<()> {
        self.parameters.iter_mut().try_for_each(|one| one.restore(state))?;
        let missing = || Error::Training("the checkpoint lacks `step`".to_owned());
        let step = state.get("step").ok_or_else(missing)?.to_vec1::<i64>()?;
        self.step = step.first().map(|step| *step as u64).ok_or_else(missing)?;
        Ok(())
    }
}

/// The decay of the moving average at a step (1-based): it warms up, for the first values are far from the last.
fn average_decay(decay: f32, step: u64) -> f32 {
    let step = step as f64;
    decay.min(((1.0 + step) / (10.0 + step)) as f32)
}

#[cfg(test)]
mod tests;
