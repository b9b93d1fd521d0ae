//! A scene graph: objects with attributes, and directed relations between them (petgraph inside).
//!
//! The file form is LAION-SG's; everything a file said is kept, so that [`SceneGraph::to_laion_sg`]
//! gives back what [`SceneGraph::from_laion_sg`] read, down to ids above 2^53 and unknown keys.

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;

/// Share of graphs, in percent, that is held out for evaluation and never trained on.
const HELD_OUT_PERCENT: u32 = 20;

/// An object of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Number of the item in its record; relations refer to it.
    pub item_id: u64,
    /// What it is: "dog", "traffic light".
    pub label: String,
    /// "brown", "parked": in file order.
    pub attributes: Vec<String>,
    /// Number of the object in the data set that the record comes from.
    pub global_item_id: Option<u64>,
    /// Keys of the file that have no field here.
    pub extra: Map<String, Value>,
}

/// A directed relation; subject and object are the ends of its edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    /// "on", "left of": the words between subject and object.
    pub predicate: String,
    /// Number of the triple in its record.
    pub triple_id: Option<u64>,
    /// Keys of the file that have no field here.
    pub extra: Map<String, Value>,
}

/// A scene graph with the names it has in its file.
#[derive(Clone, Debug)]
pub struct SceneGraph {
    /// Name of the record, unique in a file and in the store.
    pub img_id: String,
    /// File name of the real image that the graph describes.
    pub name: String,
    /// The image's caption; may be empty.
    pub caption: String,
    /// Keys of the record that have no field here (`score`, `url`, …).
    pub extra: Map<String, Value>,
    // Node i is item i and edge i is relation i, both in file order: nothing is ever removed.
    graph: DiGraph<Object, Relation>,
}

/// Whether a graph may be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Trained on.
    Train,
    /// Only evaluated.
    HeldOut,
}

impl Split {
    /// The word used in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::HeldOut => "held_out",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a set of objects and relations is no graph, or a value no record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A relation's end is not an index into the objects.
    #[error("relation {relation} refers to object {object}, but there are {num_objects}")]
    NoSuchObject {
        /// Position of the relation.
        relation: usize,
        /// The index that is out of range.
        object: usize,
        /// Number of objects.
        num_objects: usize,
    },
    /// The record breaks the LAION-SG form.
    #[error("{pointer}: {message}")]
    Record {
        /// JSON pointer from the record.
        pointer: String,
        /// What is wrong there.
        message: String,
    },
}

impl SceneGraph {
    /// A graph of these objects and (subject, relation, object) edges, in the given order.
    pub fn new(
        img_id: impl Into<String>,
        name: impl Into<String>,
        caption: impl Into<String>,
        objects: Vec<Object>,
        relations: Vec<(usize, Relation, usize)>,
    ) -> Result<Self, Error> {
        let num_objects = objects.len();
        let mut graph = DiGraph::with_capacity(num_objects, relations.len());
        for object in objects {
            graph.add_node(object);
        }
        for (position, (subject, relation, object)) in relations.into_iter().enumerate() {
            if let Some(&object) = [subject, object].iter().find(|&&end| end >= num_objects) {
                return Err(Error::NoSuchObject { relation: position, object, num_objects });
            }
            graph.add_edge(NodeIndex::new(subject), NodeIndex::new(object), relation);
        }
        Ok(Self { img_id: img_id.into(), name: name.into(), caption: caption.into(), extra: Map::new(), graph })
    }

    /// Reads one LAION-SG record, as stored by [`Self::to_laion_sg`] or found in a file.
    ///
    /// # Errors
    /// The first error that [`crate::lint::check`] finds.
    pub fn from_laion_sg(record: &Value) -> Result<Self, Error> {
        let findings = crate::lint::check(record);
        match findings.into_iter().find(|fault| fault.code.is_error()) {
            Some(fault) => Err(Error::Record { pointer: fault.pointer, message: fault.message }),
            None => Ok(Self::from_checked(record)),
        }
    }

