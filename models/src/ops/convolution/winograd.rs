//! 3 × 3 kernels at stride 1 by Winograd's minimal filtering F(2 × 2, 3 × 3) (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2016): a tile of 2 × 2 results takes 16 products a channel where columns take 36.
//!
//! y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for a tile d of 4 × 4 pixels; summed over channels, ⊙ is sixteen matrix products over
//! all tiles. The weight's gradient is the adjoint: Gᵀ[Σ (A dy Aᵀ) ⊙ (Bᵀ d B)]G. The transforms hold sums and halves alone,
//! so that rounding stays that of columns within a small factor.

use std::ops::Range;

use candle_core::Result;
use multiversion::multiversion;

use super::super::gemm::{Target, View, multiply};
use super::super::threads::{for_chunks, scratch, threads};
use super::{Geometry, SKEW};

/// Entries of a transformed tile or kernel.
const ENTRIES: usize = 16;
/// Tiles that one matrix product takes, about: forward, and for the weight's gradient, which is read and written once a product.
const TILES: usize = 128;
const GRADIENT_TILES: usize = 256;
/// Fewer channels than these do not repay the transforms.
const MIN_CHANNELS: usize = 16;
/// Weights (channels × outputs) whose transformed kernels stay in a cache; larger ones need more tiles to repay their transform.
const SMALL_KERNEL: usize = 256 * 256;
const MIN_TILES_SMALL: usize = 4;
const MIN_TILES_LARGE: usize = 64;
/// Tiles side by side that one pass of a transform takes.
const SPAN: usize = 32;

/// Whether this way is quicker than columns, by the sizes of one image.
pub(super) fn pays(g: &Geometry) -> bool {
    let grid = Grid::new(g);
    let tiles = grid.down * grid.across;
    let least = if g.channels * g.outputs <= SMALL_KERNEL { MIN_TILES_SMALL } else { MIN_TILES_LARGE };
    (g.kernel_height, g.kernel_width, g.stride) == (3, 3, 1)
        && g.channels.min(g.outputs) >= MIN_CHANNELS
        && tiles >= least
}

/// An image's result in tiles of 2 × 2.
struct Grid {
    down: usize,
    across: usize,
}

impl Grid {
    fn new(g: &Geometry) -> Self {
        Self { down: g.out_height.div_ceil(2), across: g.out_width.div_ceil(2) }
    }

    /// Images of a product, and rows of tiles of each.
    fn group(&self, tiles: usize) -> (usize, usize) {
        let all = self.down * self.across;
        if all >= tiles { (1, (tiles / self.across).max(1)) } else { (tiles / all, self.down) }
    }

    fn row_groups(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let down = self.down;
        (0..down).step_by(rows).map(move |r| r..(r + rows).min(down))
    }
}

