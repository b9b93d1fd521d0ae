//! T2I-CompBench's attribute binding: the product of P(yes | "red bus?") over the noun phrases of a picture.
//!
//! Source: Karine-Huang/T2I-CompBench at 1b70949, `BLIPvqa_eval/BLIP_vqa.py`. The phrases are the graph's items in their
//! order (attributes, then label), not what a parser finds in the file name.

use std::collections::BTreeMap;

use crate::answer::recorded::{CropAnswers, RecordedAnswers};
use crate::dpg_bench::question_file::{Item, QuestionFile};
use crate::dpg_bench::run::{ImageScore, find_item};
use crate::metrics::Mode;

/// The published script asks about the first eight phrases (`np_num`).
pub const MAX_PHRASES: usize = 8;

/// Scores `images` (file names) by the answers to [`QuestionFile::of_phrases`]. Of several crops the mean is taken.
///
/// `reference`: each probability and each score is rounded to 4 decimals, as the script writes them down, and a picture
/// without phrases scores 1; `corrected`: nothing is rounded, and such a picture has no score.
pub fn score(
    images: &[String],
    phrases: &QuestionFile,
    answers: &RecordedAnswers,
    num_crops: u32,
    mode: Mode,
) -> Vec<ImageScore> {
    let one = |image: &String| {
        let item = find_item(image, phrases, answers);
        let item_id = item.as_ref().ok().map(|item| item.item_id.clone());
        let mut parts = BTreeMap::new();
        let score = item.and_then(|item| {
            let mut sum = 0.0;
            for crop in 1..=num_crops {
                let prefix = if num_crops > 1 { format!("crop_{crop}_") } else { String::new() };
                sum += score_crop(item, answers.crop(image, crop), mode, &prefix, &mut parts)?;
            }
            Ok(sum / f64::from(num_crops))
        });
        ImageScore { image: Some(image.clone()), item_id, score, parts }
    };
    images.iter().map(one).collect()
}

fn score_crop(
    item: &Item,
    answers: Option<&CropAnswers>,
    mode: Mode,
    prefix: &str,
    parts: &mut BTreeMap<String, f64>,
) -> Result<f64, String> {
    let rounded = |value: f64| match mode {
        Mode::Reference => (value * 1e4).round_ties_even() / 1e4,
        Mode::Corrected => value,
    };
    if item.questions.is_empty() && mode == Mode::Corrected {
        return Err("its graph has no items, so there is no phrase to ask about".to_owned());
    }
    let mut product = 1.0;
    for question in &item.questions {
        let answer = answers.and_then(|answers| answers.get(&question.proposition_id));
        let answer = answer.filter(|answer| !answer.is_refusal());
        let answer = answer.ok_or_else(|| format!("no answer to {} ({})", question.proposition_id, question.text))?;
        let probability = rounded(answer.probability_of_yes());
        parts.insert(format!("{prefix}phrase_{}", question.proposition_id), probability);
        product *= probability;
    }
    Ok(rounded(product))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene_graph::SceneGraph;
    use serde_json::json;

    fn phrases(items: serde_json::Value) -> QuestionFile {
        let graph = SceneGraph::from_laion_sg(
            &json!({"img_id": "1", "name": "", "caption_ori": "", "items": items, "relations": []}),
        );
        QuestionFile::of_phrases(&[graph.unwrap()])
    }

    fn of(phrases: &QuestionFile, answers: &str, mode: Mode) -> Result<f64, String> {
        let answers = RecordedAnswers::read(answers.as_bytes()).unwrap();
        score(&["1.png".to_owned()], phrases, &answers, 1, mode).remove(0).score
    }

    #[test]
    fn the_product_over_phrases_with_rounding_as_published() {
        let two = phrases(json!([
            {"item_id": 0, "label": "bus", "attributes": ["red", "old"]}, {"item_id": 1, "label": "dog", "attributes": []},
        ]));
        let texts: Vec<&str> = two.items[0].questions.iter().map(|question| question.text.as_str()).collect();
        assert_eq!(texts, ["red old bus?", "dog?"]);
        let answers = "{\"image\":\"1.png\",\"proposition_id\":1,\"probability\":0.80004}\n\
                       {\"image\":\"1.png\",\"proposition_id\":2,\"probability\":0.25}\n";
        assert_eq!(of(&two, answers, Mode::Reference), Ok(0.2));
        assert_eq!(of(&two, answers, Mode::Corrected), Ok(0.80004 * 0.25));
        let lacking = of(&two, answers.lines().next().unwrap(), Mode::Corrected).unwrap_err();
        assert!(lacking.contains("no answer to 2 (dog?)"), "{lacking}");
    }

    #[test]
    fn eight_phrases_at_most_and_none_at_all() {
        let many: Vec<_> = (0..10).map(|i| json!({"item_id": i, "label": "dog", "attributes": []})).collect();
        assert_eq!(phrases(json!(many)).items[0].questions.len(), MAX_PHRASES);
        assert_eq!(of(&phrases(json!([])), "", Mode::Reference), Ok(1.0));
        assert!(of(&phrases(json!([])), "", Mode::Corrected).is_err());
    }
}
