//! T2I-CompBench's spatial scores and numeracy of one picture, from a graph and what a detector found.
//!
//! The graph says what the reference's parser has to guess: which two things a relation is between, and how many of each
//! there are. Boxes are brought into the frame that the published constants are for: the longer side is 480 pixels. Where a
//! relation is between two things of one label, [`Mode::Reference`] takes the surest box for both, [`Mode::Corrected`] the
//! two different boxes of that label that fit best.

use image::RgbImage;

use crate::detect::Detected;
use crate::metrics::Mode;
use crate::metrics::numeracy::{self, Labelled, Wanted};
use crate::metrics::spatial::{self, SpatialScore};
use crate::question::{Category, number};
use crate::scene_graph::SceneGraph;
use crate::score_card::MetricScore;

/// The metrics by the names that the store, the API and policies use.
pub const METRICS: [&str; 3] = ["t2i_spatial", "t2i_spatial_3d", "numeracy"];
/// Longer side of the picture that the published script gives its detector.
const FRAME: f64 = 480.0;

/// What follows from the boxes, in the order of [`METRICS`]. A metric that does not apply to the graph, or for which depths
/// are lacking, has no score.
///
/// # Errors
/// [`Mode::Reference`] divides by zero where the published script does.
pub fn scores(
    graph: &SceneGraph,
    image: &RgbImage,
    detected: &[Detected],
    mode: Mode,
) -> Result<[MetricScore; 3], String> {
    let scale = FRAME / f64::from(image.width().max(image.height()).max(1));
    let mut detected: Vec<Detected> = detected.to_vec();
    for one in &mut detected {
        one.detection.bounds = one.detection.bounds.map(|value| value * scale);
    }
    detected.sort_by(|a, b| b.detection.confidence.total_cmp(&a.detection.confidence));
    Ok([planar(graph, &detected, mode)?, in_depth(graph, &detected, mode)?, counts(graph, &detected, mode)?])
}

/// What is looked for in pictures of a graph.
pub fn labels(graph: &SceneGraph) -> Vec<&str> {
    let mut labels: Vec<&str> = graph.objects().map(|object| object.label.trim()).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// Mean over the relations of the plane.
fn planar(graph: &SceneGraph, detected: &[Detected], mode: Mode) -> Result<MetricScore, String> {
    let mut found = Vec::new();
    for (subject, relation, object) in graph.relations() {
        let predicate = plain(&relation.predicate);
        // What the reference does not know is a relation all the same: it scores without a position.
        if !spatial::is_planar(predicate, Mode::Corrected) {
            continue;
        }
        let score = |a: Option<&Detected>, b: Option<&Detected>| {
            let (a, b) = (a.map(|one| &one.detection), b.map(|one| &one.detection));
            spatial::score_2d(Some(predicate), a, b, mode).map_err(|error| error.to_string())
        };
        found.push(best(detected, [label(graph, subject), label(graph, object)], mode, score)?);
    }
    Ok(mean_of(&found, "relations"))
}

/// Mean over the relations of depth; none where a box that was found has no depth.
fn in_depth(graph: &SceneGraph, detected: &[Detected], mode: Mode) -> Result<MetricScore, String> {
    let mut found = Vec::new();
    for (subject, relation, object) in graph.relations() {
        let Some(predicate) = spatial::depth_relation(plain(&relation.predicate)) else { continue };
        if detected.iter().any(|one| one.depth.is_none()) {
            return Ok(MetricScore::default());
        }
        let score = |a: Option<&Detected>, b: Option<&Detected>| {
            let depth = |one: Option<&Detected>| one.and_then(|one| one.depth).unwrap_or_default();
            let boxes = (a.map(|one| &one.detection), b.map(|one| &one.detection));
            let nearer = if a.is_some() && b.is_some() { depth(a) - depth(b) } else { 0.0 };
            let score = spatial::score_3d(Some(predicate), boxes.0, boxes.1, nearer, mode);
            score.map_err(|error| error.to_string())
        };
        found.push(best(detected, [label(graph, subject), label(graph, object)], mode, score)?);
    }
    Ok(mean_of(&found, "relations"))
}

/// Numeracy of every label of the graph.
fn counts(graph: &SceneGraph, detected: &[Detected], mode: Mode) -> Result<MetricScore, String> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for object in graph.objects() {
        let label = object.label.trim().to_lowercase();
        let mut told = object.attributes.iter().filter(|words| Category::of_attribute(words) == Category::OtherCount);
        let count = told.find_map(|words| number(words)).unwrap_or(1);
        match wanted.iter_mut().find(|one| one.object == label) {
            Some(one) => one.count += count,
            None => wanted.push(Wanted { object: label, count }),
        }
    }
    if wanted.is_empty() {
        return Ok(MetricScore::default());
    }
    let labelled: Vec<Labelled> = detected
        .iter()
        .map(|one| Labelled { label: one.label.trim().to_lowercase(), detection: one.detection })
        .collect();
    let score = numeracy::score(&wanted, &labelled, mode).map_err(|error| error.to_string())?;
    let parts = [("objects".to_owned(), wanted.len() as f64)].into();
    Ok(MetricScore { score: Some(score), parts })
}

