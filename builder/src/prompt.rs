//! A caption in plain English to a scene graph, by rules: articles begin things, words before the noun describe it, and the
//! words of a list between two things relate them.
//!
//! It is a reader of captions as people write prompts, not of English: what it does not know becomes part of a label. A
//! thing without a relation stays alone, and so every caption with a noun gives a graph.

use serde_json::{Value, json};

mod words;

use crate::question::Category;
use words::{BREAKS, COPULAS, DESCRIPTIONS, DETERMINERS, PREDICATES, PRONOUNS};

/// A thing of a caption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptObject {
    pub label: String,
    pub attributes: Vec<String>,
}

/// What a caption says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    pub objects: Vec<PromptObject>,
    /// Subject, predicate, object; the ends are positions in `objects`.
    pub relations: Vec<(usize, String, usize)>,
}

impl Prompt {
    /// The LAION-SG record of the caption under a name.
    pub fn record(&self, img_id: &str, name: &str, caption: &str) -> Value {
        let items: Vec<Value> = self
            .objects
            .iter()
            .enumerate()
            .map(|(place, object)| {
                json!({ "item_id": place, "label": object.label, "attributes": object.attributes,
                        "global_item_id": place })
            })
            .collect();
        let relations: Vec<Value> = self
            .relations
            .iter()
            .enumerate()
            .map(|(place, (subject, predicate, object))| {
                json!({ "triple_id": place, "item1": subject, "relation": predicate, "item2": object,
                        "global_relation_id": place })
            })
            .collect();
        json!({ "img_id": img_id, "name": name, "caption_ori": caption, "items": items, "relations": relations })
    }
}

/// A piece of a caption.
enum Token {
    Word(String),
    Predicate(&'static str),
    /// A comma, "and": the next thing begins.
    Break,
    /// A full stop: the next sentence begins.
    Stop,
}

/// Reads a caption.
pub fn parse(caption: &str) -> Prompt {
    let mut reader = Reader::default();
    for token in tokens(caption) {
        reader.take(token);
    }
    reader.end_phrase();
    reader.prompt
}

fn tokens(caption: &str) -> Vec<Token> {
    let mut words: Vec<String> = Vec::new();
    for piece in caption.to_lowercase().split_whitespace() {
        let bare = piece.trim_matches(|c: char| !c.is_alphanumeric());
        if !bare.is_empty() {
            words.push(bare.to_owned());
        }
        match piece.chars().last() {
            Some('.' | '!' | '?' | ';' | ':') => words.push(".".to_owned()),
            Some(',') => words.push(",".to_owned()),
            _ => {}
        }
    }
    let mut tokens = Vec::new();
    let mut rest = words.as_slice();
    while let Some((first, tail)) = rest.split_first() {
        let found = PREDICATES.iter().find_map(|(phrase, predicate)| {
            let length = phrase.split(' ').count();
            let fits =
                rest.len() >= length && rest.iter().zip(phrase.split(' ')).all(|(word, expected)| word == expected);
            fits.then_some((length, *predicate))
        });
        if let Some((length, predicate)) = found {
            tokens.push(Token::Predicate(predicate));
            rest = rest.get(length..).unwrap_or_default();
            continue;
        }
        tokens.push(match first.as_str() {
            "." => Token::Stop,
            "," => Token::Break,
            word if BREAKS.contains(&word) => Token::Break,
            word => Token::Word(word.to_owned()),
        });
        rest = tail;
    }
    tokens
}

#[derive(Default)]
struct Reader {
    prompt: Prompt,
    /// Words of the thing that is being read.
    words: Vec<String>,
    /// How many of them there are.
    count: usize,
    /// The relation that waits for its object.
    pending: Option<(usize, &'static str)>,
    /// What follows "is": it may describe the thing before.
    after_copula: bool,
    /// The thing that a sentence began with.
    head: Option<usize>,
    last: Option<usize>,
}

impl Reader {
    fn take(&mut self, token: Token) {
        match token {
            Token::Word(word) => self.word(word),
            Token::Predicate(predicate) => {
                self.end_phrase();
                if let Some(subject) = self.last {
                    self.pending = Some((subject, predicate));
                }
            }
            Token::Break => self.end_phrase(),
            Token::Stop => {
                self.end_phrase();
                (self.pending, self.last) = (None, None);
            }
        }
    }

    fn word(&mut self, word: String) {
        if COPULAS.contains(&word.as_str()) {
            self.end_phrase();
            self.after_copula = self.last.is_some();
            return;
        }
        if PRONOUNS.contains(&word.as_str()) {
            self.end_phrase();
            self.last = self.head;
            return;
        }
        if let Some((_, count)) = DETERMINERS.iter().find(|(known, _)| *known == word) {
            self.end_phrase();
            (self.count, self.after_copula) = (*count, false);
            return;
        }
        self.words.push(word);
    }

