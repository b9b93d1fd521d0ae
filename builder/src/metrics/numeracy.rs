//! T2I-CompBench's numeracy score: are there as many of each thing as the prompt says.
//!
//! Source: Karine-Huang/T2I-CompBench at 1b70949, `UniDet_eval/numeracy_eval.py`. What [`Mode::Corrected`] does otherwise:
//! number words in any case; a singular after a number above one is that many; a label stands for a name that it holds as a
//! word, not as a piece of one ("phone" takes "mobile phone", not "saxophone").

use super::Mode;
use super::spatial::Detection;

/// Share of overlap above which two boxes of one label are one thing.
const SAME: f64 = 0.9;
const NUMBERS: [(&str, u32); 10] = [
    ("a", 1),
    ("an", 1),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
];
/// What the detector calls by another name; `telivision` is spelt as in the script.
const RENAMES: [(&str, &str); 8] = [
    ("boy", "person"),
    ("girl", "person"),
    ("man", "person"),
    ("woman", "person"),
    ("ship", "boat"),
    ("telivision", "tv"),
    ("goldfish", "fish"),
    ("painting", "picture"),
];

/// A word and its plural.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noun {
    /// "knife"
    pub singular: String,
    /// "knives"
    pub plural: String,
}

/// So many of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The vocabulary's singular.
    pub object: String,
    /// How many.
    pub count: u32,
}

/// A labelled box.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// The detector's word.
    pub label: String,
    /// Where and how sure.
    pub detection: Detection,
}

/// Why there is no score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumeracyError {
    /// The published script fails here.
    #[error("the prompt says `{number} {noun}`: a singular after a number above one")]
    Singular {
        /// The number's word.
        number: String,
        /// The word after it.
        noun: String,
    },
    /// The score would be a mean over nothing.
    #[error("the prompt names no object of the vocabulary with a number")]
    NoObject,
}

/// What a prompt asks for: each number word with the noun after it.
///
/// # Errors
/// [`NumeracyError::Singular`] in [`Mode::Reference`].
pub fn parse_prompt(prompt: &str, vocabulary: &[Noun], mode: Mode) -> Result<Vec<Wanted>, NumeracyError> {
    let tokens = tokens(prompt);
    let singular = |word: &str| vocabulary.iter().find(|noun| noun.singular == word);
    let plural = |word: &str| vocabulary.iter().find(|noun| noun.plural == word);
    let mut wanted = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let token = match mode {
            Mode::Reference => token.clone(),
            Mode::Corrected => token.to_lowercase(),
        };
        let Some(&(number, value)) = NUMBERS.iter().find(|(word, _)| *word == token) else { continue };
        let fold = |word: &String| if mode == Mode::Corrected { word.to_lowercase() } else { word.clone() };
        if i + 2 < tokens.len() {
            let two = format!("{} {}", fold(&tokens[i + 1]), fold(&tokens[i + 2]));
            if singular(&two).is_some() || plural(&two).is_some() {
                match plural(&two).filter(|_| value > 1) {
                    Some(noun) => wanted.push(Wanted { object: noun.singular.clone(), count: value }),
                    None => wanted.push(Wanted { object: two, count: 1 }),
                }
                continue;
            }
        }
        let Some(next) = tokens.get(i + 1).map(fold) else { continue };
        match (singular(&next), plural(&next)) {
            (Some(noun), _) if value == 1 => wanted.push(Wanted { object: noun.singular.clone(), count: 1 }),
            (_, Some(noun)) => wanted.push(Wanted { object: noun.singular.clone(), count: value }),
            (Some(noun), None) if mode == Mode::Corrected => {
                wanted.push(Wanted { object: noun.singular.clone(), count: value });
            }
            (Some(_), None) => return Err(NumeracyError::Singular { number: number.to_owned(), noun: next }),
            (None, None) => {}
        }
    }
    Ok(wanted)
}

/// Words and single marks.
fn tokens(prompt: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for c in prompt.chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    tokens
}

/// The score of what was detected, in descending confidence, against what was wanted: half for each thing that is there,
/// half for its number.
///
/// # Errors
/// Nothing was wanted.
pub fn score(wanted: &[Wanted], detected: &[Labelled], mode: Mode) -> Result<f64, NumeracyError> {
    if wanted.is_empty() {
        return Err(NumeracyError::NoObject);
    }
    let mut labels = distinct(detected);
    let weight = 1.0 / wanted.len() as f64;
    let mut score = 0.0;
    for one in wanted {
        let name = RENAMES.iter().find(|(from, _)| *from == one.object).map_or(one.object.as_str(), |(_, to)| to);
        if !labels.iter().any(|label| label == name) {
            for label in labels.iter_mut().filter(|label| stands_for(label, name, mode)) {
                name.clone_into(label);
            }
        }
        let count = labels.iter().filter(|label| *label == name).count();
        if count > 0 {
            score += weight * 0.5;
            if count == one.count as usize {
                score += weight * 0.5;
            }
        }
    }
    Ok(score)
}

