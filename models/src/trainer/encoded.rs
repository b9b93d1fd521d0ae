//! What the frozen encoders say of graphs and pictures, out of the cache.
//!
//! In f32: a replayed path must end in its picture, and a policy whose own encoder learns must start where its reference is.

use super::data_parallel;
use super::tensor_cache::{CachedRow, Key, Precision, Rows, TensorCache, Wanted, key};
use crate::Result;
use crate::pipeline::{Conditioning, GraphMode, Pipeline};
use crate::scene_graph_encoder::{GraphFeatures, GraphText, GraphTokens};
use candle_core::{Device, Tensor};

/// The key of what the networks of `reference` say of a `kind` of thing with this content.
fn row_key(reference: &Pipeline, kind: &str, content: &str) -> Key {
    key([reference.hash(), kind, content].map(str::as_bytes))
}

/// Conditioning of each graph by the reference's own encoders: hidden states `[n, s, d]`, pooled `[n, p]`.
pub(super) fn graphs(
    reference: &Pipeline,
    graphs: &[GraphText],
    cache: &TensorCache,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Conditioning> {
    let shape = reference.unconditional(1)?;
    let (_, s, d) = shape.encoder_hidden_states.dims3()?;
    let p = shape.text_embeds.dim(1)?;
    let wanted: Vec<Wanted> = graphs
        .iter()
        .map(|graph| Wanted { key: row_key(reference, "scene graph", &format!("{graph:?}")), length: s * d + p })
        .collect();
    let mut compute = |places: &[usize]| {
        let part: Vec<GraphText> = places.iter().map(|&place| graphs[place].clone()).collect();
        let conditioning = reference.encode_graphs(&part, GraphMode::SceneGraph)?;
        let states = conditioning.encoder_hidden_states.flatten_from(1)?;
        Ok(Tensor::cat(&[&states, &conditioning.text_embeds], 1)?.to_vec2::<f32>()?)
    };
    let rows = cache.fetch(&wanted, Precision::Full, &mut compute, progress)?;
    let gather = |start: usize, count: usize| -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(rows.len() * count);
        for row in &rows {
            values.extend(row.read(start, count)?);
        }
        Ok(values)
    };
    let (n, device) = (graphs.len(), reference.device());
    Ok(Conditioning {
        encoder_hidden_states: Tensor::from_vec(gather(0, s * d)?, (n, s, d), device)?,
        text_embeds: Tensor::from_vec(gather(s * d, p)?, (n, p), device)?,
    })
}

/// What the text encoders say about the texts of each graph, for an encoder of graphs that learns.
pub(super) fn texts(
    reference: &Pipeline,
    graphs: &[GraphText],
    cache: &TensorCache,
) -> Result<Vec<(Vec<GraphTokens>, GraphFeatures)>> {
    let tokens = data_parallel::map(&Device::Cpu, graphs, |graph| GraphTokens::prepare(graph, reference.tokenizer()))?;
    let empty = reference.unconditional(1)?;
    let (d, p) = (empty.encoder_hidden_states.dim(2)?, empty.text_embeds.dim(1)?);
    let wanted: Vec<Wanted> = graphs
        .iter()
        .zip(&tokens)
        .map(|(graph, tokens)| Wanted {
            key: row_key(reference, "texts", &format!("{graph:?}")),
            length: GraphFeatures::num_values(tokens, d, p),
        })
        .collect();
    let mut compute = |places: &[usize]| {
        data_parallel::map(reference.device(), places, |&place| {
            reference.graph_features(std::slice::from_ref(&tokens[place]))?.to_values()
        })
    };
    let rows = cache.fetch(&wanted, Precision::Full, &mut compute, &mut |_, _| Ok(()))?;
    let place = (reference.dtype(), reference.device());
    let kept = tokens.into_iter().zip(rows);
    kept.map(|(tokens, row)| {
        let features = GraphFeatures::from_values(&tokens, &row.read_all()?, p, place)?;
        Ok((vec![tokens], features))
    })
    .collect()
}

/// Scaled latents of pictures, `[c · h · w]` each. `names` are the hashes of their files; `pixels` gives the RGB bytes of those
/// that are asked for by their places, at the model's size.
pub fn latents(
    reference: &Pipeline,
    names: &[&str],
    cache: &TensorCache,
    pixels: &mut Rows<u8>,
) -> Result<Vec<Vec<f32>>> {
    let length = reference.latent_channels() * reference.latent_size().pow(2);
    let wanted: Vec<Wanted> =
        names.iter().map(|name| Wanted { key: row_key(reference, "picture", name), length }).collect();
    let mut compute = |places: &[usize]| {
        let encoded = reference.encode_images(&pixels(places)?)?;
        Ok(encoded.flatten_from(1)?.to_vec2::<f32>()?)
    };
    let rows = cache.fetch(&wanted, Precision::Full, &mut compute, &mut |_, _| Ok(()))?;
    rows.iter().map(CachedRow::read_all).collect()
}
