//! Answers that somebody wrote down: JSON lines, one answer a line.
//!
//! ```json
//! {"image":"bus.png","item_id":"bus","proposition_id":1,"answer":"yes","probability":0.93,"crop":2}
//! ```
//! `image` is a file name. One of `answer` and `probability` is needed; `item_id` and `crop` are not (an answer without a
//! crop is about crop 1, the whole picture). Any outside system can score in this way, and any run can be replayed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::Path;

use rayon::prelude::*;
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

/// The answers about one crop of one picture, by number of the question.
pub type CropAnswers = HashMap<i64, RecordedAnswer>;

/// What the answers say of one picture.
#[derive(Clone, Debug, Default)]
struct ImageAnswers {
    item_id: Option<String>,
    /// Crop by crop; a picture has at most four.
    crops: Vec<(u32, CropAnswers)>,
}

/// Lines that are parsed together.
const BATCH: usize = 8192;

/// All answers of a file.
#[derive(Clone, Debug, Default)]
pub struct RecordedAnswers {
    images: HashMap<String, ImageAnswers>,
    /// What could not be read, in file order.
    pub faults: Vec<LineFault>,
    num_answers: usize,
    max_crop: u32,
}

impl RecordedAnswers {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read. Faults of lines are in [`Self::faults`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(std::io::BufReader::new(fs_err::File::open(path)?))
    }

    /// Reads JSON lines; empty ones are skipped.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(mut reader: impl BufRead) -> Result<Self> {
        let mut answers = Self::default();
        let mut line = 0;
        let mut batch: Vec<(u64, Vec<u8>)> = Vec::with_capacity(BATCH);
        loop {
            let mut bytes = Vec::with_capacity(128);
            let at_end = reader.read_until(b'\n', &mut bytes)? == 0;
            line += 1;
            if line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
            }
            if !bytes.trim_ascii().is_empty() {
                batch.push((line, bytes));
            }
            if batch.len() == BATCH || at_end {
                answers.take(&batch);
                batch.clear();
            }
            if at_end {
                return Ok(answers);
            }
        }
    }

    /// Takes lines in, in their order.
    fn take(&mut self, lines: &[(u64, Vec<u8>)]) {
        let parsed: Vec<Result<RecordedAnswer, Faults>> =
            lines.par_iter().map(|(_, bytes)| parse(bytes.trim_ascii())).collect();
        for (&(line, _), parsed) in lines.iter().zip(parsed) {
            match parsed {
                Ok(answer) => {
                    if let Some(message) = self.insert(answer) {
                        self.faults.push(LineFault { line, field: "answer", message });
                    }
                }
                Err(faults) => {
                    self.faults.extend(faults.into_iter().map(|(field, message)| LineFault { line, field, message }));
                }
            }
        }
    }

    /// Takes an answer in; says so where it replaces another. A file that was appended to holds the later answer.
    pub fn insert(&mut self, answer: RecordedAnswer) -> Option<String> {
        let crop = answer.crop.unwrap_or(1);
        self.max_crop = self.max_crop.max(crop);
        let mut message = None;
        if !self.images.contains_key(&answer.image) {
            self.images.insert(answer.image.clone(), ImageAnswers::default());
        }
        let of_image = self.images.get_mut(&answer.image)?;
        if let Some(item_id) = &answer.item_id
            && of_image.item_id.as_ref() != Some(item_id)
        {
            let earlier = of_image.item_id.replace(item_id.clone());
            message = earlier.map(|earlier| format!("{} was of item {earlier} before", answer.image));
        }
        let place = of_image.crops.iter().position(|(number, _)| *number == crop).unwrap_or_else(|| {
            of_image.crops.push((crop, CropAnswers::new()));
            of_image.crops.len() - 1
        });
        let of_crop = &mut of_image.crops[place].1;
        let number = answer.proposition_id;
        let word = answer.is_yes();
        match of_crop.insert(number, answer) {
            None => self.num_answers += 1,
            Some(earlier) if earlier.is_yes() != word => {
                message = Some("replaces an earlier line that says otherwise".to_owned());
            }
            Some(_) => {}
        }
        message
    }

    /// The answers about a crop, from 1; `image` is a file name.
    pub fn crop(&self, image: &str, crop: u32) -> Option<&CropAnswers> {
        self.images.get(image)?.crops.iter().find(|(number, _)| *number == crop).map(|(_, answers)| answers)
    }

    /// Every answer, by picture, crop and number.
    pub fn sorted(&self) -> Vec<&RecordedAnswer> {
        let crops = self.images.values().flat_map(|image| &image.crops);
        let mut answers: Vec<&RecordedAnswer> = crops.flat_map(|(_, answers)| answers.values()).collect();
        answers.sort_by(|a, b| (&a.image, a.crop, a.proposition_id).cmp(&(&b.image, b.crop, b.proposition_id)));
        answers
    }

    /// The item that the answers name for a picture.
    pub fn item_of(&self, image: &str) -> Option<&str> {
        self.images.get(image)?.item_id.as_deref()
    }

    /// The highest crop that an answer names; 1 without any.
    pub fn max_crop(&self) -> u32 {
        self.max_crop.max(1)
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.num_answers
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.num_answers == 0
    }

    /// Pictures that answers speak of, sorted.
    pub fn images(&self) -> Vec<&str> {
        let mut images: Vec<&str> = self.images.keys().map(String::as_str).collect();
        images.sort_unstable();
        images
    }
}

