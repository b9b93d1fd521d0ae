//! One line of a file of answers.

use std::borrow::Cow;
use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordedAnswer {
    /// File name of the picture.
    pub image: String,
    /// Item that the questions belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<String>,
    /// Number of the question in its item.
    pub proposition_id: i64,
    /// What was answered, word by word; none if only the probability is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Of a yes, 0 ..= 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Quarter of a 2 × 2 grid: 1 top left, 2 top right, 3 bottom left, 4 bottom right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<u32>,
}

impl RecordedAnswer {
    /// A yes is the word "yes" and nothing else, as in DPG-Bench: neither "Yes" nor "yes, it is". Without a word, it is a
    /// probability above one half.
    pub fn is_yes(&self) -> bool {
        match &self.answer {
            Some(answer) => answer == "yes",
            None => self.probability.is_some_and(|probability| probability > 0.5),
        }
    }

    /// Whether the answerer said that it does not know.
    pub fn is_refusal(&self) -> bool {
        self.answer.as_deref() == Some("cannot_answer")
    }

    /// Of a yes: as recorded, or 1 and 0 where only the word is.
    pub fn probability_of_yes(&self) -> f64 {
        self.probability.unwrap_or(if self.is_yes() { 1.0 } else { 0.0 })
    }
}

/// One thing wrong with one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// Line of the file, from 1.
    pub line: u64,
    /// The key; empty for the line as a whole.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Writes answers in the form that [`super::RecordedAnswers`] reads.
///
/// # Errors
/// The writer fails.
pub fn write_line(out: &mut impl Write, answer: &RecordedAnswer) -> Result<()> {
    let text = serde_json::to_string(answer)
        .map_err(|source| Error::Json { context: "writing an answer".to_owned(), source })?;
    Ok(writeln!(out, "{text}")?)
}

pub(super) type Faults = Vec<(&'static str, String)>;

/// A line as it usually is; whatever else it may be is read by [`parse`], fault by fault.
#[derive(Deserialize)]
struct Plain<'l> {
    #[serde(borrow)]
    image: Cow<'l, str>,
    #[serde(borrow)]
    item_id: Option<Cow<'l, str>>,
    proposition_id: i64,
    #[serde(borrow)]
    answer: Option<Cow<'l, str>>,
    probability: Option<f64>,
    crop: Option<u32>,
}

fn parse_plain(line: &[u8]) -> Option<RecordedAnswer> {
    let Plain { image, item_id, proposition_id, answer, probability, crop } = serde_json::from_slice(line).ok()?;
    let fine = !image.is_empty()
        && (answer.is_some() || probability.is_some())
        && probability.is_none_or(|probability| (0.0..=1.0).contains(&probability))
        && crop.is_none_or(|crop| (1..=4).contains(&crop));
    fine.then(|| RecordedAnswer {
        image: file_name(&image).to_owned(),
        item_id: item_id.map(Cow::into_owned),
        proposition_id,
        answer: answer.map(Cow::into_owned),
        probability,
        crop,
    })
}

/// A path is as good as the name at its end: the folder is the caller's.
fn file_name(image: &str) -> &str {
    image.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// One line, or everything that is wrong with it.
pub(super) fn parse(line: &[u8]) -> Result<RecordedAnswer, Faults> {
    if let Some(answer) = parse_plain(line) {
        return Ok(answer);
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| vec![("", format!("no JSON: {error}"))])?;
    let Value::Object(map) = value else { return Err(vec![("", "must be a JSON object".to_owned())]) };
    let mut faults = Faults::new();
    let image = required(&map, "image", text, &mut faults);
    if let Some("") = image.as_deref() {
        faults.push(("image", "is empty".to_owned()));
    }
    let proposition_id = required(&map, "proposition_id", integer, &mut faults);
    let item_id = optional(&map, "item_id", text, &mut faults);
    let answer = optional(&map, "answer", text, &mut faults);
    let probability = optional(&map, "probability", probability, &mut faults);
    let crop = optional(&map, "crop", crop, &mut faults);
    if answer.is_none()
        && probability.is_none()
        && !faults.iter().any(|(field, _)| matches!(*field, "answer" | "probability"))
    {
        faults.push(("answer", "is missing, and so is `probability`".to_owned()));
    }
    match (image, proposition_id, faults.is_empty()) {
        (Some(image), Some(proposition_id), true) => Ok(RecordedAnswer {
            image: file_name(&image).to_owned(),
            item_id,
            proposition_id,
            answer,
            probability,
            crop,
        }),
        _ => Err(faults),
    }
}

fn required<T>(
    map: &Map<String, Value>,
    key: &'static str,
    read: fn(&Value) -> Result<T, String>,
    faults: &mut Faults,
) -> Option<T> {
    if map.contains_key(key) {
        return optional(map, key, read, faults).or_else(|| {
            if map.get(key).is_some_and(Value::is_null) {
                faults.push((key, "is null".to_owned()));
            }
            None
        });
    }
    faults.push((key, "is missing".to_owned()));
    None
}

fn optional<T>(
    map: &Map<String, Value>,
    key: &'static str,
    read: fn(&Value) -> Result<T, String>,
    faults: &mut Faults,
) -> Option<T> {
    let value = map.get(key).filter(|value| !value.is_null())?;
    read(value).map_err(|message| faults.push((key, message))).ok()
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("must be a string, not {value}"))
}

fn integer(value: &Value) -> Result<i64, String> {
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    number.ok_or_else(|| format!("must be an integer, not {value}"))
}

fn probability(value: &Value) -> Result<f64, String> {
    let number = value.as_f64().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| format!("must be a number from 0 to 1, not {value}"))
}

fn crop(value: &Value) -> Result<u32, String> {
    let number =
        integer(value).ok().and_then(|number| u32::try_from(number).ok()).filter(|crop| (1..=4).contains(crop));
    number.ok_or_else(|| format!("must be 1, 2, 3 or 4, not {value}"))
}