fn mean_of(scores: &[SpatialScore], counted: &str) -> MetricScore {
    let mut metric = MetricScore::default();
    if !scores.is_empty() {
        let mean = |value: fn(&SpatialScore) -> f64| scores.iter().map(value).sum::<f64>() / scores.len() as f64;
        metric.score = Some(mean(|one| one.score));
        metric.parts.insert("position".to_owned(), mean(|one| one.position));
        metric.parts.insert(counted.to_owned(), scores.len() as f64);
    }
    metric
}

fn best(
    detected: &[Detected],
    labels: [&str; 2],
    mode: Mode,
    score: impl Fn(Option<&Detected>, Option<&Detected>) -> Result<SpatialScore, String>,
) -> Result<SpatialScore, String> {
    let of = |label: &str| -> Vec<&Detected> { detected.iter().filter(|one| is(&one.label, label)).collect() };
    let (a, b) = (of(labels[0]), of(labels[1]));
    let is_same = labels[0].eq_ignore_ascii_case(labels[1]);
    if !is_same || mode == Mode::Reference || a.len() < 2 {
        // One box of two things of a label is one of them.
        let other = if is_same && mode == Mode::Corrected { None } else { b.first().copied() };
        return score(a.first().copied(), other);
    }
    let mut best: Option<SpatialScore> = None;
    for (i, one) in a.iter().enumerate() {
        for (_, other) in b.iter().enumerate().filter(|(k, _)| *k != i) {
            let found = score(Some(one), Some(other))?;
            if best.is_none_or(|best| found.score > best.score) {
                best = Some(found);
            }
        }
    }
    best.ok_or_else(|| "no two boxes".to_owned())
}

/// The published script asks for people of any kind as for persons.
fn is(found: &str, label: &str) -> bool {
    let label = match label.to_lowercase().as_str() {
        "girl" | "boy" | "man" | "woman" => "person".to_owned(),
        other => other.to_owned(),
    };
    found.trim().to_lowercase() == label
}

fn label(graph: &SceneGraph, object: usize) -> &str {
    graph.object(object).map_or("", |object| object.label.trim())
}

fn plain(predicate: &str) -> &str {
    let predicate = predicate.trim();
    ["is ", "are "].iter().find_map(|head| predicate.strip_prefix(head)).unwrap_or(predicate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::spatial::Detection;
    use serde_json::{Value, json};

    fn graph(items: &Value, relations: &Value) -> SceneGraph {
        SceneGraph::from_laion_sg(
            &json!({"img_id": "1", "name": "", "caption_ori": "", "items": items, "relations": relations}),
        )
        .unwrap()
    }

    fn found(label: &str, bounds: [f64; 4], confidence: f64, depth: Option<f64>) -> Detected {
        Detected { label: label.to_owned(), detection: Detection { bounds, confidence }, depth }
    }

    #[test]
    fn the_worked_examples_of_the_specification() {
        let dogs = graph(
            &json!([{"item_id": 0, "label": "dog", "attributes": ["three"]}, {"item_id": 1, "label": "cat", "attributes": ["two"]}]),
            &json!([{"item1": 0, "relation": "on the left of", "item2": 1}, {"item1": 0, "relation": "in front of", "item2": 1}]),
        );
        let frame = RgbImage::new(480, 320);
        let boxes = [
            found("dog", [0.0, 0.0, 100.0, 100.0], 0.8, Some(0.9)),
            found("cat", [200.0, 0.0, 300.0, 100.0], 0.6, Some(0.2)),
        ];
        let [planar, depth, counts] = scores(&dogs, &frame, &boxes, Mode::Reference).unwrap();
        assert!((planar.score.unwrap() - 0.85).abs() < 1e-12, "{planar:?}");
        // Without overlap the reference sees no order in depth.
        assert!((depth.score.unwrap() - 0.35).abs() < 1e-12, "{depth:?}");
        assert_eq!(counts.score, Some(0.5));
        let [_, depth, _] = scores(&dogs, &frame, &boxes, Mode::Corrected).unwrap();
        assert!((depth.score.unwrap() - 0.85).abs() < 1e-12, "{depth:?}");
        // A picture of half the size has boxes of half the size.
        let half: Vec<Detected> = boxes
            .iter()
            .map(|one| found(&one.label, one.detection.bounds.map(|v| v / 2.0), one.detection.confidence, one.depth))
            .collect();
        assert_eq!(scores(&dogs, &RgbImage::new(240, 160), &half, Mode::Reference).unwrap()[0], planar);
    }

    #[test]
    fn two_things_of_a_label_are_two_boxes() {
        let cats = graph(
            &json!([{"item_id": 0, "label": "cat", "attributes": []}, {"item_id": 1, "label": "cat", "attributes": []}]),
            &json!([{"item1": 0, "relation": "left of", "item2": 1}]),
        );
        let frame = RgbImage::new(480, 480);
        let two =
            [found("cat", [300.0, 0.0, 400.0, 100.0], 1.0, None), found("cat", [0.0, 0.0, 100.0, 100.0], 1.0, None)];
        let [planar, depth, counts] = scores(&cats, &frame, &two, Mode::Corrected).unwrap();
        assert_eq!((planar.score, depth.score, counts.score), (Some(1.0), None, Some(1.0)));
        let [planar, _, counts] = scores(&cats, &frame, &two[..1], Mode::Corrected).unwrap();
        assert_eq!((planar.score, counts.score), (Some(0.0), Some(0.5)));
    }
}