/// Where the kernels of a convolution are.
#[derive(Clone, Copy)]
pub(super) enum Kernels<'a> {
    /// `[o, c, 3, 3]`.
    Given(&'a [f32]),
    /// `[c, o, 3, 3]`, each turned by half a circle: those of the input's gradient.
    Turned(&'a [f32]),
}

/// The function that is compiled for this many tiles in a row, or for any number (0).
macro_rules! for_width {
    ($across:expr, $function:ident) => {
        match $across {
            2 => $function::<2>,
            4 => $function::<4>,
            8 => $function::<8>,
            16 => $function::<16>,
            32 => $function::<32>,
            _ => $function::<0>,
        }
    };
}

/// y = w ∗ x (+ bias), into `y`.
pub(super) fn forward(g: &Geometry, x: &[f32], weight: Kernels, bias: Option<&[f32]>, y: &mut [f32]) -> Result<()> {
    let grid = Grid::new(g);
    let (together, rows) = grid.group(TILES);
    // A tile's result does not depend on which others its product takes, so that all threads may have some.
    let together = together.min(g.images.div_ceil(threads()));
    let (image, out_area) = (g.channels * g.area(), g.out_area());
    scratch(g.outputs * ENTRIES * g.channels, |kernel| {
        let share = g.outputs.div_ceil(threads());
        for_chunks(kernel, share * ENTRIES * g.channels, |chunk, kernel, _| {
            transform_kernels(g, weight, chunk * share, kernel);
            Ok(())
        })?;
        for_chunks(y, together * g.outputs * out_area, |chunk, y, _| {
            let images = y.len() / (g.outputs * out_area);
            let x = &x[chunk * together * image..][..images * image];
            for rows in grid.row_groups(rows) {
                let tiles = images * rows.len() * grid.across;
                let stride = tiles + SKEW;
                with_pixels(g, &grid, x, &rows, stride, |pixels| {
                    scratch(ENTRIES * g.outputs * stride, |products| {
                        for_chunks(products, g.outputs * stride, |entry, products, threads| {
                            let target = Target { data: products, stride };
                            let kernel =
                                View { data: &kernel[entry * g.channels..], row: ENTRIES * g.channels, column: 1 };
                            let pixels = View { data: &pixels[entry * stride..], row: ENTRIES * stride, column: 1 };
                            multiply((g.outputs, tiles, g.channels), target, kernel, pixels, false, threads)
                        })?;
                        let planes = (images * g.outputs).div_ceil(threads());
                        for_chunks(y, planes * out_area, |chunk, y, _| {
                            for (p, plane) in y.chunks_exact_mut(out_area).enumerate() {
                                let (i, o) = ((chunk * planes + p) / g.outputs, (chunk * planes + p) % g.outputs);
                                let from = &products[o * stride + i * rows.len() * grid.across..];
                                let bias = bias.map_or(0., |b| b[o]);
                                for_width!(grid.across, results)(
                                    g,
                                    rows.clone(),
                                    from,
                                    g.outputs * stride,
                                    bias,
                                    plane,
                                );
                            }
                            Ok(())
                        })
                    })
                })?;
            }
            Ok(())
        })
    })
}

/// The gradient of the weight, into `dw`.
pub(super) fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32], dw: &mut [f32]) -> Result<()> {
    let grid = Grid::new(g);
    let (together, rows) = grid.group(GRADIENT_TILES);
    let (x_image, y_image) = (g.channels * g.area(), g.outputs * g.out_area());
    let kernels = g.outputs * g.channels;
    scratch(ENTRIES * kernels, |sums| {
        let mut accumulate = false;
        for (x, dy) in x.chunks(together * x_image).zip(dy.chunks(together * y_image)) {
            for rows in grid.row_groups(rows) {
                let tiles = x.len() / x_image * rows.len() * grid.across;
                let stride = tiles + SKEW;
                with_pixels(g, &grid, x, &rows, stride, |pixels| {
                    with_cotangents(g, &grid, dy, &rows, stride, |cotangents| {
                        for_chunks(sums, kernels, |entry, sums, threads| {
                            let target = Target { data: sums, stride: g.channels };
                            let of = |data| View { data, row: ENTRIES * stride, column: 1 };
                            let (dy, x) = (of(&cotangents[entry * stride..]), of(&pixels[entry * stride..]));
                            let size = (g.outputs, g.channels, tiles);
                            multiply(size, target, dy, x.transposed(), accumulate, threads)
                        })
                    })
                })?;
                accumulate = true;
            }
        }
        let share = g.outputs.div_ceil(threads());
        for_chunks(dw, share * g.depth(), |chunk, dw, _| {
            for (o, dw) in dw.chunks_exact_mut(g.depth()).enumerate() {
                gradient_of_kernel(kernels, &sums[(chunk * share + o) * g.channels..], dw);
            }
            Ok(())
        })
    })
}

/// Bᵀ d B of all tiles in `rows` of tiles of all images of `x`: `[c, 16, tiles]`, rows `stride` apart.
fn with_pixels<R>(
    g: &Geometry,
    grid: &Grid,
    x: &[f32],
    rows: &Range<usize>,
    stride: usize,
    work: impl FnOnce(&[f32]) -> Result<R>,
) -> Result<R> {
    let plane = Plane { height: g.height, width: g.width, top: g.padding.top, left: g.padding.left, margin: 2 };
    let transform = for_width!(grid.across, pixel_tiles);
    with_tiles(&plane, g.channels, grid.across, x, rows, stride, transform, work)
}

/// A dy Aᵀ of all tiles in `rows` of tiles of all images of `dy`: `[o, 16, tiles]`, rows `stride` apart.
fn with_cotangents<R>(
    g: &Geometry,
    grid: &Grid,
    dy: &[f32],
    rows: &Range<usize>,
    stride: usize,
    work: impl FnOnce(&[f32]) -> Result<R>,
) -> Result<R> {
    let plane = Plane { height: g.out_height, width: g.out_width, top: 0, left: 0, margin: 0 };
    let transform = for_width!(grid.across, cotangent_tiles);
    with_tiles(&plane, g.outputs, grid.across, dy, rows, stride, transform, work)
}

