//! The tensors that a network is given: each checked by name, shape and type before anything runs.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::weights::{SafetensorsFile, TensorMap};
use crate::{Error, Result};

/// Tensors of a file, as they are there.
#[derive(Clone, Debug)]
pub struct Inputs {
    origin: PathBuf,
    tensors: TensorMap,
}

impl Inputs {
    /// Reads all tensors of a safetensors file.
    ///
    /// # Errors
    /// The file is missing or broken, or a value is not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = SafetensorsFile::open(path)?;
        let names: Vec<String> = file.entries().keys().cloned().collect();
        let tensors = names
            .into_iter()
            .map(|name| Ok((name.clone(), file.read(&name, None, &Device::Cpu)?)))
            .collect::<Result<_>>()?;
        Ok(Self { origin: path.to_owned(), tensors })
    }

    /// Tensors from elsewhere; `origin` names the place in errors.
    pub fn new(origin: &Path, tensors: TensorMap) -> Self {
        Self { origin: origin.to_owned(), tensors }
    }

    pub(super) fn on<'a>(&'a self, dtype: DType, device: &'a Device) -> Checked<'a> {
        Checked { inputs: self, dtype, device }
    }
}

/// A size that a dimension must have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    /// This one; the word says what of.
    Exactly(usize, &'static str),
    /// Any but 0.
    Any(&'static str),
}

/// Inputs for a precision and device.
pub(super) struct Checked<'a> {
    inputs: &'a Inputs,
    pub dtype: DType,
    pub device: &'a Device,
}

impl Checked<'_> {
    pub(super) fn fault<T>(&self, name: &str, message: String) -> Result<T> {
        Err(Error::Tensor { path: self.inputs.origin.clone(), tensor: name.to_owned(), message })
    }

    fn find(&self, name: &str, sizes: &[Size]) -> Result<&Tensor> {
        let expected = || {
            let sizes: Vec<String> = sizes
                .iter()
                .map(|size| match size {
                    Size::Exactly(number, "") => number.to_string(),
                    Size::Exactly(number, what) => format!("{number} ({what})"),
                    Size::Any(what) => (*what).to_owned(),
                })
                .collect();
            format!("[{}]", sizes.join(", "))
        };
        let Some(tensor) = self.inputs.tensors.get(name) else {
            let there: Vec<&str> = self.inputs.tensors.keys().map(String::as_str).collect();
            return self.fault(name, format!("is missing; expected {}; the file holds {there:?}", expected()));
        };
        let fits = tensor.rank() == sizes.len()
            && tensor.dims().iter().zip(sizes).all(|(&size, wanted)| match *wanted {
                Size::Exactly(number, _) => size == number,
                Size::Any(_) => size > 0,
            });
        if fits {
            Ok(tensor)
        } else {
            self.fault(name, format!("has shape {:?}, expected {}", tensor.dims(), expected()))
        }
    }

    /// Real numbers, in the precision of the network.
    pub(super) fn real(&self, name: &str, sizes: &[Size]) -> Result<Tensor> {
        let tensor = self.find(name, sizes)?;
        if !tensor.dtype().is_float() {
            return self.fault(name, format!("has whole numbers ({:?}), expected real ones", tensor.dtype()));
        }
        Ok(tensor.to_dtype(self.dtype)?.to_device(self.device)?.contiguous()?)
    }

    /// Whole numbers.
    pub(super) fn whole(&self, name: &str, sizes: &[Size]) -> Result<Tensor> {
        let tensor = self.find(name, sizes)?;
        if tensor.dtype().is_float() {
            return self.fault(name, format!("has real numbers ({:?}), expected whole ones (i64)", tensor.dtype()));
        }
        Ok(tensor.to_device(self.device)?.contiguous()?)
    }

    /// Numbers of any type, as f32.
    pub(super) fn numbers(&self, name: &str, sizes: &[Size]) -> Result<Tensor> {
        Ok(self.find(name, sizes)?.to_dtype(DType::F32)?.to_device(self.device)?.contiguous()?)
    }
}
