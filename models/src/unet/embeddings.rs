//! Timestep embeddings.
//!
//! Source: diffusers `models/embeddings.py`, `get_timestep_embedding` and `TimestepEmbedding`.

use super::UNet2DConditionConfig;
use crate::Result;
use crate::linear::Linear;
use crate::ops;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

/// Sines and cosines of numbers at `width / 2` frequencies, which are laid on the device once.
#[derive(Clone, Debug)]
pub(super) struct Sinusoids {
    /// `[1, width / 2]` in f32.
    frequencies: Tensor,
    flip_sin_to_cos: bool,
}

impl Sinusoids {
    pub(super) fn new(width: usize, config: &UNet2DConditionConfig, device: &Device) -> Result<Self> {
        let half = width / 2;
        // In f32 from the start, as the reference has it: at timestep 999 the last bit of a frequency is 1e-4 of a turn.
        let log_period = 10_000f64.ln() as f32;
        let frequencies: Vec<f32> =
            (0..half).map(|i| (-log_period * i as f32 / (half as f64 - config.freq_shift) as f32).exp()).collect();
        let frequencies = Tensor::from_vec(frequencies, (1, half), device)?;
        Ok(Self { frequencies, flip_sin_to_cos: config.flip_sin_to_cos })
    }

    /// `values [n]` → `[n, width]` in f32.
    pub(super) fn of(&self, values: &Tensor) -> Result<Tensor> {
        let angles = values.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&self.frequencies)?;
        let (sin, cos) = (angles.sin()?, angles.cos()?);
        Ok(if self.flip_sin_to_cos { Tensor::cat(&[cos, sin], 1)? } else { Tensor::cat(&[sin, cos], 1)? })
    }
}

/// Linear, SiLU, linear.
#[derive(Clone, Debug)]
pub(super) struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimestepEmbedding {
    pub(super) fn load(vb: &VarBuilder, in_width: usize, out_width: usize) -> Result<Self> {
        Ok(Self {
            linear_1: Linear::load(vb.pp("linear_1"), in_width, out_width, true)?,
            linear_2: Linear::load(vb.pp("linear_2"), out_width, out_width, true)?,
        })
    }

    /// `[b, in]` → `[b, out]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.linear_2.forward(&ops::silu(&self.linear_1.forward(x)?)?)
    }
}
