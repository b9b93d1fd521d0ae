//! The Fréchet distance between two sets of features, as in FID.
//!
//! Source: mseitzer/pytorch-fid at b9c1811, `src/pytorch_fid/fid_score.py`:
//! |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½ with unbiased covariances, all in f64.
//!
//! The last trace is not taken from a matrix root: with Σ₁ = AᵀA and Σ₂ = BᵀB (A, B the centred features over √(n − 1)) it
//! is the sum of the singular values of A Bᵀ. That holds for singular covariances too (fewer images than dimensions),
//! where the published root is inexact to the square root of the machine's precision.

use candle_core::{DType, Device, Tensor};
use faer::Mat;

use super::Mode;
use crate::{Error, Result};

/// The distance, and what it was computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frechet {
    /// ≥ 0 in [`Mode::Corrected`]; rounding may leave it just below 0 in [`Mode::Reference`], as published.
    pub distance: f64,
    /// Rows of the first set.
    pub num_a: usize,
    /// Rows of the second set.
    pub num_b: usize,
    /// Columns of both.
    pub dimensions: usize,
}

/// Features of one set of images.
pub struct Features {
    rows: usize,
    columns: usize,
    /// Row after row.
    values: Vec<f64>,
}

impl Features {
    /// Checks values of `[rows, columns]`, row after row; `name` is repeated in errors.
    ///
    /// # Errors
    /// There are fewer than two rows, no columns, or a value that is no number.
    pub fn new(name: &str, rows: usize, columns: usize, values: Vec<f64>) -> Result<Self> {
        if values.len() != rows * columns || columns == 0 {
            return Err(Error::Format(format!("{name}: features must be [n, d] with d of at least 1")));
        }
        if rows < 2 {
            return Err(Error::Format(format!("{name}: {rows} rows of features; a covariance needs at least 2")));
        }
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (position / columns, position % columns);
            return Err(Error::Format(format!(
                "{name}: features[{row}, {column}] is {}, which is no finite number",
                values[position]
            )));
        }
        Ok(Self { rows, columns, values })
    }

    /// A tensor `[n, d]` of any float type.
    ///
    /// # Errors
    /// As [`Self::new`], or the tensor has other dimensions.
    pub fn of_tensor(name: &str, tensor: &Tensor) -> Result<Self> {
        let (rows, columns) = tensor
            .dims2()
            .map_err(|_| Error::Format(format!("{name}: `features` has the shape {:?}, not [n, d]", tensor.dims())))?;
        let failed = |error: candle_core::Error| Error::Format(format!("{name}: {error}"));
        let values = tensor
            .to_dtype(DType::F64)
            .and_then(|tensor| tensor.flatten_all())
            .and_then(|tensor| tensor.to_vec1::<f64>());
        Self::new(name, rows, columns, values.map_err(failed)?)
    }

    /// The tensor `features` of a safetensors file, given as its bytes.
    ///
    /// # Errors
    /// The bytes are no such file, it has no such tensor, or as [`Self::of_tensor`].
    pub fn of_file(name: &str, bytes: &[u8]) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|error| Error::Format(format!("{name}: no safetensors file: {error}")))?;
        let Some(features) = tensors.get("features") else {
            let mut names: Vec<&String> = tensors.keys().collect();
            names.sort_unstable();
            return Err(Error::Format(format!("{name}: there is no tensor `features`, only {names:?}")));
        };
        Self::of_tensor(name, features)
    }

    /// How many pictures they are of.
    pub fn num_rows(&self) -> usize {
        self.rows
    }

    /// Means of the columns.
    fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.columns];
        for row in self.values.chunks_exact(self.columns) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= self.rows as f64);
        mean
    }

    /// A matrix A with AᵀA the covariance, of no more rows than columns.
    fn root(&self, mean: &[f64]) -> Mat<f64> {
        let scale = 1.0 / ((self.rows - 1) as f64).sqrt();
        let centred = Mat::from_fn(self.rows, self.columns, |row, column| {
            (self.values[row * self.columns + column] - mean[column]) * scale
        });
        if self.rows <= self.columns { centred } else { centred.qr().thin_R().to_owned() }
    }
}

