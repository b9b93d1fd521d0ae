//! Images, questions and answers in; scores out. A pure function: the same answers give the same figures at any time.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::question_file::{Item, QuestionFile};
use super::{Mode, category_l1, category_l2, masking_of};
use crate::answer::recorded::{CropAnswers, RecordedAnswers};
use crate::score::dpg::{Masking, masked};

/// How to score.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Published or corrected.
    pub mode: Mode,
    /// Crops of a picture: 1, or up to 4 of a 2 × 2 grid.
    pub num_crops: u32,
    /// The mode's own rule, or another.
    pub masking: Masking,
}

impl Settings {
    /// A mode with its own masking.
    pub fn new(mode: Mode, num_crops: u32) -> Self {
        Self { mode, num_crops, masking: masking_of(mode) }
    }
}

/// What came of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageScore {
    /// File name; none for an item whose image is missing.
    pub image: Option<String>,
    /// The item, where it could be told.
    pub item_id: Option<String>,
    /// 0 ..= 1, or why there is none.
    pub score: Result<f64, String>,
    /// `crop_1` … where there are several; by first-level category over all crops, masked (`entity`) and not (`raw_entity`).
    pub parts: BTreeMap<String, f64>,
}

/// A category over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CategoryScore {
    /// Answers that it is the mean of.
    pub n: u64,
    yes: u64,
    holds: u64,
}

impl CategoryScore {
    /// 100 × share of yes, whatever the parents: the published figure.
    pub fn score(&self) -> f64 {
        100.0 * self.yes as f64 / self.n as f64
    }

    /// 100 × share of what counts after masking: comparable with the headline.
    pub fn masked(&self) -> f64 {
        100.0 * self.holds as f64 / self.n as f64
    }

