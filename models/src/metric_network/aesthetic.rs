//! LAION's aesthetic predictor v2: an affine map of CLIP ViT-L/14's image features.
//!
//! Source: christophschuhmann/improved-aesthetic-predictor at 6934dd8, `simple_inference.py`: five linear layers without
//! activation between them (dropout does nothing here), on features of length one.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::clip_model::rows;
use crate::linear::Linear;
use crate::weights::{WeightFiles, content_hash};
use crate::{Error, Result};

/// Outputs of `layers.0`, `.2`, `.4`, `.6`, `.7`.
const LAYERS: [(usize, usize); 5] = [(0, 1024), (2, 128), (4, 64), (6, 16), (7, 1)];

/// The layers, ready to score.
pub struct AestheticHead {
    layers: Vec<Linear>,
    width: usize,
    content_hash: String,
}

impl AestheticHead {
    /// Reads a safetensors file with the published file's tensors (`layers.0.weight` …). The width of the features is the
    /// first layer's.
    ///
    /// # Errors
    /// The file is damaged, or a tensor is missing, unknown or of another shape; the error names file and tensor.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let mut files = WeightFiles::of_files(path, &[path.to_owned()])?;
        let first = files.entries().find(|(name, _)| *name == "layers.0.weight").map(|(_, entry)| entry.shape);
        let width = first.and_then(|shape| shape.get(1).copied()).unwrap_or(768);
        let load = |vb: candle_nn::VarBuilder| {
            let mut input = width;
            let layer = |(index, output)| {
                let layer = Linear::load(vb.pp("layers").pp(index), input, output, true);
                input = output;
                layer
            };
            LAYERS.into_iter().map(layer).collect::<Result<Vec<_>>>()
        };
        let (layers, tensors) = files.load(DType::F32, device, load)?;
        Ok(Self { layers, width, content_hash: content_hash([("aesthetic", &tensors)])? })
    }

    /// SHA-256 over all weights, in hex.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// Scores of image features `[b, d]`, usually 1 ..= 10; `None` for features without direction.
    ///
    /// # Errors
    /// The features are of another width: they come from another CLIP.
    pub fn scores(&self, features: &Tensor) -> Result<Vec<Option<f64>>> {
        let width = features.dims2()?.1;
        if width != self.width {
            return Err(Error::Invalid(format!(
                "the predictor takes features of {} dimensions, this CLIP gives {width}; v2 belongs to CLIP ViT-L/14",
                self.width
            )));
        }
        let norms: Vec<f64> =
            rows(features)?.iter().map(|row| row.iter().map(|value| value * value).sum::<f64>().sqrt()).collect();
        let inverse: Vec<f32> = norms.iter().map(|&norm| if norm > 0.0 { (1.0 / norm) as f32 } else { 0.0 }).collect();
        let mut hidden = features.broadcast_mul(&Tensor::from_vec(inverse, (norms.len(), 1), features.device())?)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden)?;
        }
        let scores = hidden.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let usable = norms.iter().zip(&scores).map(|(norm, score)| *norm > 0.0 && score.is_finite());
        Ok(usable.zip(&scores).map(|(usable, score)| usable.then_some(*score)).collect())
    }
}
