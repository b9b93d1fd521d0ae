//! Graphs that somebody wrote down, one picture a line:
//!
//! ```json
//! {"image": "bus.png", "triples": [["bus", "on", "road"]], "object_list": ["bus", "road"], "predicate_list": ["on"]}
//! {"image": "dog.png", "reply": "Here it is: {\"triples\": …}"}
//! ```
//! `reply` is what a model said, word by word; one that is no graph leaves its picture without a score.

use std::io::{BufRead, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::GraphExtractor;
use crate::metrics::scene_graph_iou::{Extraction, extraction_of, read_graph};
use crate::picture_lines::PictureLines;
use crate::scorer::Subject;
use crate::{Error, Result};

/// A file of graphs.
pub struct RecordedExtractor(PictureLines<Result<Extraction, String>>);

impl RecordedExtractor {
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

/// Writes what was read out of a picture, in the form that [`RecordedExtractor`] reads.
///
/// # Errors
/// The writer fails.
pub fn write_line(out: &mut impl Write, image: &str, read: &Extraction) -> Result<()> {
    let Extraction { triples, objects, predicates } = read;
    let line = json!({"image": image, "triples": triples, "object_list": objects, "predicate_list": predicates});
    Ok(writeln!(out, "{line}")?)
}

pub(crate) fn parse(line: &Value) -> Result<Result<Extraction, String>, String> {
    match &line["reply"] {
        Value::String(reply) => return Ok(read_graph(reply).map_err(|message| format!("reply: {message}"))),
        Value::Null => {}
        other => return Err(format!("reply: must be a string, not {other}")),
    }
    if line["triples"].is_null() {
        return Err("triples: are missing, and so is `reply`".to_owned());
    }
    extraction_of(line).map(Ok)
}

impl GraphExtractor for RecordedExtractor {
    fn name(&self) -> &'static str {
        "recorded-graph"
    }

    fn version(&self) -> &str {
        self.0.version()
    }

    fn extract_many(&self, subjects: &[Subject<'_>]) -> Vec<Result<Extraction>> {
        let one = |subject: &Subject<'_>| self.0.of(subject.name)?.clone().map_err(Error::Format);
        subjects.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene_graph::SceneGraph;

    #[test]
    fn a_line_a_picture_as_it_is_written() {
        let read = Extraction {
            triples: vec![vec!["dog".to_owned(), "on".to_owned(), "sofa".to_owned()]],
            objects: vec!["dog".to_owned()],
            predicates: Vec::new(),
        };
        let mut text = Vec::new();
        write_line(&mut text, "a.png", &read).unwrap();
        text.extend_from_slice(b"{\"image\": \"b.png\", \"reply\": \"I see no picture.\"}\n");
        let extractor = RecordedExtractor::read(&text[..], "g.jsonl").unwrap();
        let record = json!({"img_id": "1", "name": "", "caption_ori": "", "items": [{"item_id": 0, "label": "dog", "attributes": []}], "relations": []});
        let graph = SceneGraph::from_laion_sg(&record).unwrap();
        let image = image::RgbImage::new(1, 1);
        let subject = |name| Subject { name, image: &image, graph: &graph };
        let found = extractor.extract_many(&["a.png", "b.png", "c.png"].map(subject));
        assert_eq!(found[0].as_ref().unwrap(), &read);
        for (found, says) in [(&found[1], "reply: the reply is no JSON"), (&found[2], "c.png")] {
            assert!(found.as_ref().unwrap_err().to_string().contains(says), "{found:?}");
        }
        for (text, says) in [
            ("{\"image\": \"a\"}", "g.jsonl:1: triples: are missing"),
            ("{\"image\": \"a\", \"triples\": 3}", "g.jsonl:1: `triples` is no list"),
            ("{\"image\": \"a\", \"reply\": 3}", "g.jsonl:1: reply: must be a string"),
        ] {
            let error = RecordedExtractor::read(text.as_bytes(), "g.jsonl").err().unwrap().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
