//! Pixels and tensors: immutable, named by the SHA-256 of their content, in a local folder or wherever `object_store`
//! reaches. A blob is written before the row that names it, so a row never names what is not there; a crash in between
//! leaves a blob that nobody names, and the next attempt writes the same one again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlobStore {
    store: Arc<dyn ObjectStore>,
    /// Of the local kind only; `put` then writes the file itself, see there.
    folder: Option<PathBuf>,
    prefix: Key,
}

impl BlobStore {
    /// A local folder, made if it is missing.
    pub fn local(folder: &Path) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(blob_error(&folder.display().to_string()))?;
        Ok(Self { store: Arc::new(store), folder: Some(folder.to_path_buf()), prefix: Key::default() })
    }

    /// `file:///…`, a bare path, or any other URL that this build of `object_store` knows (`s3://bucket/prefix` with the
    /// feature `s3`, its keys in the usual `AWS_…` variables).
    pub fn open(location: &str) -> Result<Self> {
        if let Some(path) = location.strip_prefix("file://") {
            return Self::local(Path::new(path));
        }
        if !location.contains("://") {
            return Self::local(Path::new(location));
        }
        let url = url::Url::parse(location)
            .map_err(|error| Error::invalid("", format!("the blob URL {location}: {error}")))?;
        let options = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
        let (store, prefix) = object_store::parse_url_opts(&url, options)
            .map_err(|error| Error::invalid("", format!("the blob URL {location}: {error}")))?;
        Ok(Self { store: Arc::from(store), folder: None, prefix })
    }

    /// Stores `bytes` durably and returns their key, the lower-case hex SHA-256. Storing the same bytes again is cheap.
    pub async fn put(&self, bytes: impl Into<Bytes>) -> Result<String> {
        let bytes = bytes.into();
        let key = hash(&bytes);
        match &self.folder {
            Some(folder) => {
                let (file, content) = (folder.join(file_of(&key)), bytes);
                on_thread(move || write_once(&file, &content)).await?;
            }
            None if self.exists(&key).await? => {}
            None => {
                self.store.put(&self.location(&key), bytes.into()).await.map_err(blob_error(&key))?;
            }
        }
        Ok(key)
    }

    /// The bytes under `key`, whose hash is checked.
    ///
    /// # Errors
    /// `NotFound` when there is no such blob, `BlobDamaged` when its content is not what its key says.
    pub async fn get(&self, key: &str) -> Result<Bytes> {
        check(key)?;
        let content = match self.store.get(&self.location(key)).await {
            Ok(found) => found.bytes().await.map_err(blob_error(key))?,
            Err(object_store::Error::NotFound { .. }) => return Err(Error::not_found("blob", key)),
            Err(source) => return Err(blob_error(key)(source)),
        };
        let found = hash(&content);
        if found != key {
            return Err(Error::BlobDamaged { key: key.to_string(), found });
        }
        Ok(content)
    }

    pub async fn exists(&self, key: &str) -> Result<bool> {
        check(key)?;
        match self.store.head(&self.location(key)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(blob_error(key)(source)),
        }
    }

    /// Deletes what nobody names any more; no error when it is gone already.
    pub async fn delete(&self, key: &str) -> Result<()> {
        check(key)?;
        match self.store.delete(&self.location(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(blob_error(key)(source)),
        }
    }

    /// All keys there are; for collecting what no row names.
    pub async fn keys(&self) -> Result<Vec<String>> {
        let objects = self.store.list(Some(&self.prefix)).try_collect::<Vec<_>>().await.map_err(blob_error("*"))?;
        let names = objects.iter().filter_map(|object| object.location.filename().map(str::to_string));
        Ok(names.filter(|name| check(name).is_ok()).collect())
    }

    fn location(&self, key: &str) -> Key {
        Key::from(format!("{}/{}", self.prefix, file_of(key)))
    }
}

/// Lower-case hex SHA-256.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// 256 folders, so that none gets too long to list.
fn file_of(key: &str) -> String {
    format!("{}/{key}", &key[..2])
}

/// `object_store`'s local kind renames into place but never calls fsync, and a row that survives a power cut must not name
/// a file that did not; so the file is written here: temporary name, fsync, rename, fsync of the folder.
fn write_once(file: &Path, content: &[u8]) -> Result<()> {
    if let Ok(metadata) = fs_err::metadata(file)
        && metadata.len() == content.len() as u64
    {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    // '#' is what object_store's own temporary files have, and what its listings leave out.
    let temporary = file.with_extension(format!("#{}", crate::id::new().simple()));
    let written = write_durably(&temporary, content).and_then(|()| Ok(fs_err::rename(&temporary, file)?));
    if written.is_err() {
        let _ = fs_err::remove_file(&temporary);
    }
    written?;
    Ok(fs_err::File::open(folder)?.sync_all()?)
}

fn write_durably(file: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut out = fs_err::File::create(file)?;
    out.write_all(content)?;
    Ok(out.sync_all()?)
}

async fn on_thread(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Thread(error.to_string()))?
}

fn check(key: &str) -> Result<()> {
    let good = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if good { Ok(()) } else { Err(Error::invalid("", format!("{key:?} is not the key of a blob"))) }
}

fn blob_error(key: &str) -> impl FnOnce(object_store::Error) -> Error {
    let key = key.to_string();
    move |source| Error::Blob { key, source }
}
