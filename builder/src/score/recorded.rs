//! Scores of pictures from answers that were written down, under any metric that a score card has.

use std::collections::{BTreeMap, HashMap};

use super::score_card;
use crate::answer::recorded::{CropAnswers, RecordedAnswers};
use crate::answer::{Answer, AnswerValue};
use crate::dpg_bench::question_file::QuestionFile;
use crate::dpg_bench::run::{ImageScore, find_item};
use crate::question::{QuestionDag, derive};
use crate::scene_graph::SceneGraph;

/// The metrics of recorded answers to a graph's questions; which DPG figure, is a mode of its own there.
pub const METRICS: [&str; 4] = ["dpg", "attribute", "spatial", "three_in_one"];

/// Scores `images` (file names) by `metric`, one of [`METRICS`]. Of several crops the mean is taken; a crop without a
/// score leaves its picture without one.
pub fn score(
    images: &[String],
    graphs: &[SceneGraph],
    questions: &QuestionFile,
    answers: &RecordedAnswers,
    num_crops: u32,
    metric: &str,
) -> Vec<ImageScore> {
    let dags: HashMap<&str, QuestionDag> = graphs.iter().map(|graph| (graph.img_id.as_str(), derive(graph))).collect();
    let one = |image: &String| {
        let item = find_item(image, questions, answers);
        let item_id = item.as_ref().ok().map(|item| item.item_id.clone());
        let mut parts = BTreeMap::new();
        let score = item.and_then(|item| {
            let dag = dags.get(item.item_id.as_str()).ok_or_else(|| format!("there is no graph {}", item.item_id))?;
            score_image(image, dag, answers, num_crops, metric, &mut parts)
        });
        ImageScore { image: Some(image.clone()), item_id, score, parts }
    };
    images.iter().map(one).collect()
}

fn score_image(
    image: &str,
    dag: &QuestionDag,
    answers: &RecordedAnswers,
    num_crops: u32,
    metric: &str,
    parts: &mut BTreeMap<String, f64>,
) -> Result<f64, String> {
    let mut sum = 0.0;
    for crop in 1..=num_crops {
        let of_crop = answers.crop(image, crop).ok_or_else(|| format!("nobody answered about it (crop {crop})"))?;
        let answered = answers_of(dag, of_crop);
        let card = score_card(dag, &answered);
        let verdict = card.metrics().into_iter().find(|(name, _)| *name == metric).map(|(_, verdict)| verdict);
        let verdict = verdict.ok_or_else(|| format!("there is no metric {metric}"))?;
        let score = verdict.score.ok_or_else(|| {
            if card.refused == 0 {
                return format!("nothing in the graph is measured by {metric}");
            }
            let known: Vec<u32> =
                answered.iter().filter(|one| one.value != AnswerValue::CannotAnswer).map(|one| one.question).collect();
            let lacking = dag
                .questions()
                .filter(|question| !known.contains(&question.id))
                .map(|question| question.id.to_string());
            format!("no answer to {}", lacking.collect::<Vec<_>>().join(", "))
        })?;
        sum += score;
        let prefix = if num_crops > 1 { format!("crop_{crop}_") } else { String::new() };
        parts.extend(verdict.parts.iter().map(|(name, &value)| (format!("{prefix}{name}"), value)));
    }
    Ok(sum / f64::from(num_crops))
}

fn answers_of(dag: &QuestionDag, of_crop: &CropAnswers) -> Vec<Answer> {
    let answer = |id: u32| {
        let recorded = of_crop.get(&i64::from(id)).filter(|recorded| !recorded.is_refusal())?;
        let value = if recorded.is_yes() { AnswerValue::Yes } else { AnswerValue::No };
        Some(Answer { question: id, value, probability: recorded.probability_of_yes() as f32, seconds: None })
    };
    dag.questions().filter_map(|question| answer(question.id)).collect()
}
