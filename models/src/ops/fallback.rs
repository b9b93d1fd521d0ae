//! The operators composed of candle's own differentiable ones, for other devices and precisions.

use candle_core::{D, DType, Result, Tensor};

use super::{Activation, Padding, checkpoint};

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
/// So many scores a head are not kept for the way back, which computes them again.
const SCORES_TO_KEEP: usize = 1 << 16;

pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, scale: f64, causal: bool) -> Result<Tensor> {
    let (images, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    let learns = q.track_op() || k.track_op() || v.track_op();
    let split =
        |x: &Tensor, length: usize| x.reshape((images, length, heads, width / heads))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (split(q, queries)?, split(k, keys)?, split(v, keys)?);
    let mut parts = Vec::new();
    for first in (0..queries).step_by(QUERY_ROWS) {
        let rows = QUERY_ROWS.min(queries - first);
        let of_rows = QueryRows { scale, first, causal };
        let q = q.narrow(2, first, rows)?;
        parts.push(if learns && rows * keys > SCORES_TO_KEEP {
            // One tensor, as a checkpointed part has one input.
            let all = Tensor::cat(&[&q, &k, &v], 2)?;
            checkpoint(&all, move |all| {
                let part = |start: usize, length: usize| all.narrow(2, start, length);
                of_rows.attention(&part(0, rows)?, &part(rows, keys)?, &part(rows + keys, keys)?)
            })?
        } else {
            of_rows.attention(&q, &k, &v)?
        });
    }
    Tensor::cat(&parts, 2)?.transpose(1, 2)?.reshape((images, queries, width))
}

/// Some rows of the scores.
#[derive(Clone, Copy)]
struct QueryRows {
    scale: f64,
    /// Place of the first query.
    first: usize,
    causal: bool,
}

impl QueryRows {
    /// Of heads side by side: `q [b, heads, rows, k]`, `k` and `v` `[b, heads, m, k]`; `[b, heads, rows, k]`.
    fn attention(self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (rows, keys) = (q.dim(2)?, k.dim(2)?);
        let turned = k.transpose(2, 3)?.contiguous()?;
        let scores = wide(&(q.contiguous()?.matmul(&turned)? * self.scale)?)?;
        let scores = if self.causal {
            let mask: Vec<f32> = (self.first..self.first + rows)
                .flat_map(|i| (0..keys).map(move |j| if j > i { f32::NEG_INFINITY } else { 0. }))
                .collect();
            let mask = Tensor::from_vec(mask, (rows, keys), q.device())?.to_dtype(scores.dtype())?;
            scores.broadcast_add(&mask)?
        } else {
            scores
        };
        softmax(&scores)?.to_dtype(v.dtype())?.matmul(&v.contiguous()?)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::backward;
    use candle_core::{Device, Var};

    /// Scores that are not kept, in several parts, are computed again to the gradients of those that are.
    #[test]
    fn long_attention_has_the_gradients_of_one_matrix_of_scores() {
        let (queries, keys, heads, width) = (QUERY_ROWS + 150, 80, 2, 6);
        for causal in [false, true] {
            let random = |length: usize| {
                let tensor = Tensor::randn(0f64, 1., (2, length, width), &Device::Cpu).unwrap();
                Var::from_tensor(&tensor).unwrap()
            };
            let (q, k, v) = (random(queries), random(keys), random(keys));
            let weights = Tensor::randn(0f64, 1., (2, queries, width), &Device::Cpu).unwrap();
            let ours = attention(&q, &k, &v, heads, 0.7, causal).unwrap();
            let split = |x: &Tensor| {
                let length = x.dim(1).unwrap();
                x.reshape((2, length, heads, width / heads)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap()
            };
            let rows = QueryRows { scale: 0.7, first: 0, causal };
            let whole = rows.attention(&split(&q), &split(&k), &split(&v)).unwrap();
            let whole = whole.transpose(1, 2).unwrap().reshape((2, queries, width)).unwrap();
            let gradients = |y: &Tensor| {
                let store = backward(&(y * &weights).unwrap().sum_all().unwrap()).unwrap();
                [&q, &k, &v].map(|var| store.get(var.as_tensor()).unwrap().flatten_all().unwrap().to_vec1().unwrap())
            };
            let (found, expected): ([Vec<f64>; 3], _) = (gradients(&ours), gradients(&whole));
            let values = |y: &Tensor| y.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let all = found.into_iter().zip(expected).chain([(values(&ours), values(&whole))]);
            for (found, expected) in all {
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-10));
            }
        }
    }
}
