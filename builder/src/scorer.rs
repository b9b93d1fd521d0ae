//! What scores pictures without questions: networks that judge a picture (and its prompt), detectors, and who reads graphs.

pub(crate) mod boxes;
pub(crate) mod graphs;
mod network;

pub use boxes::BoxScorer;
pub use graphs::{GraphScorer, METRICS as GRAPH_METRICS};
pub use network::{NetworkFiles, NetworkScorer};

use image::RgbImage;

use crate::detect::Detected;
use crate::endpoint::chat::Spent;
use crate::scene_graph::SceneGraph;
use crate::score_card::MetricScore;

/// A picture to be scored, and what it should show.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// File name, or the id of a candidate.
    pub name: &'a str,
    /// The pixels.
    pub image: &'a RgbImage,
    /// What the picture was made of.
    pub graph: &'a SceneGraph,
}

impl Subject<'_> {
    /// The prompt: the graph's caption, or its things where it has none.
    pub fn prompt(&self) -> String {
        let caption = self.graph.caption.trim();
        if !caption.is_empty() {
            return caption.to_owned();
        }
        let things = (0..self.graph.num_objects()).map(|object| self.graph.item_text(object).trim().to_owned());
        things.collect::<Vec<_>>().join(", ")
    }
}

/// What is said of one picture.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// By metric.
    pub scores: Vec<(&'static str, MetricScore)>,
    /// What a detector found, its boxes in shares of the picture, the surest first; none from a network.
    pub detections: Option<Vec<Detected>>,
}

/// Something that gives pictures scores under metrics of its own.
pub trait ImageScorer: Send + Sync {
    /// Its name in the store, the API and on the command line.
    fn name(&self) -> &str;

    /// Changes whenever the same picture might be scored otherwise.
    fn version(&self) -> &str;

    /// What was spent so far on whoever is asked over the network.
    fn spent(&self) -> Option<Spent> {
        None
    }

    /// What it scores.
    fn metrics(&self) -> &'static [&'static str];

    /// The verdicts on each picture; each with its own outcome, in their order.
    fn score_many(&self, subjects: &[Subject<'_>]) -> Vec<crate::Result<Verdicts>>;
}
