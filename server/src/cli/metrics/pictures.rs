//! Pictures and prompts for metrics that look at pixels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use models::metric_network::Pixels;
use rayon::prelude::*;

use super::super::output;
use super::super::score::list_pictures;
use super::each_object;

/// Pictures that are in memory at a time.
pub(super) const BATCH: usize = 32;

/// Pictures and what each should show.
#[derive(Debug, Args)]
pub(super) struct Prompted {
    /// The pictures
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// JSON lines `{"image": FILE NAME, "prompt": TEXT}` [default: the file name before its first underscore, as in
    /// T2I-CompBench]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
}

impl Prompted {
    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.images
    }

    /// File names with their prompts, sorted by name. Pictures without a prompt are told and left out.
    pub(super) fn read(&self) -> anyhow::Result<Vec<(String, String)>> {
        let names = list_pictures(&self.images)?;
        let Some(path) = &self.prompts else {
            let of_name = |name: String| {
                let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
                let prompt = stem.split('_').next().unwrap_or_default().to_owned();
                (name, prompt)
            };
            return Ok(names.into_iter().map(of_name).collect());
        };
        let mut prompts = HashMap::new();
        let faults = each_object(path, |_, object| {
            let image = object.text("image")?.ok_or("image: is missing")?;
            let prompt = object.text("prompt")?.ok_or("prompt: is missing")?;
            match prompts.insert(image.to_owned(), prompt.to_owned()) {
                Some(earlier) if earlier != prompt => Err(format!("image: {image} has another prompt before")),
                _ => Ok(()),
            }
        })?;
        anyhow::ensure!(faults == 0, "{}: {faults} lines could not be read", path.display());
        let mut all = Vec::new();
        for name in names {
            match prompts.remove(&name) {
                Some(prompt) => all.push((name, prompt)),
                None => output::note(&format!("warning: {name} has no prompt; it is left out")),
            }
        }
        if !prompts.is_empty() {
            output::note(&format!("warning: {} prompts name no picture of the folder", prompts.len()));
        }
        anyhow::ensure!(!all.is_empty(), "{}: no picture of the folder has a prompt in it", path.display());
        Ok(all)
    }
}

/// Pixels of some pictures, or why one cannot be read.
pub(super) fn load(folder: &Path, names: &[&str]) -> Vec<Result<Pixels, String>> {
    let one = |name: &&str| {
        let bytes = fs_err::read(folder.join(name)).map_err(|error| error.to_string())?;
        let image = image::load_from_memory(&bytes).map_err(|error| format!("cannot be read: {error}"))?.to_rgb8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        Pixels::new(width, height, image.into_raw()).map_err(|error| error.to_string())
    };
    names.par_iter().map(one).collect()
}

/// Rows of features by picture, batch by batch; what cannot be read has a reason in place of a row.
pub(super) fn features(
    folder: &Path,
    names: &[&str],
    of_batch: impl Fn(&[Pixels]) -> models::Result<candle_core::Tensor>,
) -> anyhow::Result<Vec<Result<Vec<f64>, String>>> {
    let bar = output::bar(names.len() as u64, "looking");
    let mut all = Vec::with_capacity(names.len());
    for names in names.chunks(BATCH) {
        let loaded = load(folder, names);
        let readable: Vec<Pixels> = loaded.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
        let rows = if readable.is_empty() {
            Vec::new()
        } else {
            models::metric_network::clip_model::rows(&of_batch(&readable)?)?
        };
        let mut rows = rows.into_iter();
        for one in loaded {
            all.push(one.and_then(|_| rows.next().ok_or_else(|| "the network gave no features".to_owned())));
        }
        bar.inc(names.len() as u64);
    }
    bar.finish_and_clear();
    Ok(all)
}
