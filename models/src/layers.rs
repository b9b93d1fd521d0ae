//! Layers with parameters, named as in diffusers: convolution, group norm, layer norm. Linear layers are in `linear`.
//!
//! b batch · c channels · h, w height, width · d model width

use crate::Result;
use crate::ops::{self, Activation, Padding};
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

/// 2-D convolution, `weight [out, in, k, k]`, `bias [out]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    padding: Padding,
}

impl Conv2d {
    /// A square kernel of `kernel` pixels, padded so that stride 1 keeps the size.
    pub fn load(vb: &VarBuilder, in_channels: usize, out_channels: usize, kernel: usize) -> Result<Self> {
        Self::load_strided(vb, in_channels, out_channels, kernel, 1, Padding::symmetric(kernel / 2))
    }

    /// Any stride and padding.
    pub fn load_strided(
        vb: &VarBuilder,
        in_channels: usize,
        out_channels: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Result<Self> {
        Ok(Self {
            weight: vb.get((out_channels, in_channels, kernel, kernel), "weight")?,
            bias: vb.get(out_channels, "bias")?,
            stride,
            padding,
        })
    }

    /// Precision of the parameters.
    pub fn dtype(&self) -> DType {
        self.weight.dtype()
    }

    /// `[b, in, h, w]` → `[b, out, h', w']`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::conv2d(x, &self.weight, Some(&self.bias), self.stride, self.padding)?)
    }
}

/// Group normalisation with its affine parameters, `[c]` each.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// `groups` must divide `channels`.
    pub fn load(vb: &VarBuilder, channels: usize, groups: usize, eps: f64) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(crate::Error::Invalid(format!(
                "{}: {groups} groups do not divide {channels} channels (norm_num_groups)",
                vb.prefix()
            )));
        }
        Ok(Self { weight: vb.get(channels, "weight")?, bias: vb.get(channels, "bias")?, groups, eps })
    }

    /// `[b, c, h, w]` → the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::group_norm(x, &self.weight, &self.bias, self.groups, self.eps, Activation::None)?)
    }

    /// The norm and SiLU after it, fused.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::group_norm(x, &self.weight, &self.bias, self.groups, self.eps, Activation::Silu)?)
    }
}

/// Layer normalisation over the last axis, `[d]` parameters.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Over `width` values.
    pub fn load(vb: &VarBuilder, width: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: vb.get(width, "weight")?, bias: vb.get(width, "bias")?, eps })
    }

    /// `[.., d]` → the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::layer_norm(x, &self.weight, &self.bias, self.eps)?)
    }
}
