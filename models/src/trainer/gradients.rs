//! Gradients of the parameters, where the parameters are: nothing of them is copied to the host on an accelerator.

use crate::weights::VarMap;
use crate::{Result, ops};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The gradient of a loss by parameter's name, in the parameter's shape; parameters that the loss does not touch are left out.
#[derive(Clone, Debug, Default)]
pub struct Gradients(BTreeMap<String, Tensor>);

impl Gradients {
    /// Those of `loss`.
    ///
    /// # Errors
    /// Candle's.
    pub fn of(vars: &VarMap, loss: &Tensor) -> Result<Self> {
        let mut gradients = Self::default();
        gradients.gather(vars, loss)?;
        Ok(gradients)
    }

    /// Adds those of `loss`, with little memory beside: where parts of the network are checkpointed, one part's.
    ///
    /// # Errors
    /// Candle's.
    pub fn gather(&mut self, vars: &VarMap, loss: &Tensor) -> Result<()> {
        let mut before = GradStore::default();
        for (name, gradient) in std::mem::take(&mut self.0) {
            if let Some(var) = vars.get(&name) {
                before.insert(var.as_tensor(), gradient);
            }
        }
        let mut all = ops::backward_onto(loss, before)?;
        let found = vars.iter().filter_map(|(name, var)| Some((name.clone(), all.remove(var.as_tensor())?)));
        self.0 = found.collect();
        Ok(())
    }

    /// That of a parameter.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Names of the parameters that have one, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Adds those of another loss.
    ///
    /// # Errors
    /// Candle's.
    pub fn add(&mut self, mut other: Self) -> Result<()> {
        let new: Vec<String> = other.0.keys().filter(|name| !self.0.contains_key(*name)).cloned().collect();
        self.0.extend(new.into_iter().filter_map(|name| other.0.remove_entry(&name)));
        self.0.par_iter_mut().try_for_each(|(name, sum)| {
            if let Some(gradient) = other.0.get(name) {
                *sum = (&*sum + gradient)?;
            }
            Ok(())
        })
    }

    /// Multiplies all by `factor`.
    ///
    /// # Errors
    /// Candle's.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        self.0.par_iter_mut().try_for_each(|(_, gradient)| {
            *gradient = (&*gradient * factor)?;
            Ok(())
        })
    }

    /// Euclidean norm over all: on CPU summed in f64 in the order of the names; elsewhere one number a parameter is summed
    /// there, and one comes back.
    ///
    /// # Errors
    /// Candle's.
    pub fn norm(&self) -> Result<f64> {
        if self.0.values().all(|gradient| gradient.device().is_cpu()) {
            let squares: Vec<f64> =
                self.0.par_iter().map(|(_, gradient)| sum_of_squares(gradient)).collect::<Result<_>>()?;
            return Ok(squares.into_iter().sum::<f64>().sqrt());
        }
        let squares =
            self.0.values().map(|gradient| Ok(gradient.sqr()?.sum_all()?)).collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::stack(&squares, 0)?.to_dtype(DType::F64)?.sum_all()?.sqrt()?.to_scalar::<f64>()?)
    }

    /// Scales all down so that their norm is at most `max_norm`; returns the norm before.
    ///
    /// # Errors
    /// Candle's.
    pub fn clip(&mut self, max_norm: f64) -> Result<f64> {
        let norm = self.norm()?;
        if norm > max_norm && norm.is_finite() {
            self.scale(max_norm / norm)?;
        }
        Ok(norm)
    }

    /// That of a parameter as numbers, `[n]`; a test's.
    #[cfg(test)]
    pub(super) fn values(&self, name: &str) -> Vec<f32> {
        self.0[name].flatten_all().unwrap().to_vec1().unwrap()
    }
}

/// Of values in host memory.
fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    let square = |g: &f32| f64::from(*g) * f64::from(*g);
    Ok(ops::with_slice(&gradient.contiguous()?, |values| {
        // Eight sums, so that an addition need not wait for the one before.
        let (eights, rest) = values.as_chunks::<8>();
        let mut sums = [0.0; 8];
        for eight in eights {
            sums.iter_mut().zip(eight).for_each(|(sum, g)| *sum += square(g));
        }
        Ok(sums.iter().sum::<f64>() + rest.iter().map(square).sum::<f64>())
    })?)
}

impl FromIterator<(String, Tensor)> for Gradients {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(gradients: I) -> Self {
        Self(gradients.into_iter().collect())
    }
}
