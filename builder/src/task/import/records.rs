//! Texts that become LAION-SG records: captions, and Visual Genome's scene graphs.

use std::collections::HashSet;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::lines;
use crate::laion_sg::{self, Format};
use crate::prompt;
use crate::scene_graph::sha256_hex;
use crate::task::{TaskContext, ingest, on_thread};
use crate::{Error, Result};

/// Longest caption, in bytes.
const MOST_CAPTION: usize = 64 << 10;

/// Takes in a caption a line: rules make a record of each in a scratch file.
///
/// # Errors
/// `Format` where a line is no text or too long; those of the store.
pub(super) async fn run_prompts(context: &TaskContext, path: &Path, name: &str) -> Result<Uuid> {
    let scratch = tempfile::NamedTempFile::new_in(&context.data)?;
    let (from, to) = (path.to_owned(), scratch.reopen()?);
    on_thread(move || {
        let mut out = BufWriter::with_capacity(1 << 17, to);
        captions(&from, &mut out)?;
        Ok(out.flush()?)
    })
    .await?;
    let reader = BufReader::with_capacity(1 << 17, scratch.reopen()?);
    let file = name.to_owned();
    let open = move || laion_sg::read_as(reader, &file, Format::Lines);
    Ok(ingest::run_records(&context.pool, name, open, &mut |_| {}).await?.id)
}

/// Takes in Visual Genome's `scene_graphs.json`, an image at a time.
///
/// # Errors
/// Those of the store.
pub(super) async fn run_visual_genome(context: &TaskContext, path: &Path, name: &str) -> Result<Uuid> {
    let reader = BufReader::with_capacity(1 << 17, fs_err::File::open(path)?);
    let file = name.to_owned();
    let open = move || laion_sg::read(reader, &file).converted(record);
    Ok(ingest::run_records(&context.pool, name, open, &mut |_| {}).await?.id)
}

/// Blank lines and lines that were there before make no record.
fn captions(path: &Path, out: &mut impl Write) -> Result<()> {
    let mut known = HashSet::new();
    for line in lines(path, MOST_CAPTION)? {
        let line = line.map_err(|error| Error::Format(error.to_string()))?;
        let caption = String::from_utf8(line).map_err(|_| Error::Format("a line is not UTF-8".to_owned()))?;
        let caption = caption.trim();
        let hash = sha256_hex(caption.as_bytes());
        if caption.is_empty() || !known.insert(hash.clone()) {
            continue;
        }
        let key = format!("caption-{}", &hash[..20]);
        writeln!(out, "{}", prompt::parse(caption).record(&key, &format!("{key}.png"), caption))?;
    }
    Ok(())
}

/// The record of an image. What is missing or has another type is left as it is, for the lint to name.
fn record(image: &Value) -> Value {
    let id = match &image["image_id"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let items: Vec<Value> = image["objects"].as_array().into_iter().flatten().map(item).collect();
    let relations: Vec<Value> = image["relationships"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|relation| {
            let predicate = relation["predicate"].as_str().unwrap_or_default().trim().to_lowercase();
            json!({ "triple_id": relation["relationship_id"], "item1": relation["subject_id"],
                    "relation": predicate, "item2": relation["object_id"] })
        })
        // A thing that relates to itself says nothing; the original has a few of them.
        .filter(|relation| relation["item1"] != relation["item2"])
        .collect();
    json!({ "img_id": if id.is_empty() { id.clone() } else { format!("vg-{id}") }, "name": format!("{id}.jpg"), "caption_ori": "", "items": items,
            "relations": relations })
}

fn item(object: &Value) -> Value {
    let name = object["names"].get(0).or_else(|| object.get("name")).and_then(Value::as_str).unwrap_or_default();
    let mut attributes: Vec<&str> = Vec::new();
    for word in object["attributes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::trim) {
        if !word.is_empty() && !attributes.contains(&word) {
            attributes.push(word);
        }
    }
    let mut item = Map::new();
    item.insert("item_id".to_owned(), object["object_id"].clone());
    item.insert("label".to_owned(), name.trim().into());
    item.insert("attributes".to_owned(), attributes.into());
    for key in ["x", "y", "w", "h", "synsets"] {
        if let Some(value) = object.get(key) {
            item.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visual_genome_becomes_good_records() {
        let image = json!({"image_id": 7, "objects": [
                {"object_id": 10, "names": ["tree"], "attributes": ["green", "tall", "green"], "x": 1, "y": 2, "w": 3, "h": 4},
                {"object_id": 11, "names": ["sidewalk"], "synsets": ["sidewalk.n.01"]}],
            "relationships": [{"relationship_id": 5, "predicate": "ON", "subject_id": 10, "object_id": 11},
                {"relationship_id": 6, "predicate": "on", "subject_id": 10, "object_id": 10}]});
        let record = record(&image);
        assert!(crate::lint::check(&record).iter().all(|fault| !fault.code.is_error()), "{record}");
        let graph = crate::scene_graph::SceneGraph::from_laion_sg(&record).unwrap();
        assert_eq!((graph.img_id.as_str(), graph.num_objects(), graph.num_relations()), ("vg-7", 2, 1));
        assert_eq!(graph.item_text(0), "green tall tree");
    }
}
