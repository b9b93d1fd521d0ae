//! Between candle's tensors and slices of f32.

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

/// Whether the hand-written CPU path serves all of these.
pub fn on_cpu(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| matches!(t.device(), Device::Cpu) && t.dtype() == DType::F32)
}

/// The elements of a contiguous layout.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("operator needs a contiguous tensor, got {layout:?}"),
    }
}

/// Lends a tensor's elements in their logical order.
pub fn with_slice<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(slice(storage, layout)?),
        _ => bail!("operator needs a tensor on the CPU"),
    }
}

/// As [`with_slice`], for two tensors.
pub fn with_slices<R>(a: &Tensor, b: &Tensor, work: impl FnOnce(&[f32], &[f32]) -> Result<R>) -> Result<R> {
    with_slice(a, |a| with_slice(b, |b| work(a, b)))
}

pub fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

pub fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)
}
