//! Two-dimensional convolution, forward and backward, as matrix products over tiles of columns.
//!
//! A tile is some rows of one large image or all of several small ones, so that its columns stay
//! in the cache and the product is wide enough. A result is a sum over (channel, row, column of the
//! kernel) in that order, whatever the tile. The input's gradient at stride 1 is again a
//! convolution, by the turned kernel; the weight's is summed tile by tile in the batch's order.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;

use super::elementary::sum;
use super::gemm::{Target, View, multiply};
use super::gradient::hand_over;
use super::storage::{output, slice, tensor, with_slice, with_slices};
use super::threads::{for_chunks, scratch};

/// Columns of a tile, about.
const TILE: usize = 256;
/// Added to the columns' stride, so that a power of two does not map a panel to few cache sets.
const SKEW: usize = 16;

/// Zeros around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    pub left: usize,
    pub right: usize,
    pub top: usize,
    pub bottom: usize,
}

impl Padding {
    pub const fn symmetric(padding: usize) -> Self {
        Self { left: padding, right: padding, top: padding, bottom: padding }
    }

    /// Torch's `F.pad` order: left, right, top, bottom. The VAE's downsampler has (0, 1, 0, 1).
    pub const fn asymmetric(left: usize, right: usize, top: usize, bottom: usize) -> Self {
        Self { left, right, top, bottom }
    }
}

impl From<usize> for Padding {
    fn from(padding: usize) -> Self {
        Self::symmetric(padding)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    pub stride: usize,
    pub padding: Padding,
}

/// All sizes of one call.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
    outputs: usize,
    kernel_height: usize,
    kernel_width: usize,
    stride: usize,
    padding: Padding,
    out_height: usize,
    out_width: usize,
}

impl Geometry {
    fn new(op: Convolution, x: &Shape, weight: &Shape) -> Result<Self> {
        let (images, channels, height, width) = x.dims4()?;
        let (outputs, weight_channels, kernel_height, kernel_width) = weight.dims4()?;
        let Convolution { stride, padding } = op;
        let padded_height = height + padding.top + padding.bottom;
        let padded_width = width + padding.left + padding.right;
        if channels != weight_channels {
            bail!("conv2d: {channels} channels come in, the weight {weight:?} takes {weight_channels}");
        }
        if stride == 0 || padded_height < kernel_height || padded_width < kernel_width {
            bail!("conv2d: input {x:?} with {op:?} is smaller than the kernel of {weight:?}");
        }
        Ok(Self {
            images,
            channels,
            height,
            width,
            outputs,
            kernel_height,
            kernel_width,
            stride,
            padding,
            out_height: (padded_height - kernel_height) / stride + 1,
            out_width: (padded_width - kernel_width) / stride + 1,
        })
    }

    fn area(&self) -> usize {
        self.height * self.width
    }

    fn out_area(&self) -> usize {
        self.out_height * self.out_width
    }

    fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Products summed for one result.
    fn depth(&self) -> usize {
        self.channels * self.taps()
    }

