//! What a well-formed graph says that no picture can show, no answerer can judge or no encoder can read.
//!
//! | code | where | told |
//! | --- | --- | --- |
//! | `W_CONTRADICTION` | the later of two relations that say one order both ways (a left of b, b left of a), the last of a circle | always |
//! | `W_DUP_QUESTION` | the item, attribute or relation whose question was asked before in the same words | always |
//! | `W_UNANSWERABLE` | a label, attribute or predicate that says nothing: only punctuation, or a word for "unknown" | always |
//! | `W_PROMPT_TOO_LONG` | a caption, an item or a predicate of more than 77 tokens | always |
//! | `W_OPPOSITE_RELATIONS` | the later of two opposite relations of one pair (a left of b, a right of b) | as a note |
//! | `W_ISOLATED_ITEM` | an item in no relation, in a graph that has relations | as a note |
//!
//! Notes are about what real data is full of and what may be meant: isolated items are normal, and annotators see left and
//! right from two sides. They are shown to people and are no findings unless they are asked for.

use std::collections::{HashMap, HashSet};

use petgraph::algo::tarjan_scc;
use petgraph::prelude::DiGraphMap;

use super::{Code, Fault};
use crate::question::{Target, derive};
use crate::scene_graph::SceneGraph;

/// What CLIP's text encoders read, start and end included.
const MAX_TOKENS: usize = 77;
/// Words that stand where something should be said.
const PLACEHOLDERS: [&str; 11] =
    ["unknown", "none", "null", "nil", "nan", "n/a", "na", "undefined", "unspecified", "unlabeled", "todo"];

/// Warnings.
pub fn check(graph: &SceneGraph) -> Vec<Fault> {
    let mut faults = Vec::new();
    too_long(&mut faults, "/caption_ori", &graph.caption);
    unanswerable(graph, &mut faults);
    duplicate_questions(graph, &mut faults);
    faults.extend(contradictions(graph).into_iter().filter(|fault| fault.code == Code::Contradiction));
    long_texts(graph, &mut faults);
    faults
}

/// What is told to whoever asks for it.
pub fn notes(graph: &SceneGraph) -> Vec<Fault> {
    let mut faults = Vec::new();
    isolated(graph, &mut faults);
    faults.extend(contradictions(graph).into_iter().filter(|fault| fault.code == Code::OppositeRelations));
    faults
}

fn warn(faults: &mut Vec<Fault>, code: Code, pointer: String, message: String, suggestion: &'static str) {
    faults.push(Fault { code, pointer, message, suggestion });
}

fn says_nothing(text: &str) -> bool {
    let text = text.trim();
    let mark = |c: char| {
        c.is_ascii_punctuation()
            || matches!(c, '\u{2010}'..='\u{205E}' | '\u{3001}'..='\u{303F}' | '\u{FFFD}')
            || c.is_whitespace()
    };
    // What is empty has a code of its own.
    !text.is_empty() && (text.chars().all(mark) || PLACEHOLDERS.contains(&text.to_lowercase().as_str()))
}

fn unanswerable(graph: &SceneGraph, faults: &mut Vec<Fault>) {
    let mut check = |pointer: String, what: &str, text: &str| {
        if says_nothing(text) {
            let message = format!("nobody can say of a picture whether the {what} `{text}` holds");
            warn(faults, Code::Unanswerable, pointer, message, "say what can be seen, or leave it out");
        }
    };
    for (i, item) in graph.objects().enumerate() {
        check(format!("/items/{i}/label"), "label", &item.label);
        for (k, attribute) in item.attributes.iter().enumerate() {
            check(format!("/items/{i}/attributes/{k}"), "attribute", attribute);
        }
    }
    for (i, (_, relation, _)) in graph.relations().enumerate() {
        check(format!("/relations/{i}/relation"), "predicate", &relation.predicate);
    }
}