    fn add(&mut self, yes: bool, holds: bool) {
        self.n += 1;
        self.yes += u64::from(yes);
        self.holds += u64::from(holds);
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the order of the images, then the items without an image.
    pub images: Vec<ImageScore>,
    /// 100 × plain mean of the image scores; none if no image could be scored.
    pub score: Option<f64>,
    /// Images that could not be scored.
    pub failed: usize,
    /// Items without an image, scored 0 ([`Mode::Corrected`] only).
    pub missing: usize,
    /// First-level categories.
    pub by_l1: BTreeMap<String, CategoryScore>,
    /// Second-level categories.
    pub by_l2: BTreeMap<String, CategoryScore>,
    /// Answers that would be a yes if blanks and case were forgiven, and count as a no.
    pub nearly_yes: usize,
}

/// An item's key from a file name: up to the first dot.
pub fn item_key(image: &str) -> &str {
    image.split('.').next().unwrap_or_default()
}

/// Scores `images` (file names, in the order in which they are to be averaged).
pub fn score(images: &[String], questions: &QuestionFile, answers: &RecordedAnswers, settings: Settings) -> Outcome {
    let mut categories = Categories::default();
    let mut scored_images = Vec::with_capacity(images.len());
    let mut missing = 0;
    let mut seen: Vec<&str> = Vec::new();
    let one = |image: &String| {
        let item = find_item(image, questions, answers);
        let scored = item.clone().and_then(|item| {
            let scored = score_image(image, item, answers, settings)?;
            let parts = scored.parts(item);
            Ok((item, scored, parts))
        });
        (item, scored)
    };
    let found: Vec<_> = images.par_iter().map(one).collect();
    for (image, (item, scored)) in images.iter().zip(found) {
        seen.extend(item.as_ref().ok().map(|item| item.item_id.as_str()));
        let item_id = item.ok().map(|item| item.item_id.clone());
        let (score, parts) = match scored {
            Ok((item, scored, parts)) => {
                categories.add(item, &scored, settings.mode);
                (Ok(scored.score), parts)
            }
            Err(reason) => (Err(reason), BTreeMap::new()),
        };
        scored_images.push(ImageScore { image: Some(image.clone()), item_id, score, parts });
    }
    if settings.mode == Mode::Corrected {
        let seen: std::collections::HashSet<&str> = seen.into_iter().collect();
        let absent =
            |item: &&Item| item.fault.is_none() && !item.questions.is_empty() && !seen.contains(item.item_id.as_str());
        for item in questions.items.iter().filter(absent) {
            missing += 1;
            let item_id = Some(item.item_id.clone());
            scored_images.push(ImageScore { image: None, item_id, score: Ok(0.0), parts: BTreeMap::new() });
        }
    }
    let Categories { by_l1, by_l2, nearly_yes } = categories;
    Outcome { missing, by_l1, by_l2, nearly_yes, ..Outcome::of_images(scored_images) }
}

impl Outcome {
    /// The mean (× 100) of scores that somebody else computed.
    pub fn of_images(images: Vec<ImageScore>) -> Self {
        let scores: Vec<f64> = images.iter().filter_map(|image| image.score.as_ref().ok().copied()).collect();
        Self {
            score: (!scores.is_empty()).then(|| 100.0 * (scores.iter().sum::<f64>() / scores.len() as f64)),
            failed: images.len() - scores.len(),
            images,
            missing: 0,
            by_l1: BTreeMap::new(),
            by_l2: BTreeMap::new(),
            nearly_yes: 0,
        }
    }
}

/// Category scores that grow image by image.
#[derive(Default)]
struct Categories {
    by_l1: BTreeMap<String, CategoryScore>,
    by_l2: BTreeMap<String, CategoryScore>,
    nearly_yes: usize,
}

impl Categories {
    fn add(&mut self, item: &Item, scored: &Scored, mode: Mode) {
        let first = match mode {
            Mode::Reference => scored.crops.len().saturating_sub(1),
            Mode::Corrected => 0,
        };
        for crop in &scored.crops[first..] {
            for ((question, &yes), &holds) in item.questions.iter().zip(&crop.yes).zip(&crop.holds) {
                let l2 = category_l2(&question.tuple);
                self.by_l2.entry(l2.to_owned()).or_default().add(yes, holds);
                self.by_l1.entry(category_l1(l2).to_owned()).or_default().add(yes, holds);
            }
        }
        self.nearly_yes += scored.nearly_yes;
    }
}

/// The item that an image is of: by its file name, or as the answers say.
///
/// # Errors
/// Why it cannot be told.
pub fn find_item<'q>(image: &str, questions: &'q QuestionFile, answers: &RecordedAnswers) -> Result<&'q Item, String> {
    let key = item_key(image);
    let by_name = questions.item(key).or_else(|| numbered(image, questions));
    let told = answers.item_of(image);
    match (by_name, told.map(|told| (told, questions.item(told)))) {
        (Some(item), Some((told, Some(_)))) if item.item_id != told => {
            Err(format!("the file name says item {}, the answers say {told}", item.item_id))
        }
        (Some(item), _) | (None, Some((_, Some(item)))) => Ok(item),
        (None, Some((told, None))) => Err(format!("there are no questions of item {told}")),
        (None, None) => Err(format!("there are no questions of item {key}")),
    }
}

/// "graph_3.png" is the third picture of "graph", "a.b.png" one of "a.b", and a graph's `name` is its picture; the published
/// script knows no such names.
fn numbered<'q>(image: &str, questions: &'q QuestionFile) -> Option<&'q Item> {
    if !questions.of_graphs {
        return None;
    }
    let stem = image.rsplit_once('.').map_or(image, |(stem, _)| stem);
    questions.item(stem).or_else(|| questions.item_of_image(item_key(image))).or_else(|| {
        let (head, number) = stem.rsplit_once('_')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        questions.item(head).filter(|_| is_number)
    })
}

/// One image with all that follows from its answers.
struct Scored {
    score: f64,
    crops: Vec<Crop>,
    nearly_yes: usize,
}

struct Crop {
    yes: Vec<bool>,
    holds: Vec<bool>,
    score: f64,
}

impl Scored {
    fn parts(&self, item: &Item) -> BTreeMap<String, f64> {
        let mut parts = BTreeMap::new();
        if self.crops.len() > 1 {
            parts.extend(self.crops.iter().zip(1..).map(|(crop, number)| (format!("crop_{number}"), crop.score)));
        }
        let mut by_category: BTreeMap<&str, CategoryScore> = BTreeMap::new();
        for crop in &self.crops {
            for ((question, &yes), &holds) in item.questions.iter().zip(&crop.yes).zip(&crop.holds) {
                by_category.entry(category_l1(category_l2(&question.tuple))).or_default().add(yes, holds);
            }
        }
        for (name, category) in by_category {
            parts.insert(name.to_owned(), category.holds as f64 / category.n as f64);
            parts.insert(format!("raw_{name}"), category.yes as f64 / category.n as f64);
        }
        parts
    }
}

