//! Scaled dot-product attention over heads laid side by side, forward and backward.
//!
//! Queries go in blocks of rows, so that no more than a block's scores exist at a time; the backward
//! pass computes the probabilities again. Heads are read and written in place by stride.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;

use super::elementary::{exp, sum, sum2};
use super::gemm::{Target, View, multiply};
use super::storage::{output, slice, tensor, with_slice, with_slices};
use super::threads::{for_chunks, scratch};

/// Query rows of a block.
const BLOCK: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    pub scale: f64,
    /// Query i sees keys 0..=i.
    pub causal: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    images: usize,
    queries: usize,
    keys: usize,
    /// All heads together.
    width: usize,
    /// One head.
    head: usize,
}

impl Sizes {
    /// Image and first column of the `i`th (image, head).
    fn place(&self, i: usize) -> (usize, usize) {
        let heads = self.width / self.head;
        (i / heads, i % heads * self.head)
    }

    /// From `[image, head, row, k]`, as threads divide the work, to `[image, row, heads · k]`.
    fn side_by_side(&self, from: &[f32], to: &mut [f32]) {
        if from.is_empty() {
            return;
        }
        let image = from.len() / self.images;
        for (from, to) in from.chunks_exact(image).zip(to.chunks_exact_mut(image)) {
            let per_head = image / self.width * self.head;
            for (h, from) in from.chunks_exact(per_head).enumerate() {
                for (from, to) in from.chunks_exact(self.head).zip(to.chunks_exact_mut(self.width)) {
                    to[h * self.head..][..self.head].copy_from_slice(from);
                }
            }
        }
    }
}

/// Scores to probabilities in place; row r of the block is query `first + r`.
#[multiversion(targets = "simd")]
fn probabilities(scores: &mut [f32], keys: usize, scale: f32, causal: bool, first: usize) {
    for (r, row) in scores.chunks_exact_mut(keys).enumerate() {
        let seen = if causal { keys.min(first + r + 1) } else { keys };
        let (row, hidden) = row.split_at_mut(seen);
        hidden.fill(0.);
        let mut lanes = [f32::NEG_INFINITY; 16];
        let (blocks, rest) = row.as_chunks::<16>();
        for block in blocks {
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane = if *value * scale > *lane { *value * scale } else { *lane };
            }
        }
        let mut largest = f32::NEG_INFINITY;
        for value in lanes.into_iter().chain(rest.iter().map(|v| v * scale)) {
            largest = largest.max(value);
        }
        for value in row.iter_mut() {
            *value = exp(*value * scale - largest);
        }
        let whole = (1. / sum(row, |v| v)) as f32;
        for value in row.iter_mut() {
            *value *= whole;
        }
    }
}

/// `dp` becomes the gradient of the scores: p (dp − Σ p dp) · scale.
#[multiversion(targets = "simd")]
fn score_gradients(p: &[f32], dp: &mut [f32], keys: usize, scale: f32) {
    for (p, dp) in p.chunks_exact(keys).zip(dp.chunks_exact_mut(keys)) {
        let mean = sum2(p, dp, |p, d| p * d) as f32;
        for (dp, p) in dp.iter_mut().zip(p) {
            *dp = p * (*dp - mean) * scale;
        }
    }
}

impl Attention {
    fn sizes(self, q: &Shape, k: &Shape, v: &Shape) -> Result<Sizes> {
        let (images, queries, width) = q.dims3()?;
        let (key_images, keys, key_width) = k.dims3()?;
        if v.dims3()? != (images, keys, width) || key_images != images || key_width != width {
            bail!("attention: query {q:?}, key {k:?}, value {v:?}");
        }
        if self.heads == 0 || !width.is_multiple_of(self.heads) || keys == 0 {
            bail!("attention: {} heads over a width of {width}, {keys} keys", self.heads);
        }
        Ok(Sizes { images, queries, keys, width, head: width / self.heads })
    }

    /// Keys that any query up to `end` sees.
    fn reach(self, s: &Sizes, end: usize) -> usize {
        if self.causal { s.keys.min(end) } else { s.keys }
    }

    /// Probabilities `[rows, reach]` of the block of queries `start..end`; views are one head's.
    fn block(
        self,
        s: &Sizes,
        (start, end): (usize, usize),
        q: &[f32],
        k: View,
        p: &mut [f32],
        threads: usize,
    ) -> Result<()> {
        let reach = self.reach(s, end);
        let q = View::rows(&q[start * s.width..], s.width);
        let target = Target { data: p, stride: reach };
        multiply((end - start, reach, s.head), target, q, k.transposed(), false, threads)?;
        probabilities(p, reach, self.scale as f32, self.causal, start);
        Ok(())
    }

