//! A folder as one file: a zip archive whose files are stored as they are (weights do not shrink), by name, without times,
//! so that the same content is the same archive.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::{Error, Result};

/// Beyond this a file needs the long form of its size.
const LARGE: u64 = 0xffff_ffff;

/// All files under `folder`, below `root` in the archive.
///
/// # Errors
/// A file cannot be read.
pub fn pack(folder: &Path, root: &str) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    list(folder, Path::new(root), &mut files)?;
    files.sort();
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, file) in files {
        let content = fs_err::read(&file)?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(content.len() as u64 >= LARGE);
        archive.start_file(name, options).map_err(fault)?;
        archive.write_all(&content)?;
    }
    Ok(archive.finish().map_err(fault)?.into_inner())
}

/// Writes all files of an archive under `folder`.
///
/// # Errors
/// The archive is damaged or names a place outside `folder`, or a file cannot be written.
pub fn unpack(archive: &[u8], folder: &Path) -> Result<()> {
    ZipArchive::new(Cursor::new(archive)).and_then(|mut archive| archive.extract(folder)).map_err(fault)
}

fn list(folder: &Path, place: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let place = place.join(entry.file_name());
        if entry.path().is_dir() {
            list(&entry.path(), &place, files)?;
        } else {
            files.push((place.to_string_lossy().replace('\\', "/"), entry.path()));
        }
    }
    Ok(())
}

fn fault(error: zip::result::ZipError) -> Error {
    Error::Format(format!("the archive: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_out_as_it_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs_err::create_dir_all(from.join("unet")).unwrap();
        fs_err::write(from.join("model_index.json"), "{}").unwrap();
        fs_err::write(from.join("unet/config.json"), "[1]").unwrap();
        let archive = pack(&from, "model").unwrap();
        assert_eq!(pack(&from, "model").unwrap(), archive);
        let to = folder.path().join("to");
        unpack(&archive, &to).unwrap();
        assert_eq!(fs_err::read_to_string(to.join("model/unet/config.json")).unwrap(), "[1]");
        assert_eq!(fs_err::read_to_string(to.join("model/model_index.json")).unwrap(), "{}");
        assert!(unpack(&archive[..archive.len() / 2], &to).is_err());
    }
}