fn score_image(image: &str, item: &Item, answers: &RecordedAnswers, settings: Settings) -> Result<Scored, String> {
    if let Some(fault) = &item.fault {
        return Err(format!("the questions of item {} are malformed: {fault}", item.item_id));
    }
    if item.questions.is_empty() {
        return Err(format!("item {} has no questions", item.item_id));
    }
    let parents: Vec<Vec<usize>> = item
        .questions
        .iter()
        .map(|question| {
            let position = |parent: &i64| item.questions.iter().position(|other| other.proposition_id == *parent);
            question.parents.iter().filter_map(position).collect()
        })
        .collect();
    let mut crops = Vec::new();
    let mut nearly_yes = 0;
    for number in 1..=settings.num_crops {
        let place = if settings.num_crops > 1 { format!(" (crop {number})") } else { String::new() };
        let of_crop = answers.crop(image, number).ok_or_else(|| format!("nobody answered about it{place}"))?;
        let yes = answers_of(item, of_crop, settings.mode, &place, &mut nearly_yes)?;
        let holds = masked(&yes, &parents, settings.masking);
        let score = holds.iter().filter(|holds| **holds).count() as f64 / holds.len() as f64;
        crops.push(Crop { yes, holds, score });
    }
    let score = crops.iter().map(|crop| crop.score).sum::<f64>() / crops.len() as f64;
    Ok(Scored { score, crops, nearly_yes })
}