fn isolated(graph: &SceneGraph, faults: &mut Vec<Fault>) {
    if graph.num_relations() == 0 {
        return;
    }
    for i in graph.isolated() {
        let message = format!("`{}` is in no relation", graph.item_text(i));
        warn(
            faults,
            Code::IsolatedItem,
            format!("/items/{i}"),
            message,
            "fine if it is meant so; else say how it relates to the others",
        );
    }
}

fn duplicate_questions(graph: &SceneGraph, faults: &mut Vec<Fault>) {
    let questions = derive(graph);
    let mut asked: HashMap<&str, u32> = HashMap::with_capacity(questions.len());
    for question in questions.questions() {
        let earlier = *asked.entry(&question.text).or_insert(question.id);
        if earlier == question.id {
            continue;
        }
        let pointer = match question.target {
            Target::Entity { object } => format!("/items/{object}"),
            Target::Attribute { object, attribute } => format!("/items/{object}/attributes/{attribute}"),
            Target::Relation { relation } => format!("/relations/{relation}"),
        };
        let message = format!("question {} asks the same as question {earlier}: {}", question.id, question.text);
        warn(faults, Code::DuplicateQuestion, pointer, message, "say it once, or tell the items apart");
    }
}

/// An order that a relation puts its ends into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Axis {
    Across,
    Height,
    Depth,
    Inside,
    Size,
}

/// The order that a predicate means, and whether its subject comes after its object in it.
fn order_of(predicate: &str) -> Option<(Axis, bool)> {
    let text = predicate.replace('_', " ").to_lowercase();
    let mut words: Vec<&str> = text.split_whitespace().collect();
    while let Some(first) = words.first()
        && matches!(
            *first,
            "is" | "are" | "to" | "the" | "at" | "positioned" | "located" | "placed" | "directly" | "just"
        )
    {
        words.remove(0);
    }
    if words.len() > 2 && words[..2] == ["on", "the"] {
        words.drain(..2);
    }
    Some(match words.join(" ").as_str() {
        "left of" | "left side of" | "on left of" | "left" | "left from" => (Axis::Across, false),
        "right of" | "right side of" | "on right of" | "right" | "right from" => (Axis::Across, true),
        "above" | "over" | "on top of" | "top of" | "atop" | "on" | "upon" | "higher than" | "sitting on"
        | "standing on" | "lying on" => (Axis::Height, true),
        "below" | "under" | "beneath" | "underneath" | "bottom of" | "on bottom of" | "lower than" => {
            (Axis::Height, false)
        }
        "in front of" | "front of" | "before" => (Axis::Depth, true),
        "behind" | "back of" | "in back of" | "hidden behind" => (Axis::Depth, false),
        "in" | "inside" | "inside of" | "within" | "contained in" => (Axis::Inside, false),
        "containing" | "contains" | "surrounding" | "surrounds" => (Axis::Inside, true),
        "larger than" | "bigger than" | "taller than" => (Axis::Size, true),
        "smaller than" | "shorter than" => (Axis::Size, false),
        _ => return None,
    })
}

