//! What a training leaves, in the files that other programs open: adapters in the keys of diffusers (PEFT's) or of kohya's
//! scripts, and a diffusers folder with the training merged in.
//!
//! Both kinds of adapter file say their alpha (diffusers' in the header, kohya's as a tensor beside each layer) and what
//! they are in the words of modelspec 1.0.0 (`Stability-AI/ModelSpec`).

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};

use crate::checkpoint_keys::{self, Header, ldm};
use crate::pipeline::ENCODER_PREFIX;
use crate::weights::{TensorMap, read_file, read_folder, write_whole};
use crate::{Error, Result, lora};

const DOWN: &str = ".lora_A.weight";
const UP: &str = ".lora_B.weight";
const ALPHA: &str = ".alpha";

/// Whose names an adapter file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoraStyle {
    /// `unet.….to_q.lora_A.weight`; rank and alpha as PEFT's settings in the header.
    Diffusers,
    /// `lora_unet_….lora_down.weight`, `….alpha`; blocks in the numbers of the original code for SDXL, in diffusers' for SD1.5.
    Kohya,
}

/// What a file says about itself: the free fields of modelspec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSpec {
    /// A name for people.
    pub title: String,
    /// What it is and where it comes from.
    pub description: String,
    /// When it was made, ISO 8601.
    pub date: String,
    /// Side of its pictures in pixels.
    pub resolution: usize,
    /// `epsilon` or `v`.
    pub prediction_type: String,
}

/// The parts of a file of trained weights.
#[derive(Clone, Debug, Default)]
pub struct TrainedWeights {
    /// Adapters of the UNet in our own names, alphas with them.
    pub adapters: TensorMap,
    /// Whole parameters of the UNet.
    pub unet: TensorMap,
    /// Parameters of the scene-graph encoder.
    pub encoder: TensorMap,
}

impl TrainedWeights {
    /// Reads what a trainer exports, or an adapter file of any style, for the UNet `base`.
    ///
    /// # Errors
    /// The file is broken, or an adapter belongs to no layer of `base`.
    pub fn read(path: &Path, base: &TensorMap, device: &Device) -> Result<Self> {
        let mut parts = Self::default();
        for (name, tensor) in read_file(path, DType::F32, device)? {
            match name.strip_prefix(ENCODER_PREFIX) {
                Some(name) => parts.encoder.insert(name.to_owned(), tensor),
                None => parts.unet.insert(name, tensor),
            };
        }
        if checkpoint_keys::are_adapters(&parts.unet) {
            parts.adapters = lora::read(base, std::mem::take(&mut parts.unet), path)?;
        }
        Ok(parts)
    }
}

/// Writes `adapters` (our own names) of the UNet `base` as a file of `style`, whole or not at all.
///
/// # Errors
/// There are no adapters, one is half or fits no layer, or the file cannot be written.
pub fn write_lora(
    path: &Path,
    style: LoraStyle,
    adapters: &TensorMap,
    base: &TensorMap,
    spec: &ModelSpec,
    dtype: DType,
) -> Result<()> {
    let layers = layers_of(adapters)?;
    let blocks = ldm::Blocks::of(base.keys().map(String::as_str));
    let is_xl = is_xl(base);
    let mut tensors = Vec::new();
    for (layer, size) in &layers {
        let (down, up) = (&adapters[&format!("{layer}{DOWN}")], &adapters[&format!("{layer}{UP}")]);
        match style {
            LoraStyle::Diffusers => {
                tensors.push((format!("unet.{layer}{DOWN}"), stored(down, dtype)?));
                tensors.push((format!("unet.{layer}{UP}"), stored(up, dtype)?));
            }
            LoraStyle::Kohya => {
                let name = if is_xl { blocks.unet_name(layer) } else { Some((*layer).to_owned()) };
                let layer = name.ok_or_else(|| fault(layer, "has no name in the original code"))?;
                let alpha = Tensor::new(size.alpha as f32, &Device::Cpu)?;
                for (part, tensor) in [(DOWN, down), (UP, up), (ALPHA, &alpha)] {
                    let name = checkpoint_keys::kohya_name(&format!("{layer}{part}"));
                    let name = name.ok_or_else(|| fault(&layer, "has no name in kohya's style"))?;
                    tensors.push((name, stored(tensor, dtype)?));
                }
            }
        }
    }
    let mut header = spec.header(is_xl);
    match style {
        LoraStyle::Diffusers => {
            header.insert("lora_adapter_metadata".to_owned(), peft_settings(&layers).to_string());
        }
        LoraStyle::Kohya => header.extend(kohya_header(&layers, is_xl)),
    }
    let bytes = serialize(path, &tensors, None)?;
    header.insert("modelspec.hash_sha256".to_owned(), format!("0x{}", data_hash(&bytes)));
    write_whole(path, &serialize(path, &tensors, Some(header))?)
}

