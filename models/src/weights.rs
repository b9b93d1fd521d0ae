//! Weights on disk and in memory: safetensors files, named tensors, fresh parameters from a seed, content hashes.

mod folder;
mod safetensors_file;

pub(crate) use folder::Place;
pub use folder::{Layout, WeightFiles, layout};
pub use safetensors_file::{Entry, SafetensorsFile};

use crate::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Tensors by name, in the order of their names.
pub type TensorMap = BTreeMap<String, Tensor>;

/// Parameters by name, in the order of their names.
pub type VarMap = BTreeMap<String, Var>;

/// Reads all tensors of one safetensors file, real numbers as `dtype`, whole ones as `i64`.
pub fn read_file(path: &Path, dtype: DType, device: &Device) -> Result<TensorMap> {
    let mut file = SafetensorsFile::open(path)?;
    let names: Vec<String> = file.entries().keys().cloned().collect();
    names.into_iter().map(|name| Ok((name.clone(), file.read(&name, Some(dtype), device)?))).collect()
}

/// Reads the weights of a network's folder (`unet/`, `vae/`, …), single or sharded.
pub fn read_folder(dir: &Path, dtype: DType, device: &Device) -> Result<TensorMap> {
    WeightFiles::open(dir)?.read(dtype, device)
}

/// Reads a JSON file; the error names the file, line and column.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs_err::read(path)?;
    serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Writes a JSON file, whole or not at all.
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| Error::Json { path: path.to_owned(), source })?;
    text.push(b'\n');
    write_whole(path, &text)
}

/// Writes tensors as one safetensors file of the given precision, whole or not at all.
pub fn write_file(path: &Path, tensors: &TensorMap, dtype: DType) -> Result<()> {
    let tensors: Vec<(String, Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let dtype = if tensor.dtype().is_float() { dtype } else { tensor.dtype() };
            Ok((name.clone(), tensor.detach().to_dtype(dtype)?.contiguous()?.to_device(&Device::Cpu)?))
        })
        .collect::<Result<_>>()?;
    let bytes = safetensors::tensor::serialize(tensors.iter().map(|(n, t)| (n, t)), None)
        .map_err(|error| Error::Tensor { path: path.to_owned(), tensor: "*".to_owned(), message: error.to_string() })?;
    write_whole(path, &bytes)
}

/// Writes a file beside its place, syncs it and moves it there, so that a crash leaves the old or the new, never half.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let mut file = fs_err::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs_err::rename(&partial, path)?;
    Ok(())
}

/// SHA-256, in hex, over the names, shapes and f32 values of tensors.
pub fn content_hash<'a>(networks: impl IntoIterator<Item = (&'a str, &'a TensorMap)>) -> Result<String> {
    let mut hasher = Sha256::new();
    for (network, tensors) in networks {
        for (name, tensor) in tensors {
            hasher.update(format!("{network}/{name}{:?};", tensor.dims()));
            let values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
    }
    Ok(hex::encode(hasher.finalize()))
}

/// The hash of weights together with the precision that they are computed in: the same weights give other images in bf16.
pub(crate) fn computed_in(dtype: DType, hash: String) -> String {
    if dtype == DType::F32 { hash } else { hex::encode(Sha256::digest(format!("{hash} in {}", dtype.as_str()))) }
}

/// The same tensors in another precision; a variable stays what the result learns through. The alphas of adapters, which are
/// numbers and not parameters, stay as they are.
///
/// # Errors
/// Candle's.
pub(crate) fn in_precision(tensors: TensorMap, dtype: DType) -> Result<TensorMap> {
    let cast = |(name, tensor): (String, Tensor)| {
        let is_alpha = name.rsplit('.').next() == Some("alpha");
        let cast = if is_alpha { tensor } else { tensor.to_dtype(dtype)? };
        Ok((name, cast))
    };
    tensors.into_iter().map(cast).collect()
}

