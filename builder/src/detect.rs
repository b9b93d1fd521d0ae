//! Who finds things in pictures: labelled boxes, from which the spatial scores and numeracy follow.

mod http;
pub(crate) mod recorded;

pub use http::{DetectorSettings, HttpDetector};
pub use recorded::RecordedDetector;

use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer::shapes::ShapesAnswerer;
use crate::endpoint::chat::Spent;
use crate::metrics::spatial::Detection;
use crate::shapes::IMAGE_SIZE;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detected {
    /// The detector's word for it.
    pub label: String,
    /// Where and how sure; in pixels of the picture.
    #[serde(flatten)]
    pub detection: Detection,
    /// Mean inverse depth of the box, larger is nearer; only some detectors know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<f64>,
}

/// A picture to look at.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// File name, or the id of a candidate.
    pub name: &'a str,
    /// The pixels.
    pub image: &'a RgbImage,
    /// What is looked for; a detector with words of its own passes them over.
    pub labels: &'a [&'a str],
}

/// Something that finds things.
pub trait Detector: Send + Sync {
    /// Its name among scorers.
    fn name(&self) -> &str;

    /// Changes whenever the same picture might give other boxes.
    fn version(&self) -> &str;

    /// What was spent so far on whoever is asked over the network.
    fn spent(&self) -> Option<Spent> {
        None
    }

    /// What is in each picture, in any order; each with its own outcome.
    fn detect_many(&self, sights: &[Sight<'_>]) -> Vec<crate::Result<Vec<Detected>>>;
}

/// The exact detector of the world of shapes: labels are shapes.
#[derive(Debug, Default)]
pub struct ShapesDetector(ShapesAnswerer);

impl Detector for ShapesDetector {
    fn name(&self) -> &'static str {
        "shapes-boxes"
    }

    fn version(&self) -> &'static str {
        "1"
    }

    fn detect_many(&self, sights: &[Sight<'_>]) -> Vec<crate::Result<Vec<Detected>>> {
        let one = |sight: &Sight<'_>| {
            let scale = f64::from(sight.image.width().max(1)) / f64::from(IMAGE_SIZE);
            let found = self.0.detect(sight.image).into_iter().map(|object| {
                let (x, y, radius) = (f64::from(object.x), f64::from(object.y), f64::from(object.size.radius()));
                let bounds = [x - radius, y - radius, x + radius, y + radius].map(|value| value * scale);
                let detection = Detection { bounds, confidence: 1.0 };
                Detected { label: object.shape.word().to_owned(), detection, depth: None }
            });
            Ok(found.collect())
        };
        sights.par_iter().map(one).collect()
    }
}

/// `{"box": [x1, y1, x2, y2], "confidence": c}`.
///
/// # Errors
/// What is wrong, with the field.
pub fn read_box(object: &Map<String, Value>) -> Result<Detection, String> {
    let required =
        |key: &str| object.get(key).filter(|value| !value.is_null()).ok_or_else(|| format!("{key}: is missing"));
    let value = required("box")?;
    let numbers: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
    let bounds: [f64; 4] = numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| format!("box: must be [x1, y1, x2, y2], not {value}"))?;
    let [x1, y1, x2, y2] = bounds;
    if x2 < x1 || y2 < y1 {
        return Err(format!("box: {value} ends before it begins"));
    }
    let confidence = required("confidence")?;
    let confidence = confidence.as_f64().ok_or_else(|| format!("confidence: must be a number, not {confidence}"))?;
    if !(0.0..=1.0).contains(&confidence) {
        return Err(format!("confidence: must be from 0 to 1, not {confidence}"));
    }
    Ok(Detection { bounds, confidence })
}

/// A box with its `"label"` and, where it is known, its `"depth"`.
///
/// # Errors
/// As [`read_box`].
pub fn read_detected(value: &Value) -> Result<Detected, String> {
    let object = value.as_object().ok_or_else(|| format!("must be a JSON object, not {value}"))?;
    let label = match object.get("label").filter(|value| !value.is_null()) {
        Some(Value::String(label)) => label.clone(),
        Some(other) => return Err(format!("label: must be a string, not {other}")),
        None => return Err("label: is missing".to_owned()),
    };
    let depth = match object.get("depth").filter(|value| !value.is_null()) {
        None => None,
        Some(value) => Some(value.as_f64().ok_or_else(|| format!("depth: must be a number, not {value}"))?),
    };
    Ok(Detected { label, detection: read_box(object)?, depth })
}

/// A list of boxes, the surest first.
///
/// # Errors
/// As [`read_box`], with the place in the list.
pub fn read_detections(value: &Value) -> Result<Vec<Detected>, String> {
    let list = value.as_array().ok_or_else(|| format!("detections: must be a list, not {value}"))?;
    let mut found = Vec::with_capacity(list.len());
    for (i, one) in list.iter().enumerate() {
        found.push(read_detected(one).map_err(|message| format!("detections/{i}: {message}"))?);
    }
    // Published scripts read what the detector wrote in descending order; equal ones stay as they came.
    found.sort_by(|a, b| b.detection.confidence.total_cmp(&a.detection.confidence));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::{Color, Layout, PlacedObject, Shape, Size, render};
    use serde_json::json;

    #[test]
    fn shapes_have_boxes() {
        let object = PlacedObject { shape: Shape::Star, color: Color::Blue, size: Size::Large, x: 20.0, y: 40.0 };
        let image = render(&Layout { objects: vec![object] });
        let double = image::imageops::resize(&image, 128, 128, image::imageops::FilterType::Nearest);
        let look = |image: &RgbImage| {
            let sight = Sight { name: "a", image, labels: &[] };
            ShapesDetector::default().detect_many(&[sight]).remove(0).unwrap().remove(0)
        };
        for (image, scale) in [(&image, 1.0), (&double, 2.0)] {
            let found = look(image);
            assert_eq!(found.label, "star");
            let expected = [20.0 - 8.8, 40.0 - 8.8, 20.0 + 8.8, 40.0 + 8.8].map(|value| value * scale);
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1.5 * scale;
            assert!(found.detection.bounds.iter().zip(&expected).all(near), "{found:?}");
        }
    }

    #[test]
    fn faults_name_their_place() {
        let good = json!({"label": "dog", "box": [0, 0, 2, 2], "confidence": 0.5, "depth": 0.25});
        let surer = json!({"label": "cat", "box": [0, 0, 2, 2], "confidence": 0.75});
        let found = read_detections(&json!([good, surer])).unwrap();
        assert_eq!((found[0].label.as_str(), found[1].depth), ("cat", Some(0.25)));
        let fault = |one: Value| read_detections(&json!([good, one])).unwrap_err();
        assert_eq!(fault(json!({"label": 3})), "detections/1: label: must be a string, not 3");
        assert_eq!(fault(json!({"label": "a"})), "detections/1: box: is missing");
        let turned = fault(json!({"label": "a", "box": [5, 0, 1, 1], "confidence": 1}));
        assert_eq!(turned, "detections/1: box: [5,0,1,1] ends before it begins");
        let sure = fault(json!({"label": "a", "box": [0, 0, 1, 1], "confidence": 2}));
        assert_eq!(sure, "detections/1: confidence: must be from 0 to 1, not 2");
        assert_eq!(read_detections(&json!({})).unwrap_err(), "detections: must be a list, not {}");
    }
}