    /// Reads a record in which [`crate::lint::check`] found no error.
    pub(crate) fn from_checked(record: &Value) -> Self {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |key: &str| record.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let extra = |value: &Value, known: &[&str]| {
            let keys = value.as_object().into_iter().flatten();
            keys.filter(|(key, _)| !known.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        let id = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);

        let mut graph = DiGraph::with_capacity(list("items").len(), list("relations").len());
        let mut nodes = HashMap::with_capacity(list("items").len());
        for item in list("items") {
            let item_id = id(item, "item_id").unwrap_or_default();
            let attributes = item.get("attributes").and_then(Value::as_array).into_iter().flatten();
            let node = graph.add_node(Object {
                item_id,
                label: text(item, "label"),
                attributes: attributes.filter_map(Value::as_str).map(str::to_owned).collect(),
                global_item_id: id(item, "global_item_id"),
                extra: extra(item, &["item_id", "label", "attributes", "global_item_id"]),
            });
            nodes.insert(item_id, node);
        }
        for relation in list("relations") {
            let end = |key: &str| id(relation, key).and_then(|item| nodes.get(&item)).copied();
            if let Some((subject, object)) = end("item1").zip(end("item2")) {
                graph.add_edge(
                    subject,
                    object,
                    Relation {
                        predicate: text(relation, "relation"),
                        triple_id: id(relation, "triple_id"),
                        extra: extra(relation, &["triple_id", "item1", "relation", "item2"]),
                    },
                );
            }
        }
        let img_id = match record.get("img_id") {
            Some(Value::Number(number)) => number.to_string(),
            _ => text(record, "img_id"),
        };
        Self {
            img_id,
            name: text(record, "name"),
            caption: text(record, "caption_ori"),
            extra: extra(record, &["img_id", "name", "caption_ori", "items", "relations"]),
            graph,
        }
    }

    /// The record of a LAION-SG file; keys in the order of the published files.
    pub fn to_laion_sg(&self) -> Value {
        let items: Vec<Value> = self.objects().map(item_to_value).collect();
        let relations: Vec<Value> = self
            .relations()
            .map(|(subject, relation, object)| {
                let item_id = |i: usize| self.graph[NodeIndex::new(i)].item_id;
                let mut map = Map::new();
                if let Some(triple_id) = relation.triple_id {
                    map.insert("triple_id".into(), triple_id.into());
                }
                map.insert("item1".into(), item_id(subject).into());
                map.insert("relation".into(), relation.predicate.as_str().into());
                map.insert("item2".into(), item_id(object).into());
                map.extend(relation.extra.clone());
                Value::Object(map)
            })
            .collect();
        let mut map = Map::new();
        map.insert("img_id".into(), self.img_id.as_str().into());
        map.insert("name".into(), self.name.as_str().into());
        map.insert("caption_ori".into(), self.caption.as_str().into());
        map.insert("items".into(), items.into());
        map.insert("relations".into(), relations.into());
        map.extend(self.extra.clone());
        Value::Object(map)
    }

    /// The objects, in item order.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = &Object> + Clone {
        self.graph.raw_nodes().iter().map(|node| &node.weight)
    }

    /// The object at this position.
    pub fn object(&self, index: usize) -> Option<&Object> {
        self.graph.node_weight(NodeIndex::new(index))
    }

    /// (subject position, relation, object position), in file order.
    pub fn relations(&self) -> impl ExactSizeIterator<Item = (usize, &Relation, usize)> + Clone {
        self.graph.raw_edges().iter().map(|edge| (edge.source().index(), &edge.weight, edge.target().index()))
    }

    /// The relation at this position.
    pub fn relation(&self, index: usize) -> Option<(usize, &Relation, usize)> {
        self.relations().nth(index)
    }

    /// Number of objects.
    pub fn num_objects(&self) -> usize {
        self.graph.node_count()
    }

    /// Number of relations.
    pub fn num_relations(&self) -> usize {
        self.graph.edge_count()
    }

