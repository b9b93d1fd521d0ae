//! The tiny model, out of the binary: unpacked once into the data folder, named by its content.

use std::path::{Path, PathBuf};

use rust_embed::Embed;
use sha2::{Digest, Sha256};

#[derive(Embed)]
#[folder = "$CARGO_MANIFEST_DIR/../models/tiny"]
#[allow_missing = true]
struct Tiny;

/// Where the default model is: `DIPTYCH_MODEL`, or the embedded one, unpacked below `data`.
pub fn folder(data: &Path) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("DIPTYCH_MODEL") {
        return Ok(std::path::absolute(PathBuf::from(folder))?);
    }
    let mut files: Vec<_> = Tiny::iter().collect();
    files.sort();
    let mut hasher = Sha256::new();
    for name in &files {
        if let Some(file) = Tiny::get(name) {
            hasher.update(name.as_bytes());
            hasher.update(file.metadata.sha256_hash());
        }
    }
    let hash = format!("{:x}", hasher.finalize());
    let parent = data.join("models");
    let folder = parent.join(format!("tiny-{}", &hash[..16]));
    if !folder.exists() {
        fs_err::create_dir_all(&parent)?;
        unpack(&files, &parent, &folder)?;
    }
    Ok(folder)
}

/// Whole or not at all: another process may look for the folder at the same time.
fn unpack(files: &[std::borrow::Cow<'static, str>], parent: &Path, folder: &Path) -> anyhow::Result<()> {
    let temporary = parent.join(format!(".unpacking-{}", uuid::Uuid::new_v4().simple()));
    fs_err::create_dir_all(&temporary)?;
    for name in files {
        let Some(file) = Tiny::get(name) else { continue };
        let path = temporary.join(&**name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(path, &file.data)?;
    }
    let moved = fs_err::rename(&temporary, folder);
    if moved.is_err() {
        fs_err::remove_dir_all(&temporary)?;
        // Somebody else was quicker.
        if folder.exists() {
            return Ok(());
        }
    }
    Ok(moved?)
}