/// Loads a network from named tensors, in their precision, and refuses tensors that it does not use.
///
/// `origin` names the file or folder in errors.
pub fn load_strictly<N>(
    tensors: &TensorMap,
    origin: &Path,
    device: &Device,
    load: impl FnOnce(VarBuilder) -> Result<N>,
) -> Result<N> {
    let used = Arc::new(Mutex::new(BTreeSet::new()));
    let backend = RecordingBackend { tensors: tensors.clone(), used: Arc::clone(&used), origin: origin.to_owned() };
    let network = load(VarBuilder::from_backend(Box::new(backend), DType::F32, device.clone()))?;
    let used = used.lock().unwrap_or_else(PoisonError::into_inner);
    match tensors.keys().find(|name| !used.contains(*name) && !is_buffer(name)) {
        None => Ok(network),
        Some(extra) => Err(Error::Tensor {
            path: origin.to_owned(),
            tensor: extra.clone(),
            message: "unknown to this network; the configuration and the weights do not belong together".to_owned(),
        }),
    }
}

/// Constants that older versions of transformers saved beside the parameters, and batch norm's count of training steps.
fn is_buffer(name: &str) -> bool {
    name.ends_with("position_ids") || name.ends_with("num_batches_tracked")
}

struct RecordingBackend {
    tensors: TensorMap,
    used: Arc<Mutex<BTreeSet<String>>>,
    origin: PathBuf,
}

impl SimpleBackend for RecordingBackend {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            candle_core::bail!(
                "{}: tensor `{name}`: has shape {:?}, the configuration asks for {:?}",
                self.origin.display(),
                tensor.dims(),
                shape.dims()
            );
        }
        Ok(tensor)
    }

    // A network computes in the precision of its weights, not in one that the builder names.
    fn get_unchecked(&self, name: &str, _: DType, device: &Device) -> candle_core::Result<Tensor> {
        let Some(tensor) = self.tensors.get(name) else {
            candle_core::bail!("{}: tensor `{name}` is missing", self.origin.display());
        };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        tensor.to_device(device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

/// Fresh parameters for a network that is built from nothing.
///
/// The values of a parameter depend on the seed, its name and its shape alone, not on the order of creation.
pub struct FreshParameters {
    seed: u64,
    vars: Arc<Mutex<VarMap>>,
}

impl FreshParameters {
    /// No parameters yet; they come into being as the network asks for them.
    pub fn new(seed: u64) -> Self {
        Self { seed, vars: Arc::default() }
    }

    /// Builds a network and returns it with all its parameters.
    pub fn build<N>(seed: u64, device: &Device, load: impl FnOnce(VarBuilder) -> Result<N>) -> Result<(N, VarMap)> {
        let fresh = Self::new(seed);
        let vars = Arc::clone(&fresh.vars);
        let network = load(VarBuilder::from_backend(Box::new(fresh), DType::F32, device.clone()))?;
        let vars = vars.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((network, vars))
    }
}

impl SimpleBackend for FreshParameters {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut vars = self.vars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(var) = vars.get(name) {
            return Ok(var.as_tensor().clone());
        }
        let values = fresh_values(self.seed, name, shape.dims());
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)?;
        let tensor = var.as_tensor().clone();
        vars.insert(name.to_owned(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("a fresh parameter `{name}` needs a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}

/// Initial values by the kind of parameter, which its name tells: norms 1, biases 0, embeddings N(0, 0.2²),
/// matrices and kernels uniform in ±1/√fan-in, which is torch's default.
fn fresh_values(seed: u64, name: &str, dims: &[usize]) -> Vec<f32> {
    let count = dims.iter().product();
    let digest = Sha256::digest(format!("{seed}/{name}"));
    let mut key = [0; 32];
    key.copy_from_slice(&digest);
    let mut rng = ChaCha8Rng::from_seed(key);
    // CLIP's tables of token, position and class embeddings; not the patch kernel, not the UNet's `time_embedding.linear_1`.
    if name.contains("embeddings.") && !name.contains("patch") {
        return std::iter::repeat_with(|| 0.2 * Distribution::<f32>::sample(&StandardNormal, &mut rng))
            .take(count)
            .collect();
    }
    if dims.len() < 2 {
        let one = name.ends_with("weight");
        return vec![if one { 1.0 } else { 0.0 }; count];
    }
    let fan_in: usize = dims[1..].iter().product();
    let bound = (1.0 / fan_in as f32).sqrt();
    match Uniform::new(-bound, bound) {
        Ok(uniform) => (0..count).map(|_| uniform.sample(&mut rng)).collect(),
        Err(_) => vec![0.0; count],
    }
}
