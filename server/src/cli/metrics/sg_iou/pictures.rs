//! Graphs read out of a folder's pictures, and how far they are those that the pictures were made of.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use builder::dpg_bench::question_file::QuestionFile;
use builder::extract::{GraphExtractor, OpenAiExtractor, RecordedExtractor, Vocabulary, write_line};
use builder::metrics::Mode;
use builder::metrics::scene_graph_iou::{Overlap, triples_of};
use builder::scene_graph::SceneGraph;
use builder::scorer::Subject;
use clap::{Args, ValueEnum};
use image::RgbImage;
use rayon::prelude::*;
use serde_json::json;

use super::super::super::endpoint::{self, OpenAi};
use super::super::super::score::{list_pictures, of_graph, read_graphs};
use super::super::super::{Told, Usage, output};
use super::Comparison;

/// Pictures held in memory at a time.
const CHUNK: usize = 256;

/// A folder of pictures, their graphs, and who reads them.
#[derive(Debug, Args)]
pub(super) struct Pictures {
    /// The pictures; a picture's graph is its name up to the first dot, as in `diptych score`
    #[arg(long, value_name = "DIR", requires = "graphs")]
    images: Option<PathBuf>,
    /// What they were made of (LAION-SG)
    #[arg(long, value_name = "FILE", requires = "images")]
    graphs: Option<PathBuf>,
    /// Graphs that were read already (JSON lines) instead of an endpoint
    #[arg(long, value_name = "FILE", requires = "images")]
    extractions: Option<PathBuf>,
    /// Write the graphs down that were read, in the form that --extractions reads
    #[arg(long, value_name = "FILE", requires = "images")]
    record: Option<PathBuf>,
    /// Which words the model may use [default: open in mode corrected, graph in mode reference]
    #[arg(long, value_enum, value_name = "WORDS", requires = "images")]
    vocabulary: Option<Words>,
    #[command(flatten)]
    openai: OpenAi,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Words {
    /// Its own
    Open,
    /// Those of the graph, as published: the model is told what to look for
    Graph,
}

/// A picture with its graph, or why there is none.
type Prepared<'g> = Result<(&'g SceneGraph, RgbImage), String>;

/// One picture's figures.
struct Line {
    image: String,
    item_id: Option<String>,
    found: Result<Overlap, String>,
}

impl Pictures {
    pub(super) fn run(&self, comparison: Comparison) -> anyhow::Result<()> {
        let (Some(images), Some(graphs)) = (&self.images, &self.graphs) else {
            return Err(Usage("name the pictures and their graphs: --images and --graphs".to_owned()).into());
        };
        let extractor: Box<dyn GraphExtractor> = match &self.extractions {
            Some(path) => Box::new(RecordedExtractor::open(path)?),
            None => Box::new(OpenAiExtractor::new(
                self.openai.settings("without --extractions, sg-iou of pictures")?,
                self.vocabulary(comparison.mode),
            )?),
        };
        let graphs = read_graphs(graphs)?;
        let mut record = self.record.as_deref().map(fs_err::File::create).transpose()?.map(BufWriter::new);
        let lines = lines(images, &graphs, &*extractor, comparison, record.as_mut())?;
        if let Some(mut record) = record {
            record.flush()?;
        }
        endpoint::tell(extractor.name(), extractor.spent());
        print(&lines, comparison, &*extractor)
    }

    fn vocabulary(&self, mode: Mode) -> Vocabulary {
        match (self.vocabulary, mode) {
            (Some(Words::Open), _) | (None, Mode::Corrected) => Vocabulary::Open,
            (Some(Words::Graph), _) | (None, Mode::Reference) => Vocabulary::OfGraph,
        }
    }
}

fn lines(
    folder: &Path,
    graphs: &[SceneGraph],
    extractor: &dyn GraphExtractor,
    comparison: Comparison,
    mut record: Option<&mut BufWriter<fs_err::File>>,
) -> anyhow::Result<Vec<Line>> {
    let questions = QuestionFile::of_graphs(graphs);
    // Of several graphs of an item the first counts.
    let by_id: HashMap<&str, &SceneGraph> = graphs.iter().rev().map(|graph| (graph.img_id.as_str(), graph)).collect();
    let images = list_pictures(folder)?;
    let bar = output::bar(images.len() as u64, "reading");
    let mut lines = Vec::with_capacity(images.len());
    for chunk in images.chunks(CHUNK) {
        let prepared: Vec<Prepared<'_>> =
            chunk.par_iter().map(|image| of_graph(folder, image, &questions, &by_id)).collect();
        let related = |one: &Prepared<'_>| one.as_ref().is_ok_and(|(graph, _)| graph.relations().len() > 0);
        let subjects: Vec<Subject<'_>> = chunk
            .iter()
            .zip(&prepared)
            .filter(|(_, one)| related(one))
            .filter_map(|(name, one)| one.as_ref().ok().map(|(graph, image)| Subject { name, image, graph }))
            .collect();
        let mut read = extractor.extract_many(&subjects).into_iter();
        for (image, one) in chunk.iter().zip(&prepared) {
            let next = if related(one) { read.next() } else { None };
            let found = match (one, next) {
                (Err(reason), _) => Err(reason.clone()),
                (Ok(_), None) => Err("its graph has no relations".to_owned()),
                (Ok(_), Some(Err(error))) => Err(builder::task::error_text(&error)),
                (Ok((graph, _)), Some(Ok(read))) => {
                    if let Some(record) = record.as_deref_mut() {
                        write_line(record, image, &read)?;
                    }
                    Ok(comparison.of(&triples_of(graph), &read))
                }
            };
            let item_id = one.as_ref().ok().map(|(graph, _)| graph.img_id.clone());
            lines.push(Line { image: image.clone(), item_id, found });
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(lines)
}

fn print(lines: &[Line], comparison: Comparison, extractor: &dyn GraphExtractor) -> anyhow::Result<()> {
    let text = |line: &Line| {
        let found = line.found.as_ref().ok();
        let mut json = json!({
            "image": line.image, "item_id": line.item_id, "sg_iou": found.map(|found| found.scene_graph),
            "entity_iou": found.map(|found| found.entity), "relation_iou": found.map(|found| found.relation),
        });
        if let Err(reason) = &line.found {
            json["error"] = json!(reason);
        }
        json.to_string()
    };
    output::lines(lines.iter().map(text))?;
    let found: Vec<&Overlap> = lines.iter().filter_map(|line| line.found.as_ref().ok()).collect();
    let mean = |value: fn(&Overlap) -> f64| {
        (!found.is_empty()).then(|| found.iter().map(|one| value(one)).sum::<f64>() / found.len() as f64)
    };
    output::json(&json!({ "summary": {
        "sg_iou": mean(|one| one.scene_graph), "entity_iou": mean(|one| one.entity),
        "relation_iou": mean(|one| one.relation), "images": lines.len(), "failed": lines.len() - found.len(),
        "mode": comparison.mode.as_str(), "match": comparison.matching.as_str(),
        "extractor": extractor.name(), "version": extractor.version(), "spent": extractor.spent(),
    }}))?;
    if found.is_empty() { Err(Told.into()) } else { Ok(()) }
}