    fn out_shape(&self) -> (usize, usize, usize, usize) {
        (self.images, self.outputs, self.out_height, self.out_width)
    }

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
fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) -> Result<()> {
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

/// The gradient of the input.
fn backward_input(g: &Geometry, weight: &[f32], dy: &[f32]) -> Result<Vec<f32>> {
    let mut dx = vec![0.; g.images * g.channels * g.area()];
    if dx.is_empty() || dy.is_empty() {
        return Ok(dx);
    }
    let p = g.padding;
    let reaches =
        p.left < g.kernel_width && p.right < g.kernel_width && p.top < g.kernel_height && p.bottom < g.kernel_height;
    if g.stride == 1 && reaches {
        let (down, across) = (g.kernel_height - 1, g.kernel_width - 1);
        let turned = Geometry {
            images: g.images,
            channels: g.outputs,
            height: g.out_height,
            width: g.out_width,
            outputs: g.channels,
            out_height: g.height,
            out_width: g.width,
            padding: Padding {
                left: across - p.left,
                right: across - p.right,
                top: down - p.top,
                bottom: down - p.bottom,
            },
            ..*g
        };
        scratch(weight.len(), |kernel| {
            turn(g, weight, kernel)?;
            forward(&turned, dy, kernel, None, &mut dx)
        })?;
        return Ok(dx);
    }
    let (out_area, depth) = (g.out_area(), g.depth());
    let (together, image) = (g.tile().0, g.channels * g.area());
    let weight = View::rows(weight, depth).transposed();
    for_chunks(&mut dx, together * image, |chunk, dx, threads| {
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
    })?;
    Ok(dx)
}

/// From `[o, c, kh, kw]` to `[c, o, kh, kw]` with each kernel turned by half a circle, in blocks of outputs so that
/// whole lines of the cache are written.
fn turn(g: &Geometry, weight: &[f32], kernel: &mut [f32]) -> Result<()> {
    const BLOCK: usize = 16;
    let (depth, taps) = (g.depth(), g.taps());
    let share = g.channels.div_ceil(super::threads::threads());
    for_chunks(kernel, share * g.outputs * taps, |chunk, kernel, _| {
        for (b, from) in weight.chunks(BLOCK * depth).enumerate() {
            for (i, to) in kernel.chunks_exact_mut(g.outputs * taps).enumerate() {
                let c = chunk * share + i;
                let to = to[b * BLOCK * taps..].chunks_exact_mut(taps);
                for (from, to) in from.chunks_exact(depth).zip(to) {
                    for (to, from) in to.iter_mut().zip(from[c * taps..][..taps].iter().rev()) {
                        *to = *from;
                    }
                }
            }
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
fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32]) -> Result<Vec<f32>> {
    let (depth, out_area, taps) = (g.depth(), g.out_area(), g.taps());
    let mut dw = vec![0.; g.outputs * depth];
    if x.is_empty() || dy.is_empty() || dw.is_empty() {
        return Ok(dw);
    }
    let together = g.tile().0;
    let (x_image, y_image) = (g.channels * g.area(), g.outputs * out_area);
    // Threads divide the channels of the columns, then the rows of the product.
    let threads = super::threads::threads();
    let (channels, outputs) = (g.channels.div_ceil(threads), g.outputs.div_ceil(threads));
    let mut accumulate = false;
    for (x, dy) in x.chunks(together * x_image).zip(dy.chunks(together * y_image)) {
        let images = x.len() / x_image;
        for rows in g.row_tiles() {
            let length = rows.len() * g.out_width;
            let width = images * length;
            let mut product = |columns: View| {
                for_chunks(&mut dw, outputs * depth, |chunk, dw, threads| {
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
    Ok(dw)
}

/// The gradient of the bias: `dy` summed over images and pixels.
#[multiversion(targets = "simd")]
fn backward_bias(outputs: usize, area: usize, dy: &[f32]) -> Vec<f32> {
    let mut totals = vec![0_f64; outputs];
    if area > 0 {
        for image in dy.chunks_exact(outputs * area) {
            for (total, plane) in totals.iter_mut().zip(image.chunks_exact(area)) {
                *total += sum(plane, |v| v);
            }
        }
    }
    totals.iter().map(|&t| t as f32).collect()
}

impl Convolution {
    fn run(
        self,
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let g = Geometry::new(self, x_layout.shape(), weight_layout.shape())?;
        if bias.is_some_and(|b| b.len() != g.outputs) {
            bail!("conv2d: the bias needs {} elements", g.outputs);
        }
        let mut y = vec![0.; g.images * g.outputs * g.out_area()];
        if !y.is_empty() {
            forward(&g, slice(x, x_layout)?, slice(weight, weight_layout)?, bias, &mut y)?;
        }
        Ok(output(y, g.out_shape()))
    }

    fn gradients(self, x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = Geometry::new(self, x.shape(), weight.shape())?;
        let dx = if x.track_op() {
            Some(tensor(with_slices(weight, dy, |weight, dy| backward_input(&g, weight, dy))?, x.shape())?)
        } else {
            None
        };
        let dw = if weight.track_op() {
            let dw = with_slices(x, dy, |x, dy| backward_weight(&g, x, dy))?;
            hand_over(weight, tensor(dw, weight.shape())?)?
        } else {
            None
        };
        Ok((dx, dw))
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run((x, xl), (w, wl), None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, dy)
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run((x, xl), (w, wl), Some(slice(b, bl)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(x, w, dy)?;
        let db = if b.track_op() {
            let (_, outputs, height, width) = dy.dims4()?;
            let db = with_slice(dy, |dy| Ok(backward_bias(outputs, height * width, dy)))?;
            hand_over(b, tensor(db, b.shape())?)?
        } else {
            None
        };
        Ok((dx, dw, db))
    }
}
