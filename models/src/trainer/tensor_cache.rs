//! What depends on frozen networks alone, computed once and kept: rows of numbers, addressed by what they come from.
//!
//! A row's key is the hash of everything that it depends on. Rows are kept in shards: files of up to [`ROWS_PER_SHARD`] rows
//! with the keys at their head and a checksum at their end, written whole or not at all, and never changed. Readers map
//! them, so that memory holds only what is being read. Any job finds a row by its key, in whatever shard it is.
//!
//! Several processes may fill one folder at once: each takes the shards that nobody else is at, by a lock that the kernel
//! gives back when its holder dies. A killed fill goes on with the shards that are missing. When the disk is short the
//! rows stay in memory for this run and are computed again by the next. Numbers always pass through their kept precision,
//! whether they were read or just computed, so that nobody can tell the difference.

mod shard;

pub use shard::Precision;
use shard::{Data, Shard, encode, read_entries};

use crate::weights::write_whole;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::TryLockError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Rows in one file of the cache.
const ROWS_PER_SHARD: usize = 64;
/// How often a shard that another process is at is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What a killed process left unfinished is waste after so long.
const WASTE_AFTER: Duration = Duration::from_hours(24);
const SHARD: &str = "shard";
const LOCK: &str = "lock";

/// Hash of everything that a row depends on.
pub type Key = [u8; 32];

/// The key of `parts`; each counts with its length, so that no two lists run into one.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Key {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// How much disk a cache may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of the folder; beyond it the shards go that were not used for longest.
    pub max_bytes: u64,
    /// Bytes that stay free on the disk.
    pub min_free_bytes: u64,
}

impl Default for CacheLimits {
    /// 16 GiB; 1 GiB stays free.
    fn default() -> Self {
        Self { max_bytes: 16 << 30, min_free_bytes: 1 << 30 }
    }
}

/// A folder of shards.
#[derive(Clone, Debug)]
pub struct TensorCache {
    folder: PathBuf,
    limits: CacheLimits,
}

/// A row of a shard.
#[derive(Clone, Debug)]
pub struct CachedRow {
    shard: Arc<Shard>,
    index: usize,
}

impl CachedRow {
    /// `count` numbers from the `start`-th on.
    ///
    /// # Errors
    /// The row is shorter.
    pub fn read(&self, start: usize, count: usize) -> Result<Vec<f32>> {
        self.shard.read(self.index, start, count)
    }

    /// All of its numbers.
    pub fn read_all(&self) -> Result<Vec<f32>> {
        self.shard.read(self.index, 0, self.shard.length(self.index))
    }
}

/// Computes the rows at these places.
pub type Rows<'a, T> = dyn FnMut(&[usize]) -> Result<Vec<Vec<T>>> + 'a;

/// A row that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What it is.
    pub key: Key,
    /// How many numbers.
    pub length: usize,
}

impl TensorCache {
    /// A cache in `folder`, which need not be there yet.
    pub fn new(folder: &Path, limits: CacheLimits) -> Self {
        Self { folder: folder.to_owned(), limits }
    }

    /// The rows `wanted`, in order. Those that are not there are computed by `compute`, which is given their places in
    /// `wanted`, and kept. `progress(done, total)` is told of rows and may stop the work.
    pub fn fetch(
        &self,
        wanted: &[Wanted],
        precision: Precision,
        compute: &mut Rows<f32>,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Vec<CachedRow>> {
        let mut found = self.find(wanted, precision);
        let missing: Vec<usize> = (0..wanted.len()).filter(|&place| found[place].is_none()).collect();
        let mut done = wanted.len() - missing.len();
        progress(done, wanted.len())?;
        let mut parts: VecDeque<&[usize]> = missing.chunks(ROWS_PER_SHARD).collect();
        let mut passed_over = 0;
        while let Some(part) = parts.pop_front() {
            let Some(shard) = self.fill(wanted, part, precision, compute)? else {
                // Another process is at it: first whatever nobody is at.
                parts.push_back(part);
                passed_over += 1;
                if passed_over >= parts.len() {
                    std::thread::sleep(LOOK_EVERY);
                    passed_over = 0;
                }
                progress(done, wanted.len())?;
                continue;
            };
            passed_over = 0;
            for (index, &place) in part.iter().enumerate() {
                found[place] = Some(CachedRow { shard: Arc::clone(&shard), index });
            }
            done += part.len();
            progress(done, wanted.len())?;
        }
        let rows: Option<Vec<CachedRow>> = found.into_iter().collect();
        let rows = rows.ok_or_else(|| Error::Training("a row of the cache was not computed".to_owned()))?;
        self.collect(&rows);
        Ok(rows)
    }

    /// What is there of `wanted`. A shard that is damaged is let go, and its rows count as missing.
    fn find(&self, wanted: &[Wanted], precision: Precision) -> Vec<Option<CachedRow>> {
        let mut places: HashMap<Key, (PathBuf, usize)> = HashMap::new();
        for file in self.files(SHARD) {
            let Ok(entries) = read_entries(&file.path) else { continue };
            for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.asked == precision) {
                places.insert(entry.key, (file.path.clone(), index));
            }
        }
        let mut opened: HashMap<PathBuf, Option<Arc<Shard>>> = HashMap::new();
        let mut row = |one: &Wanted| {
            let (path, index) = places.get(&one.key)?;
            let shard = opened.entry(path.clone()).or_insert_with(|| open(path)).clone()?;
            (shard.length(*index) == one.length).then_some(CachedRow { shard, index: *index })
        };
        wanted.iter().map(&mut row).collect()
    }

