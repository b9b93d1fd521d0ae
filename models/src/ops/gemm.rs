//! The one door to the `gemm` crate: bounds-checked, and with sums whose order depends on `k` alone.
//!
//! `gemm` chooses by `m` and `n` among kernels that add up in different orders (dot products for
//! very small results, matrix–vector kernels, other block sizes below 64 × 64). An image's result
//! must not depend on what else is in the batch, so every product here takes the blocked kernel
//! with blocks of `k` that are at most [`MAX_DEPTH`] deep, whatever the shape.

use candle_core::{Result, bail};

use super::threads::scratch;

/// `gemm` never splits a depth up to this one.
const MAX_DEPTH: usize = 512;
/// Up to this many results `gemm` takes dot products when both operands are contiguous along `k`.
const HORIZONTAL: usize = 16 * 16;

/// A matrix in a slice: element `(i, j)` at `i * row + j * column`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

impl<'a> View<'a> {
    /// Rows one after another, `stride` apart.
    pub fn rows(data: &'a [f32], stride: usize) -> Self {
        Self { data, row: stride, column: 1 }
    }

    pub fn transposed(self) -> Self {
        Self { data: self.data, row: self.column, column: self.row }
    }
}

/// The result's place: element `(i, j)` at `i * stride + j`.
pub struct Target<'a> {
    pub data: &'a mut [f32],
    pub stride: usize,
}

fn fits(len: usize, rows: usize, columns: usize, row: usize, column: usize) -> bool {
    rows == 0 || columns == 0 || (rows - 1) * row + (columns - 1) * column < len
}

/// `target (+)= lhs · rhs`, lhs `[m, k]`, rhs `[k, n]`; `accumulate` adds to what is there.
///
/// # Errors
/// When a view is shorter than its shape, or the target's rows overlap.
pub fn multiply(
    (m, n, k): (usize, usize, usize),
    target: Target,
    lhs: View,
    rhs: View,
    accumulate: bool,
    threads: usize,
) -> Result<()> {
    if m == 0 || n == 0 {
        return Ok(());
    }
    let Target { data, stride } = target;
    if !fits(data.len(), m, n, stride, 1)
        || !fits(lhs.data.len(), m, k, lhs.row, lhs.column)
        || !fits(rhs.data.len(), k, n, rhs.row, rhs.column)
        || (m > 1 && stride < n)
    {
        bail!("matrix product [{m}, {k}] x [{k}, {n}]: a view is shorter than its shape");
    }
    if k == 0 {
        if !accumulate {
            for i in 0..m {
                data[i * stride..][..n].fill(0.);
            }
        }
        return Ok(());
    }
    if m == 1 || n == 1 || (m * n <= HORIZONTAL && lhs.column == 1 && rhs.row == 1) {
        multiply_narrow((m, n, k), data, stride, lhs, rhs, accumulate);
    } else {
        blocks((m, n, k), data, stride, lhs, rhs, accumulate, threads);
    }
    Ok(())
}

/// Shapes for which `gemm` has kernels of their own, dressed up so that it takes the usual one:
/// a single row or column is done twice (stride 0), the right side is turned out of contiguity.
fn multiply_narrow(
    (m, n, k): (usize, usize, usize),
    data: &mut [f32],
    stride: usize,
    lhs: View,
    rhs: View,
    accumulate: bool,
) {
    let (wide_m, wide_n) = (m.max(2), n.max(2));
    let lhs = if m == 1 { View { row: 0, ..lhs } } else { lhs };
    let rhs = if n == 1 { View { column: 0, ..rhs } } else { rhs };
    scratch(wide_m * wide_n, |result| {
        if accumulate {
            for i in 0..wide_m {
                for j in 0..wide_n {
                    result[i * wide_n + j] = data[i.min(m - 1) * stride + j.min(n - 1)];
                }
            }
        }
        if wide_m * wide_n <= HORIZONTAL && lhs.column == 1 && rhs.row == 1 {
            scratch(k * wide_n, |turned| {
                for (p, row) in turned.chunks_exact_mut(wide_n).enumerate() {
                    for (j, value) in row.iter_mut().enumerate() {
                        *value = rhs.data[p * rhs.row + j * rhs.column];
                    }
                }
                let turned = View::rows(turned, wide_n);
                blocks((wide_m, wide_n, k), result, wide_n, lhs, turned, accumulate, 1);
            });
        } else {
            blocks((wide_m, wide_n, k), result, wide_n, lhs, rhs, accumulate, 1);
        }
        for i in 0..m {
            data[i * stride..][..n].copy_from_slice(&result[i * wide_n..][..n]);
        }
    });
}

/// The product itself, the depth in equal blocks of at most `MAX_DEPTH`. Bounds are the callers'.
fn blocks(
    (m, n, k): (usize, usize, usize),
    data: &mut [f32],
    stride: usize,
    lhs: View,
    rhs: View,
    accumulate: bool,
    threads: usize,
) {
    assert!(
        fits(data.len(), m, n, stride, 1)
            && fits(lhs.data.len(), m, k, lhs.row, lhs.column)
            && fits(rhs.data.len(), k, n, rhs.row, rhs.column)
            && stride >= n,
        "matrix product out of bounds"
    );
    let parallelism = if threads <= 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    let depth = k.div_ceil(k.div_ceil(MAX_DEPTH));
    let mut start = 0;
    while start < k {
        let length = depth.min(k - start);
        let read = accumulate || start > 0;
        #[expect(unsafe_code, reason = "gemm takes pointers; the assertion above bounds every access")]
        // SAFETY: every element (i, j) of the three views lies inside its slice (asserted above),
        // the target's rows do not overlap (stride >= n) and it is borrowed exclusively.
        unsafe {
            gemm::gemm::<f32>(
                m,
                n,
                length,
                data.as_mut_ptr(),
                1,
                stride as isize,
                read,
                lhs.data.as_ptr().wrapping_add(start * lhs.column),
                lhs.column as isize,
                lhs.row as isize,
                rhs.data.as_ptr().wrapping_add(start * rhs.row),
                rhs.column as isize,
                rhs.row as isize,
                1.,
                1.,
                false,
                false,
                false,
                parallelism,
            );
        }
        start += length;
    }
}
