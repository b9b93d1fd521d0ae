//! DPG-Bench's categories of questions, and by which words an attribute or a predicate falls into one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A category of the second level; the first level is the word before the dash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Category {
    /// A thing.
    #[serde(rename = "entity - whole")]
    EntityWhole,
    /// Its colour.
    #[serde(rename = "attribute - color")]
    AttributeColor,
    /// Its size.
    #[serde(rename = "attribute - size")]
    AttributeSize,
    /// Its shape.
    #[serde(rename = "attribute - shape")]
    AttributeShape,
    /// Its material or surface.
    #[serde(rename = "attribute - texture")]
    AttributeTexture,
    /// Its state, and all else that it may be.
    #[serde(rename = "attribute - other")]
    AttributeOther,
    /// How many there are.
    #[serde(rename = "other - count")]
    OtherCount,
    /// Where one thing is from another.
    #[serde(rename = "relation - spatial")]
    RelationSpatial,
    /// What one thing does to another.
    #[serde(rename = "relation - non-spatial")]
    RelationNonSpatial,
}

const COLORS: &[&str] = &[
    "amber",
    "aqua",
    "beige",
    "black",
    "blond",
    "blonde",
    "blue",
    "bronze",
    "brown",
    "brunette",
    "burgundy",
    "colored",
    "colorful",
    "copper",
    "coral",
    "cream",
    "crimson",
    "cyan",
    "dark",
    "gold",
    "golden",
    "gray",
    "green",
    "grey",
    "indigo",
    "ivory",
    "khaki",
    "lavender",
    "light",
    "lime",
    "magenta",
    "maroon",
    "mauve",
    "multicolored",
    "navy",
    "olive",
    "orange",
    "peach",
    "pink",
    "purple",
    "red",
    "rose",
    "rust",
    "scarlet",
    "silver",
    "tan",
    "teal",
    "turquoise",
    "violet",
    "white",
    "yellow",
];
const SIZES: &[&str] = &[
    "big",
    "enormous",
    "giant",
    "gigantic",
    "high",
    "huge",
    "large",
    "little",
    "long",
    "low",
    "massive",
    "medium",
    "miniature",
    "narrow",
    "short",
    "small",
    "tall",
    "thick",
    "thin",
    "tiny",
    "wide",
];
const SHAPES: &[&str] = &[
    "angular",
    "arched",
    "bent",
    "circular",
    "conical",
    "cubic",
    "curly",
    "curved",
    "cylindrical",
    "diagonal",
    "domed",
    "flat",
    "hexagonal",
    "octagonal",
    "oval",
    "pointed",
    "pointy",
    "rectangular",
    "round",
    "rounded",
    "spherical",
    "spiral",
    "square",
    "straight",
    "triangular",
    "wavy",
];
/// Nouns: "made of brick". Their adjectives follow in `TEXTURES`.
const MATERIALS: &[&str] = &[
    "aluminum",
    "bamboo",
    "brass",
    "brick",
    "cardboard",
    "ceramic",
    "chrome",
    "cement",
    "clay",
    "cloth",
    "concrete",
    "cotton",
    "denim",
    "fabric",
    "felt",
    "foam",
    "fur",
    "glass",
    "granite",
    "gravel",
    "iron",
    "lace",
    "leather",
    "linen",
    "marble",
    "metal",
    "nylon",
    "paper",
    "plaster",
    "plastic",
    "porcelain",
    "rubber",
    "silk",
    "steel",
    "stone",
    "straw",
    "stucco",
    "tile",
    "velvet",
    "vinyl",
    "wicker",
    "wire",
    "wood",
    "wool",
];
const TEXTURES: &[&str] = &[
    "bumpy",
    "checkered",
    "cobblestone",
    "floral",
    "fluffy",
    "furry",
    "fuzzy",
    "glossy",
    "grassy",
    "hairy",
    "metallic",
    "paisley",
    "patterned",
    "paved",
    "plaid",
    "polished",
    "rocky",
    "rough",
    "rusty",
    "sandy",
    "shiny",
    "smooth",
    "soft",
    "speckled",
    "spotted",
    "striped",
    "textured",
    "tiled",
    "wooden",
    "woolen",
    "woven",
];
const NUMBERS: &[&str] =
    &["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
/// Words that place one thing from another, wherever they stand in a predicate.
const PLACES: &[&str] = &[
    "above",
    "across",
    "adjacent",
    "against",
    "along",
    "alongside",
    "among",
    "around",
    "at",
    "atop",
    "behind",
    "below",
    "beneath",
    "beside",
    "between",
    "beyond",
    "bottom",
    "by",
    "close",
    "far",
    "front",
    "in",
    "inside",
    "into",
    "left",
    "near",
    "next",
    "off",
    "on",
    "onto",
    "opposite",
    "outside",
    "over",
    "past",
    "right",
    "surrounding",
    "through",
    "top",
    "toward",
    "towards",
    "under",
    "underneath",
    "upon",
    "within",
];
/// First words that need a preposition without placing anything.
const POINTED: &[&str] = &[
    "look",
    "looking",
    "looks",
    "smile",
    "smiles",
    "smiling",
    "stare",
    "staring",
    "stares",
    "point",
    "pointing",
    "points",
    "interested",
    "dressed",
    "talk",
    "talking",
    "talks",
    "turned",
    "take",
    "taking",
];

impl Category {
    /// The name in DPG-Bench's files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EntityWhole => "entity - whole",
            Self::AttributeColor => "attribute - color",
            Self::AttributeSize => "attribute - size",
            Self::AttributeShape => "attribute - shape",
            Self::AttributeTexture => "attribute - texture",
            Self::AttributeOther => "attribute - other",
            Self::OtherCount => "other - count",
            Self::RelationSpatial => "relation - spatial",
            Self::RelationNonSpatial => "relation - non-spatial",
        }
    }

    /// The category of the first level.
    pub fn broad(self) -> &'static str {
        self.as_str().split(" - ").next().unwrap_or_default()
    }

    /// Where an attribute belongs; the last word that says anything decides ("light brown", "brown striped").
    pub(crate) fn of_attribute(words: &str) -> Self {
        if count(words).is_some() {
            return Self::OtherCount;
        }
        let lists = [
            (COLORS, Self::AttributeColor),
            (SIZES, Self::AttributeSize),
            (SHAPES, Self::AttributeShape),
            (MATERIALS, Self::AttributeTexture),
            (TEXTURES, Self::AttributeTexture),
        ];
        if words.starts_with("made of ") {
            return Self::AttributeTexture;
        }
        let parts = words.split([' ', '-']).rev();
        parts
            .filter_map(|word| lists.iter().find(|(list, _)| list.contains(&word)))
            .map(|(_, category)| *category)
            .next()
            .unwrap_or(Self::AttributeOther)
    }

    /// Whether a predicate places its subject or says what it does.
    pub(super) fn of_predicate(predicate: &str) -> Self {
        let mut words = predicate.split(' ').peekable();
        if words.peek().is_some_and(|first| POINTED.contains(first)) {
            return Self::RelationNonSpatial;
        }
        if words.any(|word| PLACES.contains(&word)) { Self::RelationSpatial } else { Self::RelationNonSpatial }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number that an attribute is, in words where there are words for it.
pub(super) fn count(words: &str) -> Option<String> {
    if let Ok(number) = words.parse::<u32>() {
        return Some(NUMBERS.get(number as usize).map_or_else(|| number.to_string(), |&word| word.to_owned()));
    }
    (words != "zero" && NUMBERS.contains(&words)).then(|| words.to_owned())
}

/// The number that an attribute is.
pub(crate) fn number(words: &str) -> Option<u32> {
    let words = words.trim().to_lowercase();
    let of_word = || NUMBERS.iter().position(|word| *word == words).and_then(|number| u32::try_from(number).ok());
    words.parse().ok().or_else(of_word).filter(|number| *number > 0)
}

/// Whether the attribute is a noun that names what a thing is made of.
pub(super) fn is_material(words: &str) -> bool {
    MATERIALS.contains(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_predicates_by_their_words() {
        for (words, category) in [
            ("red", Category::AttributeColor),
            ("light brown", Category::AttributeColor),
            ("brown striped", Category::AttributeTexture),
            ("very large", Category::AttributeSize),
            ("round", Category::AttributeShape),
            ("brick", Category::AttributeTexture),
            ("parked", Category::AttributeOther),
            ("3", Category::OtherCount),
            ("two", Category::OtherCount),
        ] {
            assert_eq!(Category::of_attribute(words), category, "{words}");
        }
        for (predicate, category) in [
            ("left of", Category::RelationSpatial),
            ("sitting on", Category::RelationSpatial),
            ("in front of", Category::RelationSpatial),
            ("wearing", Category::RelationNonSpatial),
            ("looking at", Category::RelationNonSpatial),
            ("has", Category::RelationNonSpatial),
        ] {
            assert_eq!(Category::of_predicate(predicate), category, "{predicate}");
        }
        assert_eq!(Category::RelationNonSpatial.broad(), "relation");
    }
}
