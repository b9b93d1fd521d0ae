//! T2I-CompBench's spatial scores from boxes: where two objects are from each other, in the plane and in depth.
//!
//! Source: Karine-Huang/T2I-CompBench at 1b70949, `UniDet_eval/2D_spatial_eval.py` and `3D_spatial_eval.py`. What
//! [`Mode::Corrected`] does otherwise:
//!
//! | | reference | corrected |
//! | --- | --- | --- |
//! | "on top of", "on bottom of", "above", "below", "left of" … | never hold | as "on the top of" … |
//! | equal distance along both axes | neither direction holds | both hold |
//! | "next to" | near along one axis is enough | near along both |
//! | two boxes without area | a division by zero | they do not overlap |
//! | in front or behind, without overlap | 0 | 1: the order in depth is what was asked |
//! | depth of a box | of the transposed box | of the box |

use serde::{Deserialize, Serialize};

use super::Mode;

/// Pixels of an image of about 480: what is nearer is next to each other.
const NEAR: f64 = 150.0;
/// Boxes that overlap more are not beside each other.
const MAX_OVERLAP: f64 = 0.1;
/// Boxes that overlap this much are behind each other.
const DEPTH_OVERLAP: f64 = 0.5;
/// Image scores below it are 0 in the plane.
const MIN_SCORE: f64 = 0.5;

/// Words looked for in a prompt, in this order.
const WORDS_2D: [&str; 8] = [
    "on side of",
    "next to",
    "near",
    "on the left of",
    "on the right of",
    "on the bottom of",
    "on the top of",
    "on top of",
];
const WORDS_3D: [&str; 3] = ["in front of", "behind", "hidden"];

/// The first relation of the plane whose words a prompt contains, if only inside another word.
pub fn relation_2d_of_prompt(prompt: &str) -> Option<&'static str> {
    WORDS_2D.into_iter().find(|words| prompt.contains(words))
}

/// The first relation of depth whose word a prompt contains.
pub fn relation_3d_of_prompt(prompt: &str) -> Option<&'static str> {
    WORDS_3D.into_iter().find(|words| prompt.contains(words))
}

/// A box that a detector drew; x grows to the right, y downwards.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// x₁, y₁, x₂, y₂ in pixels, x₁ ≤ x₂ and y₁ ≤ y₂.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
    /// 0 ..= 1.
    pub confidence: f64,
}

impl Detection {
    fn center(&self) -> (f64, f64) {
        let [x1, y1, x2, y2] = self.bounds;
        (f64::midpoint(x1, x2), f64::midpoint(y1, y2))
    }

    fn area(&self) -> f64 {
        let [x1, y1, x2, y2] = self.bounds;
        (x2 - x1) * (y2 - y1)
    }
}

/// Intersection over union of two boxes; none if neither has an area.
pub fn overlap(a: &Detection, b: &Detection) -> Option<f64> {
    let [ax1, ay1, ax2, ay2] = a.bounds;
    let [bx1, by1, bx2, by2] = b.bounds;
    let inner = (ax2.min(bx2) - ax1.max(bx1)).max(0.0) * (ay2.min(by2) - ay1.max(by1)).max(0.0);
    let outer = a.area() + b.area() - inner;
    (outer > 0.0).then(|| inner / outer)
}

/// A score that cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpatialError {
    /// The published script divides by the area of nothing.
    #[error("division by zero: neither box has an area")]
    NoArea,
}

enum Place {
    Near,
    Left,
    Right,
    Below,
    Above,
}

fn place_of(relation: &str, mode: Mode) -> Option<Place> {
    match (relation, mode) {
        ("next to" | "on side of" | "near", _) => Some(Place::Near),
        ("on the left of", _) => Some(Place::Left),
        ("on the right of", _) => Some(Place::Right),
        ("on the bottom of", _) => Some(Place::Below),
        ("on the top of", _) => Some(Place::Above),
        (_, Mode::Reference) => None,
        (relation, Mode::Corrected) => match relation.trim().to_lowercase().as_str() {
            "next to" | "on side of" | "on the side of" | "near" | "beside" => Some(Place::Near),
            "on the left of" | "on the left" | "to the left of" | "left of" => Some(Place::Left),
            "on the right of" | "on the right" | "to the right of" | "right of" => Some(Place::Right),
            "on the bottom of" | "on bottom of" | "below" | "under" => Some(Place::Below),
            "on the top of" | "on top of" | "above" => Some(Place::Above),
            _ => None,
        },
    }
}