fn contradictions(graph: &SceneGraph) -> Vec<Fault> {
    // By axis and unordered pair of items: the first relation, and whether the higher item comes after the lower.
    let mut known: HashMap<(Axis, usize, usize), (usize, bool)> = HashMap::new();
    let mut told: Vec<(usize, Code, String)> = Vec::new();
    let mut orders: HashMap<Axis, DiGraphMap<usize, usize>> = HashMap::new();
    for (i, (subject, relation, object)) in graph.relations().enumerate() {
        let Some((axis, after)) = order_of(&relation.predicate) else { continue };
        let (low, high) = (subject.min(object), subject.max(object));
        let high_after = after == (subject == high);
        let (first, first_after) = *known.entry((axis, low, high)).or_insert((i, high_after));
        if first_after == high_after {
            let (from, to) = if after { (object, subject) } else { (subject, object) };
            orders.entry(axis).or_default().add_edge(from, to, i);
        } else if let Some((other_subject, other, other_object)) = graph.relation(first) {
            let name = |subject: usize, predicate: &str, object: usize| {
                format!("`{} {predicate} {}`", graph.item_text(subject), graph.item_text(object))
            };
            let message = format!(
                "{} cannot hold together with {}",
                name(subject, &relation.predicate, object),
                name(other_subject, &other.predicate, other_object),
            );
            let swapped = other_subject == object;
            told.push((i, if swapped { Code::Contradiction } else { Code::OppositeRelations }, message));
        }
    }
    for order in orders.values() {
        for circle in tarjan_scc(order).into_iter().filter(|circle| circle.len() > 2) {
            let items: HashSet<usize> = circle.iter().copied().collect();
            let inside = order.all_edges().filter(|(from, to, _)| items.contains(from) && items.contains(to));
            if let Some(last) = inside.map(|(.., &relation)| relation).max() {
                let mut names: Vec<String> =
                    circle.iter().take(8).map(|&item| format!("`{}`", graph.item_text(item))).collect();
                names.sort_unstable();
                if circle.len() > names.len() {
                    names.push(format!("{} more", circle.len() - names.len()));
                }
                told.push((
                    last,
                    Code::Contradiction,
                    format!("{} are ordered in a circle, which cannot be drawn", names.join(", ")),
                ));
            }
        }
    }
    told.sort_by_key(|(relation, ..)| *relation);
    told.into_iter()
        .map(|(i, code, message)| {
            Fault::new(code, format!("/relations/{i}"), message, "leave one of the relations out")
        })
        .collect()
}

fn long_texts(graph: &SceneGraph, faults: &mut Vec<Fault>) {
    for i in 0..graph.num_objects() {
        too_long(faults, &format!("/items/{i}"), &graph.item_text(i));
    }
    for (i, (_, relation, _)) in graph.relations().enumerate() {
        too_long(faults, &format!("/relations/{i}/relation"), &relation.predicate);
    }
}

fn too_long(faults: &mut Vec<Fault>, pointer: &str, text: &str) {
    // Each token has at least one byte.
    if text.len() + 2 <= MAX_TOKENS {
        return;
    }
    let tokens = fewest_tokens(text) + 2;
    if tokens > MAX_TOKENS {
        let message = format!("at least {tokens} tokens with start and end; a CLIP text encoder reads {MAX_TOKENS}");
        warn(
            faults,
            Code::PromptTooLong,
            pointer.to_owned(),
            message,
            "shorten the text; what is beyond the limit is not drawn",
        );
    }
}