/// One channel of an image, the zeros before it, and by how much a tile is larger than 2 × 2.
struct Plane {
    height: usize,
    width: usize,
    top: usize,
    left: usize,
    margin: usize,
}

impl Plane {
    /// Copies the rows that `rows` of tiles see, each as its even and then its odd columns, with zeros outside of the image.
    fn halves(&self, across: usize, rows: &Range<usize>, image: &[f32], halves: &mut [f32]) {
        let length = across + self.margin / 2;
        for (p, row) in halves.chunks_exact_mut(2 * length).enumerate() {
            row.fill(0.);
            let y = (2 * rows.start + p).wrapping_sub(self.top);
            if y >= self.height {
                continue;
            }
            let (even, odd) = row.split_at_mut(length);
            let (first, second) = if self.left.is_multiple_of(2) { (even, odd) } else { (odd, even) };
            let from = &image[y * self.width..][..self.width];
            part(from, &mut first[self.left / 2..], &mut second[self.left.div_ceil(2)..]);
        }
    }
}

/// Every other value of a row into `first`, the others into `second`, as far as these go.
#[multiversion(targets = "simd")]
fn part(row: &[f32], first: &mut [f32], second: &mut [f32]) {
    let pairs = row.chunks_exact(2);
    let last = pairs.remainder().first();
    let both = (row.len() / 2).min(first.len()).min(second.len());
    for ((pair, first), second) in pairs.zip(&mut first[..both]).zip(&mut second[..both]) {
        *first = pair[0];
        *second = pair[1];
    }
    if let (Some(value), Some(to)) = (last, first.get_mut(row.len() / 2)) {
        *to = *value;
    }
}

/// A transform of the tiles of one channel: across, halves of the rows, to, stride.
type Transform = fn(usize, &[f32], &mut [f32], usize);

fn with_tiles<R>(
    plane: &Plane,
    channels: usize,
    across: usize,
    images: &[f32],
    rows: &Range<usize>,
    stride: usize,
    transform: Transform,
    work: impl FnOnce(&[f32]) -> Result<R>,
) -> Result<R> {
    let (area, tiles) = (plane.height * plane.width, rows.len() * across);
    let seen = 2 * rows.len() + plane.margin;
    let share = channels.div_ceil(threads());
    scratch(channels * ENTRIES * stride, |transformed| {
        for_chunks(transformed, share * ENTRIES * stride, |chunk, transformed, _| {
            scratch(seen * (2 * across + plane.margin), |halves| {
                for (c, to) in transformed.chunks_exact_mut(ENTRIES * stride).enumerate() {
                    let c = chunk * share + c;
                    for (i, image) in images.chunks_exact(channels * area).enumerate() {
                        plane.halves(across, rows, &image[c * area..][..area], halves);
                        transform(across, halves, &mut to[i * tiles..], stride);
                    }
                }
            });
            Ok(())
        })?;
        work(transformed)
    })
}

/// Bᵀ d B, tiles side by side in a lane each. `ACROSS`: tiles in a row; 0 for any.
#[multiversion(targets = "simd")]
fn pixel_tiles<const ACROSS: usize>(across: usize, halves: &[f32], to: &mut [f32], stride: usize) {
    let across = if ACROSS > 0 { ACROSS } else { across };
    let row = 2 * (across + 1);
    for r in 0..halves.len() / (2 * row) - 1 {
        let rows: [&[f32]; 4] = std::array::from_fn(|p| &halves[(2 * r + p) * row..][..row]);
        let mut first = 0;
        while first < across {
            let span = if ACROSS > 0 { ACROSS } else { SPAN.min(across - first) };
            let half = |p: usize, odd: usize| &rows[p][odd * (across + 1) + first..][..=span];
            for i in 0..4 {
                // Bᵀ: d0 − d2, d1 + d2, d2 − d1, d1 − d3.
                let (a, b, sign) = [(0, 2, -1.), (1, 2, 1.), (2, 1, -1.), (1, 3, -1.)][i];
                let (mut even, mut odd) = ([0_f32; SPAN + 1], [0_f32; SPAN + 1]);
                for (sums, side) in [(&mut even, 0), (&mut odd, 1)] {
                    let sums = &mut sums[..=span];
                    for ((sum, a), b) in sums.iter_mut().zip(half(a, side)).zip(half(b, side)) {
                        *sum = a + sign * b;
                    }
                }
                let (e, e1, o, o1) = (&even[..span], &even[1..][..span], &odd[..span], &odd[1..][..span]);
                let mut put = |j: usize, a: &[f32], b: &[f32], sign: f32| {
                    let to = &mut to[(4 * i + j) * stride + r * across + first..][..span];
                    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
                        *to = a + sign * b;
                    }
                };
                put(0, e, e1, -1.);
                put(1, o, e1, 1.);
                put(2, e1, o, -1.);
                put(3, o, o1, -1.);
            }
            first += span;
        }
    }
}

