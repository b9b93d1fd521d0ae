//! SG-IoU, Entity-IoU and Relation-IoU between a graph and what a model read out of an image.
//!
//! Source: mengcye/LAION-SG at a16f85b, `test/test_iou.py`. J(X, Y) = |X ∩ Y| / |X ∪ Y| over sets, 0 where the union is
//! empty. [`Mode::Reference`] takes the model's own lists of objects and predicates, as the code does; [`Mode::Corrected`]
//! derives both from the predicted triples, as the paper says.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Mode;
use crate::scene_graph::{Relation, SceneGraph};

/// When two words are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Letter by letter, as published.
    Exact,
    /// Whatever the case, blanks and underscores.
    Folded,
    /// Folded, and common other words for the same thing ("picture", "photo"; "next to", "beside").
    Synonyms,
}

/// A graph as a model read it out of a picture. A triple may be of another length: it never matches, and counts in the union.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extraction {
    /// (subject, predicate, object).
    pub triples: Vec<Vec<String>>,
    /// The model's own list of objects.
    #[serde(rename = "object_list", default)]
    pub objects: Vec<String>,
    /// The model's own list of predicates.
    #[serde(rename = "predicate_list", default)]
    pub predicates: Vec<String>,
}

/// The three figures, each 0 ..= 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// Over triples.
    pub scene_graph: f64,
    /// Over labels.
    pub entity: f64,
    /// Over predicates.
    pub relation: f64,
}

/// The relations of a graph, as they are compared: labels without attributes.
pub fn triples_of(graph: &SceneGraph) -> Vec<[String; 3]> {
    let label = |object: usize| graph.object(object).map_or_else(String::new, |object| object.label.trim().to_owned());
    let triple = |(subject, relation, object): (usize, &Relation, usize)| {
        [label(subject), relation.predicate.trim().to_owned(), label(object)]
    };
    graph.relations().map(triple).collect()
}

/// Compares the triples of a graph with what was read.
pub fn overlap(reference: &[[String; 3]], read: &Extraction, mode: Mode, matching: Match) -> Overlap {
    let word = |text: &str| matching.word(text);
    let words = |list: &[String]| -> BTreeSet<String> { list.iter().map(|text| word(text)).collect() };
    let reference: BTreeSet<Vec<String>> =
        reference.iter().map(|triple| triple.iter().map(|text| word(text)).collect()).collect();
    let predicted: BTreeSet<Vec<String>> =
        read.triples.iter().map(|triple| triple.iter().map(|text| word(text)).collect()).collect();
    let ends = |triples: &BTreeSet<Vec<String>>| -> BTreeSet<String> {
        triples
            .iter()
            .filter(|triple| triple.len() == 3)
            .flat_map(|triple| [triple[0].clone(), triple[2].clone()])
            .collect()
    };
    let predicates = |triples: &BTreeSet<Vec<String>>| -> BTreeSet<String> {
        triples.iter().filter(|triple| triple.len() == 3).map(|triple| triple[1].clone()).collect()
    };
    let (objects, relations) = match mode {
        Mode::Reference => (words(&read.objects), words(&read.predicates)),
        Mode::Corrected => (ends(&predicted), predicates(&predicted)),
    };
    Overlap {
        scene_graph: jaccard(&reference, &predicted),
        entity: jaccard(&ends(&reference), &objects),
        relation: jaccard(&predicates(&reference), &relations),
    }
}

fn jaccard<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> f64 {
    let union = a.union(b).count();
    if union == 0 { 0.0 } else { a.intersection(b).count() as f64 / union as f64 }
}

/// Words for one thing; the first stands for all.
const SYNONYMS: &[&[&str]] = &[
    &["person", "man", "woman", "people", "human", "guy", "lady"],
    &["child", "kid", "boy", "girl"],
    &["bicycle", "bike"],
    &["motorcycle", "motorbike"],
    &["tv", "television"],
    &["sofa", "couch"],
    &["phone", "cell phone", "mobile phone", "cellphone", "telephone"],
    &["airplane", "plane", "aeroplane", "aircraft"],
    &["boat", "ship"],
    &["picture", "photo", "photograph", "image", "painting"],
    &["street", "road"],
    &["sidewalk", "pavement"],
    &["next to", "beside", "near", "by", "at side of", "on side of"],
    &["on", "on top of", "atop", "upon"],
    &["under", "below", "beneath", "underneath"],
    &["above", "over"],
    &["in", "inside", "inside of", "within"],
    &["left of", "to left of", "on left of"],
    &["right of", "to right of", "on right of"],
    &["holding", "holds", "hold"],
    &["wearing", "wears", "wear"],
    &["has", "have", "having", "with"],
];