/// Whether the score in the plane knows where `relation` places things.
pub fn is_planar(relation: &str, mode: Mode) -> bool {
    place_of(relation, mode).is_some()
}

/// The relation of depth that these words name.
pub fn depth_relation(words: &str) -> Option<&'static str> {
    match words.trim().to_lowercase().as_str() {
        "in front of" | "in the front of" => Some("in front of"),
        "behind" | "in back of" => Some("behind"),
        "hidden" | "hidden by" | "hidden behind" => Some("hidden"),
        _ => None,
    }
}

/// How well `a` is where `relation` says, from `b`: 0 ..= 1.
///
/// # Errors
/// [`Mode::Reference`] cannot place two boxes without area.
pub fn position_2d(relation: Option<&str>, a: &Detection, b: &Detection, mode: Mode) -> Result<f64, SpatialError> {
    let overlap = match (overlap(a, b), mode) {
        (Some(overlap), _) => overlap,
        (None, Mode::Corrected) => 0.0,
        (None, Mode::Reference) => return Err(SpatialError::NoArea),
    };
    let Some(place) = relation.and_then(|relation| place_of(relation, mode)) else { return Ok(0.0) };
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    let (dx, dy) = (bx - ax, by - ay);
    let beside = |along: f64, across: f64| {
        let dominant = match mode {
            Mode::Reference => along.abs() > across.abs(),
            Mode::Corrected => along.abs() >= across.abs(),
        };
        if along > 0.0 && dominant { if overlap < MAX_OVERLAP { 1.0 } else { MAX_OVERLAP / overlap } } else { 0.0 }
    };
    Ok(match place {
        Place::Near => {
            let near = match mode {
                Mode::Reference => dx.abs() < NEAR || dy.abs() < NEAR,
                Mode::Corrected => dx.abs() < NEAR && dy.abs() < NEAR,
            };
            if near { 1.0 } else { NEAR / dx.abs().max(dy.abs()) }
        }
        Place::Right => beside(-dx, dy),
        Place::Left => beside(dx, dy),
        Place::Below => beside(-dy, dx),
        Place::Above => beside(dy, dx),
    })
}

/// How well `a` is where `relation` says, from `b`; `depth` is the inverse depth of `a` less that of `b` (above 0: nearer).
pub fn position_3d(
    relation: Option<&str>,
    a: &Detection,
    b: &Detection,
    depth: f64,
    mode: Mode,
) -> Result<f64, SpatialError> {
    let overlap = match (overlap(a, b), mode) {
        (Some(overlap), _) => overlap,
        (None, Mode::Corrected) => 0.0,
        (None, Mode::Reference) => return Err(SpatialError::NoArea),
    };
    let (holds, hidden) = match relation {
        Some("in front of") => (depth > 0.0, false),
        Some("behind") => (depth < 0.0, false),
        Some("hidden") => (depth < 0.0, true),
        _ => (false, false),
    };
    if !holds {
        return Ok(0.0);
    }
    Ok(match mode {
        Mode::Reference if overlap > DEPTH_OVERLAP => 1.0,
        Mode::Reference if overlap < DEPTH_OVERLAP => overlap / DEPTH_OVERLAP,
        Mode::Reference => 0.0,
        Mode::Corrected if hidden => (overlap / DEPTH_OVERLAP).min(1.0),
        Mode::Corrected => 1.0,
    })
}

/// An image's position and score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpatialScore {
    /// How well the one is where it should be; 0 unless both were found.
    pub position: f64,
    /// 0 ..= 1.
    pub score: f64,
}

/// The score in the plane; an object that was not found is none.
///
/// # Errors
/// As [`position_2d`].
pub fn score_2d(
    relation: Option<&str>,
    a: Option<&Detection>,
    b: Option<&Detection>,
    mode: Mode,
) -> Result<SpatialScore, SpatialError> {
    let position = a.zip(b).map_or(Ok(0.0), |(a, b)| position_2d(relation, a, b, mode))?;
    let score = combined(a, b, position);
    Ok(SpatialScore { position, score: if score < MIN_SCORE { 0.0 } else { score } })
}

