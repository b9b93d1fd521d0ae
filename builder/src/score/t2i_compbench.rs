//! T2I-CompBench's attribute and spatial scores and their mean, from a graph's questions instead of a prompt's parse.
//!
//! Source: Karine-Huang/T2I-CompBench at 1b70949, `BLIPvqa_eval` and `3_in_1_eval`. A graph says what the reference has
//! to guess: its items are the noun phrases, its relations the spatial words. The names of the parts say what applied.

use super::{Sheet, mean};
use crate::question::{Category, QuestionKind, Target};
use crate::score_card::MetricScore;

/// The reference asks about the first eight noun phrases (`np_num`).
const MAX_PHRASES: usize = 8;

/// Product over the items of P(yes | "<attributes> <label>?"): the object is there and every attribute holds. A count is
/// no attribute of the phrase. None if one of these questions was refused, or if there are no items.
pub(super) fn attribute(sheet: &Sheet) -> MetricScore {
    let mut phrases: Vec<Option<f64>> = Vec::new();
    for row in &sheet.rows {
        match row.question.target {
            Target::Entity { .. } => phrases.push(row.probability),
            // Entities come first and in item order.
            Target::Attribute { object, .. } if row.question.category != Category::OtherCount => {
                if let Some(phrase) = phrases.get_mut(object) {
                    *phrase = phrase.zip(row.probability).map(|(one, other)| one * other);
                }
            }
            Target::Attribute { .. } | Target::Relation { .. } => {}
        }
    }
    phrases.truncate(MAX_PHRASES);
    let mut metric = MetricScore::default();
    let known: Option<Vec<f64>> = phrases.iter().copied().collect();
    if let Some(known) = known.filter(|known| !known.is_empty()) {
        metric.score = Some(known.iter().product());
        metric.parts.extend(mean(known.iter().copied()).map(|mean| ("mean_phrase".to_owned(), mean)));
        metric.parts.insert("phrases".to_owned(), known.len() as f64);
    }
    metric
}

/// Mean over the spatial relations of P(both objects are there and lie so). None if there are none, or one was refused.
pub(super) fn spatial(sheet: &Sheet) -> MetricScore {
    let relations: Option<Vec<f64>> = spatial_rows(sheet).map(|row| sheet.with_parents(row)).collect();
    let mut metric = MetricScore::default();
    if let Some(relations) = relations.filter(|relations| !relations.is_empty()) {
        metric.score = mean(relations.iter().copied());
        metric.parts.insert("relations".to_owned(), relations.len() as f64);
    }
    metric
}

/// Mean of the parts that apply: attribute, and spatial where the graph has spatial relations. The reference's third part
/// (action, by CLIP) is no question and is not in it. None where a part that applies is unknown.
pub(super) fn three_in_one(sheet: &Sheet, attribute: &MetricScore, spatial: &MetricScore) -> MetricScore {
    let mut metric = MetricScore::default();
    let applies = [("attribute", attribute, true), ("spatial", spatial, spatial_rows(sheet).next().is_some())];
    let mut scores = Vec::new();
    for (name, part, _) in applies.into_iter().filter(|(_, _, applies)| *applies) {
        scores.push(part.score);
        metric.parts.extend(part.score.map(|score| (name.to_owned(), score)));
    }
    let known: Option<Vec<f64>> = scores.into_iter().collect();
    metric.score = known.and_then(mean);
    metric
}

fn spatial_rows<'s>(sheet: &'s Sheet) -> impl Iterator<Item = &'s super::Row<'s>> {
    sheet
        .rows
        .iter()
        .filter(|row| row.question.kind == QuestionKind::Relation && row.question.category == Category::RelationSpatial)
}