impl Match {
    /// The word used on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Folded => "folded",
            Self::Synonyms => "synonyms",
        }
    }

    fn word(self, text: &str) -> String {
        if self == Self::Exact {
            return text.to_owned();
        }
        let folded = text.replace('_', " ").to_lowercase();
        let plain: Vec<&str> =
            folded.split_whitespace().filter(|word| !matches!(*word, "the" | "a" | "an" | "is" | "are")).collect();
        let plain = plain.join(" ");
        if self == Self::Folded {
            return folded.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        let of_word: HashMap<&str, &str> =
            SYNONYMS.iter().flat_map(|group| group.iter().map(|&word| (word, group[0]))).collect();
        of_word.get(plain.as_str()).map_or(plain, |&word| word.to_owned())
    }
}

/// What a model replied, read as generously as can be done without guessing: fences of code and words around the JSON are
/// passed over, absent lists are empty.
///
/// # Errors
/// There is no JSON object in the reply, or a list in it is none.
pub fn read_reply(reply: &str) -> Result<Extraction, String> {
    extraction_of(&object_in(reply)?)
}

/// As [`read_reply`], but a reply that names no triples is no graph: what a model did not say is not an empty picture.
///
/// # Errors
/// As [`read_reply`], and where the triples are absent.
pub fn read_graph(reply: &str) -> Result<Extraction, String> {
    let value = object_in(reply)?;
    if first_of(&value, &TRIPLES).is_none() {
        return Err("the reply names no `triples`".to_owned());
    }
    extraction_of(&value)
}

/// Names of the list of triples.
const TRIPLES: [&str; 3] = ["triples", "predicted_triples", "relations"];
/// Names of the list of objects.
const OBJECTS: [&str; 3] = ["object_list", "predicted_objects", "objects"];
/// Names of the list of predicates.
const PREDICATES: [&str; 3] = ["predicate_list", "predicted_predicates", "predicates"];

/// The lists of a JSON object, under any of their names; absent ones are empty.
///
/// # Errors
/// A list is none, or holds what is no text.
pub fn extraction_of(value: &Value) -> Result<Extraction, String> {
    let list = |names: &[&'static str]| -> Result<Vec<String>, String> {
        let Some((name, value)) = first_of(value, names) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(|| format!("`{name}` is no list"))?;
        let text = |word: &Value| {
            word.as_str().map(str::to_owned).ok_or_else(|| format!("`{name}` holds {word}, which is no text"))
        };
        list.iter().map(text).collect()
    };
    let triples = match first_of(value, &TRIPLES) {
        Some((name, value)) => triples(value).map_err(|message| format!("`{name}` {message}"))?,
        None => Vec::new(),
    };
    Ok(Extraction { triples, objects: list(&OBJECTS)?, predicates: list(&PREDICATES)? })
}

fn first_of<'v>(value: &'v Value, names: &[&'static str]) -> Option<(&'static str, &'v Value)> {
    names.iter().find_map(|&name| value.get(name).filter(|value| !value.is_null()).map(|value| (name, value)))
}

/// The reply, or the JSON object among its words: the first that has one of our lists, else the first of all.
fn object_in(reply: &str) -> Result<Value, String> {
    let text = reply.replace("```json", "").replace("```", "");
    let failed = |error: serde_json::Error| format!("the reply is no JSON: {error}");
    let error = match serde_json::from_str::<Value>(text.trim()) {
        Ok(value) if value.is_object() => return Ok(value),
        Ok(other) => return Err(format!("the reply is {other}, which is no JSON object")),
        Err(error) => error,
    };
    let mut other = None;
    let mut reason = failed(error);
    for (tries, (start, _)) in text.match_indices('{').take(MOST_OBJECTS).enumerate() {
        // The document that begins there; what follows it is words.
        match serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>().next() {
            Some(Ok(value)) if [TRIPLES, OBJECTS, PREDICATES].iter().any(|names| first_of(&value, names).is_some()) => {
                return Ok(value);
            }
            Some(Ok(value)) if other.is_none() && tries == 0 => other = Some(value),
            Some(Err(error)) if tries == 0 => reason = failed(error),
            _ => {}
        }
    }
    other.ok_or(reason)
}

/// Places at which a JSON object is looked for among words.
const MOST_OBJECTS: usize = 64;

/// Lists of texts, of any length.
///
/// # Errors
/// What is wrong, with its place.
pub fn triples(value: &Value) -> Result<Vec<Vec<String>>, String> {
    let list = value.as_array().ok_or("is no list")?;
    list.iter().enumerate().map(|(i, triple)| words_of(i, triple)).collect()
}

