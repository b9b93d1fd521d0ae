//! Trainable operators: what candle lacks, does slowly, or does without a gradient.
//!
//! On the CPU in f32 both directions are written here (matrix products by `gemm`, the rest as loops
//! that the compiler vectorises, instruction set chosen at run time). In half precision on the CPU an
//! operator computes in f32 and rounds its result. Elsewhere each operator is a composition of candle's
//! differentiable ones. Two promises, tested bit for bit: the result for one
//! image does not depend on the rest of the batch, nor any result on the number of threads.

mod activation;
mod attention;
mod checkpoint;
mod convolution;
mod elementary;
mod fallback;
mod gemm;
mod gradient;
mod linear;
mod normalization;
mod storage;
mod threads;
mod upsample;

use candle_core::{DType, Device, Result, Tensor};

pub use checkpoint::{Checkpoints, checkpoint, checkpoints, keeps_input_alone};
pub use convolution::Padding;
pub use gradient::{backward, backward_onto};
pub use normalization::Activation;
pub use threads::{divide_no_candle_operator, threads, with_threads};

use storage::on_cpu;
pub(crate) use storage::with_slice;

/// The precision, where the operators round to it on the CPU.
fn half_on_cpu(x: &Tensor) -> Option<DType> {
    (matches!(x.device(), Device::Cpu) && matches!(x.dtype(), DType::F16 | DType::BF16)).then(|| x.dtype())
}

fn wide(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)
}

/// Convolution of `x [b, c, h, w]` with `weight [o, c, kh, kw]`, plus `bias [o]`: `[b, o, h', w']`.
///
/// # Errors
/// When the channels disagree or the padded image is smaller than the kernel.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    let padding = padding.into();
    if let Some(half) = half_on_cpu(x) {
        let (x, weight, bias) = (wide(x)?, wide(weight)?, bias.map(wide).transpose()?);
        return conv2d(&x, &weight, bias.as_ref(), stride, padding)?.to_dtype(half);
    }
    if !on_cpu(&[x, weight]) {
        return fallback::conv2d(x, weight, bias, stride, padding);
    }
    let op = convolution::Convolution { stride, padding };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

/// `x [.., i] · weight [o, i]ᵀ + bias [o]`: `[.., o]`.
///
/// # Errors
/// When `x` does not end in `i`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if let Some(half) = half_on_cpu(x) {
        return linear(&wide(x)?, &wide(weight)?, bias.map(wide).transpose()?.as_ref())?.to_dtype(half);
    }
    if !on_cpu(&[x, weight]) {
        return fallback::linear(x, weight, bias);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, linear::Linear),
        None => x.apply_op2(&weight, linear::Linear),
    }
}

/// Group norm over `x [b, c, ..]` in `groups` groups of channels, then `activation`, in one pass.
/// Statistics in f32 at least, variance biased.
///
/// # Errors
/// When the groups do not divide the channels.
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    if let Some(half) = half_on_cpu(x) {
        return group_norm(&wide(x)?, &wide(weight)?, &wide(bias)?, groups, eps, activation)?.to_dtype(half);
    }
    if !on_cpu(&[x, weight, bias]) {
        return fallback::group_norm(x, weight, bias, groups, eps, activation);
    }
    let op = normalization::GroupNorm { groups, eps, activation };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// Layer norm over the last dimension of `x [.., d]`.
///
/// # Errors
/// When weight or bias do not have `d` elements.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if let Some(half) = half_on_cpu(x) {
        return layer_norm(&wide(x)?, &wide(weight)?, &wide(bias)?, eps)?.to_dtype(half);
    }
    if !on_cpu(&[x, weight, bias]) {
        return fallback::layer_norm(x, weight, bias, eps);
    }
    let op = normalization::LayerNorm { eps };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// Attention of `q [b, n, heads · k]` over `k` and `v` `[b, m, heads · k]`, heads side by side as a
/// projection gives them: softmax(scale · q kᵀ) v, `[b, n, heads · k]`. Never holds more than a block
/// of rows of the scores. `causal`: query i sees keys 0..=i.
///
/// # Errors
/// When the shapes disagree or `heads` does not divide the width.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, scale: f64, causal: bool) -> Result<Tensor> {
    if let Some(half) = half_on_cpu(q) {
        return attention(&wide(q)?, &wide(k)?, &wide(v)?, heads, scale, causal)?.to_dtype(half);
    }
    if !on_cpu(&[q, k, v]) {
        return fallback::attention(q, k, v, heads, scale, causal);
    }
    let op = attention::Attention { heads, scale, causal };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// Softmax over the last dimension, with its gradient.
///
/// # Errors
/// Candle's.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    fallback::softmax(x)
}

fn pointwise(x: &Tensor, op: activation::Pointwise, otherwise: fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if let Some(half) = half_on_cpu(x) {
        return pointwise(&wide(x)?, op, otherwise)?.to_dtype(half);
    }
    if on_cpu(&[x]) { x.contiguous()?.apply_op1(op) } else { otherwise(x) }
}

/// x · sigmoid(x).
///
/// # Errors
/// Candle's.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    pointwise(x, activation::Pointwise::Silu, fallback::silu)
}

/// x Φ(x): the exact GELU, torch's default.
///
/// # Errors
/// Candle's.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    pointwise(x, activation::Pointwise::Gelu, fallback::gelu)
}

/// x · sigmoid(1.702 x): the GELU of OpenAI's CLIP.
///
/// # Errors
/// Candle's.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    pointwise(x, activation::Pointwise::QuickGelu, fallback::quick_gelu)
}

/// a · gelu(b) for `x = [a, b]` along the last dimension: `[.., 2d]` to `[.., d]`.
///
/// # Errors
/// When the last dimension is odd.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    if let Some(half) = half_on_cpu(x) {
        return geglu(&wide(x)?)?.to_dtype(half);
    }
    if on_cpu(&[x]) { x.contiguous()?.apply_op1(activation::Geglu) } else { fallback::geglu(x) }
}

/// Every pixel of `x [b, c, h, w]` twice in each direction: `[b, c, 2h, 2w]`.
///
/// # Errors
/// When `x` is not of rank 4.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    if let Some(half) = half_on_cpu(x) {
        return upsample_nearest2x(&wide(x)?)?.to_dtype(half);
    }
    if on_cpu(&[x]) { x.contiguous()?.apply_op1(upsample::UpsampleNearest2x) } else { fallback::upsample_nearest2x(x) }
}
