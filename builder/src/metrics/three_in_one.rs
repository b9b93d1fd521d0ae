//! T2I-CompBench's score of complex prompts: the mean of the parts that apply.
//!
//! Source: Karine-Huang/T2I-CompBench at 1b70949, `3_in_1_eval/3_in_1.py`. Which parts apply is the prompt's subset:
//! attribute binding always, the plane's relations, actions (CLIPScore), or both. [`Mode::Reference`] takes attribute binding
//! as its script writes it, in 4 decimals, and cannot do without a part; [`Mode::Corrected`] takes the parts that are there.

use std::collections::HashMap;
use std::str::FromStr;

use super::Mode;

/// What a complex prompt tests beside attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subset {
    /// Relations of the plane.
    Spatial,
    /// Relations that only CLIP is asked about.
    Action,
    /// Either.
    Both,
}

impl Subset {
    /// The word in files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spatial => "spatial",
            Self::Action => "action",
            Self::Both => "spatial+action",
        }
    }
}

impl FromStr for Subset {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "spatial" => Ok(Self::Spatial),
            "action" => Ok(Self::Action),
            "spatial+action" => Ok(Self::Both),
            _ => Err(format!("is spatial, action or spatial+action, not {word:?}")),
        }
    }
}

/// Subsets by prompt.
#[derive(Clone, Debug, Default)]
pub struct Subsets(HashMap<String, Subset>);

impl Subsets {
    /// Says what a prompt is of; the spatial list is looked into before that of actions.
    pub fn insert(&mut self, prompt: &str, subset: Subset) {
        let known = self.0.entry(key(prompt)).or_insert(subset);
        *known = (*known).min(subset);
    }

    /// What a prompt is of; one of neither list is of both.
    pub fn of(&self, prompt: &str) -> Subset {
        self.0.get(&key(prompt)).copied().unwrap_or(Subset::Both)
    }
}

/// A prompt up to its first full stop, in small letters.
fn key(prompt: &str) -> String {
    prompt.trim_end_matches(['\r', '\n']).split('.').next().unwrap_or_default().to_lowercase()
}

/// The parts of one picture, each 0 ..= 1 but for `action`, a cosine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Attribute binding.
    pub attribute: Option<f64>,
    /// The score in the plane.
    pub spatial: Option<f64>,
    /// CLIPScore.
    pub action: Option<f64>,
}

/// A score, and what it is the mean of.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreeInOne {
    /// The mean.
    pub score: f64,
    /// The parts that apply, by name.
    pub parts: Vec<(&'static str, f64)>,
}

/// The score of one picture.
///
/// # Errors
/// A part that applies is lacking ([`Mode::Reference`]), or all of them are.
pub fn score(parts: Parts, subset: Subset, mode: Mode) -> Result<ThreeInOne, String> {
    let rounded = |value: f64| if mode == Mode::Reference { (value * 1e4).round_ties_even() / 1e4 } else { value };
    let applying = [
        ("attribute", parts.attribute.map(rounded), true),
        ("spatial", parts.spatial, subset != Subset::Action),
        ("action", parts.action, subset != Subset::Spatial),
    ];
    let mut found = Vec::new();
    for (name, part, _) in applying.into_iter().filter(|(_, _, applies)| *applies) {
        match part {
            Some(part) => found.push((name, part)),
            None if mode == Mode::Reference => return Err(format!("{name}: there is no score")),
            None => {}
        }
    }
    if found.is_empty() {
        return Err("none of its parts has a score".to_owned());
    }
    let score = found.iter().map(|(_, part)| part).sum::<f64>() / found.len() as f64;
    Ok(ThreeInOne { score, parts: found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example() {
        let parts = Parts { attribute: Some(0.600_04), spatial: Some(0.8), action: Some(0.3) };
        for (subset, expected) in [(Subset::Spatial, 0.7), (Subset::Action, 0.45), (Subset::Both, 1.7 / 3.0)] {
            let found = score(parts, subset, Mode::Reference).unwrap();
            assert!((found.score - expected).abs() < 1e-12, "{found:?}");
        }
        assert!((score(parts, Subset::Spatial, Mode::Corrected).unwrap().score - 0.700_02).abs() < 1e-12);
    }

    #[test]
    fn a_part_that_is_not_there_stops_the_script_alone() {
        let parts = Parts { attribute: Some(0.5), spatial: None, action: Some(0.25) };
        assert_eq!(score(parts, Subset::Spatial, Mode::Reference), Err("spatial: there is no score".to_owned()));
        let found = score(parts, Subset::Both, Mode::Corrected).unwrap();
        assert_eq!((found.score, found.parts), (0.375, vec![("attribute", 0.5), ("action", 0.25)]));
        assert!(score(Parts::default(), Subset::Both, Mode::Corrected).is_err());
    }

    #[test]
    fn a_prompt_is_known_up_to_its_full_stop() {
        let mut subsets = Subsets::default();
        subsets.insert("The red hat was on the rack.\r\n", Subset::Action);
        subsets.insert("the red hat was on the rack", Subset::Spatial);
        assert_eq!(subsets.of("The red hat was on the rack. It was"), Subset::Spatial);
        assert_eq!(subsets.of("another"), Subset::Both);
    }
}
