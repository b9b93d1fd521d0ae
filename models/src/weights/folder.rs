//! A network's folder in diffusers layout: which files hold its weights, and whether they are the network's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use super::safetensors_file::{Entry, SafetensorsFile};
use super::{TensorMap, is_buffer, load_strictly, read_json};
use crate::checkpoint_keys::current_name;
use crate::checkpoint_keys::ldm::Form;
use crate::{Error, Result};

/// Names without ending, as diffusers and transformers choose them.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// Tensors that a configuration may ask for beyond those in the files, before it is not believed: a count in it may be any
/// number, and each layer that it asks for takes time and memory.
const MISSING: usize = 4096;
/// Faults that one error lists.
const LISTED: usize = 8;

/// Names and shapes of tensors.
pub type Layout = BTreeMap<String, Vec<usize>>;

/// The open weight files of a folder; nothing but headers is read yet.
#[derive(Debug)]
pub struct WeightFiles {
    origin: PathBuf,
    files: Vec<SafetensorsFile>,
    places: BTreeMap<String, Place>,
}

/// Where a tensor of ours lies.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Index of the file.
    pub file: usize,
    /// Its name there.
    pub stored: String,
    /// What has to be done to it.
    pub form: Form,
}

impl WeightFiles {
    /// Finds and opens the weights of a network's folder (`unet/`, `vae/`, …): one file or shards with an index, in full
    /// precision or, where only that is there, the `fp16` variant.
    ///
    /// # Errors
    /// There are none, or a file or its index is broken.
    pub fn open(dir: &Path) -> Result<Self> {
        for variant in ["", ".fp16"] {
            for stem in STEMS {
                let single = dir.join(format!("{stem}{variant}.safetensors"));
                if single.exists() {
                    return Self::of_files(dir, &[single]);
                }
                // diffusers puts the variant before `json`; some uploads have it before `safetensors`.
                for index in [
                    format!("{stem}.safetensors.index{variant}.json"),
                    format!("{stem}{variant}.safetensors.index.json"),
                ] {
                    let index = dir.join(index);
                    if index.exists() {
                        return Self::of_index(dir, &index);
                    }
                }
            }
        }
        let message = if dir.is_dir() {
            "no weights here; expected `diffusion_pytorch_model.safetensors` or `model.safetensors`, single, sharded \
             with an index, or as `.fp16` variant (pickled `.bin` files are not read)"
        } else {
            "the folder is missing"
        };
        Err(Error::Tensor { path: dir.to_owned(), tensor: "*".to_owned(), message: message.to_owned() })
    }

    /// All tensors of some files.
    ///
    /// # Errors
    /// A file is broken, or two hold the same tensor.
    pub fn of_files(origin: &Path, paths: &[PathBuf]) -> Result<Self> {
        let mut all = Self { origin: origin.to_owned(), files: Vec::new(), places: BTreeMap::new() };
        for (index, path) in paths.iter().enumerate() {
            let file = SafetensorsFile::open(path)?;
            for stored in file.entries().keys() {
                let name = current_name(stored);
                let place = Place { file: index, stored: stored.clone(), form: Form::Whole };
                if all.places.insert(name.clone(), place).is_some() {
                    return Err(Error::Tensor {
                        path: path.clone(),
                        tensor: name,
                        message: "is in two files of this network".to_owned(),
                    });
                }
            }
            all.files.push(file);
        }
        Ok(all)
    }