    /// The shard of the rows at `part`: as another process wrote it meanwhile, or computed. `None` while another is at it.
    fn fill(
        &self,
        wanted: &[Wanted],
        part: &[usize],
        precision: Precision,
        compute: &mut Rows<f32>,
    ) -> Result<Option<Arc<Shard>>> {
        let keys: Vec<&[u8]> = part.iter().map(|&place| wanted[place].key.as_slice()).collect();
        let name = hex::encode(key(std::iter::once(precision.name().as_bytes()).chain(keys)));
        let path = self.folder.join(format!("{name}.{SHARD}"));
        let lock_path = path.with_extension(LOCK);
        let bytes = part.iter().map(|&place| shard::row_bytes(wanted[place].length, precision)).sum();
        let kept = self.has_room(bytes);
        // Where nothing can be written there is nobody to agree with.
        let lock = if kept { fs_err::File::create(&lock_path).ok() } else { None };
        if let Some(lock) = &lock
            && matches!(lock.file().try_lock(), Err(TryLockError::WouldBlock))
        {
            return Ok(None);
        }
        let made = (|| {
            if let Some(shard) = path.exists().then(|| open(&path)).flatten() {
                return Ok(shard);
            }
            let rows = compute(part)?;
            if rows.len() != part.len() || rows.iter().zip(part).any(|(row, &place)| row.len() != wanted[place].length)
            {
                return Err(Error::Training("rows of the cache came out with other lengths".to_owned()));
            }
            let rows: Vec<(Key, Vec<f32>)> = part.iter().map(|&place| wanted[place].key).zip(rows).collect();
            let content = encode(&rows, precision);
            if kept {
                match write_whole(&path, &content) {
                    Ok(()) => {
                        if let Some(shard) = open(&path) {
                            return Ok(shard);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "not kept: it is computed again next time");
                        remove(&path.with_file_name(format!("{name}.{SHARD}.{}.partial", std::process::id())));
                    }
                }
            } else {
                tracing::warn!(folder = %self.folder.display(), bytes, "the disk is short: computed again next time");
            }
            Shard::new(&path, Data::Held(content)).map(Arc::new)
        })();
        if lock.is_some() {
            remove(&lock_path);
        }
        made.map(Some)
    }

    /// Whether `bytes` more can be written. A disk that does not tell its room is believed to have it.
    fn has_room(&self, bytes: u64) -> bool {
        if fs_err::create_dir_all(&self.folder).is_err() {
            return false;
        }
        let free = rustix::fs::statvfs(&self.folder).map(|about| about.f_bavail.saturating_mul(about.f_frsize));
        free.is_ok_and(|free| free.saturating_sub(bytes) >= self.limits.min_free_bytes)
            && bytes <= self.limits.max_bytes
    }

    /// Lets go what was not used for longest, until the folder is within its limit, and waste. What `rows` are in stays.
    fn collect(&self, rows: &[CachedRow]) {
        let now = SystemTime::now();
        let is_old = |file: &CacheFile| now.duration_since(file.used).is_ok_and(|age| age > WASTE_AFTER);
        for kind in [LOCK, "partial"] {
            self.files(kind).iter().filter(|file| is_old(file)).for_each(|file| remove(&file.path));
        }
        // The form of an older version.
        let mut files = self.files(SHARD);
        files.extend(self.files("safetensors"));
        files.sort_by_key(|file| file.used);
        let used: HashSet<&Path> = rows.iter().map(|row| row.shard.path()).collect();
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            if total <= self.limits.max_bytes {
                break;
            }
            if !used.contains(file.path.as_path()) {
                remove(&file.path);
                total -= file.bytes;
            }
        }
    }

    fn files(&self, extension: &str) -> Vec<CacheFile> {
        let Ok(entries) = fs_err::read_dir(&self.folder) else { return Vec::new() };
        let file = |path: PathBuf| {
            let about = fs_err::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
            Some(CacheFile { path, bytes: about.len(), used: about.modified().ok()? })
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut files: Vec<CacheFile> =
            paths.filter(|path| path.extension().is_some_and(|of| of == extension)).filter_map(file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }
}

/// A file of the folder; when it was last used is when it was last modified, for shards are touched when they are opened.
struct CacheFile {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// The shard, mapped, checked and marked as used. A damaged one is let go.
fn open(path: &Path) -> Option<Arc<Shard>> {
    match shard::map(path).and_then(|data| Shard::new(path, data)) {
        Ok(shard) => {
            // Only how soon it is collected depends on it.
            if let Ok(file) = fs_err::File::options().append(true).open(path) {
                file.set_modified(SystemTime::now()).ok();
            }
            Some(Arc::new(shard))
        }
        Err(error) => {
            if path.exists() {
                tracing::warn!(path = %path.display(), %error, "a damaged shard of the cache is let go");
                remove(path);
            }
            None
        }
    }
}

/// What is not there any more was removed by another process.
fn remove(path: &Path) {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => tracing::warn!(%error, "a file of the cache stays"),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
