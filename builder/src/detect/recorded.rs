//! Boxes that somebody wrote down: JSON lines, one picture a line.
//!
//! ```json
//! {"image": "bus.png", "detections": [{"label": "bus", "box": [10, 20, 110, 90], "confidence": 0.9, "depth": 0.4}]}
//! ```
//! `image` is a file name, or the id of a candidate. Boxes are in pixels of the picture.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use super::{Detected, Detector, Sight, read_detections};
use crate::scene_graph::sha256_hex;
use crate::{Error, Result};

/// A file of boxes.
pub struct RecordedDetector {
    boxes: HashMap<String, Vec<Detected>>,
    version: String,
}

impl RecordedDetector {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or a line of it is wrong: file, line and field are named.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        Self::read(std::io::BufReader::new(fs_err::File::open(path)?), &name)
    }

    /// As [`Self::open`], of a file called `name`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(reader: impl BufRead, name: &str) -> Result<Self> {
        let mut boxes = HashMap::new();
        let mut content = Vec::new();
        for (line, bytes) in (1..).zip(reader.split(b'\n')) {
            let bytes = bytes?;
            content.extend_from_slice(&bytes);
            content.push(b'\n');
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let (image, found) = parse(&bytes).map_err(|message| Error::Format(format!("{name}:{line}: {message}")))?;
            if boxes.insert(image.clone(), found).is_some() {
                return Err(Error::Format(format!("{name}:{line}: image: an earlier line says what is in {image}")));
            }
        }
        Ok(Self { boxes, version: sha256_hex(&content)[..16].to_owned() })
    }
}

fn parse(line: &[u8]) -> Result<(String, Vec<Detected>), String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let image = match &value["image"] {
        Value::String(image) if !image.is_empty() => image.rsplit(['/', '\\']).next().unwrap_or_default().to_owned(),
        Value::Null => return Err("image: is missing".to_owned()),
        other => return Err(format!("image: must be a file name, not {other}")),
    };
    match &value["detections"] {
        Value::Null => Err("detections: is missing".to_owned()),
        detections => Ok((image, read_detections(detections)?)),
    }
}

impl Detector for RecordedDetector {
    fn name(&self) -> &'static str {
        "recorded-boxes"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn detect_many(&self, sights: &[Sight<'_>]) -> Vec<Result<Vec<Detected>>> {
        let one = |sight: &Sight<'_>| {
            let found = self.boxes.get(sight.name).cloned();
            found.ok_or_else(|| Error::Format(format!("nobody said what is in {}", sight.name)))
        };
        sights.iter().map(one).collect()
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
