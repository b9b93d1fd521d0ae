//! Any convolution, over tiles of columns.
//!
//! A tile is some rows of one large image or all of several small ones, so that its columns stay
//! in the cache and the product is wide enough. A result is a sum over (channel, row, column of the
//! kernel) in that order, whatever the tile; the weight's gradient is summed tile by tile in the batch's order.

use std::ops::Range;

use candle_core::Result;
use multiversion::multiversion;

use super::super::gemm::{Target, View, multiply};
use super::super::threads::{for_chunks, scratch, threads};
use super::{Geometry, Padding, SKEW};

/// Columns of a tile, about.
const TILE: usize = 256;

impl Geometry {
    /// Images of a tile, and rows of the result of each.
    fn tile(&self) -> (usize, usize) {
        let area = self.out_area();
        if area == 0 {
            (1, 1)
        } else if area >= TILE {
            (1, (TILE / self.out_width).max(1))
        } else {
            (TILE / area, self.out_height)
        }
    }

    /// A 1 × 1 kernel that sees every pixel once: the image is its own matrix of columns.
    fn pointwise(&self) -> bool {
        self.taps() == 1 && self.stride == 1 && self.padding == Padding::symmetric(0)
    }

    /// Rows in tiles.
    fn row_tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, height) = (self.tile().1, self.out_height);
        (0..height).step_by(rows).map(move |r| r..(r + rows).min(height))
    }
}

/// Copies the pixels that each result of `rows` sees: row (c, ky, kx) of `columns`, `stride` apart,
/// from `column` on. `x` is one image.
fn to_columns(
    g: &Geometry,
    x: &[f32],
    channels: Range<usize>,
    rows: Range<usize>,
    columns: &mut [f32],
    stride: usize,
    column: usize,
) {
    let seen = (rows.len() - 1) * g.stride + g.kernel_height;
    scratch(seen * (g.width + g.padding.left + g.padding.right), |plane| {
        let copy = match (g.stride, g.out_width) {
            (1, 4) => to_columns_of::<4, 1>,
            (1, 8) => to_columns_of::<8, 1>,
            (1, 16) => to_columns_of::<16, 1>,
            (1, 32) => to_columns_of::<32, 1>,
            (1, 64) => to_columns_of::<64, 1>,
            (1, _) => to_columns_of::<0, 1>,
            (2, _) => to_columns_of::<0, 2>,
            _ => to_columns_of::<0, 0>,
        };
        copy(g, x, channels, rows, plane, columns, stride, column);
    });
}