/// Whether each question was answered with yes, or which were not answered.
fn answers_of(
    item: &Item,
    of_crop: &CropAnswers,
    mode: Mode,
    place: &str,
    nearly_yes: &mut usize,
) -> Result<Vec<bool>, String> {
    let mut lacking = Vec::new();
    let mut yes = Vec::with_capacity(item.questions.len());
    for question in &item.questions {
        let answer = of_crop.get(&question.proposition_id);
        // The published script knows yes and everything else.
        match answer.filter(|answer| mode == Mode::Reference || !answer.is_refusal()) {
            Some(answer) => {
                let is_yes = answer.is_yes();
                let nearly = answer.answer.as_deref().is_some_and(|word| word.trim().eq_ignore_ascii_case("yes"));
                *nearly_yes += usize::from(nearly && !is_yes);
                yes.push(is_yes);
            }
            None => lacking.push(question.proposition_id.to_string()),
        }
    }
    if lacking.is_empty() {
        return Ok(yes);
    }
    let which = if lacking.len() == 1 { "question" } else { "questions" };
    Err(format!("no answer to {which} {}{place}", lacking.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// METRICS' worked example: entity, attribute, relation in a chain.
    const CHAIN: &str = "item_id,proposition_id,dependency,tuple,question_natural_language\n\
        first,1,0,entity - whole (z),?\n\
        a,1,0,entity - whole (x),?\na,2,1,\"attribute - color (x, red)\",?\na,3,2,\"relation - spatial (x, y)\",?\n\
        b,1,0,entity - whole (y),?\n";

    fn questions(mode: Mode) -> QuestionFile {
        QuestionFile::read(CHAIN.as_bytes(), "q.csv", mode).unwrap()
    }

    fn answers(rows: &[(&str, u32, &str)]) -> RecordedAnswers {
        let mut text = String::new();
        for (image, crop, answers) in rows {
            for (answer, number) in answers.split(' ').zip(1..) {
                text += &format!(
                    "{{\"image\":\"{image}\",\"crop\":{crop},\"proposition_id\":{number},\"answer\":\"{answer}\"}}\n"
                );
            }
        }
        RecordedAnswers::read(text.as_bytes()).unwrap()
    }

    fn run(mode: Mode, images: &[&str], rows: &[(&str, u32, &str)], num_crops: u32) -> Outcome {
        let images: Vec<String> = images.iter().map(|&image| image.to_owned()).collect();
        score(&images, &questions(mode), &answers(rows), Settings::new(mode, num_crops))
    }

    #[test]
    fn the_worked_example() {
        let rows = [("a.png", 1, "yes no yes"), ("a.png", 2, "no yes yes")];
        let outcome = run(Mode::Reference, &["a.png"], &rows, 2);
        let image = &outcome.images[0];
        assert_eq!(image.score, Ok(1.0 / 6.0));
        assert_eq!((image.parts["crop_1"], image.parts["crop_2"]), (1.0 / 3.0, 0.0));
        assert!((outcome.score.unwrap() - 100.0 / 6.0).abs() < 1e-12);
        let l1: Vec<(&str, f64)> =
            outcome.by_l1.iter().map(|(name, category)| (name.as_str(), category.score())).collect();
        assert_eq!(l1, [("attribute", 100.0), ("entity", 0.0), ("relation", 100.0)]);
        let corrected = run(Mode::Corrected, &["a.png"], &rows, 2);
        assert_eq!((corrected.by_l1["relation"].score(), corrected.by_l1["relation"].masked()), (100.0, 0.0));
        assert_eq!((corrected.by_l2["entity - whole"].score(), corrected.by_l2["entity - whole"].n), (50.0, 2));
    }

    #[test]
    fn what_is_missing_is_left_out_or_zero() {
        let rows = [("a.png", 1, "yes yes yes"), ("c.png", 1, "yes"), ("b.x.png", 1, "yes")];
        let images = ["a.png", "b.x.png", "b.y.png", "c.png"];
        let reference = run(Mode::Reference, &images, &rows, 1);
        assert_eq!((reference.score, reference.failed, reference.missing), (Some(100.0), 2, 0));
        assert_eq!(reference.images[2].score, Err("nobody answered about it".to_owned()));
        assert_eq!(reference.images[3].score, Err("there are no questions of item c".to_owned()));
        let corrected = run(Mode::Corrected, &images, &rows, 1);
        assert_eq!((corrected.failed, corrected.missing, corrected.images.len()), (2, 1, 5));
        assert_eq!(corrected.images[4].item_id.as_deref(), Some("first"));
        assert!((corrected.score.unwrap() - 200.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_question_without_an_answer_leaves_its_image_without_a_score() {
        let outcome = run(Mode::Reference, &["a.png"], &[("a.png", 1, "yes yes")], 1);
        assert_eq!(outcome.images[0].score, Err("no answer to question 3".to_owned()));
        assert_eq!((outcome.score, outcome.failed), (None, 1));
        let refused = [("a.png", 1, "yes cannot_answer Yes")];
        assert_eq!(
            run(Mode::Corrected, &["a.png"], &refused, 1).images[0].score,
            Err("no answer to question 2".to_owned())
        );
        let reference = run(Mode::Reference, &["a.png"], &refused, 1);
        assert_eq!((reference.images[0].score.clone(), reference.nearly_yes), (Ok(1.0 / 3.0), 1));
    }

    #[test]
    fn an_image_may_be_named_by_its_answers_or_numbered() {
        let mut known = answers(&[("g_12.png", 1, "yes")]);
        let told = RecordedAnswers::read(
            &b"{\"image\":\"7.png\",\"item_id\":\"b\",\"proposition_id\":1,\"answer\":\"no\"}\n"[..],
        )
        .unwrap();
        known.insert(told.crop("7.png", 1).unwrap()[&1].clone());
        let images = ["g_12.png".to_owned(), "7.png".to_owned()];
        let from_file = score(&images, &questions(Mode::Reference), &known, Settings::new(Mode::Reference, 1));
        assert_eq!(from_file.images[0].score, Err("there are no questions of item g_12".to_owned()));
        assert_eq!(from_file.images[1].score, Ok(0.0));
        let record = serde_json::json!({"img_id": "g", "name": "images/of_g.jpg", "caption_ori": "", "items": [{"item_id": 0, "label": "dog", "attributes": []}], "relations": []});
        let graph = crate::scene_graph::SceneGraph::from_laion_sg(&record).unwrap();
        let derived = QuestionFile::of_graphs([&graph]);
        assert_eq!(find_item("of_g.png", &derived, &known).unwrap().item_id, "g");
        assert!(find_item("of_x.png", &derived, &known).is_err());
        assert_eq!(score(&images, &derived, &known, Settings::new(Mode::Reference, 1)).images[0].score, Ok(1.0));
    }
}
