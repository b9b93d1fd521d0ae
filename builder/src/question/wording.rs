//! Questions in plain English, also for the labels and predicates of real data: plurals, things without number,
//! underscores, capitals, verbs in any form, several items of one name.

use super::category::{self, Category};
use crate::scene_graph::SceneGraph;
use std::collections::HashMap;

/// Last words that end in s and are one thing all the same.
const SINGULAR: &[&str] = &["bus", "gas", "lens", "canvas", "atlas", "christmas", "tennis", "chess", "news", "series"];
/// Last words that are several things without an s.
const PLURAL: &[&str] = &[
    "people", "men", "women", "children", "feet", "teeth", "mice", "geese", "cattle", "police", "leaves", "dice",
    "oxen",
];
/// Last words without number.
const MASS: &[&str] = &[
    "air",
    "bacon",
    "beer",
    "bread",
    "broccoli",
    "butter",
    "cheese",
    "clothing",
    "coffee",
    "concrete",
    "corn",
    "dirt",
    "dust",
    "electricity",
    "equipment",
    "fog",
    "foliage",
    "food",
    "fruit",
    "fur",
    "furniture",
    "garbage",
    "graffiti",
    "grass",
    "gravel",
    "hair",
    "ice",
    "jewelry",
    "juice",
    "lettuce",
    "light",
    "luggage",
    "metal",
    "milk",
    "moss",
    "mud",
    "paint",
    "pavement",
    "rain",
    "rice",
    "sand",
    "shade",
    "smoke",
    "snow",
    "soil",
    "soup",
    "steam",
    "sunlight",
    "tea",
    "trash",
    "vegetation",
    "water",
    "wine",
    "wood",
    "writing",
    "writings",
];
/// Words a predicate starts with when it needs only "is" before it.
const PREPOSITIONS: &[&str] = &[
    "about",
    "above",
    "across",
    "adjacent",
    "after",
    "against",
    "along",
    "alongside",
    "amid",
    "among",
    "around",
    "at",
    "atop",
    "attached",
    "before",
    "behind",
    "below",
    "beneath",
    "beside",
    "between",
    "beyond",
    "by",
    "close",
    "down",
    "far",
    "for",
    "from",
    "full",
    "in",
    "inside",
    "into",
    "like",
    "near",
    "nearby",
    "next",
    "off",
    "on",
    "onto",
    "opposite",
    "out",
    "outside",
    "over",
    "part",
    "past",
    "similar",
    "through",
    "to",
    "toward",
    "towards",
    "under",
    "underneath",
    "up",
    "upon",
    "with",
    "within",
    "without",
];
/// Participles that end in neither -ing nor -ed.
const PARTICIPLES: &[&str] = &[
    "bent",
    "bound",
    "built",
    "caught",
    "cut",
    "drawn",
    "driven",
    "eaten",
    "flown",
    "forbidden",
    "grown",
    "held",
    "hidden",
    "hung",
    "kept",
    "laid",
    "lit",
    "made",
    "seen",
    "set",
    "shown",
    "spread",
    "stuck",
    "surrounded",
    "taken",
    "thrown",
    "tied",
    "torn",
    "woven",
    "worn",
    "written",
];
/// Verbs in -ed or -ing, or with an s that is their own.
const BASE_VERBS: &[&str] = &[
    "bring", "feed", "need", "shed", "sing", "swing", "fling", "sting", "ring", "pass", "cross", "press", "kiss",
    "toss", "miss", "dress", "focus", "guess",
];
const ORDINALS: &[&str] = &[
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
];

