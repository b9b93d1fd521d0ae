//! One file of the cache: entries, numbers, checksum.
//!
//! `MAGIC · u32 rows · rows × (key 32 · asked u8 · stored u8 · u64 length) · numbers · SHA-256 of all before`, little-endian.

use super::Key;
use crate::{Error, Result};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"diptych rows 1\n\0";
const HEAD: usize = MAGIC.len() + 4;
const ENTRY: usize = 32 + 1 + 1 + 8;
const CHECKSUM: usize = 32;
/// Rows beyond this are not believed.
const MAX_ROWS: usize = 1 << 20;
/// Largest root mean square of the error that f16 may make in a row, of the row's own.
const MAX_RELATIVE_ERROR: f64 = 1e-3;

/// How numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// In f16 where the error is at most a thousandth of the row, root mean squares both; in f32 where it is not.
    Half,
    /// In f32, bit for bit.
    Full,
}

impl Precision {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Half => "f16",
            Self::Full => "f32",
        }
    }

    /// Bytes of a number, as a rule.
    pub fn width(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Full => 4,
        }
    }

    fn code(self) -> u8 {
        self.width() as u8
    }

    fn of_code(code: u8) -> Option<Self> {
        [Self::Half, Self::Full].into_iter().find(|one| one.code() == code)
    }
}

/// Bytes that a row takes in a shard.
pub(super) fn row_bytes(length: usize, precision: Precision) -> u64 {
    (ENTRY + length * precision.width()) as u64
}

/// What the head of a shard says of a row.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: Key,
    /// The precision that was asked for; f32 may be stored where f16 was asked.
    pub asked: Precision,
    stored: Precision,
    length: usize,
}

/// The bytes of a shard.
#[derive(Debug)]
pub(super) enum Data {
    Mapped(memmap2::Mmap),
    Held(Vec<u8>),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}

/// A checked shard.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    data: Data,
    /// Of each row: where it starts, in which precision, how long.
    rows: Vec<(usize, Precision, usize)>,
}

/// Maps a file.
pub(super) fn map(path: &Path) -> Result<Data> {
    let file = fs_err::File::open(path)?;
    #[expect(
        unsafe_code,
        reason = "a shard is moved into place whole, never written again, and unlinked rather than cut"
    )]
    let map = unsafe { memmap2::Mmap::map(file.file())? };
    Ok(Data::Mapped(map))
}

/// The head of a file alone.
pub(super) fn read_entries(path: &Path) -> Result<Vec<Entry>> {
    let mut file = fs_err::File::open(path)?;
    let mut head = [0; HEAD];
    file.read_exact(&mut head)?;
    let count = num_rows(&head).ok_or_else(|| damaged(path, "is no shard"))?;
    let mut entries = vec![0; count * ENTRY];
    file.read_exact(&mut entries)?;
    parse_entries(&entries).ok_or_else(|| damaged(path, "has a damaged head"))
}

/// The bytes of a shard of `rows`.
pub(super) fn encode(rows: &[(Key, Vec<f32>)], asked: Precision) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((rows.len() as u32).to_le_bytes());
    let stored: Vec<Precision> =
        rows.iter().map(|(_, row)| if asked == Precision::Half { precision_of(row) } else { asked }).collect();
    for ((key, row), stored) in rows.iter().zip(&stored) {
        bytes.extend(key);
        bytes.extend([asked.code(), stored.code()]);
        bytes.extend((row.len() as u64).to_le_bytes());
    }
    for ((_, row), stored) in rows.iter().zip(&stored) {
        match stored {
            Precision::Full => bytes.extend(row.iter().flat_map(|value| value.to_le_bytes())),
            Precision::Half => bytes.extend(halves(row).iter().flat_map(|value| value.to_le_bytes())),
        }
    }
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

fn halves(row: &[f32]) -> Vec<f16> {
    let mut halves = vec![f16::ZERO; row.len()];
    halves.convert_from_f32_slice(row);
    halves
}

/// f16 where it is good enough for this row.
fn precision_of(row: &[f32]) -> Precision {
    let (mut square, mut error) = (0.0, 0.0);
    for (exact, kept) in row.iter().zip(halves(row)) {
        square += f64::from(*exact).powi(2);
        error += (f64::from(*exact) - kept.to_f64()).powi(2);
    }
    // Infinities and what is no number come out of this as f32.
    if error <= MAX_RELATIVE_ERROR.powi(2) * square { Precision::Half } else { Precision::Full }
}

impl Shard {
    /// # Errors
    /// The bytes are not what was once written.
    pub(super) fn new(path: &Path, data: Data) -> Result<Self> {
        let bytes = data.bytes();
        let end = bytes.len().checked_sub(CHECKSUM).ok_or_else(|| damaged(path, "is cut short"))?;
        let (content, checksum) = bytes.split_at(end);
        if Sha256::digest(content).as_slice() != checksum {
            return Err(damaged(path, "does not have the checksum at its end"));
        }
        let count = num_rows(content).ok_or_else(|| damaged(path, "is no shard"))?;
        let mut start = HEAD + count * ENTRY;
        let entries = content.get(HEAD..start).and_then(parse_entries);
        let mut rows = Vec::with_capacity(count);
        for entry in entries.ok_or_else(|| damaged(path, "has a damaged head"))? {
            rows.push((start, entry.stored, entry.length));
            start = start.saturating_add(entry.length.saturating_mul(entry.stored.width()));
        }
        if start != end {
            return Err(damaged(path, "has another length than its head says"));
        }
        Ok(Self { path: path.to_owned(), data, rows })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers of a row; none of one that is not there.
    pub(super) fn length(&self, row: usize) -> usize {
        self.rows.get(row).map_or(0, |(_, _, length)| *length)
    }

    pub(super) fn read(&self, row: usize, start: usize, count: usize) -> Result<Vec<f32>> {
        let outside = || damaged(&self.path, "is asked for more than it holds");
        let (offset, precision, length) = *self.rows.get(row).ok_or_else(outside)?;
        let end = start.checked_add(count).filter(|end| *end <= length).ok_or_else(outside)?;
        let width = precision.width();
        let bytes = self.data.bytes().get(offset + start * width..offset + end * width).ok_or_else(outside)?;
        let (pairs, fours) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
        Ok(match precision {
            Precision::Full => fours.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Precision::Half => {
                let bits: Vec<u16> = pairs.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
                let mut values = vec![0.0; count];
                bits.reinterpret_cast::<f16>().convert_to_f32_slice(&mut values);
                values
            }
        })
    }
}

fn num_rows(head: &[u8]) -> Option<usize> {
    let rest = head.strip_prefix(MAGIC)?;
    let count = u32::from_le_bytes(*rest.first_chunk()?) as usize;
    (count <= MAX_ROWS).then_some(count)
}

fn parse_entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    let entry = |bytes: &[u8; ENTRY]| {
        let (key, rest) = bytes.split_first_chunk()?;
        let ([asked, stored], length) = rest.split_first_chunk()?;
        let length = u64::from_le_bytes(*length.first_chunk()?);
        Some(Entry {
            key: *key,
            asked: Precision::of_code(*asked)?,
            stored: Precision::of_code(*stored)?,
            length: usize::try_from(length).ok()?,
        })
    };
    bytes.as_chunks().0.iter().map(entry).collect()
}

fn damaged(path: &Path, how: &str) -> Error {
    Error::Training(format!("{}: this file of the cache {how}", path.display()))
}