/// Writes answers in the form that [`RecordedAnswers`] reads.
///
/// # Errors
/// The writer fails.
pub fn write_line(out: &mut impl Write, answer: &RecordedAnswer) -> Result<()> {
    let text = serde_json::to_string(answer)
        .map_err(|source| Error::Json { context: "writing an answer".to_owned(), source })?;
    Ok(writeln!(out, "{text}")?)
}

type Faults = Vec<(&'static str, String)>;

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
fn parse(line: &[u8]) -> Result<RecordedAnswer, Faults> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RecordedAnswers {
        RecordedAnswers::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn answers_are_found_by_image_crop_and_number() {
        let answers = read(
            "\u{FEFF}{\"image\":\"a.png\",\"item_id\":\"a\",\"proposition_id\":1,\"answer\":\"yes\",\"probability\":0.3}\n\n\
             {\"image\":\"x/a.png\",\"proposition_id\":\"2\",\"crop\":4,\"probability\":0.5}\r\n",
        );
        assert_eq!(answers.faults, []);
        assert_eq!((answers.len(), answers.max_crop(), answers.item_of("a.png")), (2, 4, Some("a")));
        let first = &answers.crop("a.png", 1).unwrap()[&1];
        assert!(first.is_yes());
        assert_eq!(first.probability_of_yes(), 0.3);
        assert!(!answers.crop("a.png", 4).unwrap()[&2].is_yes(), "one half is no yes");
    }

    #[test]
    fn only_yes_is_yes() {
        for word in ["Yes", "yes.", " yes", "no bus", "", "YES"] {
            let line = format!("{{\"image\":\"a\",\"proposition_id\":1,\"answer\":\"{word}\",\"probability\":1}}");
            assert!(!read(&line).crop("a", 1).unwrap()[&1].is_yes(), "{word}");
        }
    }

    #[test]
    fn each_fault_is_told_with_its_line_and_field() {
        let answers = read(
            "{\"image\":1,\"proposition_id\":1.5,\"answer\":true,\"probability\":2,\"crop\":5}\nnonsense\n[]\n{}\n\
             {\"image\":\"a\",\"proposition_id\":1}\n{\"image\":\"a\",\"proposition_id\":null,\"answer\":\"no\"}\n\
             {\"image\":\"a\",\"proposition_id\":1,\"answer\":\"no\"}\n{\"image\":\"a\",\"proposition_id\":1,\"answer\":\"yes\"}\n",
        );
        let told: Vec<(u64, &str)> = answers.faults.iter().map(|fault| (fault.line, fault.field)).collect();
        let expected = [
            (1, "image"),
            (1, "proposition_id"),
            (1, "answer"),
            (1, "probability"),
            (1, "crop"),
            (2, ""),
            (3, ""),
            (4, "image"),
            (4, "proposition_id"),
            (4, "answer"),
            (5, "answer"),
            (6, "proposition_id"),
            (8, "answer"),
        ];
        assert_eq!(told, expected);
        assert!(answers.crop("a", 1).unwrap()[&1].is_yes(), "the later line holds");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let answer = RecordedAnswer {
            image: "a.png".to_owned(),
            item_id: Some("a".to_owned()),
            proposition_id: 3,
            answer: Some("no\n\"".to_owned()),
            probability: None,
            crop: Some(2),
        };
        let mut bytes = Vec::new();
        write_line(&mut bytes, &answer).unwrap();
        assert_eq!(RecordedAnswers::read(&bytes[..]).unwrap().crop("a.png", 2).unwrap()[&3], answer);
    }
}