/// Tokens that a text has at least under CLIP's byte-pair encoding, whatever its vocabulary: it cuts into runs of letters,
/// single digits and runs of other marks first, and never joins across a cut.
fn fewest_tokens(text: &str) -> usize {
    #[derive(PartialEq, Clone, Copy)]
    enum Kind {
        Blank,
        Letter,
        Digit,
        Mark,
    }
    let mut before = Kind::Blank;
    let mut count = 0;
    for c in text.chars() {
        let kind = match c {
            _ if c.is_whitespace() => Kind::Blank,
            _ if c.is_alphabetic() => Kind::Letter,
            _ if c.is_numeric() => Kind::Digit,
            _ => Kind::Mark,
        };
        count += usize::from(kind != Kind::Blank && (kind != before || kind == Kind::Digit));
        before = kind;
    }
    // "'s" and its like are one token, counted twice above.
    let contracted = |rest: &&str| {
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        ["s", "t", "re", "ve", "m", "ll", "d"].contains(&rest[..letters].to_lowercase().as_str())
    };
    count - text.split('\'').skip(1).filter(contracted).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Warnings, then notes.
    fn found(items: &[(&str, &[&str])], relations: &[(usize, &str, usize)], caption: &str) -> Vec<String> {
        let items: Vec<Value> = items
            .iter()
            .enumerate()
            .map(|(i, (label, attributes))| json!({"item_id": i, "label": label, "attributes": attributes}))
            .collect();
        let relations: Vec<Value> =
            relations.iter().map(|(s, p, o)| json!({"item1": s, "relation": p, "item2": o})).collect();
        let record = json!({"img_id": "1", "name": "", "caption_ori": caption, "items": items, "relations": relations});
        let graph = SceneGraph::from_laion_sg(&record).unwrap();
        check(&graph)
            .into_iter()
            .chain(notes(&graph))
            .map(|fault| format!("{} {}", fault.code, fault.pointer))
            .collect()
    }

    #[test]
    fn relations_that_exclude_each_other() {
        let items: [(&str, &[&str]); 3] = [("dog", &[]), ("cat", &[]), ("cow", &[])];
        let one = |relations: &[(usize, &str, usize)]| found(&items, relations, "");
        let all = [(0, "near", 1), (1, "near", 2)];
        let with = |more: &[(usize, &str, usize)]| one(&[&all, more].concat());
        let excluded = ["W_CONTRADICTION /relations/3"];
        for pair in [
            [(0, "left of", 1), (1, "left of", 0)],
            [(0, "on the left of", 1), (1, "to the left of", 0)],
            [(0, "ON", 1), (1, "is on", 0)],
            [(0, "in front of", 1), (1, "in_front_of", 0)],
            [(0, "inside", 1), (1, "in", 0)],
        ] {
            assert_eq!(with(&pair), excluded, "{pair:?}");
        }
        for pair in [
            [(0, "on the left of", 1), (0, "to the right of", 1)],
            [(0, "above", 1), (0, "under", 1)],
            [(0, "larger than", 1), (0, "smaller than", 1)],
        ] {
            assert_eq!(with(&pair), ["W_OPPOSITE_RELATIONS /relations/3"], "{pair:?}");
        }
        for pair in [
            [(0, "left of", 1), (1, "right of", 0)],
            [(0, "above", 1), (1, "below", 0)],
            [(0, "left of", 1), (0, "above", 1)],
            [(0, "next to", 1), (1, "next to", 0)],
            [(0, "behind", 1), (0, "behind", 2)],
        ] {
            assert_eq!(with(&pair), [""; 0], "{pair:?}");
        }
        let circle = one(&[(0, "left of", 1), (1, "left of", 2), (0, "right of", 2)]);
        assert_eq!(circle, ["W_CONTRADICTION /relations/2"]);
    }

    #[test]
    fn items_alone_and_questions_twice() {
        assert_eq!(
            found(&[("dog", &[]), ("cat", &[]), ("cow", &[])], &[(0, "on", 1)], ""),
            ["W_ISOLATED_ITEM /items/2"]
        );
        assert_eq!(found(&[("dog", &[]), ("cat", &[])], &[], ""), [""; 0]);
        assert_eq!(
            found(
                &[("dog", &["made of wood", "wood"]), ("cat", &[])],
                &[(0, "sitting_on", 1), (0, "is sitting on", 1)],
                ""
            ),
            ["W_DUP_QUESTION /items/0/attributes/1", "W_DUP_QUESTION /relations/1"]
        );
        assert_eq!(found(&[("dog", &["brown"]), ("dog", &["brown"])], &[(0, "on", 1)], ""), [""; 0]);
    }

    #[test]
    fn words_that_say_nothing() {
        assert_eq!(
            found(&[("??", &["unknown", "…"]), ("狗", &["🏳️‍🌈", "#1"])], &[(0, "--", 1)], ""),
            [
                "W_UNANSWERABLE /items/0/label",
                "W_UNANSWERABLE /items/0/attributes/0",
                "W_UNANSWERABLE /items/0/attributes/1",
                "W_UNANSWERABLE /relations/0/relation"
            ]
        );
    }

    #[test]
    fn texts_that_an_encoder_cuts() {
        let words = |count: usize| vec!["word"; count].join(" ");
        assert_eq!(found(&[("dog", &[])], &[], &words(75)), [""; 0]);
        assert_eq!(found(&[("dog", &[])], &[], &words(76)), ["W_PROMPT_TOO_LONG /caption_ori"]);
        assert_eq!(found(&[("dog", &[&words(80)])], &[], ""), ["W_PROMPT_TOO_LONG /items/0"]);
        assert_eq!(fewest_tokens("it's 12 o'clock!!"), 8);
        assert_eq!(fewest_tokens("''s 's"), 2);
    }
}