/// The distance between two sets; zero between a set and itself.
///
/// # Errors
/// The sets have different dimensions, or the singular values cannot be found.
pub fn distance(a: &Features, b: &Features, mode: Mode) -> Result<Frechet> {
    if a.columns != b.columns {
        let message = format!("the features of a have {} dimensions, those of b {}", a.columns, b.columns);
        return Err(Error::Format(message));
    }
    let (mean_a, mean_b) = (a.mean(), b.mean());
    let between: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b) * (a - b)).sum();
    let (root_a, root_b) = (a.root(&mean_a), b.root(&mean_b));
    let trace = |root: &Mat<f64>| root.squared_norm_l2();
    let product = &root_a * root_b.transpose();
    let singular = product.singular_values();
    let singular = singular.map_err(|error| Error::Format(format!("the singular values were not found: {error:?}")))?;
    let distance = between + trace(&root_a) + trace(&root_b) - 2.0 * singular.iter().sum::<f64>();
    let distance = if mode == Mode::Corrected { distance.max(0.0) } else { distance };
    Ok(Frechet { distance, num_a: a.rows, num_b: b.rows, dimensions: a.columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(rows: &[&[f64]]) -> Features {
        Features::new("a", rows.len(), rows[0].len(), rows.concat()).unwrap()
    }

    fn between(a: &Features, b: &Features) -> f64 {
        distance(a, b, Mode::Corrected).unwrap().distance
    }

    /// Four points with mean (x, y) and covariance diag(u, v).
    fn cross(x: f64, y: f64, u: f64, v: f64) -> Features {
        let (u, v) = ((1.5 * u).sqrt(), (1.5 * v).sqrt());
        features(&[&[x + u, y], &[x - u, y], &[x, y + v], &[x, y - v]])
    }

    #[test]
    fn the_worked_examples() {
        let found = between(&cross(0.0, 0.0, 1.0, 4.0), &cross(1.0, 2.0, 9.0, 1.0));
        assert!((found - 10.0).abs() < 1e-12, "{found}");
        // [[2, 1], [1, 2]] has the eigenvectors (1, 1) and (1, -1) with 3 and 1.
        let (p, q) = ((1.5_f64 * 3.0 / 2.0).sqrt(), (1.5_f64 / 2.0).sqrt());
        let tilted = features(&[&[p, p], &[-p, -p], &[q, -q], &[-q, q]]);
        let found = between(&tilted, &cross(0.0, 0.0, 1.0, 3.0));
        assert!((found - (8.0 - 2.0 * 14.0_f64.sqrt())).abs() < 1e-12, "{found}");
    }

    #[test]
    fn singular_covariances_are_exact() {
        // Two images in five dimensions: ranks one and one, at right angles.
        let a = features(&[&[1.0, 0.0, 0.0, 0.0, 0.0], &[-1.0, 0.0, 0.0, 0.0, 0.0]]);
        let b = features(&[&[0.0, 3.0, 0.0, 0.0, 0.0], &[0.0, -3.0, 0.0, 0.0, 0.0]]);
        assert!((between(&a, &b) - 20.0).abs() < 1e-12);
        assert!(between(&a, &a) < 1e-12);
        let constant = features(&[&[1.0; 5], &[1.0; 5], &[1.0; 5], &[1.0; 5], &[1.0; 5], &[1.0; 5], &[1.0; 5]]);
        assert!(between(&constant, &constant) == 0.0);
    }

    #[test]
    fn what_is_no_set_of_features_is_refused() {
        assert!(Features::new("a", 1, 2, vec![0.0; 2]).is_err());
        assert!(Features::new("a", 2, 0, Vec::new()).is_err());
        let error = Features::new("x.safetensors", 2, 2, vec![0.0, 1.0, f64::NAN, 0.0]).err().unwrap().to_string();
        assert!(error.contains("x.safetensors: features[1, 0]"), "{error}");
        assert!(distance(&cross(0.0, 0.0, 1.0, 1.0), &features(&[&[1.0], &[2.0]]), Mode::Corrected).is_err());
    }
}
