//! Boxes that somebody wrote down: JSON lines, one picture a line.
//!
//! ```json
//! {"image": "bus.png", "detections": [{"label": "bus", "box": [10, 20, 110, 90], "confidence": 0.9, "depth": 0.4}]}
//! ```
//! `image` is a file name, or the id of a candidate. Boxes are in pixels of the picture.

use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use super::{Detected, Detector, Sight, read_detections};
use crate::Result;
use crate::picture_lines::PictureLines;

/// A file of boxes.
pub struct RecordedDetector(PictureLines<Vec<Detected>>);

impl RecordedDetector {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or a line of it is wrong: file, line and field are named.
    pub fn open(path: &Path) -> Result<Self> {
        PictureLines::open(path, parse).map(Self)
    }

    /// As [`Self::open`], of a file called `name`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(reader: impl BufRead, name: &str) -> Result<Self> {
        PictureLines::read(reader, name, parse).map(Self)
    }
}

pub(crate) fn parse(line: &Value) -> Result<Vec<Detected>, String> {
    match &line["detections"] {
        Value::Null => Err("detections: is missing".to_owned()),
        detections => read_detections(detections),
    }
}

impl Detector for RecordedDetector {
    fn name(&self) -> &'static str {
        "recorded-boxes"
    }

    fn version(&self) -> &str {
        self.0.version()
    }

    fn detect_many(&self, sights: &[Sight<'_>]) -> Vec<Result<Vec<Detected>>> {
        sights.iter().map(|sight| self.0.of(sight.name).cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_picture() {
        let text =
            "{\"image\":\"x/a.png\",\"detections\":[{\"label\":\"dog\",\"box\":[0,0,1,1],\"confidence\":1}]}\n\n";
        let detector = RecordedDetector::read(text.as_bytes(), "b.jsonl").unwrap();
        let image = image::RgbImage::new(2, 2);
        let sight = |name| Sight { name, image: &image, labels: &[] };
        let found = detector.detect_many(&[sight("a.png"), sight("b.png")]);
        assert_eq!(found[0].as_ref().unwrap()[0].label, "dog");
        assert!(found[1].as_ref().unwrap_err().to_string().contains("b.png"));
        for (text, says) in [
            ("{}", "b.jsonl:1: image: is missing"),
            ("\n{\"image\":\"a\"}", "b.jsonl:2: detections: is missing"),
            ("{\"image\":\"a\",\"detections\":[{}]}", "b.jsonl:1: detections/0: label: is missing"),
            (
                "{\"image\":\"a\",\"detections\":[]}\n{\"image\":\"a\",\"detections\":[]}",
                "b.jsonl:2: image: an earlier",
            ),
        ] {
            let error = RecordedDetector::read(text.as_bytes(), "b.jsonl").err().unwrap().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
