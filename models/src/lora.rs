//! Low-rank adapters on linear layers: Hu et al. 2021, arXiv 2106.09685.
//!
//! y = x Wᵀ + b + (alpha/rank) (x Aᵀ) Bᵀ, A `[rank, in]`, B `[out, rank]`. Only A and B learn; with B = 0 the network is
//! the reference. In a map of weights the adapter of `to_q.weight` is `to_q.lora_A.weight`, `to_q.lora_B.weight` and the
//! scalar `to_q.alpha`; other spellings are brought to this one by [`crate::checkpoint_keys`].

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::weights::{SafetensorsFile, TensorMap, VarMap};
use crate::{Error, Result, checkpoint_keys, ops};

const DOWN: &str = "lora_A.weight";
const UP: &str = "lora_B.weight";
const ALPHA: &str = "alpha";

/// The adapter of one linear layer.
#[derive(Clone, Debug)]
pub struct LoraLayer {
    down: Tensor,
    up: Tensor,
    scale: f64,
}

impl LoraLayer {
    /// Reads the adapter beside a layer's `weight`, if there is one; without `alpha` the scale is 1.
    ///
    /// # Errors
    /// One half is missing, or the shapes do not fit the layer.
    pub fn load_if_present(vb: &VarBuilder, in_width: usize, out_width: usize) -> Result<Option<Self>> {
        if !vb.contains_tensor(DOWN) && !vb.contains_tensor(UP) {
            return Ok(None);
        }
        let down = vb.get_unchecked(DOWN)?;
        let rank = down.dims().first().copied().unwrap_or(0);
        let up = vb.get((out_width, rank), UP)?;
        if down.dims() != [rank, in_width] || rank == 0 {
            return Err(Error::Tensor {
                path: "LoRA".into(),
                tensor: format!("{}.{DOWN}", vb.prefix()),
                message: format!("has shape {:?}, the layer takes {in_width} values", down.dims()),
            });
        }
        let alpha = match vb.contains_tensor(ALPHA) {
            true => {
                f64::from(vb.get_unchecked(ALPHA)?.to_dtype(DType::F32)?.flatten_all()?.get(0)?.to_scalar::<f32>()?)
            }
            false => rank as f64,
        };
        Ok(Some(Self { down, up, scale: alpha / rank as f64 }))
    }

    /// What the adapter adds: `[.., in]` → `[.., out]`.
    ///
    /// # Errors
    /// `x` does not end in `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = ops::linear(x, &self.down, None)?;
        Ok((ops::linear(&inner, &self.up, None)? * self.scale)?)
    }
}

/// Which layers get adapters of which size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// Width of the bottleneck.
    pub rank: usize,
    /// The adapter is scaled by alpha/rank.
    pub alpha: f64,
    /// Ends of the names of the layers.
    pub targets: Vec<String>,
}

impl Default for LoraSettings {
    /// All projections of all attentions, as diffusers' training scripts have it.
    fn default() -> Self {
        Self { rank: 8, alpha: 8., targets: ["to_q", "to_k", "to_v", "to_out.0"].map(str::to_owned).into() }
    }
}

impl LoraSettings {
    /// Adapters for the layers of `base` that the settings aim at: A normal with deviation 1/rank, which is diffusers'
    /// `gaussian`, B zero. The values depend on the seed and the layer's name alone.
    ///
    /// # Errors
    /// The rank is 0 or alpha is not a number, or no layer is aimed at.
    pub fn fresh_adapters(&self, base: &TensorMap, seed: u64, device: &Device) -> Result<VarMap> {
        if self.rank == 0 || !self.alpha.is_finite() {
            return Err(Error::Invalid(format!("LoRA needs a rank of at least 1 and a finite alpha, not {self:?}")));
        }
        let mut adapters = VarMap::new();
        for (layer, weight) in base.iter().filter_map(|(name, weight)| Some((name.strip_suffix(".weight")?, weight))) {
            let (Ok((out_width, in_width)), true) = (weight.dims2(), self.aims_at(layer)) else { continue };
            let down = normal_values(seed, layer, self.rank, in_width)?;
            let down = Tensor::from_vec(down, (self.rank, in_width), device)?;
            let up = Tensor::zeros((out_width, self.rank), DType::F32, device)?;
            adapters.insert(format!("{layer}.{DOWN}"), Var::from_tensor(&down)?);
            adapters.insert(format!("{layer}.{UP}"), Var::from_tensor(&up)?);
        }
        if adapters.is_empty() {
            return Err(Error::Invalid(format!("no linear layer has a name that ends in one of {:?}", self.targets)));
        }
        Ok(adapters)
    }