/// [`to_columns`] by way of a zero-padded `plane`. `WIDTH`: the result's; `STRIDE`; 0 for any.
#[multiversion(targets = "simd")]
fn to_columns_of<const WIDTH: usize, const STRIDE: usize>(
    g: &Geometry,
    x: &[f32],
    channels: Range<usize>,
    rows: Range<usize>,
    plane: &mut [f32],
    columns: &mut [f32],
    stride: usize,
    column: usize,
) {
    let width = if WIDTH > 0 { WIDTH } else { g.out_width };
    let step = if STRIDE > 0 { STRIDE } else { g.stride };
    let first = rows.start * step;
    let padded_width = g.width + g.padding.left + g.padding.right;
    plane.fill(0.);
    for (i, c) in channels.enumerate() {
        let image = &x[c * g.area()..][..g.area()];
        for (p, row) in plane.chunks_exact_mut(padded_width).enumerate() {
            let y = (first + p).wrapping_sub(g.padding.top);
            if y < g.height {
                row[g.padding.left..][..g.width].copy_from_slice(&image[y * g.width..][..g.width]);
            }
        }
        for ky in 0..g.kernel_height {
            for kx in 0..g.kernel_width {
                let tap = (i * g.kernel_height + ky) * g.kernel_width + kx;
                let to = &mut columns[tap * stride + column..][..rows.len() * width];
                for (r, to) in to.chunks_exact_mut(width).enumerate() {
                    let from = &plane[(r * step + ky) * padded_width + kx..];
                    if STRIDE == 1 {
                        to.copy_from_slice(&from[..width]);
                    } else {
                        for (to, from) in to.iter_mut().zip(from.iter().step_by(step)) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }
}

/// The reverse of [`to_columns`]: adds every column's entries to the pixels that it saw.
fn add_columns(g: &Geometry, x: &mut [f32], rows: Range<usize>, columns: &[f32], stride: usize, column: usize) {
    for (c, image) in x.chunks_exact_mut(g.area()).enumerate() {
        for ky in 0..g.kernel_height {
            for kx in 0..g.kernel_width {
                let tap = (c * g.kernel_height + ky) * g.kernel_width + kx;
                let from = &columns[tap * stride + column..][..rows.len() * g.out_width];
                for (oy, from) in rows.clone().zip(from.chunks_exact(g.out_width)) {
                    let y = (oy * g.stride + ky).wrapping_sub(g.padding.top);
                    if y >= g.height {
                        continue;
                    }
                    let row = &mut image[y * g.width..][..g.width];
                    for (ox, value) in from.iter().enumerate() {
                        let px = (ox * g.stride + kx).wrapping_sub(g.padding.left);
                        if let Some(pixel) = row.get_mut(px) {
                            *pixel += value;
                        }
                    }
                }
            }
        }
    }
}

/// y = w ∗ x (+ bias), into `y`.
pub(super) fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) -> Result<()> {
    let (area, out_area, depth) = (g.area(), g.out_area(), g.depth());
    let together = if g.pointwise() && out_area >= 64 { 1 } else { g.tile().0 };
    let weight = View::rows(weight, depth);
    for_chunks(y, together * g.outputs * out_area, |chunk, y, threads| {
        let images = y.len() / (g.outputs * out_area);
        let x = &x[chunk * together * g.channels * area..][..images * g.channels * area];
        if together == 1 {
            if g.pointwise() {
                let target = Target { data: y, stride: out_area };
                multiply((g.outputs, area, depth), target, weight, View::rows(x, area), false, threads)?;
            } else {
                for rows in g.row_tiles() {
                    let width = rows.len() * g.out_width;
                    let stride = width + SKEW;
                    scratch(depth * stride, |columns| {
                        to_columns(g, x, 0..g.channels, rows.clone(), columns, stride, 0);
                        let target = Target { data: &mut y[rows.start * g.out_width..], stride: out_area };
                        let columns = View::rows(columns, stride);
                        multiply((g.outputs, width, depth), target, weight, columns, false, threads)
                    })?;
                }
            }
            if let Some(bias) = bias {
                for (plane, bias) in y.chunks_exact_mut(out_area).zip(bias) {
                    for value in plane {
                        *value += bias;
                    }
                }
            }
            return Ok(());
        }
        let width = images * out_area;
        let stride = width + SKEW;
        scratch(depth * stride, |columns| {
            for (i, x) in x.chunks_exact(g.channels * area).enumerate() {
                to_columns(g, x, 0..g.channels, 0..g.out_height, columns, stride, i * out_area);
            }
            scratch(g.outputs * width, |result| {
                let target = Target { data: result, stride: width };
                let columns = View::rows(columns, stride);
                multiply((g.outputs, width, depth), target, weight, columns, false, threads)?;
                for (i, y) in y.chunks_exact_mut(g.outputs * out_area).enumerate() {
                    for (o, y) in y.chunks_exact_mut(out_area).enumerate() {
                        let from = &result[o * width + i * out_area..][..out_area];
                        let bias = bias.map_or(0., |b| b[o]);
                        for (y, value) in y.iter_mut().zip(from) {
                            *y = value + bias;
                        }
                    }
                }
                Ok(())
            })
        })
    })
}

/// The gradient of the input, added to `dx`, which is zero.
pub(super) fn backward_input(g: &Geometry, weight: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<()> {
    let (out_area, depth) = (g.out_area(), g.depth());
    let (together, image) = (g.tile().0, g.channels * g.area());
    let weight = View::rows(weight, depth).transposed();
    for_chunks(dx, together * image, |chunk, dx, threads| {
        let images = dx.len() / image;
        let dy = &dy[chunk * together * g.outputs * out_area..][..images * g.outputs * out_area];
        for rows in g.row_tiles() {
            let width = images * rows.len() * g.out_width;
            scratch(g.outputs * width, |gathered| {
                gather(g, dy, 0, &rows, gathered);
                scratch(depth * width, |columns| {
                    let target = Target { data: columns, stride: width };
                    let gathered = View::rows(gathered, width);
                    multiply((depth, width, g.outputs), target, weight, gathered, false, threads)?;
                    for (i, dx) in dx.chunks_exact_mut(image).enumerate() {
                        add_columns(g, dx, rows.clone(), columns, width, i * rows.len() * g.out_width);
                    }
                    Ok::<(), candle_core::Error>(())
                })
            })?;
        }
        Ok(())
    })
}

/// Lays the same channel of several images side by side, from channel `first` on: `[o, images · rows · width]`.
fn gather(g: &Geometry, dy: &[f32], first: usize, rows: &Range<usize>, gathered: &mut [f32]) {
    let (out_area, length) = (g.out_area(), rows.len() * g.out_width);
    let images = dy.len() / (g.outputs * out_area);
    for (o, row) in gathered.chunks_exact_mut(images * length).enumerate() {
        for (i, to) in row.chunks_exact_mut(length).enumerate() {
            let from = &dy[(i * g.outputs + first + o) * out_area + rows.start * g.out_width..][..length];
            to.copy_from_slice(from);
        }
    }
}

/// The gradient of the weight.
pub(super) fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32], dw: &mut [f32]) -> Result<()> {
    let (depth, out_area, taps) = (g.depth(), g.out_area(), g.taps());
    let together = g.tile().0;
    let (x_image, y_image) = (g.channels * g.area(), g.outputs * out_area);
    // Threads divide the channels of the columns, then the rows of the product.
    let threads = threads();
    let (channels, outputs) = (g.channels.div_ceil(threads), g.outputs.div_ceil(threads));
    let mut accumulate = false;
    for (x, dy) in x.chunks(together * x_image).zip(dy.chunks(together * y_image)) {
        let images = x.len() / x_image;
        for rows in g.row_tiles() {
            let length = rows.len() * g.out_width;
            let width = images * length;
            let mut product = |columns: View| {
                for_chunks(dw, outputs * depth, |chunk, dw, threads| {
                    let (first, size) = (chunk * outputs, (dw.len() / depth, depth, width));
                    let target = Target { data: dw, stride: depth };
                    if images == 1 {
                        let dy = View::rows(&dy[first * out_area + rows.start * g.out_width..], out_area);
                        return multiply(size, target, dy, columns.transposed(), accumulate, threads);
                    }
                    scratch(size.0 * width, |gathered| {
                        gather(g, dy, first, &rows, gathered);
                        multiply(size, target, View::rows(gathered, width), columns.transposed(), accumulate, threads)
                    })
                })
            };
            if g.pointwise() && images == 1 {
                product(View::rows(&x[rows.start * g.width..], g.area()))?;
            } else {
                let stride = width + SKEW;
                scratch(depth * stride, |columns| {
                    for_chunks(columns, channels * taps * stride, |chunk, columns, _| {
                        let first = chunk * channels;
                        let channels = first..first + columns.len() / (taps * stride);
                        for (i, x) in x.chunks_exact(x_image).enumerate() {
                            to_columns(g, x, channels.clone(), rows.clone(), columns, stride, i * length);
                        }
                        Ok(())
                    })?;
                    product(View::rows(columns, stride))
                })?;
            }
            accumulate = true;
        }
    }
    Ok(())
}
