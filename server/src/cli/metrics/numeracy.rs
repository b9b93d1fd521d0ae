//! `diptych metrics numeracy`: whether there are as many of each thing as was asked for.

use std::path::{Path, PathBuf};

use builder::detect::{Detected, read_detections};
use builder::metrics::numeracy::{self, Labelled, Noun, Wanted};
use clap::Args;
use serde_json::{Value, json};

use super::super::{Told, output};
use super::{ModeOption, Object, each_object};

/// T2I-CompBench's numeracy score of detected boxes
///
/// Reads JSON lines `{"case", "prompt", "detections": [{"label", "box": [x1, y1, x2, y2], "confidence"}, …]}` and prints
/// `{"case", "score", "objects", "counts"}` for each. In place of `"prompt"`, `"objects": ["dog"]` and `"counts": [3]` say
/// what is wanted. Without `"detections"`, only the prompt is read.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  diptych metrics numeracy --boxes boxes.jsonl --vocabulary new_objects.txt --mode reference"
)]
pub(crate) struct Numeracy {
    /// Prompts and boxes
    #[arg(long, value_name = "FILE")]
    boxes: PathBuf,
    /// Nouns with their plurals: lines `singular - plural`, or JSON `[{"singular", "plural"}, …]`; needed to read prompts
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,
    #[command(flatten)]
    mode: ModeOption,
}

impl Numeracy {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary.as_deref().map(read_vocabulary).transpose()?;
        let faults = each_object(&self.boxes, |index, object| {
            let outcome = self.case(object, vocabulary.as_deref());
            let case = object.name("case", index);
            let line = match &outcome {
                Ok((wanted, score)) => {
                    let objects: Vec<&String> = wanted.iter().map(|one| &one.object).collect();
                    let counts: Vec<u32> = wanted.iter().map(|one| one.count).collect();
                    json!({ "case": case, "score": score, "objects": objects, "counts": counts })
                }
                Err(error) => json!({ "case": case, "score": null, "error": error }),
            };
            output::json(&line).map_err(|error| error.to_string())?;
            outcome.map(drop)
        })?;
        if faults > 0 { Err(Told.into()) } else { Ok(()) }
    }

    fn case(&self, object: &Object<'_>, vocabulary: Option<&[Noun]>) -> Result<(Vec<Wanted>, Option<f64>), String> {
        let mode = self.mode.mode;
        let wanted = match object.text("prompt")? {
            Some(prompt) => {
                let vocabulary = vocabulary.ok_or("prompt: needs --vocabulary FILE to be read")?;
                numeracy::parse_prompt(prompt, vocabulary, mode).map_err(|error| error.to_string())?
            }
            None => wanted(object)?,
        };
        let Some(detections) = object.get("detections") else { return Ok((wanted, None)) };
        let labelled = |one: Detected| Labelled { label: one.label, detection: one.detection };
        let detected: Vec<Labelled> = read_detections(detections)?.into_iter().map(labelled).collect();
        let score = numeracy::score(&wanted, &detected, mode).map_err(|error| error.to_string())?;
        Ok((wanted, Some(score)))
    }
}

fn wanted(object: &Object<'_>) -> Result<Vec<Wanted>, String> {
    let list = |key: &str| {
        object.required(key).and_then(|value| value.as_array().ok_or_else(|| format!("{key}: must be a list")))
    };
    let (objects, counts) = (list("objects")?, list("counts")?);
    if objects.len() != counts.len() {
        return Err(format!("counts: has {} entries, objects {}", counts.len(), objects.len()));
    }
    let one = |(object, count): (&Value, &Value)| {
        let name = object.as_str().ok_or_else(|| format!("objects: holds {object}, which is no text"))?;
        let count = count.as_u64().and_then(|count| u32::try_from(count).ok());
        Ok(Wanted { object: name.to_owned(), count: count.ok_or_else(|| format!("counts: is no number for {name}"))? })
    };
    objects.iter().zip(counts).map(one).collect()
}

fn read_vocabulary(path: &Path) -> anyhow::Result<Vec<Noun>> {
    let name = path.display();
    let text = fs_err::read_to_string(path)?;
    let mut nouns = Vec::new();
    let noun = |singular: &str, plural: &str| Noun {
        singular: singular.trim().to_lowercase(),
        plural: plural.trim().to_lowercase(),
    };
    if text.trim_start().starts_with('[') {
        let list: Vec<Value> =
            serde_json::from_str(&text).map_err(|error| anyhow::anyhow!("{name}: no JSON array: {error}"))?;
        for (i, value) in list.iter().enumerate() {
            let word =
                |key: &str| value[key].as_str().ok_or_else(|| anyhow::anyhow!("{name}:/{i}/{key}: must be a string"));
            nouns.push(noun(word("singular")?, word("plural")?));
        }
    } else {
        for (line, words) in text.lines().enumerate().filter(|(_, words)| !words.trim().is_empty()) {
            let (singular, plural) = words
                .split_once(" - ")
                .ok_or_else(|| anyhow::anyhow!("{name}:{}: must be `singular - plural`, not `{words}`", line + 1))?;
            nouns.push(noun(singular, plural));
        }
    }
    Ok(nouns)
}