    fn aims_at(&self, layer: &str) -> bool {
        let ends_in = |target: &String| {
            layer.strip_suffix(target.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.targets.iter().any(ends_in)
    }

    /// `base` with adapters, ready to load a network from; the variables stay those that learn.
    ///
    /// # Errors
    /// Candle's.
    pub fn attach(&self, base: &TensorMap, adapters: &VarMap) -> Result<TensorMap> {
        let mut tensors = base.clone();
        tensors.extend(adapters.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())));
        let parts: TensorMap = adapters.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
        tensors.extend(self.alphas(&parts)?);
        Ok(tensors)
    }

    /// A scalar `alpha` for each adapter.
    ///
    /// # Errors
    /// Candle's.
    pub fn alphas(&self, adapters: &TensorMap) -> Result<TensorMap> {
        adapters
            .iter()
            .filter_map(|(name, down)| Some((name.strip_suffix(DOWN)?, down)))
            .map(|(layer, down)| Ok((format!("{layer}{ALPHA}"), Tensor::new(self.alpha as f32, down.device())?)))
            .collect()
    }
}

/// The adapters of a file in any known style, for the layers of `base`, in our own names. `file`: its tensors.
///
/// # Errors
/// A tensor that is part of no adapter or belongs to no layer of `base`, or settings that are not implemented.
pub fn read(base: &TensorMap, file: TensorMap, path: &Path) -> Result<TensorMap> {
    let mut header = SafetensorsFile::open(path)?.metadata().clone();
    // PEFT writes its settings beside the file, diffusers into it.
    let beside = path.with_file_name("adapter_config.json");
    if !header.contains_key(checkpoint_keys::SETTINGS) && beside.is_file() {
        header.insert(checkpoint_keys::SETTINGS.to_owned(), fs_err::read_to_string(&beside)?);
    }
    checkpoint_keys::adapters_from_any(file, &header, base).map_err(|error| at(path, error))
}

/// Puts the file into an error about its adapters.
fn at(path: &Path, error: Error) -> Error {
    match error {
        Error::Tensor { tensor, message, .. } => Error::Tensor { path: path.to_owned(), tensor, message },
        Error::Config { key, message, .. } => Error::Config { path: path.to_owned(), key, message },
        other => other,
    }
}

/// `base` with the adapters of the file `path`, ready to load a network from. Those of linear layers stay beside their
/// weights; those of convolutions (kohya's scripts make them for SD1.5's projections) are added to the weights.
///
/// # Errors
/// An adapter is half or fits not its layer.
pub fn add(base: &TensorMap, adapters: TensorMap, path: &Path) -> Result<TensorMap> {
    let is_convolution = |name: &str| {
        let layer = [DOWN, UP, ALPHA].iter().find_map(|part| name.strip_suffix(part));
        layer.and_then(|layer| base.get(&format!("{layer}weight"))).is_some_and(|weight| weight.rank() == 4)
    };
    let (convolutions, linear): (TensorMap, TensorMap) =
        adapters.into_iter().partition(|(name, _)| is_convolution(name));
    let mut all = merge(base, &convolutions).map_err(|error| at(path, error))?;
    all.extend(linear);
    Ok(all)
}

/// `base` with every adapter in `adapters` added to its layer for good: W + (alpha/rank) B A.
///
/// # Errors
/// An adapter is half, or fits no layer.
pub fn merge(base: &TensorMap, adapters: &TensorMap) -> Result<TensorMap> {
    let mut merged = base.clone();
    for (layer, down) in adapters.iter().filter_map(|(name, down)| Some((name.strip_suffix(DOWN)?, down))) {
        let missing = |name: &str| Error::Tensor {
            path: "LoRA".into(),
            tensor: format!("{layer}{name}"),
            message: "is missing".to_owned(),
        };
        let up = adapters.get(&format!("{layer}{UP}")).ok_or_else(|| missing(UP))?;
        let name = format!("{layer}weight");
        let weight = base.get(&name).ok_or_else(|| missing("weight"))?;
        let fault = || Error::Tensor {
            path: "LoRA".into(),
            tensor: format!("{layer}{DOWN}"),
            message: format!(
                "of shape {:?}, with {UP} of {:?}, does not fit a weight of {:?}",
                down.dims(),
                up.dims(),
                weight.dims()
            ),
        };
        let rank = down.dims().first().copied().unwrap_or(0);
        let (rows, columns) = (weight.dim(0)?, weight.elem_count() / weight.dim(0)?.max(1));
        // Kernels of convolutions as matrices: `down [rank, in, k, k]`, `up [out, rank, 1, 1]`.
        if rank == 0 || down.elem_count() != rank * columns || up.elem_count() != rows * rank || up.dim(0)? != rows {
            return Err(fault());
        }
        let (down, up) = (down.reshape((rank, columns))?, up.reshape((rows, rank))?);
        let rank = rank as f64;
        let alpha = match adapters.get(&format!("{layer}{ALPHA}")) {
            Some(alpha) => f64::from(alpha.to_dtype(DType::F32)?.flatten_all()?.get(0)?.to_scalar::<f32>()?),
            None => rank,
        };
        let change = (up.to_dtype(weight.dtype())?.matmul(&down.to_dtype(weight.dtype())?)? * (alpha / rank))?;
        merged.insert(name, (weight + change.reshape(weight.shape())?)?);
    }
    Ok(merged)
}

