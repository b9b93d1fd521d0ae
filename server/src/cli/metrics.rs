//! `diptych metrics`: metrics of pictures, of what others have measured (features, boxes, triples, scores), and a table of
//! those in the store. Only that table, and the distance of candidates, need a database.

use std::io::BufRead;
use std::path::Path;

use builder::metrics::Mode;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{Global, output};

mod accuracy;
mod agreement;
mod boxes;
mod frechet;
mod image_text;
mod numeracy;
mod pictures;
mod sg_iou;
mod table;
mod three_in_one;

/// Compute metrics from files: Fréchet distance, CLIPScore, PickScore, aesthetics, spatial scores, numeracy, scene graph
/// overlap, agreement of scorers
///
/// Most have two forms: `--mode reference` gives the published script's figure, its known faults included, `--mode
/// corrected` the figure without them. Results are JSON lines on stdout.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych metrics frechet --a real.safetensors --b generated.safetensors")]
pub(crate) struct Metrics {
    #[command(subcommand)]
    metric: Metric,
}

#[derive(Debug, Subcommand)]
enum Metric {
    Frechet(frechet::Frechet),
    #[command(name = "t2i-spatial")]
    Spatial(boxes::Spatial),
    #[command(name = "t2i-spatial-3d")]
    Depth(boxes::Depth),
    Numeracy(numeracy::Numeracy),
    #[command(name = "sg-iou")]
    SgIou(sg_iou::SgIou),
    #[command(name = "three-in-one")]
    ThreeInOne(three_in_one::ThreeInOne),
    Agreement(agreement::Agreement),
    ClipScore(image_text::ClipScore),
    PickScore(image_text::PickScore),
    Aesthetic(image_text::Aesthetic),
    #[command(name = "answerer-accuracy")]
    Accuracy(accuracy::Accuracy),
    Table(table::Table),
}

impl Metrics {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.metric {
            Metric::Frechet(metric) => metric.run(global),
            Metric::Spatial(metric) => metric.run(),
            Metric::Depth(metric) => metric.run(),
            Metric::Numeracy(metric) => metric.run(),
            Metric::SgIou(metric) => metric.run(),
            Metric::ThreeInOne(metric) => metric.run(),
            Metric::Agreement(metric) => metric.run(),
            Metric::ClipScore(metric) => metric.run(global),
            Metric::PickScore(metric) => metric.run(global),
            Metric::Aesthetic(metric) => metric.run(global),
            Metric::Accuracy(metric) => metric.run(global),
            Metric::Table(metric) => metric.run(global),
        }
    }
}

/// Which form of a metric.
#[derive(Debug, Args)]
pub(crate) struct ModeOption {
    /// `reference`: as published, faults included; `corrected`: without them
    #[arg(long, value_name = "MODE", default_value = "corrected")]
    mode: Mode,
}

/// Reads the JSON objects of a file, either lines or one array, and hands each to `one`; gives the number of faults. What
/// is wrong is told as `file:line: …` or `file:/index: …`, and the rest goes on.
fn each_object(path: &Path, mut one: impl FnMut(usize, &Object<'_>) -> Result<(), String>) -> anyhow::Result<usize> {
    let mut reader = std::io::BufReader::new(fs_err::File::open(path)?);
    let name = path.display();
    let (mut faults, mut count) = (0, 0);
    let mut tell = |place: String, outcome: Result<(), String>| {
        if let Err(message) = outcome {
            output::note(&format!("{name}:{place}: {message}"));
            faults += 1;
        }
    };
    let starts_array = reader.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if starts_array {
        let list: Vec<Value> =
            serde_json::from_reader(reader).map_err(|error| anyhow::anyhow!("{name}: no JSON array: {error}"))?;
        for (index, value) in list.iter().enumerate() {
            count += 1;
            tell(format!("/{index}"), Object::of(value).and_then(|object| one(index, &object)));
        }
    } else {
        for (index, line) in reader.split(b'\n').enumerate() {
            let line = line?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let value = serde_json::from_slice::<Value>(&line).map_err(|error| format!("no JSON: {error}"));
            let outcome = value.and_then(|value| Object::of(&value).and_then(|object| one(count, &object)));
            count += 1;
            tell((index + 1).to_string(), outcome);
        }
    }
    if count == 0 {
        anyhow::bail!("{name}: there is no case in it");
    }
    Ok(faults)
}

/// A JSON object whose fields are asked for by name.
struct Object<'v>(&'v Map<String, Value>);

impl<'v> Object<'v> {
    fn of(value: &'v Value) -> Result<Self, String> {
        value.as_object().map(Self).ok_or_else(|| format!("must be a JSON object, not {value}"))
    }

    /// The field, if it is there and not null.
    fn get(&self, key: &str) -> Option<&'v Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn required(&self, key: &str) -> Result<&'v Value, String> {
        self.get(key).ok_or_else(|| format!("{key}: is missing"))
    }

    fn text(&self, key: &str) -> Result<Option<&'v str>, String> {
        let text = |value: &'v Value| value.as_str().ok_or_else(|| format!("{key}: must be a string, not {value}"));
        self.get(key).map(text).transpose()
    }

    fn number(&self, key: &str) -> Result<f64, String> {
        let value = self.required(key)?;
        value.as_f64().ok_or_else(|| format!("{key}: must be a number, not {value}"))
    }

    /// What the result is to be called: the value of `key`, or the case's place in the file.
    fn name(&self, key: &str, index: usize) -> Value {
        self.get(key).cloned().unwrap_or_else(|| Value::from(index))
    }
}
