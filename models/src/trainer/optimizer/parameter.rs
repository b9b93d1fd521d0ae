//! A parameter with what an optimizer keeps for it.

use super::rule::{Rule, Step};
use crate::weights::TensorMap;
use crate::{Error, Result, ops};
use candle_core::{DType, Device, Tensor, Var};

pub(super) struct Parameter {
    pub name: String,
    /// Factor on the learning rate.
    pub share: f32,
    var: Var,
    moment_names: Vec<&'static str>,
    kept: Kept,
}

enum Kept {
    /// In host memory, for one pass over all of it; the value is the variable's.
    Values { value: Vec<f32>, moments: Vec<Vec<f32>>, average: Option<Vec<f32>> },
    /// Beside the variable.
    Tensors { moments: Vec<Tensor>, average: Option<Tensor> },
}

impl Parameter {
    pub(super) fn new(name: &str, var: &Var, rule: &dyn Rule, averaged: bool, in_one_pass: bool) -> Result<Self> {
        let (moment_names, shapes): (Vec<_>, Vec<_>) = rule.moments(var.dims()).into_iter().unzip();
        let kept = if in_one_pass {
            let value = values(var)?;
            let moments = shapes.iter().map(|shape| vec![0.0; shape.iter().product()]).collect();
            Kept::Values { average: averaged.then(|| value.clone()), value, moments }
        } else {
            let zeros = |shape: &Vec<usize>| Ok(Tensor::zeros(shape.as_slice(), DType::F32, var.device())?);
            let moments = shapes.iter().map(zeros).collect::<Result<_>>()?;
            Kept::Tensors { moments, average: averaged.then(|| var.as_detached_tensor().copy()).transpose()? }
        };
        Ok(Self { name: name.to_owned(), share: 1.0, var: var.clone(), moment_names, kept })
    }

    /// One step, the moving average with it.
    pub(super) fn update(&mut self, rule: &dyn Rule, step: &Step, gradient: &Tensor, decay: f32) -> Result<()> {
        match &mut self.kept {
            Kept::Values { value, moments, average } => {
                ops::with_slice(&gradient.contiguous()?, |gradient| {
                    rule.update_values(step, self.var.dims(), value, moments, gradient);
                    Ok(())
                })?;
                for (average, value) in average.iter_mut().flatten().zip(value.iter()) {
                    *average = decay * *average + (1.0 - decay) * value;
                }
                set(&self.var, value)
            }
            Kept::Tensors { moments, average } => {
                let value = rule.update_tensors(step, &self.var.as_detached_tensor(), moments, gradient)?;
                if let Some(average) = average {
                    *average = ((&*average * f64::from(decay))? + (&value * f64::from(1.0 - decay))?)?;
                }
                Ok(self.var.set(&value)?)
            }
        }
    }

    /// The moving average, or the parameter itself where none is kept.
    pub(super) fn averaged(&self) -> Result<Tensor> {
        match &self.kept {
            Kept::Values { value, average, .. } => {
                let values = average.as_ref().unwrap_or(value);
                Ok(Tensor::from_slice(values, self.var.shape(), self.var.device())?)
            }
            Kept::Tensors { average: Some(average), .. } => Ok(average.clone()),
            Kept::Tensors { average: None, .. } => Ok(self.var.as_detached_tensor().copy()?),
        }
    }

    /// Adds all that is kept to `state`, each flattened.
    pub(super) fn state(&self, state: &mut TensorMap) -> Result<()> {
        let mut keep = |kind: &str, values: Vec<f32>| -> Result<()> {
            let count = values.len();
            state.insert(format!("{kind}/{}", self.name), Tensor::from_vec(values, count, &Device::Cpu)?);
            Ok(())
        };
        match &self.kept {
            Kept::Values { value, moments, average } => {
                keep("value", value.clone())?;
                self.moment_names.iter().zip(moments).try_for_each(|(kind, of)| keep(kind, of.clone()))?;
                average.iter().try_for_each(|average| keep("ema", average.clone()))
            }
            Kept::Tensors { moments, average } => {
                keep("value", values(&self.var)?)?;
                self.moment_names.iter().zip(moments).try_for_each(|(kind, of)| keep(kind, values(of)?))?;
                average.iter().try_for_each(|average| keep("ema", values(average)?))
            }
        }
    }

    /// Takes back what [`state`](Self::state) gave.
    pub(super) fn restore(&mut self, state: &TensorMap) -> Result<()> {
        let read = |kind: &str, count: usize| read_values(state, &format!("{kind}/{}", self.name), count);
        let restored = read("value", self.var.elem_count())?;
        set(&self.var, &restored)?;
        match &mut self.kept {
            Kept::Values { value, moments, average } => {
                *value = restored;
                for (kind, of) in self.moment_names.iter().zip(moments) {
                    *of = read(kind, of.len())?;
                }
                if let Some(average) = average {
                    *average = read("ema", average.len())?;
                }
            }
            Kept::Tensors { moments, average } => {
                let beside = |kind: &str, of: &Tensor| -> Result<Tensor> {
                    Ok(Tensor::from_vec(read(kind, of.elem_count())?, of.shape(), of.device())?)
                };
                for (kind, of) in self.moment_names.iter().zip(moments) {
                    *of = beside(kind, of)?;
                }
                if let Some(average) = average {
                    *average = beside("ema", average)?;
                }
            }
        }
        Ok(())
    }
}

fn values(of: &Tensor) -> Result<Vec<f32>> {
    Ok(of.flatten_all()?.to_vec1()?)
}

fn set(var: &Var, values: &[f32]) -> Result<()> {
    Ok(var.set(&Tensor::from_slice(values, var.shape(), var.device())?)?)
}

fn read_values(state: &TensorMap, name: &str, count: usize) -> Result<Vec<f32>> {
    let wrong = |message: String| Error::Training(format!("the checkpoint's `{name}` {message}"));
    let tensor = state.get(name).ok_or_else(|| wrong("is missing".to_owned()))?;
    if tensor.elem_count() != count {
        return Err(wrong(format!("has {} values, not {count}", tensor.elem_count())));
    }
    values(tensor)
}
