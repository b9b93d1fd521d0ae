//! Who reads graphs as a scorer: how far the graph that is read out of a picture is the one that it was made of.

use std::sync::Arc;

use super::{ImageScorer, Subject, Verdicts};
use crate::Result;
use crate::endpoint::chat::Spent;
use crate::extract::GraphExtractor;
use crate::metrics::Mode;
use crate::metrics::scene_graph_iou::{Extraction, Match, Overlap, overlap, triples_of};
use crate::score_card::MetricScore;

/// The metrics by the names that the store, the API and policies use: with synonyms, and letter by letter.
pub const METRICS: [&str; 6] =
    ["sg_iou", "entity_iou", "relation_iou", "sg_iou_exact", "entity_iou_exact", "relation_iou_exact"];

/// Any extractor.
pub struct GraphScorer {
    extractor: Arc<dyn GraphExtractor>,
    version: String,
}

impl GraphScorer {
    /// The scores are those of [`Mode::Corrected`]; beside entities and relations stands among their parts, as `reported`,
    /// the figure from the model's own lists.
    pub fn new(extractor: Arc<dyn GraphExtractor>) -> Self {
        let version = crate::score::scorer_version(extractor.version());
        Self { extractor, version }
    }
}

impl ImageScorer for GraphScorer {
    fn name(&self) -> &str {
        self.extractor.name()
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn spent(&self) -> Option<Spent> {
        self.extractor.spent()
    }

    fn metrics(&self) -> &'static [&'static str] {
        &METRICS
    }

    fn score_many(&self, subjects: &[Subject<'_>]) -> Vec<Result<Verdicts>> {
        // A graph without relations has nothing to be found again; nobody is asked.
        let asked: Vec<Subject<'_>> =
            subjects.iter().filter(|subject| subject.graph.relations().len() > 0).copied().collect();
        let mut found = self.extractor.extract_many(&asked).into_iter();
        let one = |subject: &Subject<'_>| {
            let reference = triples_of(subject.graph);
            match if reference.is_empty() { None } else { found.next() } {
                Some(read) => Ok(verdicts(&reference, &read?)),
                None => {
                    let scores = METRICS.map(|metric| (metric, MetricScore::default())).to_vec();
                    Ok(Verdicts { scores, detections: None })
                }
            }
        };
        subjects.iter().map(one).collect()
    }
}

/// In the order of [`METRICS`].
pub(crate) fn verdicts(reference: &[[String; 3]], read: &Extraction) -> Verdicts {
    let mut scores = Vec::with_capacity(METRICS.len());
    for matching in [Match::Synonyms, Match::Exact] {
        let Overlap { scene_graph, entity, relation } = overlap(reference, read, Mode::Corrected, matching);
        let reported = overlap(reference, read, Mode::Reference, matching);
        scores.push((scene_graph, None));
        scores.extend([(entity, Some(reported.entity)), (relation, Some(reported.relation))]);
    }
    let verdict = |(score, reported): (f64, Option<f64>)| MetricScore {
        score: Some(score),
        parts: reported.map(|reported| ("reported".to_owned(), reported)).into_iter().collect(),
    };
    let scores = METRICS.into_iter().zip(scores.into_iter().map(verdict)).collect();
    Verdicts { scores, detections: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_for_the_same_count_but_letter_by_letter() {
        let reference = [["man", "next to", "sofa"].map(str::to_owned)];
        let read = Extraction {
            triples: vec![["man", "beside", "couch"].map(str::to_owned).to_vec()],
            objects: vec!["man".to_owned()],
            predicates: Vec::new(),
        };
        let found = verdicts(&reference, &read);
        let score = |name: &str| found.scores.iter().find(|(metric, _)| *metric == name).unwrap().1.clone();
        assert_eq!(METRICS[..3].iter().map(|name| score(name).score).collect::<Vec<_>>(), [Some(1.0); 3]);
        assert_eq!(score("sg_iou_exact").score, Some(0.0));
        assert_eq!(score("entity_iou_exact").score, Some(1.0 / 3.0));
        assert_eq!((score("entity_iou").parts["reported"], score("relation_iou").parts["reported"]), (0.5, 0.0));
    }
}
