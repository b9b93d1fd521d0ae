//! From answers to scores.

pub mod attribute_binding;
pub mod detections;
pub mod dpg;
pub mod recorded;
pub mod t2i_compbench;

use crate::answer::{Answer, AnswerValue};
use crate::question::{Question, QuestionDag, TEMPLATE_VERSION};
use crate::score_card::ScoreCard;
use std::collections::HashMap;

/// Changes whenever the same answers would give other scores.
pub const FORMULA_VERSION: &str = "1";
/// DPG-Bench's score of a candidate as the published script has it.
pub const DPG_REFERENCE: &str = "dpg_reference";
/// The metrics that follow from the answers to a graph's questions, by the names that the store, the API and policies use.
pub const METRICS: [&str; 5] = ["dpg", DPG_REFERENCE, "attribute", "spatial", "three_in_one"];

/// Version of the scorer that these formulas make of who judges: another formula is another scorer, and leaves the scores
/// of the old one standing.
pub fn scorer_version(version: &str) -> String {
    versioned(version, "formula", FORMULA_VERSION)
}

/// Version of the answers that an answerer gives to our questions: in another wording they are other answers.
pub fn answers_version(answerer_version: &str) -> String {
    versioned(answerer_version, "wording", TEMPLATE_VERSION)
}

fn versioned(version: &str, what: &str, its_version: &str) -> String {
    // The first of a kind is that of scores from before there was a second.
    if its_version == "1" { version.to_owned() } else { format!("{version}+{what}-{its_version}") }
}

/// The score card of one image. Questions without an answer count as refused.
pub fn score_card(questions: &QuestionDag, answers: &[Answer]) -> ScoreCard {
    let sheet = Sheet::new(questions, answers);
    let refused = sheet.rows.iter().filter(|row| row.probability.is_none()).count();
    let attribute = t2i_compbench::attribute(&sheet);
    let spatial = t2i_compbench::spatial(&sheet);
    ScoreCard {
        dpg: dpg::score(&sheet),
        dpg_reference: dpg::reference(&sheet),
        three_in_one: t2i_compbench::three_in_one(&sheet, &attribute, &spatial),
        attribute,
        spatial,
        answered: sheet.rows.len() - refused,
        refused,
    }
}

/// Questions beside their answers, by number; row i is question i + 1.
pub struct Sheet<'a> {
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    question: &'a Question,
    /// Of a yes; none if the question was refused.
    probability: Option<f64>,
    yes: bool,
    /// Whether anything was said at all, be it a refusal.
    told: bool,
}

impl<'a> Sheet<'a> {
    fn new(questions: &'a QuestionDag, answers: &[Answer]) -> Self {
        let answers: HashMap<u32, &Answer> = answers.iter().map(|answer| (answer.question, answer)).collect();
        let rows = questions
            .questions()
            .map(|question| {
                let told = answers.get(&question.id);
                let answer = told.filter(|answer| answer.value != AnswerValue::CannotAnswer);
                Row {
                    question,
                    // A probability that is no number is no answer either.
                    probability: answer.map(|answer| f64::from(answer.probability)).filter(|p| !p.is_nan()),
                    yes: answer.is_some_and(|answer| answer.value == AnswerValue::Yes),
                    told: told.is_some(),
                }
            })
            .collect();
        Self { rows }
    }

    /// Probability that the question and all its parents hold, taken as independent; none if one was refused.
    fn with_parents(&self, row: &Row) -> Option<f64> {
        row.question.parents.iter().try_fold(row.probability?, |product, &parent| {
            Some(product * self.rows.get(parent as usize - 1)?.probability?)
        })
    }
}

/// The plain mean; none of nothing.
fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::derive;
    use crate::scene_graph::SceneGraph;
    use serde_json::json;

    /// Two circles of two attributes each and two relations: 1-2 entities, 3-6 attributes, 7 spatial, 8 not.
    fn questions() -> QuestionDag {
        derive(
            &SceneGraph::from_laion_sg(&json!({
                "img_id": "1", "name": "", "caption_ori": "",
                "items": [
                    {"item_id": 0, "label": "circle", "attributes": ["large", "red"]},
                    {"item_id": 1, "label": "square", "attributes": ["small", "blue"]},
                ],
                "relations": [
                    {"item1": 0, "relation": "left of", "item2": 1},
                    {"item1": 0, "relation": "holding", "item2": 1},
                ],
            }))
            .unwrap(),
        )
    }

    fn card(answers: &str) -> ScoreCard {
        let answers: Vec<Answer> = (1..)
            .zip(answers.chars())
            .map(|(id, c)| if c == '?' { Answer::refusal(id) } else { Answer::certain(id, c == 'y') })
            .collect();
        score_card(&questions(), &answers)
    }

    #[test]
    fn another_formula_is_another_scorer() {
        assert_eq!(versioned("1/llava", "formula", "1"), "1/llava");
        assert_eq!(versioned("1/llava", "formula", "2"), "1/llava+formula-2");
        let asked = versioned("1/llava", "wording", "3");
        assert_eq!(versioned(&asked, "formula", "2"), "1/llava+wording-3+formula-2");
    }

    #[test]
    fn all_right() {
        let card = card("yyyyyyyy");
        assert_eq!(card.metrics().map(|(_, metric)| metric.score), [Some(1.0); 5]);
        assert_eq!(card.metrics().map(|(name, _)| name), METRICS);
        assert_eq!((card.answered, card.refused), (8, 0));
    }

    #[test]
    fn a_missing_thing_takes_its_questions_with_it() {
        let card = card("nyyyynyy");
        // Left: the square and "small".
        assert_eq!(card.dpg.score, Some(2.0 / 8.0));
        assert_eq!(
            (card.dpg.parts["entity"], card.dpg.parts["attribute"], card.dpg.parts["relation"]),
            (0.5, 0.25, 0.0)
        );
        assert_eq!((card.dpg.parts["raw_attribute"], card.dpg.parts["raw_relation"]), (0.75, 1.0));
        assert_eq!(
            (card.attribute.score, card.spatial.score, card.three_in_one.score),
            (Some(0.0), Some(0.0), Some(0.0))
        );
    }

    #[test]
    fn a_wrong_color_costs_no_relation() {
        let card = card("yyynyyyy");
        assert_eq!(card.dpg.score, Some(7.0 / 8.0));
        assert_eq!(
            (card.attribute.score, card.spatial.score, card.three_in_one.score),
            (Some(0.0), Some(1.0), Some(0.5))
        );
    }

    #[test]
    fn a_refusal_is_no_number() {
        let card = card("yyyyyyy?");
        assert_eq!((card.answered, card.refused), (7, 1));
        assert_eq!(card.dpg.score, None);
        assert_eq!(card.dpg.parts["relation"], 1.0);
        assert_eq!((card.attribute.score, card.spatial.score), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn the_published_script_knows_yes_and_everything_else() {
        let found = card("nyyyyyy?").dpg_reference;
        // Masked: the first thing's two attributes and both relations. Categories are not masked.
        assert_eq!(found.score, Some(3.0 / 8.0));
        assert_eq!((found.parts["entity"], found.parts["attribute"], found.parts["relation"]), (0.5, 1.0, 0.5));
        assert_eq!((found.parts["entity - whole"], found.parts["relation - spatial"]), (0.5, 1.0));
        assert_eq!((found.parts["attribute - color"], found.parts["relation - non-spatial"]), (1.0, 0.0));
        // What nobody was asked makes its picture fail there too.
        assert_eq!(card("yyyyyyy").dpg_reference, crate::score_card::MetricScore::default());
    }
}