/// A dy Aᵀ, tiles side by side in a lane each. `ACROSS`: tiles in a row; 0 for any.
#[multiversion(targets = "simd")]
fn cotangent_tiles<const ACROSS: usize>(across: usize, halves: &[f32], to: &mut [f32], stride: usize) {
    let across = if ACROSS > 0 { ACROSS } else { across };
    let row = 2 * across;
    for r in 0..halves.len() / (2 * row) {
        let (upper, lower) = (&halves[2 * r * row..][..row], &halves[(2 * r + 1) * row..][..row]);
        let ((e0, o0), (e1, o1)) = (upper.split_at(across), lower.split_at(across));
        // A: d0, d0 + d1, d0 − d1, −d1.
        for (i, (a, b)) in [(1., 0.), (1., 1.), (1., -1.), (0., -1.)].into_iter().enumerate() {
            for (j, (c, d)) in [(1., 0.), (1., 1.), (1., -1.), (0., -1.)].into_iter().enumerate() {
                let to = &mut to[(4 * i + j) * stride + r * across..][..across];
                for ((((to, e0), e1), o0), o1) in to.iter_mut().zip(e0).zip(e1).zip(o0).zip(o1) {
                    *to = c * (a * e0 + b * e1) + d * (a * o0 + b * o1);
                }
            }
        }
    }
}

/// Aᵀ m A + bias into `rows` of tiles of a plane of the result. Entry `e` of `m` is at `e * stride`.
#[multiversion(targets = "simd")]
fn results<const ACROSS: usize>(
    g: &Geometry,
    rows: Range<usize>,
    m: &[f32],
    stride: usize,
    bias: f32,
    plane: &mut [f32],
) {
    let width = g.out_width;
    let across = if ACROSS > 0 { ACROSS } else { width.div_ceil(2) };
    for (r, row) in rows.clone().enumerate() {
        let mut first = 0;
        while first < across {
            let span = if ACROSS > 0 { ACROSS } else { SPAN.min(across - first) };
            let mut sums = [[[0_f32; SPAN]; 4]; 2];
            for j in 0..4 {
                let of = |i: usize| &m[(4 * i + j) * stride + r * across + first..][..span];
                let (m0, m1, m2, m3) = (of(0), of(1), of(2), of(3));
                for x in 0..span {
                    sums[0][j][x] = m0[x] + m1[x] + m2[x];
                    sums[1][j][x] = m1[x] - m2[x] - m3[x];
                }
            }
            for (half, s) in sums.iter().enumerate() {
                let y = 2 * row + half;
                if y >= g.out_height {
                    continue;
                }
                let mut pairs = [0_f32; 2 * SPAN];
                for x in 0..span {
                    pairs[2 * x] = s[0][x] + s[1][x] + s[2][x] + bias;
                    pairs[2 * x + 1] = s[1][x] - s[2][x] - s[3][x] + bias;
                }
                let length = (2 * span).min(width - 2 * first);
                plane[y * width + 2 * first..][..length].copy_from_slice(&pairs[..length]);
            }
            first += span;
        }
    }
}

/// Kernels that a transform takes in its lanes.
const LANES: usize = 16;