/// The score in depth.
///
/// # Errors
/// As [`position_3d`].
pub fn score_3d(
    relation: Option<&str>,
    a: Option<&Detection>,
    b: Option<&Detection>,
    depth: f64,
    mode: Mode,
) -> Result<SpatialScore, SpatialError> {
    let position = a.zip(b).map_or(Ok(0.0), |(a, b)| position_3d(relation, a, b, depth, mode))?;
    Ok(SpatialScore { position, score: combined(a, b, position) })
}

fn combined(a: Option<&Detection>, b: Option<&Detection>, position: f64) -> f64 {
    match (a, b) {
        (Some(a), Some(b)) => 0.25 * a.confidence + 0.25 * b.confidence + 0.5 * position,
        (Some(one), None) | (None, Some(one)) => 0.25 * one.confidence,
        (None, None) => 0.0,
    }
}

/// Mean of a depth map (row after row, `width` wide) over a box, corners cut to whole pixels; none where the box has no
/// pixel. [`Mode::Reference`] takes the box's x range for rows and its y range for columns, as the published script does.
pub fn mean_depth(map: &[f32], width: usize, a: &Detection, mode: Mode) -> Option<f64> {
    let height = map.len().checked_div(width)?;
    let [x1, y1, x2, y2] = a.bounds.map(|corner| corner.max(0.0) as usize);
    let (rows, columns) = match mode {
        Mode::Reference => (x1..x2.min(height), y1..y2.min(width)),
        Mode::Corrected => (y1..y2.min(height), x1..x2.min(width)),
    };
    let values = rows.flat_map(|row| columns.clone().filter_map(move |column| map.get(row * width + column)));
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), &value| (sum + f64::from(value), count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bounds: [f64; 4]) -> Detection {
        Detection { bounds, confidence: 1.0 }
    }

    #[test]
    fn the_worked_examples() {
        let a = Detection { bounds: [0.0, 0.0, 100.0, 100.0], confidence: 0.8 };
        let b = Detection { bounds: [200.0, 0.0, 300.0, 100.0], confidence: 0.6 };
        let score = score_2d(Some("on the left of"), Some(&a), Some(&b), Mode::Reference).unwrap();
        assert!((score.score - 0.85).abs() < 1e-12);
        let (a, b) = (at([0.0, 0.0, 100.0, 100.0]), at([50.0, 0.0, 150.0, 100.0]));
        let score = score_2d(Some("on the left of"), Some(&a), Some(&b), Mode::Reference).unwrap();
        assert!((score.position - 0.3).abs() < 1e-12 && (score.score - 0.65).abs() < 1e-12);
        assert_eq!(
            score_2d(Some("near"), Some(&a), None, Mode::Corrected).unwrap(),
            SpatialScore { position: 0.0, score: 0.0 }
        );
    }

    #[test]
    fn the_faults_are_in_one_mode_only() {
        let middle = at([100.0, 100.0, 120.0, 120.0]);
        let diagonal = at([200.0, 200.0, 220.0, 220.0]);
        let far = at([400.0, 100.0, 420.0, 120.0]);
        let both = |relation, b: &Detection| {
            [Mode::Reference, Mode::Corrected].map(|mode| position_2d(Some(relation), &middle, b, mode).unwrap())
        };
        assert_eq!(both("on the left of", &diagonal), [0.0, 1.0]);
        assert_eq!(both("on top of", &at([100.0, 300.0, 120.0, 320.0])), [0.0, 1.0]);
        assert_eq!(both("near", &far), [1.0, 0.5]);
        let point = at([5.0, 5.0, 5.0, 5.0]);
        assert_eq!(position_2d(Some("near"), &point, &point, Mode::Reference), Err(SpatialError::NoArea));
        assert_eq!(position_2d(Some("near"), &point, &point, Mode::Corrected), Ok(1.0));
        let depth = [Mode::Reference, Mode::Corrected]
            .map(|mode| position_3d(Some("behind"), &middle, &far, -0.1, mode).unwrap());
        assert_eq!(depth, [0.0, 1.0]);
    }

    #[test]
    fn the_published_depth_is_of_the_transposed_box() {
        // Three rows of four columns.
        let map: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let region = at([2.9, 0.0, 4.0, 1.0]);
        assert_eq!(mean_depth(&map, 4, &region, Mode::Corrected), Some(2.5));
        assert_eq!(mean_depth(&map, 4, &region, Mode::Reference), Some(8.0));
        assert_eq!(mean_depth(&map, 4, &at([3.0, 0.0, 4.0, 1.0]), Mode::Reference), None);
    }
}