    fn blocks(s: &Sizes) -> impl Iterator<Item = (usize, usize)> + use<> {
        let queries = s.queries;
        (0..queries).step_by(BLOCK).map(move |r| (r, (r + BLOCK).min(queries)))
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        k: &CpuStorage,
        kl: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let s = self.sizes(ql.shape(), kl.shape(), vl.shape())?;
        let (q, k, v) = (slice(q, ql)?, slice(k, kl)?, slice(v, vl)?);
        let mut y = vec![0.; q.len()];
        if y.is_empty() {
            return Ok(output(y, (s.images, s.queries, s.width)));
        }
        let (query_image, key_image) = (s.queries * s.width, s.keys * s.width);
        scratch(y.len(), |heads| {
            for_chunks(heads, s.queries * s.head, |i, y, threads| {
                let (image, offset) = s.place(i);
                let q = &q[image * query_image + offset..];
                let k = View::rows(&k[image * key_image + offset..], s.width);
                let v = View::rows(&v[image * key_image + offset..], s.width);
                for (start, end) in Self::blocks(&s) {
                    let (rows, reach) = (end - start, self.reach(&s, end));
                    scratch(rows * reach, |p| {
                        self.block(&s, (start, end), q, k, p, threads)?;
                        let target = Target { data: &mut y[start * s.head..], stride: s.head };
                        multiply((rows, s.head, reach), target, View::rows(p, reach), v, false, threads)
                    })?;
                }
                Ok(())
            })?;
            s.side_by_side(heads, &mut y);
            Ok::<(), candle_core::Error>(())
        })?;
        Ok(output(y, (s.images, s.queries, s.width)))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let s = self.sizes(q.shape(), k.shape(), v.shape())?;
        let (want_q, want_k, want_v) = (q.track_op(), k.track_op(), v.track_op());
        let (query_image, key_image) = (s.queries * s.width, s.keys * s.width);
        let (query_head, key_head) = (s.queries * s.head, s.keys * s.head);
        let mut dq = vec![0.; s.images * query_image];
        let mut dk = vec![0.; s.images * key_image];
        let mut dv = vec![0.; s.images * key_image];
        let mut work = |q: &[f32], k: &[f32], v: &[f32], dy: &[f32]| {
            if query_image == 0 {
                return Ok(());
            }
            let mut heads: Vec<_> = dq
                .chunks_mut(query_head)
                .zip(dk.chunks_mut(key_head))
                .zip(dv.chunks_mut(key_head))
                .map(|((dq, dk), dv)| (dq, dk, dv))
                .collect();
            for_chunks(&mut heads, 1, |i, one, threads| {
                let Some((dq, dk, dv)) = one.first_mut() else { return Ok(()) };
                let (image, offset) = s.place(i);
                let (q, dy) = (&q[image * query_image + offset..], &dy[image * query_image + offset..]);
                let k = View::rows(&k[image * key_image + offset..], s.width);
                let v = View::rows(&v[image * key_image + offset..], s.width);
                for (start, end) in Self::blocks(&s) {
                    let (rows, reach) = (end - start, self.reach(&s, end));
                    let again = start > 0;
                    let dy = View::rows(&dy[start * s.width..], s.width);
                    scratch(rows * reach, |p| {
                        self.block(&s, (start, end), q, k, p, threads)?;
                        if want_v {
                            let target = Target { data: dv, stride: s.head };
                            let p = View::rows(p, reach).transposed();
                            multiply((reach, s.head, rows), target, p, dy, again, threads)?;
                        }
                        if !want_q && !want_k {
                            return Ok::<(), candle_core::Error>(());
                        }
                        scratch(rows * reach, |ds| {
                            let target = Target { data: ds, stride: reach };
                            multiply((rows, reach, s.head), target, dy, v.transposed(), false, threads)?;
                            score_gradients(p, ds, reach, self.scale as f32);
                            let ds = View::rows(ds, reach);
                            if want_q {
                                let target = Target { data: &mut dq[start * s.head..], stride: s.head };
                                multiply((rows, s.head, reach), target, ds, k, false, threads)?;
                            }
                            if want_k {
                                let target = Target { data: dk, stride: s.head };
                                let q = View::rows(&q[start * s.width..], s.width);
                                multiply((reach, s.head, rows), target, ds.transposed(), q, again, threads)?;
                            }
                            Ok(())
                        })
                    })?;
                }
                Ok(())
            })
        };
        with_slices(q, dy, |q, dy| with_slice(k, |k| with_slice(v, |v| work(q, k, v, dy))))?;
        let gradient = |want: bool, heads: &[f32], of: &Tensor| {
            want.then(|| {
                let mut gradient = vec![0.; heads.len()];
                s.side_by_side(heads, &mut gradient);
                tensor(gradient, of.shape())
            })
            .transpose()
        };
        Ok((gradient(want_q, &dq, q)?, gradient(want_k, &dk, k)?, gradient(want_v, &dv, v)?))
    }
}
