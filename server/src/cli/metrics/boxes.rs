//! `diptych metrics t2i-spatial` and `t2i-spatial-3d`: spatial scores from detectors' boxes.

use std::path::PathBuf;

use builder::detect::read_box;
use builder::metrics::spatial::{self, Detection, SpatialScore};
use clap::Args;
use serde_json::json;

use super::super::{Told, output};
use super::{ModeOption, Object, each_object};

/// T2I-CompBench's 2-D spatial score of boxes
///
/// Reads JSON lines `{"case", "relation", "a": {"box": [x1, y1, x2, y2], "confidence"} or null, "b": …}` and prints
/// `{"case", "position", "score"}` for each. `"prompt"` may stand in place of `"relation"`: the first of the published words
/// in it counts. Boxes are in pixels of an image of about 480.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych metrics t2i-spatial --boxes boxes.jsonl --mode reference")]
pub(crate) struct Spatial {
    /// The boxes
    #[arg(long, value_name = "FILE")]
    boxes: PathBuf,
    #[command(flatten)]
    mode: ModeOption,
}

/// T2I-CompBench's 3-D spatial score of boxes with their depth
///
/// As t2i-spatial, with the mean inverse depth (larger is nearer) of each box as `"depth"` beside `"box"`. Relations: in
/// front of, behind, hidden.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych metrics t2i-spatial-3d --boxes boxes.jsonl --mode reference")]
pub(crate) struct Depth {
    /// The boxes
    #[arg(long, value_name = "FILE")]
    boxes: PathBuf,
    #[command(flatten)]
    mode: ModeOption,
}

impl Spatial {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mode = self.mode.mode;
        run(&self.boxes, |object| {
            let relation = relation(object, spatial::relation_2d_of_prompt)?;
            let (a, b) = (detection(object, "a")?, detection(object, "b")?);
            let score = spatial::score_2d(relation, a.as_ref(), b.as_ref(), mode);
            score.map_err(|error| error.to_string())
        })
    }
}

impl Depth {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mode = self.mode.mode;
        run(&self.boxes, |object| {
            let relation = relation(object, spatial::relation_3d_of_prompt)?;
            let (a, b) = (detection(object, "a")?, detection(object, "b")?);
            let depth = if a.is_some() && b.is_some() { depth(object, "a")? - depth(object, "b")? } else { 0.0 };
            let score = spatial::score_3d(relation, a.as_ref(), b.as_ref(), depth, mode);
            score.map_err(|error| error.to_string())
        })
    }
}

fn run(path: &std::path::Path, score: impl Fn(&Object<'_>) -> Result<SpatialScore, String>) -> anyhow::Result<()> {
    let faults = each_object(path, |index, object| {
        let case = object.name("case", index);
        let outcome = score(object);
        let line = match &outcome {
            Ok(score) => json!({ "case": case, "position": score.position, "score": score.score }),
            Err(error) => json!({ "case": case, "position": null, "score": null, "error": error }),
        };
        output::json(&line).map_err(|error| error.to_string())?;
        outcome.map(drop)
    })?;
    if faults > 0 { Err(Told.into()) } else { Ok(()) }
}

fn relation<'v>(object: &Object<'v>, of_prompt: fn(&str) -> Option<&'static str>) -> Result<Option<&'v str>, String> {
    match (object.text("relation")?, object.text("prompt")?) {
        (None, Some(prompt)) => Ok(of_prompt(prompt)),
        (relation, _) => Ok(relation),
    }
}

/// The box of this name; none if it is null or not there.
fn detection(object: &Object<'_>, key: &str) -> Result<Option<Detection>, String> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let place = |message: String| format!("{key}.{message}");
    read_box(Object::of(value).map_err(|message| format!("{key}: {message}"))?.0).map_err(place).map(Some)
}

fn depth(object: &Object<'_>, key: &str) -> Result<f64, String> {
    let value = object.required(key)?;
    Object::of(value).and_then(|inner| inner.number("depth")).map_err(|message| format!("{key}.{message}"))
}
