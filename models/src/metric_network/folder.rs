//! Configuration files of transformers that hold one configuration in another.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::pixels::Normalization;
use crate::weights::read_json;
use crate::{Error, Result, config};

/// Makes the error for a key of a file.
pub(super) fn refuse<T>(path: &Path, key: &str, message: impl Into<String>) -> Result<T> {
    Err(Error::Config { path: path.to_owned(), key: key.to_owned(), message: message.into() })
}

/// `text_config` or `vision_config` of `all`; as in transformers, `…_dict`, where it is, replaces it.
pub(super) fn part<T: DeserializeOwned>(path: &Path, all: &Map<String, Value>, key: &str) -> Result<T> {
    let replaced = all.get(&format!("{key}_dict")).filter(|value| !value.is_null());
    let Some(value) = replaced.or_else(|| all.get(key)).filter(|value| value.is_object()) else {
        return refuse(path, key, "is missing, or no object");
    };
    serde_json::from_value(value.clone()).or_else(|error| refuse(path, key, error.to_string()))
}

/// Refuses keys that nobody knows, and sizes that make no transformer.
pub(super) fn check_tower(
    path: &Path,
    part: &str,
    other: &Map<String, Value>,
    model_type: &str,
    (width, heads, layers): (usize, usize, usize),
) -> Result<()> {
    config::check_other(
        &format!("{} ({part})", path.display()),
        other,
        &[("model_type", model_type.into())],
        &config::PRETRAINED,
    )?;
    if heads == 0 || !width.is_multiple_of(heads) {
        return refuse(path, &format!("{part}.num_attention_heads"), format!("{heads} heads do not divide {width}"));
    }
    if layers == 0 {
        return refuse(path, &format!("{part}.num_hidden_layers"), "must be at least 1");
    }
    Ok(())
}

/// Mean and deviation of `preprocessor_config.json`; CLIP's where there is no such file.
pub(super) fn normalization(dir: &Path) -> Result<Normalization> {
    let path = dir.join("preprocessor_config.json");
    if !path.exists() {
        return Ok(Normalization::CLIP);
    }
    let file: Map<String, Value> = read_json(&path)?;
    let three = |key: &str, default: [f32; 3]| match file.get(key).filter(|value| !value.is_null()) {
        None => Ok(default),
        Some(value) => serde_json::from_value::<[f32; 3]>(value.clone())
            .ok()
            .filter(|values| values.iter().all(|value| value.is_finite()))
            .map_or_else(|| refuse(&path, key, format!("must be three numbers, not {value}")), Ok),
    };
    let found = Normalization {
        mean: three("image_mean", Normalization::CLIP.mean)?,
        std: three("image_std", Normalization::CLIP.std)?,
    };
    if found.std.contains(&0.0) {
        return refuse(&path, "image_std", "must not be zero");
    }
    // PIL's number of the bicubic filter.
    if let Some(value) = file.get("resample").filter(|value| !value.is_null() && **value != 3) {
        return refuse(&path, "resample", format!("{value} is not implemented; only 3 (bicubic) is"));
    }
    Ok(found)
}