/// Trimmed, with single blanks for underscores and white space; all-capital words in small letters.
pub(super) fn plain(text: &str) -> String {
    let words: Vec<String> = text
        .split(|c: char| c.is_whitespace() || c == '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let joined = words.join(" ");
    let capitals = joined.chars().any(char::is_uppercase) && !joined.chars().any(char::is_lowercase);
    if capitals { joined.to_lowercase() } else { joined }
}

/// How the things of a graph are called in its questions.
pub(super) struct Names {
    things: Vec<Thing>,
}

struct Thing {
    label: String,
    number: Number,
    /// How many things of the same label come before it, and how many there are in all.
    rank: usize,
    count: usize,
    /// "red circle", if that names this thing alone.
    distinct: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    One,
    Many,
    Mass,
}

impl Names {
    pub(super) fn of(graph: &SceneGraph) -> Self {
        let texts: Vec<String> = graph.objects().map(|object| plain(&object.text())).collect();
        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for (object, text) in graph.objects().zip(&texts) {
            *counts.entry(plain(&object.label)).or_default() += 1;
            *uses.entry(text).or_default() += 1;
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        let things = graph
            .objects()
            .zip(&texts)
            .map(|(object, text)| {
                let label = plain(&object.label);
                let rank = seen.entry(label.clone()).or_default();
                *rank += 1;
                Thing {
                    rank: *rank - 1,
                    count: counts[&label],
                    number: number(&label),
                    distinct: (uses[text.as_str()] == 1 && !object.attributes.is_empty()).then(|| text.clone()),
                    label,
                }
            })
            .collect();
        Self { things }
    }

    /// "Is there a circle?", "Are there glasses?", "Is there a second man?".
    pub(super) fn entity_question(&self, object: usize) -> String {
        let Thing { label, number, rank, .. } = &self.things[object];
        match (number, rank) {
            (Number::One, 0) => format!("Is there {} {label}?", article(label)),
            (Number::One, rank) => format!("Is there {} {} {label}?", article(&ordinal(*rank)), ordinal(*rank)),
            (Number::Many, 0) => format!("Are there {label}?"),
            (Number::Mass, 0) => format!("Is there {label}?"),
            (Number::Many, rank) => format!("Is there a {} group of {label}?", ordinal(*rank)),
            (Number::Mass, rank) => format!("Is there {label} in a {} place?", ordinal(*rank)),
        }
    }

    /// "Is the circle red?", "Are there two glasses?", "Are there two dogs?", "Is the wall made of brick?".
    pub(super) fn attribute_question(&self, object: usize, words: &str, category: Category) -> String {
        let thing = &self.things[object];
        let material = if category::is_material(words) { "made of " } else { "" };
        match category::count(words) {
            Some(number) if category == Category::OtherCount && thing.number != Number::Mass => {
                let one = number == "one" && thing.number == Number::One;
                let (be, label) = if one { ("Is", thing.label.clone()) } else { ("Are", thing.several()) };
                match thing.count {
                    1 => format!("{be} there {number} {label}?"),
                    _ => format!("{be} there {number} {label} in the {} group?", ordinal(thing.rank)),
                }
            }
            // The attribute itself must not help to name the thing.
            _ => format!("{} {} {material}{words}?", thing.be(), thing.by_rank()),
        }
    }

    /// "Is the red circle to the left of the blue one?", "Does the man wear the hat?".
    pub(super) fn relation_question(&self, subject: usize, predicate: &str, object: usize) -> String {
        let (subject, object) = (&self.things[subject], &self.things[object]);
        match phrase(predicate) {
            Phrase::Being(words) => {
                format!("{} {} {words} {}?", subject.be(), subject.by_attributes(), object.by_attributes())
            }
            Phrase::Doing(words) => {
                let verb = if subject.number == Number::Many { "Do" } else { "Does" };
                format!("{verb} {} {words} {}?", subject.by_attributes(), object.by_attributes())
            }
        }
    }
}

impl Thing {
    fn be(&self) -> &'static str {
        if self.number == Number::Many { "Are" } else { "Is" }
    }

    /// "dogs", "glasses", "teddy bears".
    fn several(&self) -> String {
        if self.number == Number::Many { self.label.clone() } else { pluralizer::pluralize(&self.label, 2, false) }
    }

    /// "the circle", "the second circle".
    fn by_rank(&self) -> String {
        match self.count {
            1 => format!("the {}", self.label),
            _ => format!("the {} {}", ordinal(self.rank), self.label),
        }
    }

    /// "the circle"; among several, "the red circle" or "the second circle".
    fn by_attributes(&self) -> String {
        match &self.distinct {
            Some(text) if self.count > 1 => format!("the {text}"),
            _ => self.by_rank(),
        }
    }
}

/// What a predicate needs before its subject: "is", or "does" and the verb's base form.
enum Phrase {
    Being(String),
    Doing(String),
}

fn phrase(predicate: &str) -> Phrase {
    let predicate = predicate.to_lowercase();
    let predicate =
        ["is ", "are ", "was ", "were "].iter().find_map(|be| predicate.strip_prefix(be)).unwrap_or(&predicate);
    let (first, rest) = predicate.split_once(' ').unwrap_or((predicate, ""));
    let ends = |suffix: &str| first.len() > suffix.len() + 1 && first.ends_with(suffix);
    match first {
        "of" if rest.is_empty() => Phrase::Being("part of".to_owned()),
        "left" | "right" => {
            let rest = if rest.is_empty() { "of" } else { rest };
            Phrase::Being(format!("to the {first} {rest}"))
        }
        "front" | "top" | "bottom" | "back" | "side" => {
            Phrase::Being(format!("at the {first} {}", if rest.is_empty() { "of" } else { rest }))
        }
        "have" | "has" | "had" | "having" => Phrase::Doing(format!("have {rest}").trim_end().to_owned()),
        _ if BASE_VERBS.contains(&first) => Phrase::Doing(predicate.to_owned()),
        _ if PREPOSITIONS.contains(&first) || PARTICIPLES.contains(&first) || ends("ing") || ends("ed") => {
            Phrase::Being(predicate.to_owned())
        }
        _ => Phrase::Doing(format!("{} {rest}", base_form(first)).trim_end().to_owned()),
    }
}

/// "wears" → "wear", "carries" → "carry", "watches" → "watch"; other words as they are.
fn base_form(verb: &str) -> String {
    if BASE_VERBS.contains(&verb) || verb.ends_with("ss") || verb.len() < 4 {
        return verb.to_owned();
    }
    if let Some(stem) = verb.strip_suffix("ies") {
        return format!("{stem}y");
    }
    if let Some(stem) = verb.strip_suffix("es")
        && ["sh", "ch", "x", "ss", "zz", "o"].iter().any(|end| stem.ends_with(end))
    {
        return stem.to_owned();
    }
    verb.strip_suffix('s').unwrap_or(verb).to_owned()
}

fn number(label: &str) -> Number {
    let last = label.rsplit(' ').next().unwrap_or_default().to_lowercase();
    let last = last.as_str();
    if MASS.contains(&last) {
        Number::Mass
    } else if PLURAL.contains(&last) {
        Number::Many
    } else if SINGULAR.contains(&last)
        || !last.ends_with('s')
        || ["ss", "us", "is"].iter().any(|end| last.ends_with(end))
    {
        Number::One
    } else {
        Number::Many
    }
}

fn article(words: &str) -> &'static str {
    let lower = words.to_lowercase();
    let starts = |list: &[&str]| list.iter().any(|head| lower.starts_with(head));
    let consonant_sound = starts(&["uni", "use", "eu", "one", "ukulele", "utensil"]);
    let vowel_sound = starts(&["hour", "honest", "heir"]);
    if vowel_sound || (starts(&["a", "e", "i", "o", "u"]) && !consonant_sound) { "an" } else { "a" }
}

/// "second" for rank 1.
fn ordinal(rank: usize) -> String {
    ORDINALS.get(rank).map_or_else(
        || {
            let number = rank + 1;
            let suffix = match (number % 10, number % 100) {
                (_, 11..=13) => "th",
                (1, _) => "st",
                (2, _) => "nd",
                (3, _) => "rd",
                _ => "th",
            };
            format!("{number}{suffix}")
        },
        |&word| word.to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_words() {
        assert_eq!(plain(" made__of "), "made of");
        assert_eq!(plain("ON"), "on");
        assert_eq!(plain("US flag"), "US flag");
        assert_eq!(["apple", "unicorn", "hour", "utensil", "umbrella"].map(article), ["an", "a", "an", "a", "an"]);
        assert_eq!([0, 11, 12, 20, 21, 110].map(ordinal), ["first", "twelfth", "13th", "21st", "22nd", "111th"]);
        assert_eq!(
            ["wears", "carries", "watches", "goes", "passes", "cover", "has"].map(base_form),
            ["wear", "carry", "watch", "go", "pass", "cover", "has"]
        );
    }
}
