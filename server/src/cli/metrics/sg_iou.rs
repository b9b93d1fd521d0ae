//! `diptych metrics sg-iou`: overlap of graphs with what a model read out of images.

use std::path::PathBuf;

use builder::metrics::Mode;
use builder::metrics::scene_graph_iou::{self, Extraction, Match, Overlap};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::super::{Told, output};
use super::{ModeOption, Object, each_object};

mod pictures;

/// SG-IoU, Entity-IoU and Relation-IoU between graphs and what a vision-language model read out of pictures
///
/// With --images and --graphs: asks an OpenAI-compatible endpoint for the graph of each picture, or takes it from
/// --extractions (JSON lines of `{"image", "triples", "object_list", "predicate_list"}` or `{"image", "reply"}`), and prints
/// `{"image", "item_id", "sg_iou", "entity_iou", "relation_iou"}` for each picture, then a summary. A picture whose reply is
/// no graph has no figures, and says why. In mode `reference` the model is told, as published, which words of the graph it
/// may use; in mode `corrected` it is not.
///
/// With --cases: reads a JSON array or JSON lines of `{"name", "reference_triples", "predicted_triples",
/// "predicted_objects", "predicted_predicates"}` and prints `{"name", "sg_iou", "entity_iou", "relation_iou"}` for each. In
/// place of the `predicted_…`, `"reply"` may hold the model's reply as text.
///
/// `reference` compares the model's own lists of objects and predicates, as the published code does; `corrected` derives
/// them from the predicted triples, as the paper says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  diptych metrics sg-iou --cases cases.json --mode reference
  diptych metrics sg-iou --images pictures --graphs graphs.json --base-url http://127.0.0.1:8000/v1 --vision-model NAME --match synonyms --record read.jsonl
  diptych metrics sg-iou --images pictures --graphs graphs.json --extractions read.jsonl")]
pub(crate) struct SgIou {
    /// The cases
    #[arg(long, value_name = "FILE", required_unless_present = "images", conflicts_with = "images")]
    cases: Option<PathBuf>,
    /// When two words are the same
    #[arg(long = "match", value_enum, default_value_t = Matching::Exact)]
    matching: Matching,
    #[command(flatten)]
    mode: ModeOption,
    #[command(flatten)]
    pictures: pictures::Pictures,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Matching {
    /// Letter by letter, as published
    Exact,
    /// Whatever the case, blanks and underscores
    Folded,
    /// Folded, and common other words for the same thing
    Synonyms,
}

/// How two graphs are compared.
#[derive(Clone, Copy)]
struct Comparison {
    mode: Mode,
    matching: Match,
}

impl Comparison {
    fn of(self, reference: &[[String; 3]], read: &Extraction) -> Overlap {
        scene_graph_iou::overlap(reference, read, self.mode, self.matching)
    }
}

impl SgIou {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let matching = match self.matching {
            Matching::Exact => Match::Exact,
            Matching::Folded => Match::Folded,
            Matching::Synonyms => Match::Synonyms,
        };
        let comparison = Comparison { mode: self.mode.mode, matching };
        let Some(cases) = &self.cases else { return self.pictures.run(comparison) };
        let faults = each_object(cases, |index, object| {
            let name =
                if object.get("name").is_some() { object.name("name", index) } else { object.name("case", index) };
            let outcome = read(object).map(|(reference, read)| comparison.of(&reference, &read));
            let line = match &outcome {
                Ok(found) => json!({
                    "name": name, "case": name, "sg_iou": found.scene_graph,
                    "entity_iou": found.entity, "relation_iou": found.relation,
                }),
                Err(error) => json!({
                    "name": name, "case": name, "sg_iou": null, "entity_iou": null, "relation_iou": null, "error": error,
                }),
            };
            output::json(&line).map_err(|error| error.to_string())?;
            outcome.map(drop)
        })?;
        if faults > 0 { Err(Told.into()) } else { Ok(()) }
    }
}

/// The graph's triples, and what was read.
type Case = (Vec<[String; 3]>, Extraction);

fn read(object: &Object<'_>) -> Result<Case, String> {
    let triples =
        |key: &str| scene_graph_iou::triples(object.required(key)?).map_err(|message| format!("{key}: {message}"));
    let mut reference = Vec::new();
    for (i, triple) in triples("reference_triples")?.into_iter().enumerate() {
        let length = triple.len();
        let triple = <[String; 3]>::try_from(triple);
        reference.push(triple.map_err(|_| format!("reference_triples: entry {i} has {length} words, not 3"))?);
    }
    if let Some(reply) = object.text("reply")? {
        let read = scene_graph_iou::read_reply(reply).map_err(|message| format!("reply: {message}"))?;
        return Ok((reference, read));
    }
    let list = |key: &str| -> Result<Vec<String>, String> {
        let Some(value) = object.get(key) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(|| format!("{key}: must be a list"))?;
        let text = |word: &Value| {
            word.as_str().map(str::to_owned).ok_or_else(|| format!("{key}: holds {word}, which is no text"))
        };
        list.iter().map(text).collect()
    };
    let read = Extraction {
        triples: if object.get("predicted_triples").is_some() { triples("predicted_triples")? } else { Vec::new() },
        objects: list("predicted_objects")?,
        predicates: list("predicted_predicates")?,
    };
    Ok((reference, read))
}
