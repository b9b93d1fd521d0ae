//! A candidate's sampling path and the path of its inversion, as the page draws them: how far they are apart, both in the
//! plane in which they spread most, and which of their states are worth a picture.

use faer::{Mat, Side};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// States of the inversion that are decoded.
const PICTURES: usize = 8;

/// Both paths, without their tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paths {
    /// Standard deviation of the inversion's last state; 1 for noise.
    pub terminal_std: f64,
    /// Correlation of its neighbouring elements; 0 for noise.
    pub terminal_autocorrelation: f64,
    /// The same two of the noise that sampling began with.
    pub initial_std: f64,
    /// As above.
    pub initial_autocorrelation: f64,
    /// Mean square of the difference between the latent and what sampling makes of the inversion's last state.
    pub reconstruction_error: f64,
    /// Variance of the latent, for comparison.
    pub latent_variance: f64,
    /// Shares of the states' variance that the two axes of the plane hold.
    pub explained_variance: [f64; 2],
    /// Where sampling stopped, the noise first.
    pub sampled: Vec<SampledPoint>,
    /// Where the inversion stopped, the image first.
    pub inverted: Vec<InvertedPoint>,
    /// Decoded states, the image first.
    pub pictures: Vec<StatePictures>,
}

/// A state of the sampling path.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampledPoint {
    /// Training timestep; 0 for the image.
    pub timestep: usize,
    /// On the plane's first axis.
    pub x: f64,
    /// On its second.
    pub y: f64,
}

/// A state of the inversion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InvertedPoint {
    /// Training timestep; 0 for the image.
    pub timestep: usize,
    /// On the plane's first axis.
    pub x: f64,
    /// On its second.
    pub y: f64,
    /// ‖inverted − sampled‖ / ‖sampled‖ at this noise level; null where sampling began with less noise.
    pub deviation: Option<f64>,
}

/// Pictures of both paths at one noise level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatePictures {
    /// Training timestep.
    pub timestep: usize,
    /// Of the sampling path, as a blob; null where sampling began with less noise.
    pub sampled_blob: Option<String>,
    /// Of the inversion, as a blob.
    pub inverted_blob: String,
}

/// Points in the plane in which they spread most.
pub struct Projection {
    /// As many as there were points.
    pub points: Vec<[f64; 2]>,
    /// Shares of the variance that the two axes hold.
    pub explained: [f64; 2],
}

/// The principal components of `rows`, all of one length. The first row lies on the left, and the row farthest from the first
/// axis above it, so that the same points always look the same.
///
/// # Errors
/// The eigenvectors are not found: a value is not finite.
pub fn project(rows: &[Vec<f64>]) -> Result<Projection> {
    let (count, columns) = (rows.len(), rows.first().map_or(0, Vec::len));
    let mean: Vec<f64> =
        (0..columns).map(|column| rows.iter().map(|row| row[column]).sum::<f64>() / count.max(1) as f64).collect();
    let centred = Mat::from_fn(count, columns, |row, column| rows[row][column] - mean[column]);
    // Few points of many dimensions: their products among each other say all that the covariance says.
    let products = &centred * centred.transpose();
    let failed = |error| Error::Format(format!("the principal components were not found: {error:?}"));
    let found = products.self_adjoint_eigen(Side::Lower).map_err(failed)?;
    let total: f64 = (0..count).map(|place| products[(place, place)]).sum();
    let mut projection = Projection { points: vec![[0.0; 2]; count], explained: [0.0; 2] };
    // Eigenvalues come in ascending order.
    for (axis, place) in (0..count).rev().take(2).enumerate() {
        let value = found.S()[place].max(0.0);
        let along: Vec<f64> = (0..count).map(|row| found.U()[(row, place)] * value.sqrt()).collect();
        let leading = if axis == 0 {
            -along[0]
        } else {
            along.iter().copied().fold(0.0, |a, b| if f64::abs(b) > f64::abs(a) { b } else { a })
        };
        let sign = if leading < 0.0 { -1.0 } else { 1.0 };
        for (point, along) in projection.points.iter_mut().zip(along) {
            point[axis] = sign * along;
        }
        projection.explained[axis] = if total > 0.0 { value / total } else { 0.0 };
    }
    Ok(projection)
}

/// Which of `count` states are decoded: the first, the last, and some evenly between.
pub fn shown_places(count: usize) -> Vec<usize> {
    let shown = count.min(PICTURES);
    (0..shown).map(|place| place * (count - 1) / (shown - 1).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_a_plane_keep_their_distances() {
        // Two orthonormal directions of R^4, and points with known coordinates along them.
        let (u, v) = ([0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5]);
        let plane = [[-6.0, 0.5], [-2.0, 1.0], [1.0, -2.0], [7.0, 0.5]];
        let rows: Vec<Vec<f64>> =
            plane.iter().map(|[a, b]| (0..4).map(|i| 3.0 + a * u[i] + b * v[i]).collect()).collect();
        let found = project(&rows).unwrap();
        let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        for (one, placed) in plane.iter().zip(&found.points) {
            for (other, other_placed) in plane.iter().zip(&found.points) {
                let (expected, got) = (distance(*one, *other), distance(*placed, *other_placed));
                assert!((expected - got).abs() < 1e-9, "{one:?} {other:?}: {got} for {expected}");
            }
        }
        assert!(found.points[0][0] < 0.0, "the first row lies on the left");
        assert!((found.explained[0] + found.explained[1] - 1.0).abs() < 1e-12 && found.explained[0] > 0.9);
    }

    #[test]
    fn points_that_are_one_have_no_axes() {
        let found = project(&vec![vec![1.0, 2.0]; 3]).unwrap();
        assert!(found.points.iter().flatten().all(|value| value.abs() < 1e-9));
        assert_eq!(found.explained, [0.0, 0.0]);
    }

    #[test]
    fn pictures_hold_both_ends_and_no_state_twice() {
        assert_eq!(shown_places(51), [0, 7, 14, 21, 28, 35, 42, 50]);
        assert_eq!(shown_places(2), [0, 1]);
        assert_eq!(shown_places(8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(shown_places(1), [0]);
    }
}
