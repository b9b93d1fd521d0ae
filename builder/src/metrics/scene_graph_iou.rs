//! SG-IoU, Entity-IoU and Relation-IoU between a graph and what a model read out of an image.
//!
//! Source: mengcye/LAION-SG at a16f85b, `test/test_iou.py`. J(X, Y) = |X ∩ Y| / |X ∪ Y| over sets, 0 where the union is
//! empty. [`Mode::Reference`] takes the model's own lists of objects and predicates, as the code does; [`Mode::Corrected`]
//! derives both from the predicted triples, as the paper says.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::Mode;

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

/// What is compared. A predicted triple may be of another length: it never matches, and counts in the union.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// (subject, predicate, object) of the graph.
    pub reference: Vec<[String; 3]>,
    /// What the model said.
    pub predicted: Vec<Vec<String>>,
    /// The model's list of objects.
    pub predicted_objects: Vec<String>,
    /// The model's list of predicates.
    pub predicted_predicates: Vec<String>,
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

/// Compares one case.
pub fn overlap(case: &Case, mode: Mode, matching: Match) -> Overlap {
    let word = |text: &str| matching.word(text);
    let words = |list: &[String]| -> BTreeSet<String> { list.iter().map(|text| word(text)).collect() };
    let reference: BTreeSet<Vec<String>> =
        case.reference.iter().map(|triple| triple.iter().map(|text| word(text)).collect()).collect();
    let predicted: BTreeSet<Vec<String>> =
        case.predicted.iter().map(|triple| triple.iter().map(|text| word(text)).collect()).collect();
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
        Mode::Reference => (words(&case.predicted_objects), words(&case.predicted_predicates)),
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
pub fn read_reply(reply: &str) -> Result<Case, String> {
    let text = reply.replace("```json", "").replace("```", "");
    let value = whole_or_embedded(&text)?;
    let predicted = strings_of_strings(&value, &["triples", "predicted_triples", "relations"])?;
    let list = |names: &[&'static str]| -> Result<Vec<String>, String> {
        let Some((name, value)) = first_of(&value, names) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(|| format!("`{name}` is no list"))?;
        list.iter()
            .map(|word| {
                word.as_str().map(str::to_owned).ok_or_else(|| format!("`{name}` holds {word}, which is no text"))
            })
            .collect()
    };
    Ok(Case {
        reference: Vec::new(),
        predicted,
        predicted_objects: list(&["object_list", "predicted_objects", "objects"])?,
        predicted_predicates: list(&["predicate_list", "predicted_predicates", "predicates"])?,
    })
}

fn first_of<'v>(value: &'v Value, names: &[&'static str]) -> Option<(&'static str, &'v Value)> {
    names.iter().find_map(|&name| value.get(name).filter(|value| !value.is_null()).map(|value| (name, value)))
}

fn whole_or_embedded(text: &str) -> Result<Value, String> {
    let failed = |error: serde_json::Error| format!("the reply is no JSON: {error}");
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(other) => Err(format!("the reply is {other}, which is no JSON object")),
        Err(error) => {
            let start = text.find('{').ok_or_else(|| failed(error))?;
            // The first document that begins there; what follows it is words.
            let mut documents = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
            documents.next().ok_or("the reply is empty")?.map_err(failed)
        }
    }
}

fn strings_of_strings(value: &Value, names: &[&'static str]) -> Result<Vec<Vec<String>>, String> {
    let Some((name, value)) = first_of(value, names) else { return Ok(Vec::new()) };
    triples(value).map_err(|message| format!("`{name}` {message}"))
}

/// Lists of texts, of any length.
///
/// # Errors
/// What is wrong, with its place.
pub fn triples(value: &Value) -> Result<Vec<Vec<String>>, String> {
    let list = value.as_array().ok_or("is no list")?;
    let one = |(i, triple): (usize, &Value)| -> Result<Vec<String>, String> {
        let words = triple.as_array().ok_or_else(|| format!("holds {triple} at {i}, which is no list"))?;
        words
            .iter()
            .map(|word| {
                word.as_str().map(str::to_owned).ok_or_else(|| format!("holds {word} at {i}, which is no text"))
            })
            .collect()
    };
    list.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(reference: &[[&str; 3]], predicted: &[&[&str]]) -> Case {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        Case {
            reference: reference.iter().map(|triple| triple.map(str::to_owned)).collect(),
            predicted: predicted.iter().map(|triple| own(triple)).collect(),
            ..Case::default()
        }
    }

    #[test]
    fn lists_are_reported_or_derived() {
        let mut case = case(&[["a", "on", "b"]], &[&["a", "on", "b"], &["c"]]);
        case.predicted_objects = vec!["z".to_owned()];
        let reference = overlap(&case, Mode::Reference, Match::Exact);
        assert_eq!(reference, Overlap { scene_graph: 0.5, entity: 0.0, relation: 0.0 });
        let corrected = overlap(&case, Mode::Corrected, Match::Exact);
        assert_eq!(corrected, Overlap { scene_graph: 0.5, entity: 1.0, relation: 1.0 });
    }

    #[test]
    fn the_matcher_can_be_switched() {
        let case = case(&[["Sofa", "next_to", "man"]], &[&["the couch", "is beside", "person"]]);
        assert_eq!(overlap(&case, Mode::Corrected, Match::Exact).scene_graph, 0.0);
        assert_eq!(overlap(&case, Mode::Corrected, Match::Folded).scene_graph, 0.0);
        assert_eq!(
            overlap(&case, Mode::Corrected, Match::Synonyms),
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
        let case = read_reply(reply).unwrap();
        assert_eq!((case.predicted.len(), case.predicted_objects.len(), case.predicted_predicates.len()), (2, 1, 0));
        for broken in [
            "",
            "no",
            "[1]",
            "{\"triples\": 3}",
            "{\"triples\": [[[\"a\"]]]}",
            "{\"triples\": [\"a\"]}",
            "{\"triples\": [[\"a\"",
        ] {
            assert!(read_reply(broken).is_err(), "{broken}");
        }
    }
}
