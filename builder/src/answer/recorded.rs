//! Answers that somebody wrote down: JSON lines, one answer a line.
//!
//! ```json
//! {"image":"bus.png","item_id":"bus","proposition_id":1,"answer":"yes","probability":0.93,"crop":2}
//! ```
//! `image` is a file name. One of `answer` and `probability` is needed; `item_id` and `crop` are not (an answer without a
//! crop is about crop 1, the whole picture). Any outside system can score in this way, and any run can be replayed.

mod line;

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

use rayon::prelude::*;

use crate::Result;
use line::{Faults, parse};
pub use line::{LineFault, RecordedAnswer, write_line};

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