/// Writes the diffusers folder `base` anew at `output` with the training merged into its weights. Weights that the training
/// changed are written as `dtype` (f32 keeps them exactly; they are one file then, whatever they were); everything else is
/// copied as it is.
///
/// # Errors
/// `output` is there already and not empty, `base` is no folder in diffusers' layout, an adapter fits no layer.
pub fn write_folder(base: &Path, trained: &TrainedWeights, output: &Path, dtype: DType) -> Result<()> {
    let empty = || Ok::<_, Error>(fs_err::read_dir(output)?.next().is_none());
    if output.exists() && !empty()? {
        return Err(Error::Invalid(format!("{}: is there already", output.display())));
    }
    if !base.join("model_index.json").is_file() {
        return Err(Error::Invalid(format!("{}: is not a folder in diffusers' layout", base.display())));
    }
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = output.with_file_name(name);
    if partial.exists() {
        fs_err::remove_dir_all(&partial)?;
    }
    fs_err::create_dir_all(&partial)?;
    fs_err::copy(base.join("model_index.json"), partial.join("model_index.json"))?;
    for entry in fs_err::read_dir(base)? {
        let entry = entry?;
        let component = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !component.starts_with('.') {
            let changed = match component.as_str() {
                "unet" => !trained.unet.is_empty() || !trained.adapters.is_empty(),
                "scene_graph_encoder" => !trained.encoder.is_empty(),
                _ => false,
            };
            copy_folder(&entry.path(), &partial.join(&component), changed)?;
        }
    }
    if !trained.unet.is_empty() || !trained.adapters.is_empty() {
        let folder = base.join("unet");
        let mut unet = read_folder(&folder, DType::F32, &Device::Cpu)?;
        unet.extend(trained.unet.clone());
        let unet = lora::merge(&unet, &trained.adapters)?;
        write_weights(&partial.join("unet").join(weights_name(&folder, "diffusion_pytorch_model")?), &unet, dtype)?;
    }
    if !trained.encoder.is_empty() {
        let folder = base.join("scene_graph_encoder");
        let mut encoder = read_folder(&folder, DType::F32, &Device::Cpu)?;
        encoder.extend(trained.encoder.clone());
        write_weights(&partial.join("scene_graph_encoder").join(weights_name(&folder, "model")?), &encoder, dtype)?;
    }
    if output.exists() {
        fs_err::remove_dir(output)?;
    }
    fs_err::rename(&partial, output)?;
    Ok(())
}

/// Writes tensors as a weights file that says, as transformers asks, that its tensors are of torch's layout.
///
/// # Errors
/// The file cannot be written.
pub fn write_weights(path: &Path, tensors: &TensorMap, dtype: DType) -> Result<()> {
    let tensors =
        tensors.iter().map(|(name, one)| Ok((name.clone(), stored(one, dtype)?))).collect::<Result<Vec<_>>>()?;
    write_whole(path, &serialize(path, &tensors, Some(format_header()))?)
}

/// Rank and alpha of one layer's adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    rank: usize,
    alpha: f64,
}

fn layers_of(adapters: &TensorMap) -> Result<BTreeMap<&str, Size>> {
    let mut layers = BTreeMap::new();
    for (name, tensor) in adapters {
        if let Some(layer) = name.strip_suffix(UP) {
            adapters.get(&format!("{layer}{DOWN}")).ok_or_else(|| fault(&format!("{layer}{DOWN}"), "is missing"))?;
        }
        let Some(layer) = name.strip_suffix(DOWN) else { continue };
        adapters.get(&format!("{layer}{UP}")).ok_or_else(|| fault(&format!("{layer}{UP}"), "is missing"))?;
        let rank = tensor.dim(0)?;
        let alpha = match adapters.get(&format!("{layer}{ALPHA}")) {
            Some(alpha) => f64::from(alpha.to_dtype(DType::F32)?.flatten_all()?.get(0)?.to_scalar::<f32>()?),
            None => rank as f64,
        };
        layers.insert(layer, Size { rank, alpha });
    }
    if layers.is_empty() {
        return Err(Error::Invalid("there are no adapters to write".to_owned()));
    }
    Ok(layers)
}

fn fault(tensor: &str, message: &str) -> Error {
    Error::Tensor { path: "LoRA".into(), tensor: tensor.to_owned(), message: message.to_owned() }
}

/// SDXL's UNet is told sizes and pooled text.
fn is_xl(base: &TensorMap) -> bool {
    base.contains_key("add_embedding.linear_1.weight")
}

