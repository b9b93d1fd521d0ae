//! DPG-Bench's score: the share of questions that hold, where a child holds only with all its parents.
//!
//! Source: TencentQQGYLab/ELLA, `dpg_bench/compute_dpg_bench.py`, at 3c228f1. The reference masks in place, walking the
//! questions in their order; since ours are numbered topologically, a masked parent always masks its children too.

use std::collections::BTreeMap;

use super::{Sheet, mean};
use crate::dpg_bench::{category_l1, category_l2};
use crate::question::QuestionKind;
use crate::score_card::MetricScore;

/// How a parent's no reaches its descendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masking {
    /// As DPG-Bench: in place, in the questions' order. A parent in a later row counts with its raw answer.
    InPlace,
    /// As DSG: looks at the parents' raw answers only.
    OneStep,
    /// Until nothing changes, whatever the order.
    Fixpoint,
}

/// `holds[i]` after masking; `parents[i]` are positions. A parent that does not exist masks nothing.
pub fn masked(holds: &[bool], parents: &[Vec<usize>], masking: Masking) -> Vec<bool> {
    let mut result = holds.to_vec();
    let stands = |among: &[bool], i: usize| parents[i].iter().all(|&parent| among.get(parent).copied().unwrap_or(true));
    match masking {
        Masking::InPlace => {
            for i in 0..result.len() {
                result[i] = result[i] && stands(&result, i);
            }
        }
        Masking::OneStep => {
            for i in 0..result.len() {
                result[i] = holds[i] && stands(holds, i);
            }
        }
        Masking::Fixpoint => loop {
            let next: Vec<bool> = (0..result.len()).map(|i| result[i] && stands(&result, i)).collect();
            if next == result {
                break;
            }
            result = next;
        },
    }
    result
}

/// The score of one image. One refused question leaves it without a score: neither a yes nor a no would be true, and a
/// mean over the rest would be a mean over other questions for each answerer. Parts are means over what was answered, by
/// kind: `entity`, `attribute`, `relation` masked as the score is, `raw_…` as the reference's categories are.
pub(super) fn score(sheet: &Sheet) -> MetricScore {
    let rows = &sheet.rows;
    let holds: Vec<bool> = rows.iter().map(|row| row.yes).collect();
    let masked = masked(&holds, &parents(sheet), Masking::InPlace);
    let mut metric = MetricScore::default();
    if rows.iter().all(|row| row.probability.is_some()) {
        metric.score = mean(masked.iter().map(|&holds| number(holds)));
    }
    for kind in QuestionKind::ALL {
        for (prefix, values) in [("", &masked), ("raw_", &holds)] {
            let of_kind =
                rows.iter().zip(values).filter(|(row, _)| row.question.kind == kind && row.probability.is_some());
            if let Some(mean) = mean(of_kind.map(|(_, &holds)| number(holds))) {
                metric.parts.insert(format!("{prefix}{}", kind.as_str()), mean);
            }
        }
    }
    metric
}

/// The score of one image in DPG-Bench's `reference` mode, from the answers of [`score`]: whatever is no yes is a no, a refusal
/// too, and parts are the categories of both levels, unmasked, as the published script prints them. None where a question
/// was not asked: there the script drops the image. Its faults that are a file's (the lost first row, blocks that replace
/// each other) have no place here: the questions follow from the graph.
pub(super) fn reference(sheet: &Sheet) -> MetricScore {
    let rows = &sheet.rows;
    if rows.is_empty() || rows.iter().any(|row| !row.told) {
        return MetricScore::default();
    }
    let holds: Vec<bool> = rows.iter().map(|row| row.yes).collect();
    let masked = masked(&holds, &parents(sheet), Masking::InPlace);
    let mut metric = MetricScore { score: mean(masked.iter().map(|&holds| number(holds))), ..MetricScore::default() };
    let mut of_category: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for row in rows {
        let l2 = category_l2(&row.question.tuple);
        for name in [l2, category_l1(l2)] {
            let (yes, all) = of_category.entry(name).or_default();
            *yes += number(row.yes);
            *all += 1.0;
        }
    }
    metric.parts.extend(of_category.into_iter().map(|(name, (yes, all))| (name.to_owned(), yes / all)));
    metric
}

fn number(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Positions of each question's parents.
fn parents(sheet: &Sheet) -> Vec<Vec<usize>> {
    let of = |parents: &[u32]| parents.iter().map(|&parent| parent as usize - 1).collect();
    sheet.rows.iter().map(|row| of(&row.question.parents)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules_differ_where_they_should() {
        // 0 ← 1 ← 2: entity, attribute, relation of METRICS' worked example.
        let chain = [vec![], vec![0], vec![1]];
        assert_eq!(masked(&[true, false, true], &chain, Masking::InPlace), [true, false, false]);
        assert_eq!(masked(&[false, true, true], &chain, Masking::InPlace), [false, false, false]);
        assert_eq!(masked(&[false, true, true], &chain, Masking::OneStep), [false, false, true]);
        // A parent in a later row.
        let backwards = [vec![1], vec![2], vec![]];
        assert_eq!(masked(&[true, true, false], &backwards, Masking::InPlace), [true, false, false]);
        assert_eq!(masked(&[true, true, false], &backwards, Masking::Fixpoint), [false, false, false]);
    }
}