    /// What was read so far is one thing, or describes the one before.
    fn end_phrase(&mut self) {
        let words = std::mem::take(&mut self.words);
        let count = std::mem::replace(&mut self.count, 0).max(1);
        let after_copula = std::mem::take(&mut self.after_copula);
        if words.is_empty() {
            return;
        }
        if let (true, Some(last)) = (after_copula && words.iter().all(|word| describes(word)), self.last) {
            if let Some(object) = self.prompt.objects.get_mut(last) {
                object.attributes.extend(words);
                object.attributes.dedup();
            }
            return;
        }
        let Some((noun, before)) = words.split_last() else { return };
        // Describing words first; from the first that is none, the label: "red traffic light".
        let split = before.iter().position(|word| !describes(word)).unwrap_or(before.len());
        let (attributes, rest) = before.split_at(split);
        let noun = if count > 1 { singular(noun) } else { noun.clone() };
        let label = rest.iter().chain([&noun]).map(String::as_str).collect::<Vec<_>>().join(" ");
        let mut attributes = attributes.to_vec();
        attributes.dedup();
        let first = self.prompt.objects.len();
        for _ in 0..count {
            self.prompt.objects.push(PromptObject { label: label.clone(), attributes: attributes.clone() });
        }
        if let Some((subject, predicate)) = self.pending.take() {
            for object in first..first + count {
                self.prompt.relations.push((subject, predicate.to_owned(), object));
            }
        }
        self.head = self.head.or(Some(first));
        self.last = Some(first + count - 1);
    }
}

fn describes(word: &str) -> bool {
    DESCRIPTIONS.contains(&word) || Category::of_attribute(word) != Category::AttributeOther
}

fn singular(noun: &str) -> String {
    for (end, instead) in [("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")] {
        if let Some(stem) = noun.strip_suffix(end) {
            return format!("{stem}{instead}");
        }
    }
    match noun.strip_suffix('s') {
        Some(stem) if !stem.ends_with('s') && stem.len() > 1 => stem.to_owned(),
        _ => noun.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "red circle; blue square | 0 left of 1"
    fn told(caption: &str) -> String {
        let prompt = parse(caption);
        let objects: Vec<String> = prompt
            .objects
            .iter()
            .map(|object| object.attributes.iter().chain([&object.label]).cloned().collect::<Vec<_>>().join(" "))
            .collect();
        let relations: Vec<String> = prompt.relations.iter().map(|(s, words, o)| format!("{s} {words} {o}")).collect();
        format!("{} | {}", objects.join("; "), relations.join("; "))
    }

    #[test]
    fn captions_become_graphs() {
        for (caption, expected) in [
            ("A red circle left of a blue square", "red circle; blue square | 0 left of 1"),
            ("a dog", "dog | "),
            ("A large brown dog sitting on a red sofa.", "large brown dog; red sofa | 0 sitting on 1"),
            ("a red traffic light above the street", "red traffic light; street | 0 above 1"),
            ("a cat and a dog next to a tree", "cat; dog; tree | 1 next to 2"),
            ("Two dogs in a park", "dog; dog; park | 1 in 2"),
            ("The car is red. It is next to a house.", "red car; house | 0 next to 1"),
            ("a cube to the right of a ball, on top of a table", "cube; ball; table | 0 right of 1; 1 on top of 2"),
            ("", " | "),
        ] {
            assert_eq!(told(caption), expected, "{caption}");
        }
    }

    #[test]
    fn a_record_is_a_good_record() {
        let caption = "a small red circle above a large blue square";
        let record = parse(caption).record("p-1", "p-1.png", caption);
        assert!(crate::lint::check(&record).iter().all(|fault| !fault.code.is_error()), "{record}");
        let graph = crate::scene_graph::SceneGraph::from_laion_sg(&record).unwrap();
        assert_eq!((graph.num_objects(), graph.num_relations()), (2, 1));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_makes_no_impossible_graph(caption in "[a-z ,.]{0,120}|\\PC{0,60}") {
            let prompt = parse(&caption);
            for (subject, _, object) in &prompt.relations {
                proptest::prop_assert!(subject < &prompt.objects.len() && object < &prompt.objects.len());
                proptest::prop_assert!(subject != object);
            }
            proptest::prop_assert!(prompt.objects.iter().all(|object| !object.label.trim().is_empty()));
        }
    }
}