impl ModelSpec {
    fn header(&self, is_xl: bool) -> Header {
        let architecture = if is_xl { "stable-diffusion-xl-v1-base/lora" } else { "stable-diffusion-v1/lora" };
        let resolution = format!("{0}x{0}", self.resolution);
        let fields = [
            ("sai_model_spec", "1.0.0"),
            ("architecture", architecture),
            ("implementation", "diffusers"),
            ("title", &self.title),
            ("description", &self.description),
            ("date", &self.date),
            ("resolution", &resolution),
            ("prediction_type", &self.prediction_type),
        ];
        let filled = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let mut header: Header = filled.map(|(name, value)| (format!("modelspec.{name}"), value.to_owned())).collect();
        header.extend(format_header());
        header
    }
}

fn format_header() -> Header {
    [("format".to_owned(), "pt".to_owned())].into()
}

/// PEFT's `LoraConfig`, below `unet.` as diffusers has it; layers that differ from the first one are named.
fn peft_settings(layers: &BTreeMap<&str, Size>) -> serde_json::Value {
    let first = layers.values().next().copied().unwrap_or(Size { rank: 0, alpha: 0.0 });
    let others = layers.iter().filter(|(_, size)| **size != first);
    let (mut ranks, mut alphas) = (serde_json::Map::new(), serde_json::Map::new());
    for (layer, size) in others {
        ranks.insert((*layer).to_owned(), size.rank.into());
        alphas.insert((*layer).to_owned(), size.alpha.into());
    }
    serde_json::json!({
        "unet.r": first.rank,
        "unet.lora_alpha": first.alpha,
        "unet.target_modules": layers.keys().collect::<Vec<_>>(),
        "unet.rank_pattern": ranks,
        "unet.alpha_pattern": alphas,
    })
}

/// What kohya's scripts note about a network.
fn kohya_header(layers: &BTreeMap<&str, Size>, is_xl: bool) -> Header {
    let same = |of: fn(&Size) -> String| {
        let mut values: Vec<String> = layers.values().map(of).collect();
        values.dedup();
        if let [one] = values.as_slice() { one.clone() } else { "Dynamic".to_owned() }
    };
    [
        ("ss_network_module", "networks.lora".to_owned()),
        ("ss_network_dim", same(|size| size.rank.to_string())),
        ("ss_network_alpha", same(|size| size.alpha.to_string())),
        ("ss_base_model_version", if is_xl { "sdxl_base_v1-0" } else { "sd_v1" }.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn stored(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    Ok(tensor.detach().to_dtype(dtype)?.to_device(&Device::Cpu)?.contiguous()?)
}

fn serialize(path: &Path, tensors: &[(String, Tensor)], header: Option<Header>) -> Result<Vec<u8>> {
    let views = tensors.iter().map(|(name, tensor)| (name, tensor));
    let bytes = safetensors::tensor::serialize(views, None).map_err(|error| Error::Tensor {
        path: path.to_owned(),
        tensor: "*".to_owned(),
        message: error.to_string(),
    })?;
    let Some(header) = header else { return Ok(bytes) };
    with_header(path, &bytes, &header)
}

/// A safetensors file with these text fields in the order of their names. The crate writes them in that of a hash map, so
/// that the same content would not be the same bytes.
fn with_header(path: &Path, bytes: &[u8], fields: &Header) -> Result<Vec<u8>> {
    let json = |source| Error::Json { path: path.to_owned(), source };
    let (old, data) = split_header(bytes);
    let mut entries: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(old).map_err(json)?;
    let mut all = serde_json::Map::new();
    all.insert("__metadata__".to_owned(), serde_json::to_value(fields).map_err(json)?);
    all.append(&mut entries);
    let mut text = serde_json::to_vec(&all).map_err(json)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(&text);
    file.extend_from_slice(data);
    Ok(file)
}

fn split_header(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], bytes));
    rest.split_at((u64::from_le_bytes(*length) as usize).min(rest.len()))
}

fn data_hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(split_header(bytes).1))
}

fn is_weights(name: &str) -> bool {
    [".safetensors", ".bin", ".index.json", ".index.fp16.json"].iter().any(|ending| name.ends_with(ending))
}