fn normal_values(seed: u64, layer: &str, rank: usize, in_width: usize) -> Result<Vec<f32>> {
    let mut key = [0; 32];
    key.copy_from_slice(&Sha256::digest(format!("lora/{seed}/{layer}")));
    let mut rng = ChaCha8Rng::from_seed(key);
    let normal = Normal::new(0., 1. / rank as f32).map_err(|error| Error::Invalid(format!("LoRA: {error}")))?;
    Ok((0..rank * in_width).map(|_| normal.sample(&mut rng)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Linear;
    use crate::weights::load_strictly;

    fn base() -> TensorMap {
        let tensor = |rows, columns| Tensor::rand(-1f32, 1., (rows, columns), &Device::Cpu).unwrap();
        [
            ("attn1.to_q.weight", tensor(3, 4)),
            ("attn1.to_out.0.weight", tensor(3, 3)),
            ("ff.net.2.weight", tensor(3, 3)),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into()
    }

    fn query(tensors: &TensorMap) -> Linear {
        let only: TensorMap = tensors
            .iter()
            .filter(|(name, _)| name.starts_with("attn1.to_q."))
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect();
        load_strictly(&only, Path::new("test"), &Device::Cpu, |vb| Linear::load(vb.pp("attn1.to_q"), 4, 3, false))
            .unwrap()
    }

    fn difference(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn fresh_adapters_change_nothing_but_learn() {
        let base = base();
        let settings = LoraSettings { rank: 2, alpha: 6., ..LoraSettings::default() };
        let adapters = settings.fresh_adapters(&base, 0, &Device::Cpu).unwrap();
        let names: Vec<&String> = adapters.keys().collect();
        let expected = ["to_out.0.lora_A", "to_out.0.lora_B", "to_q.lora_A", "to_q.lora_B"];
        assert_eq!(names, expected.map(|name| format!("attn1.{name}.weight")).iter().collect::<Vec<_>>());
        let linear = query(&settings.attach(&base, &adapters).unwrap());
        let x = Tensor::rand(-1f32, 1., (5, 4), &Device::Cpu).unwrap();
        let plain = query(&base).forward(&x).unwrap();
        assert_eq!(difference(&linear.forward(&x).unwrap(), &plain), 0.);
        let gradients = linear.forward(&x).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let up = gradients.get(adapters["attn1.to_q.lora_B.weight"].as_tensor()).unwrap();
        assert!(up.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.);
        assert!(gradients.get(&base["attn1.to_q.weight"]).is_none());
    }

    #[test]
    fn scaled_by_alpha_over_rank_and_merged() {
        let base = base();
        let settings = LoraSettings { rank: 2, alpha: 6., ..LoraSettings::default() };
        let adapters = settings.fresh_adapters(&base, 0, &Device::Cpu).unwrap();
        let up = Tensor::rand(-1f32, 1., (3, 2), &Device::Cpu).unwrap();
        adapters["attn1.to_q.lora_B.weight"].set(&up).unwrap();
        let attached = settings.attach(&base, &adapters).unwrap();
        let x = Tensor::rand(-1f32, 1., (5, 4), &Device::Cpu).unwrap();
        let got = query(&attached).forward(&x).unwrap();
        let down = adapters["attn1.to_q.lora_A.weight"].as_tensor();
        let change = x.matmul(&down.t().unwrap()).unwrap().matmul(&up.t().unwrap()).unwrap();
        let expected = (query(&base).forward(&x).unwrap() + (change * 3.).unwrap()).unwrap();
        assert!(difference(&got, &expected) < 1e-5);
        let merged = query(&merge(&base, &attached).unwrap()).forward(&x).unwrap();
        assert!(difference(&merged, &expected) < 1e-5);
    }

    #[test]
    fn values_depend_on_seed_and_name_alone() {
        let settings = LoraSettings { rank: 1, ..LoraSettings::default() };
        let of = |seed| {
            let adapters = settings.fresh_adapters(&base(), seed, &Device::Cpu).unwrap();
            adapters["attn1.to_q.lora_A.weight"].to_vec2::<f32>().unwrap()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let nothing = LoraSettings { targets: vec!["q".to_owned()], ..settings };
        assert!(nothing.fresh_adapters(&base(), 0, &Device::Cpu).is_err());
    }
}