    fn of_index(dir: &Path, index: &Path) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let content: Index = read_json(index)?;
        let fault = |tensor: &str, message: String| Error::Tensor {
            path: index.to_owned(),
            tensor: tensor.to_owned(),
            message,
        };
        for (tensor, shard) in &content.weight_map {
            // The index must not lead out of its folder.
            if shard.is_empty() || Path::new(shard).file_name() != Some(shard.as_ref()) {
                return Err(fault(tensor, format!("`{shard}` is not the name of a file beside the index")));
            }
        }
        let shards: BTreeSet<&String> = content.weight_map.values().collect();
        let paths: Vec<PathBuf> = shards.into_iter().map(|shard| dir.join(shard)).collect();
        let all = Self::of_files(dir, &paths)?;
        for (tensor, shard) in &content.weight_map {
            let there = all
                .places
                .get(&current_name(tensor))
                .is_some_and(|place| all.files[place.file].path().ends_with(shard));
            if !there {
                return Err(fault(tensor, format!("is not in `{shard}`, where the index has it")));
            }
        }
        Ok(all)
    }

    /// Tensors of one file under other names.
    pub(crate) fn of_places(file: SafetensorsFile, places: BTreeMap<String, Place>) -> Self {
        Self { origin: file.path().to_owned(), files: vec![file], places }
    }

    /// Names, shapes and types of the tensors, as they are to us.
    pub fn entries(&self) -> impl Iterator<Item = (&String, Entry)> {
        self.places.iter().filter_map(|(name, place)| Some((name, self.entry(place)?)))
    }

    fn entry(&self, place: &Place) -> Option<Entry> {
        let mut entry = self.files[place.file].entries().get(&place.stored)?.clone();
        match (place.form, entry.shape.as_mut_slice()) {
            (Form::Transposed, [rows, columns]) => std::mem::swap(rows, columns),
            (Form::Third(_), [rows, ..]) => *rows /= 3,
            (Form::Squeezed, [_, _, 1, 1]) => entry.shape.truncate(2),
            _ => {}
        }
        Some(entry)
    }

    /// The files, in the order of their names.
    pub fn paths(&self) -> Vec<&Path> {
        self.files.iter().map(SafetensorsFile::path).collect()
    }

    /// Everything in which the files differ from what the network takes, as (tensor, message); buffers do not count.
    pub fn faults(&self, expected: &Layout) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        for (name, shape) in expected {
            match self.places.get(name).and_then(|place| self.entry(place)) {
                None => faults.push((name.clone(), format!("is missing; the configuration asks for shape {shape:?}"))),
                Some(entry) if entry.shape != *shape => faults
                    .push((name.clone(), format!("has shape {:?}, the configuration asks for {shape:?}", entry.shape))),
                Some(entry) if !entry.is_float() => {
                    faults.push((name.clone(), format!("has type {}; weights are F32, F16, BF16 or F64", entry.dtype)));
                }
                Some(_) => {}
            }
        }
        for name in self.places.keys().filter(|name| !expected.contains_key(*name) && !is_buffer(name)) {
            let message = "unknown to this network; the configuration and the weights do not belong together";
            faults.push((name.clone(), message.to_owned()));
        }
        faults
    }

    /// Reads all tensors that are not buffers.
    ///
    /// # Errors
    /// A value is not finite, or a type is not one of weights.
    pub fn read(&mut self, dtype: DType, device: &Device) -> Result<TensorMap> {
        let mut tensors = TensorMap::new();
        for (name, place) in self.places.iter().filter(|(name, _)| !is_buffer(name)) {
            let tensor = self.files[place.file].read(&place.stored, Some(dtype), device)?;
            let tensor = match (place.form, tensor.dims()) {
                (Form::Transposed, [_, _]) => tensor.t()?.contiguous()?,
                (Form::Third(third), &[rows, ..]) => tensor.narrow(0, third * (rows / 3), rows / 3)?.copy()?,
                (Form::Squeezed, &[rows, columns, 1, 1]) => tensor.reshape((rows, columns))?,
                _ => tensor,
            };
            tensors.insert(name.clone(), tensor);
        }
        Ok(tensors)
    }

    /// What `load` takes: names and shapes, found by loading from tensors without values.
    ///
    /// # Errors
    /// The configuration makes no sense.
    pub fn layout<N>(&self, load: impl FnOnce(VarBuilder) -> Result<N>) -> Result<Layout> {
        let there = self.entries().map(|(name, entry)| (name.clone(), entry.shape.clone())).collect();
        layout(there, load)
    }

    /// Checks the headers against what the network takes, reads the tensors as `dtype` and builds the network of them.
    ///
    /// # Errors
    /// Tensors are missing, unknown, of another shape or type, or not finite; the error names them.
    pub fn load<N>(
        &mut self,
        dtype: DType,
        device: &Device,
        load: impl Fn(VarBuilder) -> Result<N>,
    ) -> Result<(N, TensorMap)> {
        let faults = self.faults(&self.layout(&load)?);
        if let Some((first, message)) = faults.first() {
            let more: Vec<&str> = faults.iter().skip(1).take(LISTED).map(|(name, _)| name.as_str()).collect();
            let rest = faults.len().saturating_sub(1 + more.len());
            let others =
                if more.is_empty() { String::new() } else { format!("; likewise at fault: {}", more.join(", ")) };
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            let message = format!("{message}{others}{rest}");
            return Err(Error::Tensor { path: self.origin.clone(), tensor: first.clone(), message });
        }
        let tensors = self.read(dtype, device)?;
        let network = load_strictly(&tensors, &self.origin, device, load)?;
        Ok((network, tensors))
    }
}

/// Names and shapes of the tensors that `load` asks for; `there` answers what it wants to know of optional ones.
///
/// Nothing is allocated, whatever the size of the network.
///
/// # Errors
/// The configuration makes no sense.
pub fn layout<N>(there: Layout, load: impl FnOnce(VarBuilder) -> Result<N>) -> Result<Layout> {
    let asked = Arc::new(Mutex::new(Layout::new()));
    let bound = if there.is_empty() { usize::MAX } else { there.len() + MISSING };
    let backend = ShapesAlone { there, bound, asked: Arc::clone(&asked) };
    load(VarBuilder::from_backend(Box::new(backend), DType::F32, Device::Cpu))?;
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(asked)
}

/// Hands out one zero, stretched to the shape that is asked for.
struct ShapesAlone {
    there: Layout,
    /// Most tensors that may be asked for.
    bound: usize,
    asked: Arc<Mutex<Layout>>,
}

impl SimpleBackend for ShapesAlone {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= self.bound {
            candle_core::bail!("tensor `{name}` is missing, and the configuration asks for ever more of its kind");
        }
        asked.insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        match self.there.get(name) {
            Some(shape) => self.get(shape.as_slice().into(), name, candle_nn::Init::Const(0.), dtype, device),
            None => candle_core::bail!("tensor `{name}` is missing"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.there.contains_key(name)
    }
}
