//! `diptych metrics sg-iou`: overlap of graphs with what a model read out of images.

use std::path::PathBuf;

use builder::metrics::scene_graph_iou::{self, Case, Match};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::super::{Told, output};
use super::{ModeOption, Object, each_object};

/// SG-IoU, Entity-IoU and Relation-IoU of cases
///
/// Reads a JSON array or JSON lines of `{"name", "reference_triples", "predicted_triples", "predicted_objects",
/// "predicted_predicates"}` and prints `{"name", "sg_iou", "entity_iou", "relation_iou"}` for each. In place of the
/// `predicted_…`, `"reply"` may hold the model's reply as text. `reference` compares the model's own lists of objects and
/// predicates, as the published code does; `corrected` derives them from the predicted triples, as the paper says.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych metrics sg-iou --cases cases.json --mode reference")]
pub(crate) struct SgIou {
    /// The cases
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// When two words are the same
    #[arg(long = "match", value_enum, default_value_t = Matching::Exact)]
    matching: Matching,
    #[command(flatten)]
    mode: ModeOption,
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

impl SgIou {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let matching = match self.matching {
            Matching::Exact => Match::Exact,
            Matching::Folded => Match::Folded,
            Matching::Synonyms => Match::Synonyms,
        };
        let faults = each_object(&self.cases, |index, object| {
            let name =
                if object.get("name").is_some() { object.name("name", index) } else { object.name("case", index) };
            let outcome = read(object).map(|case| scene_graph_iou::overlap(&case, self.mode.mode, matching));
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
        return Ok(Case {
            reference,
            ..scene_graph_iou::read_reply(reply).map_err(|message| format!("reply: {message}"))?
        });
    }
    let list = |key: &str| -> Result<Vec<String>, String> {
        let Some(value) = object.get(key) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(|| format!("{key}: must be a list"))?;
        let text = |word: &Value| {
            word.as_str().map(str::to_owned).ok_or_else(|| format!("{key}: holds {word}, which is no text"))
        };
        list.iter().map(text).collect()
    };
    Ok(Case {
        reference,
        predicted: if object.get("predicted_triples").is_some() { triples("predicted_triples")? } else { Vec::new() },
        predicted_objects: list("predicted_objects")?,
        predicted_predicates: list("predicted_predicates")?,
    })
}