    /// Positions of the objects that no relation names, in item order.
    pub fn isolated(&self) -> impl Iterator<Item = usize> + '_ {
        let nodes = self.graph.externals(Direction::Outgoing);
        // `externals` looks at one direction only: an object that is only ever an object is not isolated.
        nodes
            .filter(|&node| self.graph.edges_directed(node, Direction::Incoming).next().is_none())
            .map(NodeIndex::index)
    }

    /// Number of relations that an object is part of.
    pub fn degree(&self, index: usize) -> usize {
        let node = NodeIndex::new(index);
        let edges = |direction| self.graph.edges_directed(node, direction).count();
        edges(Direction::Outgoing) + edges(Direction::Incoming)
    }

    /// "large red circle": attributes and label, joined by one space; no leading blank without attributes.
    pub fn item_text(&self, index: usize) -> String {
        self.object(index).map(Object::text).unwrap_or_default()
    }

    /// SHA-256 (hex) of the record's canonical JSON: changes with anything that the file says.
    pub fn content_hash(&self) -> String {
        sha256_hex(canonical_json(&self.to_laion_sg()).as_bytes())
    }

    /// SHA-256 (hex) of what the graph means: its item texts and text triples, sorted. Two records
    /// that ask for the same picture agree in it, whatever their names, ids and order.
    pub fn meaning_hash(&self) -> String {
        let texts: Vec<String> = self.objects().map(Object::text).collect();
        let mut items = texts.clone();
        items.sort_unstable();
        let mut triples: Vec<[&str; 3]> =
            self.relations().map(|(s, relation, o)| [&*texts[s], &*relation.predicate, &*texts[o]]).collect();
        triples.sort_unstable();
        sha256_hex(canonical_json(&serde_json::json!({"items": items, "triples": triples})).as_bytes())
    }

    /// Which side of the split the graph is on. It follows the meaning, not the record, so that no
    /// picture is trained on under one name and evaluated under another.
    pub fn split(&self) -> Split {
        split_of(&self.meaning_hash())
    }
}

impl Object {
    /// Attributes and label, joined by one space.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for attribute in &self.attributes {
            text.push_str(attribute);
            text.push(' ');
        }
        text + &self.label
    }
}

/// The rule of the split: the first four bytes of a hash (hex), modulo 100, below 20 is held out.
/// Use [`SceneGraph::split`], which gives it the hash that it is meant for.
pub fn split_of(hash: &str) -> Split {
    let number = hash.get(..8).and_then(|head| u32::from_str_radix(head, 16).ok()).unwrap_or_default();
    if number % 100 < HELD_OUT_PERCENT { Split::HeldOut } else { Split::Train }
}

/// Compact JSON with the keys of every object sorted by their UTF-8 bytes.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn item_to_value(object: &Object) -> Value {
    let mut map = Map::new();
    map.insert("item_id".into(), object.item_id.into());
    map.insert("label".into(), object.label.as_str().into());
    map.insert("attributes".into(), object.attributes.clone().into());
    if let Some(global_item_id) = object.global_item_id {
        map.insert("global_item_id".into(), global_item_id.into());
    }
    map.extend(object.extra.clone());
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(img_id: &str) -> Value {
        json!({
            "img_id": img_id, "name": "1.jpg", "caption_ori": "a brown dog on a sofa",
            "items": [
                {"item_id": 9_007_199_254_740_993_u64, "label": "dog", "attributes": ["brown"], "global_item_id": 7},
                {"item_id": 1, "label": "sofa", "attributes": [], "global_item_id": 8, "box": [1, 2.5]},
                {"item_id": 2, "label": "lamp", "attributes": [], "global_item_id": 9},
            ],
            "relations": [{"triple_id": 0, "item1": 9_007_199_254_740_993_u64, "relation": "on", "item2": 1, "global_relation_id": 5}],
            "score": "6.54", "url": "https://example.org/x.jpg",
        })
    }

    #[test]
    fn a_record_survives_the_round_trip() {
        let graph = SceneGraph::from_laion_sg(&record("1")).unwrap();
        assert_eq!(graph.to_laion_sg(), record("1"));
        assert_eq!(graph.item_text(0), "brown dog");
        assert_eq!(graph.item_text(1), "sofa");
        assert_eq!(graph.isolated().collect::<Vec<_>>(), [2]);
        assert_eq!((0..3).map(|i| graph.degree(i)).collect::<Vec<_>>(), [1, 1, 0]);
    }

    #[test]
    fn hashes_tell_name_from_meaning() {
        let [a, b] = ["1", "2"].map(|id| SceneGraph::from_laion_sg(&record(id)).unwrap());
        assert_ne!(a.content_hash(), b.content_hash());
        assert_eq!(a.meaning_hash(), b.meaning_hash());
        assert_eq!(a.split(), b.split());
    }

    #[test]
    fn a_fifth_is_held_out() {
        let held_out = (0..2000_u32).filter(|i| split_of(&sha256_hex(&i.to_le_bytes())) == Split::HeldOut).count();
        assert!((340..460).contains(&held_out), "{held_out}");
    }

    #[test]
    fn canonical_json_sorts_keys_only() {
        assert_eq!(
            canonical_json(&json!({"b": [2, 1], "a": {"d": "ü\n", "c": null}})),
            r#"{"a":{"c":null,"d":"ü\n"},"b":[2,1]}"#
        );
    }
}