fn stands_for(label: &str, name: &str, mode: Mode) -> bool {
    match mode {
        Mode::Reference => label.contains(name),
        Mode::Corrected => {
            let words = |text: &str| -> Vec<String> {
                text.split(|c: char| !c.is_alphanumeric())
                    .filter(|word| !word.is_empty())
                    .map(str::to_lowercase)
                    .collect()
            };
            let (label, name) = (words(label), words(name));
            !name.is_empty() && label.windows(name.len()).any(|window| window == name.as_slice())
        }
    }
}

/// Labels of the boxes that are left when each thing is counted once.
fn distinct(detected: &[Labelled]) -> Vec<String> {
    let mut kept: Vec<&Labelled> = Vec::new();
    for one in detected {
        if !kept.iter().any(|other| other.label == one.label && same(&other.detection, &one.detection)) {
            kept.push(one);
        }
    }
    kept.into_iter().map(|one| one.label.clone()).collect()
}

/// Whether two boxes of one label are one thing; sides are counted in whole pixels, as the script does (+ 1).
fn same(a: &Detection, b: &Detection) -> bool {
    let [ax1, ay1, ax2, ay2] = a.bounds;
    let [bx1, by1, bx2, by2] = b.bounds;
    let side = |from: f64, to: f64| (to - from + 1.0).max(0.0);
    let inner = side(ax1.max(bx1), ax2.min(bx2)) * side(ay1.max(by1), ay2.min(by2));
    let (of_a, of_b) = (side(ax1, ax2) * side(ay1, ay2), side(bx1, bx2) * side(by1, by2));
    inner / (of_a + of_b - inner) > SAME || inner / of_a > SAME || inner / of_b > SAME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nouns() -> Vec<Noun> {
        let list =
            [("dog", "dogs"), ("cat", "cats"), ("phone", "phones"), ("fish", "fish"), ("fire engine", "fire engines")];
        list.map(|(singular, plural)| Noun { singular: singular.to_owned(), plural: plural.to_owned() }).to_vec()
    }

    fn parsed(prompt: &str, mode: Mode) -> Result<Vec<(String, u32)>, NumeracyError> {
        Ok(parse_prompt(prompt, &nouns(), mode)?.into_iter().map(|one| (one.object, one.count)).collect())
    }

    fn boxes(labels: &[&str]) -> Vec<Labelled> {
        let one = |(i, label): (usize, &&str)| {
            let x = 100.0 * i as f64;
            Labelled {
                label: (*label).to_owned(),
                detection: Detection { bounds: [x, 0.0, x + 50.0, 50.0], confidence: 0.9 },
            }
        };
        labels.iter().enumerate().map(one).collect()
    }

    fn many(list: &[(&str, u32)]) -> Vec<Wanted> {
        list.iter().map(|&(object, count)| Wanted { object: object.to_owned(), count }).collect()
    }

    #[test]
    fn prompts_are_read_as_the_script_reads_them() {
        let pairs = |list: &[(&str, u32)]| Ok(list.iter().map(|&(object, count)| (object.to_owned(), count)).collect());
        assert_eq!(
            parsed("three dogs, one cat and two fish.", Mode::Reference),
            pairs(&[("dog", 3), ("cat", 1), ("fish", 2)])
        );
        assert_eq!(
            parsed("two fire engines and a fire engine there", Mode::Reference),
            pairs(&[("fire engine", 2), ("fire engine", 1)])
        );
        assert_eq!(parsed("Two dogs", Mode::Reference), pairs(&[]));
        assert_eq!(parsed("Two dogs", Mode::Corrected), pairs(&[("dog", 2)]));
        assert_eq!(parsed("a dogs", Mode::Reference), pairs(&[("dog", 1)]));
        assert!(parsed("two dog", Mode::Reference).is_err());
        assert_eq!(parsed("two dog", Mode::Corrected), pairs(&[("dog", 2)]));
    }

    #[test]
    fn half_for_being_there_half_for_the_number() {
        let detected = boxes(&["dog", "dog", "dog", "cat"]);
        assert_eq!(score(&many(&[("dog", 3), ("cat", 2)]), &detected, Mode::Reference), Ok(0.75));
        assert_eq!(score(&[], &detected, Mode::Reference), Err(NumeracyError::NoObject));
    }

    #[test]
    fn labels_that_hold_the_name_stand_for_it() {
        let detected = boxes(&["saxophone", "mobile phone, cell phone"]);
        assert_eq!(score(&many(&[("phone", 1)]), &detected, Mode::Reference), Ok(0.5));
        assert_eq!(score(&many(&[("phone", 1)]), &detected, Mode::Corrected), Ok(1.0));
        assert_eq!(score(&many(&[("man", 2)]), &boxes(&["person", "person"]), Mode::Reference), Ok(1.0));
    }

    #[test]
    fn one_thing_is_counted_once() {
        let mut detected = boxes(&["dog", "cat", "dog"]);
        detected[2].detection.bounds = [1.0, 1.0, 49.0, 49.0];
        detected[1].detection.bounds = detected[0].detection.bounds;
        assert_eq!(distinct(&detected), ["dog", "cat"]);
    }
}
