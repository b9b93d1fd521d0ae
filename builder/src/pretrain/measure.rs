//! Stage 5: what the finished model can do on graphs that it was not trained on; the numbers of its card.

use super::{PretrainProgress, PretrainSettings};
use crate::answer::Answerer;
use crate::answer::shapes::ShapesAnswerer;
use crate::candidate::{Purpose, seed};
use crate::conditioning::graph_text;
use crate::evaluation::{Difference, ImagePair, compare};
use crate::question::{QuestionDag, QuestionKind, derive};
use crate::scene_graph::{SceneGraph, Split};
use crate::score::score_card;
use crate::shapes;
use image::RgbImage;
use models::pipeline::{GraphMode, Pipeline, SampleSettings};
use models::scene_graph_encoder::GraphText;
use models::weights::write_json;
use models::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;
use uuid::Uuid;

const NUM_GRAPHS: usize = 400;
const NUM_CANDIDATES: usize = 4;
const SAMPLING: SampleSettings = SampleSettings { num_inference_steps: 20, guidance_scale: 4.0 };
/// The world of this stage; the demo's worlds have small seeds.
const SCENES: u64 = 0x5EED_0005;
/// Graphs sampled between two signs of life.
const CHUNK: usize = 40;

/// Scores in 0 ..= 1 of images of held-out graphs, by the exact answerer.
#[derive(Clone, Debug, Serialize)]
pub struct Measurements {
    /// SHA-256 of the weights measured.
    pub model_hash: String,
    /// Held-out graphs.
    pub graphs: usize,
    /// Images a graph.
    pub candidates: usize,
    /// Sampling steps.
    pub num_inference_steps: usize,
    /// Guidance.
    pub guidance_scale: f64,
    /// Mean question score of all images.
    pub mean_score: f64,
    /// Mean over graphs of the best image's.
    pub best_of_four_score: f64,
    /// By kind of question: share that holds, a child only with its parents.
    pub by_kind: BTreeMap<String, f64>,
    /// The same where each image is asked another graph's questions: what luck gives.
    pub chance_by_kind: BTreeMap<String, f64>,
    /// By kind and over all: the record's caption alone (`base`) against the scene graph (`trained`), same noises.
    pub scene_graph_against_caption: BTreeMap<String, Difference>,
    /// The same against the sentence that the scene-graph encoder starts from, without the graph.
    pub scene_graph_against_sentence: BTreeMap<String, Difference>,
}

/// What a picture is conditioned on.
#[derive(Clone, Copy, PartialEq)]
enum Condition {
    /// Text and graph.
    SceneGraph,
    /// The graph's sentence.
    Sentence,
    /// The record's caption.
    Caption,
}

impl Condition {
    const ALL: [Self; 3] = [Self::SceneGraph, Self::Sentence, Self::Caption];
}

struct Asked {
    caption: String,
    graph: SceneGraph,
    questions: QuestionDag,
}

/// Measures the model in `settings.output` and writes `measurements.json` there.
pub(super) fn run(settings: &PretrainSettings, report: &mut dyn FnMut(&PretrainProgress)) -> Result<Measurements> {
    let pipeline = Pipeline::load(&settings.output, &candle_core::Device::Cpu)?;
    let graphs = held_out_graphs(settings.steps(NUM_GRAPHS))?;
    let started = Instant::now();
    let total = graphs.len() * NUM_CANDIDATES * Condition::ALL.len();
    let mut made = 0;
    let mut images: [Vec<RgbImage>; 3] = Default::default();
    for (condition, images) in Condition::ALL.into_iter().zip(&mut images) {
        for chunk in graphs.chunks(CHUNK) {
            let chunk = sample(&pipeline, chunk, condition)?;
            made += chunk.len();
            images.extend(chunk);
            report(&PretrainProgress {
                stage: "measure",
                step: made,
                steps: total,
                loss: f64::NAN,
                seconds: started.elapsed().as_secs_f64(),
            });
        }
    }
    let [with_graph, sentences, captions] = images;
    let scores = judge(&graphs, &with_graph, 0)?;
    let chance = judge(&graphs, &with_graph, 1)?;
    let sentence_scores = judge(&graphs, &sentences, 0)?;
    let caption_scores = judge(&graphs, &captions, 0)?;

    let best: Vec<f64> =
        scores.chunks(NUM_CANDIDATES).map(|images| images.iter().map(|image| image.0).fold(0.0, f64::max)).collect();
    let measurements = Measurements {
        model_hash: pipeline.hash().to_owned(),
        graphs: graphs.len(),
        candidates: NUM_CANDIDATES,
        num_inference_steps: SAMPLING.num_inference_steps,
        guidance_scale: SAMPLING.guidance_scale,
        mean_score: mean(scores.iter().map(|image| image.0)),
        best_of_four_score: mean(best.iter().copied()),
        by_kind: by_kind(&scores),
        chance_by_kind: by_kind(&chance),
        scene_graph_against_caption: against(&caption_scores, &scores, settings.seed),
        scene_graph_against_sentence: against(&sentence_scores, &scores, settings.seed),
    };
    write_json(&settings.output.join("measurements.json"), &measurements)?;
    Ok(measurements)
}

