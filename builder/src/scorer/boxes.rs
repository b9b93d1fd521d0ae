//! A detector as a scorer: spatial scores and numeracy of what it finds.

use std::sync::Arc;

use super::{ImageScorer, Subject, Verdicts};
use crate::detect::{Detected, Detector, Sight};
use crate::endpoint::chat::Spent;
use crate::metrics::Mode;
use crate::score::detections;
use crate::{Error, Result};

/// Any detector.
pub struct BoxScorer {
    detector: Arc<dyn Detector>,
    version: String,
}

impl BoxScorer {
    /// The scores are those of [`Mode::Corrected`]; the published figure stands among their parts, as `reference`.
    pub fn new(detector: Arc<dyn Detector>) -> Self {
        let version = crate::score::scorer_version(detector.version());
        Self { detector, version }
    }
}

impl ImageScorer for BoxScorer {
    fn name(&self) -> &str {
        self.detector.name()
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn spent(&self) -> Option<Spent> {
        self.detector.spent()
    }

    fn metrics(&self) -> &'static [&'static str] {
        &detections::METRICS
    }

    fn score_many(&self, subjects: &[Subject<'_>]) -> Vec<Result<Verdicts>> {
        let labels: Vec<Vec<&str>> = subjects.iter().map(|subject| detections::labels(subject.graph)).collect();
        let sights: Vec<Sight<'_>> = subjects
            .iter()
            .zip(&labels)
            .map(|(subject, labels)| Sight { name: subject.name, image: subject.image, labels })
            .collect();
        let found = self.detector.detect_many(&sights);
        subjects.iter().zip(found).map(|(subject, found)| verdicts(subject, &found?)).collect()
    }
}

/// The scores of what was found in a picture, and its boxes in shares of the picture.
///
/// # Errors
/// A box makes no sense.
pub(crate) fn verdicts(subject: &Subject<'_>, found: &[Detected]) -> Result<Verdicts> {
    let scores = |mode| detections::scores(subject.graph, subject.image, found, mode);
    let corrected = scores(Mode::Corrected).map_err(Error::Format)?;
    // Where the published script stops, there is no published figure.
    let reference = scores(Mode::Reference).ok();
    let mut scores = Vec::with_capacity(corrected.len());
    for (i, (metric, mut verdict)) in detections::METRICS.into_iter().zip(corrected).enumerate() {
        let published = reference.as_ref().and_then(|reference| reference[i].score);
        verdict.parts.extend(published.map(|score| ("reference".to_owned(), score)));
        scores.push((metric, verdict));
    }
    let (width, height) = (f64::from(subject.image.width().max(1)), f64::from(subject.image.height().max(1)));
    let mut detections = found.to_vec();
    detections.sort_by(|a, b| b.detection.confidence.total_cmp(&a.detection.confidence));
    for one in &mut detections {
        let [x1, y1, x2, y2] = one.detection.bounds;
        one.detection.bounds = [x1 / width, y1 / height, x2 / width, y2 / height];
    }
    Ok(Verdicts { scores, detections: Some(detections) })
}
