//! One safetensors file: its header checked in full, its tensors read one at a time.
//!
//! Tensors are streamed through a small buffer into their final precision, so that loading takes the memory of the
//! weights and a few megabytes more, not the file's beside it (pages of a mapped file count as memory, too). Values
//! are checked in the same pass.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use serde::Deserialize;

use crate::{Error, Result};

/// Beyond this a header is not believed; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

/// An open file.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    file: fs_err::File,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    data_start: u64,
}

/// What the header says of one tensor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// As in the format: `F32`, `BF16`, `I64` …
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl Entry {
    /// Number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the values are real numbers.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype.as_str(), "F64" | "F32" | "F16" | "BF16")
    }

    fn width(&self) -> Option<u64> {
        Some(match self.dtype.as_str() {
            "F64" | "I64" | "U64" => 8,
            "F32" | "I32" | "U32" => 4,
            "F16" | "BF16" | "I16" | "U16" => 2,
            "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" => 1,
            _ => return None,
        })
    }
}

impl SafetensorsFile {
    /// Opens a file and checks its header: sizes that fit the file, each byte of the data in exactly one tensor.
    ///
    /// # Errors
    /// The file is missing, truncated, or no safetensors file; the error names the file and the tensor at fault.
    pub fn open(path: &Path) -> Result<Self> {
        let broken = |message: String| Error::Tensor { path: path.to_owned(), tensor: "*".to_owned(), message };
        let mut file = fs_err::File::open(path)?;
        let length = file.metadata()?.len();
        let mut size = [0; 8];
        if length < 8 {
            return Err(broken(format!("not a safetensors file: {length} bytes, the header alone has more")));
        }
        file.read_exact(&mut size)?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER || size > length - 8 {
            return Err(broken(format!(
                "not a safetensors file, or truncated: a header of {size} bytes in a file of {length}"
            )));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header)?;
        let header: Header = serde_json::from_slice(&header)
            .map_err(|error| broken(format!("not a safetensors file: its header is not as it should be: {error}")))?;
        let data_start = 8 + size;
        check_entries(&header.entries, length - data_start).map_err(|(tensor, message)| Error::Tensor {
            path: path.to_owned(),
            tensor,
            message,
        })?;
        Ok(Self { path: path.to_owned(), file, entries: header.entries, metadata: header.metadata, data_start })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors by name.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The text fields of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads a tensor: real numbers as `float` (or as they are stored), whole numbers as `i64`.
    ///
    /// # Errors
    /// There is no such tensor, its type is not supported, or a value is not finite.
    pub fn read(&mut self, name: &str, float: Option<DType>, device: &Device) -> Result<Tensor> {
        let path = self.path.clone();
        let fault = |message: String| Error::Tensor { path: path.clone(), tensor: name.to_owned(), message };
        let Some(entry) = self.entries.get(name).cloned() else {
            return Err(fault("is missing".to_owned()));
        };
        self.file.seek(SeekFrom::Start(self.data_start + entry.data_offsets[0]))?;
        let (shape, count) = (entry.shape.clone(), entry.count());
        let stored = match entry.dtype.as_str() {
            "F64" => DType::F64,
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            _ => {
                let Some(values) = self.read_whole(&entry.dtype, count)? else {
                    return Err(fault(format!("values of type {} are not supported", entry.dtype)));
                };
                return Ok(Tensor::from_vec(values, shape, device)?);
            }
        };
        let source = &mut self.file;
        let tensor = match (stored, float.unwrap_or(stored)) {
            (DType::F64, DType::F64) => {
                floats(source, count, f64::from_le_bytes, |v: f64| v.is_finite(), shape, device)
            }
            (DType::F64, to) => floats(source, count, |b| f64::from_le_bytes(b) as f32, f32::is_finite, shape, device)
                .and_then(|t| convert(&t, to)),
            (DType::F32, to) => {
                floats(source, count, f32::from_le_bytes, f32::is_finite, shape, device).and_then(|t| convert(&t, to))
            }
            (DType::F16, DType::F16) => floats(source, count, f16::from_le_bytes, f16::is_finite, shape, device),
            (DType::BF16, DType::BF16) => floats(source, count, bf16::from_le_bytes, bf16::is_finite, shape, device),
            (DType::F16, to) => {
                floats(source, count, |b| f16::from_le_bytes(b).to_f32(), f32::is_finite, shape, device)
                    .and_then(|t| convert(&t, to))
            }
            (_, to) => floats(source, count, |b| bf16::from_le_bytes(b).to_f32(), f32::is_finite, shape, device)
                .and_then(|t| convert(&t, to)),
        };
        match tensor {
            Ok(tensor) => Ok(tensor),
            Err(Failure::NotFinite(index)) => Err(fault(format!("value {index} is not a finite number"))),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// Whole numbers and truth values; `None`: a type that has no place here.
    fn read_whole(&mut self, dtype: &str, count: usize) -> Result<Option<Vec<i64>>> {
        let file = &mut self.file;
        Ok(Some(match dtype {
            "I64" => decode(file, count, i64::from_le_bytes)?,
            "I32" => decode(file, count, |b| i64::from(i32::from_le_bytes(b)))?,
            "U32" => decode(file, count, |b| i64::from(u32::from_le_bytes(b)))?,
            "I16" => decode(file, count, |b| i64::from(i16::from_le_bytes(b)))?,
            "U16" => decode(file, count, |b| i64::from(u16::from_le_bytes(b)))?,
            "I8" => decode(file, count, |b: [u8; 1]| i64::from(i8::from_le_bytes(b)))?,
            "U8" | "BOOL" => decode(file, count, |[b]: [u8; 1]| i64::from(b))?,
            _ => return Ok(None),
        }))
    }
}

/// The JSON header: tensors, and text fields below `__metadata__`.
struct Header {
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
                let mut header = Header { entries: BTreeMap::new(), metadata: BTreeMap::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = map.next_value()?;
                    } else if let Some(_twice) = header.entries.insert(name.clone(), map.next_value()?) {
                        return Err(serde::de::Error::custom(format!("tensor `{name}` is there twice")));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The tensors must fill the data without gap or overlap, each as long as its shape and type say.
fn check_entries(entries: &BTreeMap<String, Entry>, data: u64) -> std::result::Result<(), (String, String)> {
    let mut ranges = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let fault = |message: String| Err((name.clone(), message));
        let [start, end] = entry.data_offsets;
        if start > end || end > data {
            return fault(format!("lies at bytes {start}..{end} of {data}; the file is truncated or mislabelled"));
        }
        let Some(width) = entry.width() else {
            return fault(format!("has the unknown type `{}`", entry.dtype));
        };
        let bytes = entry.shape.iter().try_fold(width, |bytes, &size| bytes.checked_mul(size as u64));
        if bytes != Some(end - start) {
            return fault(format!(
                "{} bytes do not make a tensor of {} in {:?}",
                end - start,
                entry.dtype,
                entry.shape
            ));
        }
        ranges.push((start, end, name));
    }
    ranges.sort_unstable();
    let mut covered = 0;
    for (start, end, name) in ranges {
        if start != covered {
            let what = if start < covered { "overlaps another" } else { "leaves a gap before it" };
            return Err((name.clone(), format!("{what}; the file is mislabelled")));
        }
        covered = end;
    }
    if covered == data {
        Ok(())
    } else {
        Err(("*".to_owned(), format!("{} bytes at the end belong to no tensor", data - covered)))
    }
}

enum Failure {
    /// Index of the value.
    NotFinite(usize),
    Other(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

fn convert(tensor: &Tensor, to: DType) -> std::result::Result<Tensor, Failure> {
    let converted = tensor.to_dtype(to)?;
    // f16 ends at 65,504; what the file holds may lie beyond.
    if to == DType::F16 && tensor.dtype() != to {
        let largest = converted.to_dtype(DType::F32)?.flatten_all()?;
        if let Some(index) = largest.to_vec1::<f32>()?.iter().position(|v| !v.is_finite()) {
            return Err(Failure::NotFinite(index));
        }
    }
    Ok(converted)
}

/// Streams real numbers into a tensor.
fn floats<const N: usize, T: WithDType>(
    source: &mut impl Read,
    count: usize,
    number: impl Fn([u8; N]) -> T,
    finite: impl Fn(T) -> bool,
    shape: Vec<usize>,
    device: &Device,
) -> std::result::Result<Tensor, Failure> {
    let mut values: Vec<T> = Vec::with_capacity(count);
    let mut buffer = vec![0; BUFFER.min(count * N)];
    while values.len() < count {
        let start = values.len();
        let bytes = buffer.len().min((count - start) * N);
        source.read_exact(&mut buffer[..bytes])?;
        values.extend(buffer[..bytes].as_chunks::<N>().0.iter().map(|bytes| number(*bytes)));
        // All at once, without a branch a value.
        if !values[start..].iter().fold(true, |all, value| all & finite(*value)) {
            let place = values[start..].iter().position(|value| !finite(*value)).unwrap_or_default();
            return Err(Failure::NotFinite(start + place));
        }
    }
    Ok(Tensor::from_vec(values, shape, device)?)
}

fn decode<const N: usize, T>(source: &mut impl Read, count: usize, number: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
    let mut bytes = vec![0; count * N];
    source.read_exact(&mut bytes)?;
    Ok(bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect())
}
