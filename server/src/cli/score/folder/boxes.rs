//! Scores of a folder's pictures from boxes.

use std::collections::HashMap;
use std::path::Path;

use builder::answer::recorded::RecordedAnswers;
use builder::detect::{Detector, DetectorSettings, HttpDetector, RecordedDetector, ShapesDetector, Sight};
use builder::dpg_bench::question_file::QuestionFile;
use builder::dpg_bench::run::{ImageScore, Outcome, find_item};
use builder::scene_graph::SceneGraph;
use builder::score::detections;
use image::RgbImage;
use rayon::prelude::*;

use super::super::super::{endpoint, output};
use super::Folder;

/// A picture with its graph.
type Prepared<'g> = (&'g SceneGraph, RgbImage);

/// Graphs by `img_id`.
type Graphs<'g> = HashMap<&'g str, &'g SceneGraph>;

/// A picture of the folder and the graph that it is of, or why there is none.
pub(in super::super::super) fn of_graph<'g>(
    folder: &Path,
    image: &str,
    questions: &QuestionFile,
    graphs: &Graphs<'g>,
) -> Result<Prepared<'g>, String> {
    let item = find_item(image, questions, &RecordedAnswers::default())?;
    let graph = graphs.get(item.item_id.as_str()).copied();
    let graph = graph.ok_or_else(|| format!("there is no graph {}", item.item_id))?;
    let bytes = fs_err::read(folder.join(image)).map_err(|error| error.to_string())?;
    let pixels = image::load_from_memory(&bytes).map_err(|error| format!("cannot be read: {error}"))?;
    Ok((graph, pixels.to_rgb8()))
}

/// Pictures held in memory at a time.
const CHUNK: usize = 256;

impl Folder {
    pub(super) fn score_boxes(
        &self,
        folder: &Path,
        images: &[String],
        questions: &QuestionFile,
        graphs: &[SceneGraph],
    ) -> anyhow::Result<Outcome> {
        // Of several graphs of an item the first counts.
        let graphs: &Graphs<'_> = &graphs.iter().rev().map(|graph| (graph.img_id.as_str(), graph)).collect();
        match (&self.boxes, &self.detector_url) {
            (Some(file), _) => {
                Ok(self.with_detector(folder, images, questions, graphs, &RecordedDetector::open(file)?))
            }
            (None, Some(url)) => {
                let detector = HttpDetector::new(DetectorSettings {
                    url: url.clone(),
                    model: self.detector_model.clone(),
                    api_key: std::env::var("DETECTOR_API_KEY").ok().filter(|key| !key.is_empty()),
                    patience: self.openai.patience(),
                })?;
                let outcome = self.with_detector(folder, images, questions, graphs, &detector);
                endpoint::tell("detector", detector.spent());
                Ok(outcome)
            }
            (None, None) => Ok(self.with_detector(folder, images, questions, graphs, &ShapesDetector::default())),
        }
    }

    fn with_detector(
        &self,
        folder: &Path,
        images: &[String],
        questions: &QuestionFile,
        graphs: &Graphs<'_>,
        detector: &dyn Detector,
    ) -> Outcome {
        let mut scored = Vec::with_capacity(images.len());
        let bar = output::bar(images.len() as u64, "looking");
        for chunk in images.chunks(CHUNK) {
            scored.extend(self.chunk(folder, chunk, questions, graphs, detector));
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        Outcome::of_images(scored)
    }

    fn chunk(
        &self,
        folder: &Path,
        images: &[String],
        questions: &QuestionFile,
        graphs: &Graphs<'_>,
        detector: &dyn Detector,
    ) -> Vec<ImageScore> {
        let prepared: Vec<Result<Prepared<'_>, String>> =
            images.par_iter().map(|image| of_graph(folder, image, questions, graphs)).collect();
        let labels: Vec<Vec<&str>> = prepared
            .iter()
            .map(|one| one.as_ref().map_or_else(|_| Vec::new(), |(graph, _)| detections::labels(graph)))
            .collect();
        let sights: Vec<Sight<'_>> = images
            .iter()
            .zip(&prepared)
            .zip(&labels)
            .filter_map(|((name, one), labels)| {
                let (_, image) = one.as_ref().ok()?;
                Some(Sight { name, image, labels })
            })
            .collect();
        let mut found = detector.detect_many(&sights).into_iter();
        let place = detections::METRICS.iter().position(|metric| *metric == self.metric).unwrap_or_default();
        let one = |(name, prepared): (&String, &Result<Prepared<'_>, String>)| {
            let item_id = prepared.as_ref().ok().map(|(graph, _)| graph.img_id.clone());
            let mut parts = std::collections::BTreeMap::new();
            let score = prepared.as_ref().map_err(Clone::clone).and_then(|(graph, image)| {
                let boxes = found.next().ok_or("the detector gave nothing")?;
                let boxes = boxes.map_err(|error| builder::task::error_text(&error))?;
                let [planar, depth, counts] = detections::scores(graph, image, &boxes, self.mode)?;
                let verdict = [planar, depth, counts].into_iter().nth(place).unwrap_or_default();
                parts = verdict.parts;
                verdict.score.ok_or_else(|| self.why_not(graph))
            });
            ImageScore { image: Some(name.clone()), item_id, score, parts }
        };
        images.iter().zip(&prepared).map(one).collect()
    }

    fn why_not(&self, graph: &SceneGraph) -> String {
        let words: Vec<&str> = graph.relations().map(|(_, relation, _)| relation.predicate.as_str()).collect();
        match self.metric.as_str() {
            "t2i_spatial" => format!("none of its relations ({}) is one of the plane", words.join(", ")),
            "t2i_spatial_3d" => {
                format!("none of its relations ({}) is one of depth, or a box has no depth", words.join(", "))
            }
            _ => "its graph names nothing to count".to_owned(),
        }
    }
}