fn held_out_graphs(count: usize) -> Result<Vec<Asked>> {
    let mut graphs = Vec::with_capacity(count);
    for index in 0.. {
        if graphs.len() == count {
            break;
        }
        let record = shapes::generate_compositional(SCENES, index).to_laion_sg(&format!("measured-{index}"));
        let graph = SceneGraph::from_laion_sg(&record).map_err(|error| Error::Training(error.to_string()))?;
        if graph.split() == Split::HeldOut {
            let caption = record["caption_ori"].as_str().unwrap_or_default().to_owned();
            graphs.push(Asked { caption, questions: derive(&graph), graph });
        }
    }
    Ok(graphs)
}

/// All candidates of each graph, in order.
fn sample(pipeline: &Pipeline, graphs: &[Asked], condition: Condition) -> Result<Vec<RgbImage>> {
    let texts: Vec<_> = graphs
        .iter()
        .map(|asked| match condition {
            Condition::Caption => GraphText { triples: Vec::new(), isolated: vec![asked.caption.clone()] },
            Condition::SceneGraph | Condition::Sentence => graph_text(&asked.graph),
        })
        .collect();
    let mode = if condition == Condition::SceneGraph { GraphMode::SceneGraph } else { GraphMode::CaptionOnly };
    let rows: Vec<usize> = (0..graphs.len() * NUM_CANDIDATES).map(|image| image / NUM_CANDIDATES).collect();
    let seeds: Vec<u64> = rows
        .iter()
        .enumerate()
        .map(|(image, &row)| {
            let hash = graphs[row].graph.content_hash();
            seed(Purpose::Evaluation, 0, &hash, (image % NUM_CANDIDATES) as u32) as u64
        })
        .collect();
    let conditioning = pipeline.encode_graphs(&texts, mode)?.select(&rows)?;
    let latents = pipeline.sample(&conditioning, &seeds, SAMPLING)?;
    let side = pipeline.image_size() as u32;
    pipeline
        .decode(&latents)?
        .into_iter()
        .map(|rgb| {
            RgbImage::from_raw(side, side, rgb).ok_or_else(|| Error::Training("a picture of another size".to_owned()))
        })
        .collect()
}

/// Score and parts by kind of each image, asked the questions of its graph, or of the graph `shift` places on.
fn judge(graphs: &[Asked], images: &[RgbImage], shift: usize) -> Result<Vec<(f64, BTreeMap<String, f64>)>> {
    let answerer = ShapesAnswerer::default();
    images
        .iter()
        .enumerate()
        .map(|(place, image)| {
            let asked = &graphs[(place / NUM_CANDIDATES + shift) % graphs.len()];
            let answers = answerer
                .answer(image, &asked.graph, &asked.questions)
                .map_err(|error| Error::Training(error.to_string()))?;
            let metric = score_card(&asked.questions, &answers).dpg;
            let parts = QuestionKind::ALL
                .iter()
                .filter_map(|kind| Some((kind.as_str().to_owned(), *metric.parts.get(kind.as_str())?)))
                .collect();
            Ok((metric.score.unwrap_or(f64::NAN), parts))
        })
        .collect()
}

fn by_kind(scores: &[(f64, BTreeMap<String, f64>)]) -> BTreeMap<String, f64> {
    QuestionKind::ALL
        .iter()
        .map(|kind| {
            let name = kind.as_str().to_owned();
            let value = mean(scores.iter().filter_map(|image| image.1.get(&name).copied()));
            (name, value)
        })
        .collect()
}

fn against(
    base: &[(f64, BTreeMap<String, f64>)],
    trained: &[(f64, BTreeMap<String, f64>)],
    seed: u64,
) -> BTreeMap<String, Difference> {
    let pairs: Vec<ImagePair> = base
        .iter()
        .zip(trained)
        .enumerate()
        .map(|(place, (base, trained))| ImagePair {
            graph: Uuid::from_u128((place / NUM_CANDIDATES) as u128),
            base: base.0,
            trained: trained.0,
            base_by_kind: base.1.clone(),
            trained_by_kind: trained.1.clone(),
        })
        .collect();
    let mut differences = BTreeMap::new();
    if let Some(comparison) = compare(&pairs, seed) {
        differences.extend(comparison.by_kind);
        differences.insert("all".to_owned(), comparison.overall);
    }
    differences
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}
