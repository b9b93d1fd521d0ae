//! The operators composed of candle's own differentiable ones, for other devices and precisions.

use candle_core::{D, DType, Result, Tensor};

use super::{Activation, Padding};

pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
    let Padding { left, right, top, bottom } = padding;
    let even = left == right && left == top && left == bottom;
    let (x, inside) =
        if even { (x.clone(), left) } else { (x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?, 0) };
    let y = x.conv2d(weight, inside, stride, 1, 1)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let y = x.reshape(((), inputs))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(shape)
}

/// The precision of statistics: at least f32.
fn wide(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::F64 { Ok(x.clone()) } else { x.to_dtype(DType::F32) }
}

/// `x` less its mean over the last dimension, over its standard deviation.
fn normalized(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    centred.broadcast_div(&deviation)
}

pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    let (images, channels) = (x.dim(0)?, x.dim(1)?);
    let mut per_channel = vec![1; x.rank()];
    per_channel[1] = channels;
    let y = normalized(&wide(x)?.reshape((images, groups, ()))?, eps)?
        .reshape(x.shape())?
        .broadcast_mul(&wide(weight)?.reshape(per_channel.as_slice())?)?
        .broadcast_add(&wide(bias)?.reshape(per_channel.as_slice())?)?;
    let y = match activation {
        Activation::None => y,
        Activation::Silu => y.silu()?,
    };
    y.to_dtype(x.dtype())
}

pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    normalized(&wide(x)?, eps)?.broadcast_mul(&wide(weight)?)?.broadcast_add(&wide(bias)?)?.to_dtype(x.dtype())
}

/// Over the last dimension. The maximum only keeps exp in range: no gradient need flow through it.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    let raised = shifted.exp()?;
    raised.broadcast_div(&raised.sum_keepdim(D::Minus1)?)
}

/// Query rows at a time: the scores of more would not fit for large images.
const QUERY_ROWS: usize = 1024;

pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, scale: f64, causal: bool) -> Result<Tensor> {
    let (images, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    let split =
        |x: &Tensor, length: usize| x.reshape((images, length, heads, width / heads))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (split(q, queries)?, split(k, keys)?, split(v, keys)?);
    let turned = k.transpose(2, 3)?.contiguous()?;
    let mut parts = Vec::new();
    for start in (0..queries).step_by(QUERY_ROWS) {
        let rows = QUERY_ROWS.min(queries - start);
        let scores = (q.narrow(2, start, rows)?.contiguous()?.matmul(&turned)? * scale)?;
        let scores = wide(&scores)?;
        let scores = if causal {
            let mask: Vec<f32> = (start..start + rows)
                .flat_map(|i| (0..keys).map(move |j| if j > i { f32::NEG_INFINITY } else { 0. }))
                .collect();
            let mask = Tensor::from_vec(mask, (rows, keys), q.device())?.to_dtype(scores.dtype())?;
            scores.broadcast_add(&mask)?
        } else {
            scores
        };
        parts.push(softmax(&scores)?.to_dtype(v.dtype())?.matmul(&v)?);
    }
    Tensor::cat(&parts, 2)?.transpose(1, 2)?.reshape((images, queries, width))
}

pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}

pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    // candle's own gradients of exp, + and / make the sigmoid's
    let rest = ((x * -1.702)?.exp()? + 1.)?;
    x / rest
}

pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let parts = x.chunk(2, D::Minus1)?;
    match parts.as_slice() {
        [a, b] => a * gelu(b)?,
        _ => candle_core::bail!("geglu: the last dimension of {:?} does not split in two", x.shape()),
    }
}

pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    x.upsample_nearest2d(2 * height, 2 * width)
}