/// G g Gᵀ of the kernels of outputs from `first` on, into `[o, 16, c]`. Lanes are channels.
#[multiversion(targets = "simd")]
fn transform_kernels(g: &Geometry, weight: Kernels, first: usize, kernels: &mut [f32]) {
    // G: g0, (g0 + g1 + g2) / 2, (g0 − g1 + g2) / 2, g2.
    #[expect(clippy::inline_always, reason = "only inside of its caller does it get the caller's instructions")]
    #[inline(always)]
    fn spread(g: [[f32; LANES]; 3]) -> [[f32; LANES]; 4] {
        let mut to = [[0.; LANES]; 4];
        for l in 0..LANES {
            let (outer, inner) = (g[0][l] + g[2][l], g[1][l]);
            to[0][l] = g[0][l];
            to[1][l] = 0.5 * (outer + inner);
            to[2][l] = 0.5 * (outer - inner);
            to[3][l] = g[2][l];
        }
        to
    }
    let channels = g.channels;
    let outputs = kernels.len() / (ENTRIES * channels);
    let blocks = channels.div_ceil(LANES);
    for n in 0..outputs * blocks {
        // In the order in which the kernels lie.
        let (o, block) = match weight {
            Kernels::Given(_) => (n / blocks, n % blocks),
            Kernels::Turned(_) => (n % outputs, n / outputs),
        };
        let (start, lanes) = (block * LANES, LANES.min(channels - block * LANES));
        let mut taps = [[[0_f32; LANES]; 3]; 3];
        match weight {
            Kernels::Given(weight) => {
                let weight = &weight[((first + o) * channels + start) * 9..][..lanes * 9];
                for (l, kernel) in weight.chunks_exact(9).enumerate() {
                    for (tap, value) in kernel.iter().enumerate() {
                        taps[tap % 3][tap / 3][l] = *value;
                    }
                }
            }
            Kernels::Turned(weight) => {
                for l in 0..lanes {
                    let kernel = &weight[((start + l) * g.outputs + first + o) * 9..][..9];
                    for (tap, value) in kernel.iter().rev().enumerate() {
                        taps[tap % 3][tap / 3][l] = *value;
                    }
                }
            }
        }
        // `taps[kx][ky]`: down the rows of each column, then across the columns.
        let down: [[[f32; LANES]; 4]; 3] = [spread(taps[0]), spread(taps[1]), spread(taps[2])];
        let to = &mut kernels[o * ENTRIES * channels..];
        for i in 0..4 {
            let across = spread([down[0][i], down[1][i], down[2][i]]);
            for (j, values) in across.iter().enumerate() {
                to[(4 * i + j) * channels + start..][..lanes].copy_from_slice(&values[..lanes]);
            }
        }
    }
}

/// Gᵀ u G of one output's kernels into `[c, 3, 3]`. Entry `e` of `u` is at `e * stride`.
#[multiversion(targets = "simd")]
fn gradient_of_kernel(stride: usize, u: &[f32], dw: &mut [f32]) {
    // Gᵀ: u0 + (u1 + u2) / 2, (u1 − u2) / 2, (u1 + u2) / 2 + u3.
    #[expect(clippy::inline_always, reason = "only inside of its caller does it get the caller's instructions")]
    #[inline(always)]
    fn gather(u: [[f32; LANES]; 4]) -> [[f32; LANES]; 3] {
        let mut to = [[0.; LANES]; 3];
        for l in 0..LANES {
            let (sum, difference) = (0.5 * (u[1][l] + u[2][l]), 0.5 * (u[1][l] - u[2][l]));
            to[0][l] = u[0][l] + sum;
            to[1][l] = difference;
            to[2][l] = sum + u[3][l];
        }
        to
    }
    for (block, dw) in dw.chunks_mut(LANES * 9).enumerate() {
        let lanes = dw.len() / 9;
        let mut entries = [[[0_f32; LANES]; 4]; 4];
        for (e, values) in entries.as_flattened_mut().iter_mut().enumerate() {
            values[..lanes].copy_from_slice(&u[e * stride + block * LANES..][..lanes]);
        }
        // `entries[i]` are the columns of row i: gathered across, then down.
        let across: [[[f32; LANES]; 3]; 4] = std::array::from_fn(|i| gather(entries[i]));
        for kx in 0..3 {
            let down = gather([across[0][kx], across[1][kx], across[2][kx], across[3][kx]]);
            for (ky, values) in down.iter().enumerate() {
                for (l, value) in values[..lanes].iter().enumerate() {
                    dw[l * 9 + ky * 3 + kx] = *value;
                }
            }
        }
    }
}