fn copy_folder(from: &Path, to: &Path, without_weights: bool) -> Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to.join(&name), without_weights)?;
        } else if !without_weights || !is_weights(&name) {
            fs_err::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

/// One file of `stem` with the variant that the folder's weights have, so that diffusers finds it beside the others.
fn weights_name(folder: &Path, stem: &str) -> Result<String> {
    let is_variant = |name: &str| name.starts_with(stem) && name.contains(".fp16.");
    let is_plain = |name: &str| name.starts_with(stem) && !name.contains(".fp16");
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let variant = names.iter().any(|name| is_variant(name)) && !names.iter().any(|name| is_plain(name));
    Ok(format!("{stem}{}.safetensors", if variant { ".fp16" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Pipeline, SampleSettings};

    fn tiny() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny")
    }

    /// Adapters of two layers with different rank and alpha, neither half of them zero.
    fn adapters(base: &TensorMap) -> TensorMap {
        let mut layers = base.iter().filter_map(|(name, weight)| Some((name.strip_suffix(".weight")?, weight)));
        let mut found = TensorMap::new();
        for (ending, rank, alpha) in [("attn1.to_q", 2, 6.0f32), ("attn2.to_out.0", 3, 1.5)] {
            let (layer, weight) = layers.find(|(layer, _)| layer.ends_with(ending)).unwrap();
            let (out, inner) = weight.dims2().unwrap();
            let random = |shape| Tensor::rand(-1f32, 1., shape, &Device::Cpu).unwrap();
            found.insert(format!("{layer}{DOWN}"), random((rank, inner)));
            found.insert(format!("{layer}{UP}"), random((out, rank)));
            found.insert(format!("{layer}{ALPHA}"), Tensor::new(alpha, &Device::Cpu).unwrap());
        }
        found
    }

    fn values(tensors: &TensorMap) -> Vec<(String, Vec<f32>)> {
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        tensors.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect()
    }

    #[test]
    fn both_styles_are_read_back_with_their_alphas_and_say_what_they_are() {
        let base = read_folder(&tiny().join("unet"), DType::F32, &Device::Cpu).unwrap();
        let adapters = adapters(&base);
        let folder = tempfile::tempdir().unwrap();
        let spec = ModelSpec { title: "shapes".to_owned(), resolution: 64, ..ModelSpec::default() };
        for style in [LoraStyle::Diffusers, LoraStyle::Kohya] {
            let file = folder.path().join("lora.safetensors");
            write_lora(&file, style, &adapters, &base, &spec, DType::F32).unwrap();
            let bytes = fs_err::read(&file).unwrap();
            write_lora(&file, style, &adapters, &base, &spec, DType::F32).unwrap();
            assert_eq!(fs_err::read(&file).unwrap(), bytes, "{style:?}: the same content, other bytes");
            let header = checkpoint_keys::lora_header(&bytes).unwrap();
            assert_eq!(header["modelspec.architecture"], "stable-diffusion-xl-v1-base/lora");
            assert_eq!(header["modelspec.resolution"], "64x64");
            assert_eq!(header["modelspec.hash_sha256"], format!("0x{}", data_hash(&bytes)));
            let read = TrainedWeights::read(&file, &base, &Device::Cpu).unwrap();
            assert!(values(&read.adapters) == values(&adapters), "{style:?}: other values");
            assert!(read.unet.is_empty() && read.encoder.is_empty());
        }
        assert!(
            write_lora(&folder.path().join("none"), LoraStyle::Kohya, &TensorMap::new(), &base, &spec, DType::F32)
                .is_err()
        );
    }

    #[test]
    fn a_merged_folder_predicts_as_the_adapters_do() {
        let reference = Pipeline::load(&tiny(), &Device::Cpu).unwrap();
        let (_, encoder) = reference.scene_graph_encoder_weights().unwrap();
        let moved = encoder.iter().find(|(name, _)| name.contains("weight")).unwrap();
        let encoder: TensorMap = [(moved.0.clone(), (moved.1 * 1.5).unwrap())].into();
        let trained =
            TrainedWeights { adapters: adapters(reference.unet_weights()), encoder, ..TrainedWeights::default() };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trained.safetensors");
        let mut all = trained.adapters.clone();
        all.extend(trained.encoder.iter().map(|(name, tensor)| (format!("{ENCODER_PREFIX}{name}"), tensor.clone())));
        write_weights(&file, &all, DType::F32).unwrap();
        let attached = reference.with_unet(&file).unwrap();

        let output = folder.path().join("merged");
        write_folder(&tiny(), &trained, &output, DType::F32).unwrap();
        let merged = Pipeline::load(&output, &Device::Cpu).unwrap();
        let graph = crate::scene_graph_encoder::GraphText {
            triples: vec![["red circle", "left of", "blue square"].map(str::to_owned)],
            isolated: Vec::new(),
        };
        let predict = |pipeline: &Pipeline| {
            let mode = crate::pipeline::GraphMode::SceneGraph;
            let conditioning = pipeline.encode_graphs(std::slice::from_ref(&graph), mode).unwrap();
            let steps = SampleSettings { num_inference_steps: 2, guidance_scale: 1.0 };
            pipeline.sample(&conditioning, &[3], steps).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (expected, found) = (predict(&attached), predict(&merged));
        let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest(&expected, &found) < 1e-4, "{}", largest(&expected, &found));
        assert!(largest(&predict(&reference), &found) > 1e-2, "the training changes nothing");
        assert!(matches!(write_folder(&tiny(), &trained, &output, DType::F32), Err(Error::Invalid(_))));
    }
}