/// A list of texts; or an object that names its three, as some models write it.
fn words_of(i: usize, triple: &Value) -> Result<Vec<String>, String> {
    let text =
        |word: &Value| word.as_str().map(str::to_owned).ok_or_else(|| format!("holds {word} at {i}, which is no text"));
    if triple.is_object() {
        let parts = [&["subject"][..], &["predicate", "relation"], &["object"]];
        let named: Option<Vec<&Value>> =
            parts.iter().map(|names| first_of(triple, names).map(|(_, value)| value)).collect();
        let named =
            named.ok_or_else(|| format!("holds {triple} at {i}, which names no subject, predicate and object"))?;
        return named.into_iter().map(text).collect();
    }
    let words = triple.as_array().ok_or_else(|| format!("holds {triple} at {i}, which is no list"))?;
    words.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(triples: &[[&str; 3]]) -> Vec<[String; 3]> {
        triples.iter().map(|triple| triple.map(str::to_owned)).collect()
    }

    fn read(triples: &[&[&str]]) -> Extraction {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        Extraction { triples: triples.iter().map(|triple| own(triple)).collect(), ..Extraction::default() }
    }

    #[test]
    fn lists_are_reported_or_derived() {
        let wanted = reference(&[["a", "on", "b"]]);
        let mut read = read(&[&["a", "on", "b"], &["c"]]);
        read.objects = vec!["z".to_owned()];
        let published = overlap(&wanted, &read, Mode::Reference, Match::Exact);
        assert_eq!(published, Overlap { scene_graph: 0.5, entity: 0.0, relation: 0.0 });
        let corrected = overlap(&wanted, &read, Mode::Corrected, Match::Exact);
        assert_eq!(corrected, Overlap { scene_graph: 0.5, entity: 1.0, relation: 1.0 });
    }

    #[test]
    fn the_matcher_can_be_switched() {
        let wanted = reference(&[["Sofa", "next_to", "man"]]);
        let read = read(&[&["the couch", "is beside", "person"]]);
        assert_eq!(overlap(&wanted, &read, Mode::Corrected, Match::Exact).scene_graph, 0.0);
        assert_eq!(overlap(&wanted, &read, Mode::Corrected, Match::Folded).scene_graph, 0.0);
        assert_eq!(
            overlap(&wanted, &read, Mode::Corrected, Match::Synonyms),
            Overlap { scene_graph: 1.0, entity: 1.0, relation: 1.0 }
        );
        for group in SYNONYMS {
            for word in *group {
                let times = SYNONYMS.iter().flat_map(|group| group.iter()).filter(|other| other == &word).count();
                assert_eq!(times, 1, "{word} is of two groups");
            }
        }
    }

    #[test]
    fn replies_are_read_robustly() {
        let reply = "Here you are:\n```json\n{\"triples\": [[\"a\",\"on\",\"b\"],[\"c\"]], \"object_list\": [\"a\"]}\n```\nDone.";
        let found = read_reply(reply).unwrap();
        assert_eq!((found.triples.len(), found.objects.len(), found.predicates.len()), (2, 1, 0));
        let among_words = "The graph {of the picture}: {\"relations\": [{\"subject\": \"a\", \"relation\": \"on\", \"object\": \"b\"}]} {}";
        for read in [read_reply, read_graph] {
            assert_eq!(read(among_words).unwrap().triples, [["a", "on", "b"]]);
        }
        for broken in [
            "",
            "no",
            "[1]",
            "{\"triples\": 3}",
            "{\"triples\": [[[\"a\"]]]}",
            "{\"triples\": [\"a\"]}",
            "{\"triples\": [{\"subject\": \"a\"}]}",
            "{\"triples\": [[\"a\"",
            "{\"triples\": [{\"subject\": \"a\", \"predicate\": \"on\", \"object\": \"b\"}, {\"subj",
        ] {
            assert!(read_reply(broken).is_err() && read_graph(broken).is_err(), "{broken}");
        }
        // Published, absent lists are empty; a model that said nothing of triples did not read the picture.
        assert_eq!(read_reply("{\"error\": \"no picture\"}"), Ok(Extraction::default()));
        assert!(read_graph("{\"error\": \"no picture\"}").is_err());
        assert_eq!(read_graph("{\"triples\": []}"), Ok(Extraction::default()));
    }

    #[test]
    fn a_graphs_triples_are_labels_without_attributes() {
        let record = serde_json::json!({"img_id": "1", "name": "", "caption_ori": "",
            "items": [{"item_id": 0, "label": "dog", "attributes": ["brown"]}, {"item_id": 1, "label": "sofa", "attributes": []}],
            "relations": [{"item1": 0, "relation": "on", "item2": 1}]});
        let graph = SceneGraph::from_laion_sg(&record).unwrap();
        assert_eq!(triples_of(&graph), reference(&[["dog", "on", "sofa"]]));
    }
}
