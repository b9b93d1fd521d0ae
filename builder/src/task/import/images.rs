//! A folder of pictures with captions, as a tar: `NAME.png` (`.jpg`, `.jpeg`, `.webp`) beside `NAME.txt`.
//!
//! Names of the archive are keys and never paths: nothing is unpacked to the disk.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use tokio::sync::mpsc;

use super::{Import, UNKNOWN_MODEL, checked, unpacked};
use crate::store::candidate::{self, NewCandidate};
use crate::task::on_thread;
use crate::{Error, Result};

/// Largest file in the archive.
const MOST_BYTES: u64 = 64 << 20;
/// Pictures and captions that wait for each other.
const MOST_WAITING: usize = 100_000;

enum Entry {
    /// Key, and a PNG or why it is none.
    Picture(String, std::result::Result<Vec<u8>, String>),
    Caption(String, String),
}

pub(super) async fn run(import: &mut Import<'_>, path: &Path) -> Result<()> {
    let (sender, mut entries) = mpsc::channel(4);
    let path = path.to_owned();
    let reading = tokio::spawn(on_thread(move || read(&path, &sender)));
    // What came without its other half so far: a blob by its key, or a caption.
    let (mut pictures, mut captions) = (HashMap::<String, (i64, String)>::new(), HashMap::<String, String>::new());
    while let Some(entry) = entries.recv().await {
        import.write_many_rejects().await?;
        let (key, record, blob, caption) = match entry {
            Entry::Picture(key, file) => {
                let record = import.counts.read;
                import.counts.read += 1;
                match file {
                    Err(message) => {
                        import.reject(record, &format!("/{key}"), "E_IMAGE", message);
                        continue;
                    }
                    Ok(file) => {
                        let blob = import.context.blobs.put(file).await?;
                        match captions.remove(&key) {
                            Some(caption) => (key, record, blob, caption),
                            None => {
                                pictures.insert(key, (record, blob));
                                continue;
                            }
                        }
                    }
                }
            }
            Entry::Caption(key, caption) => match pictures.remove(&key) {
                Some((record, blob)) => (key, record, blob, caption),
                None => {
                    captions.insert(key, caption);
                    continue;
                }
            },
        };
        if pictures.len() + captions.len() > MOST_WAITING {
            return Err(Error::Format("pictures and captions of the archive are too far apart".to_owned()));
        }
        take(import, record, &key, blob, &caption).await?;
    }
    reading.await.map_err(|error| Error::Thread(error.to_string()))??;
    let mut left: Vec<(String, i64)> = pictures.into_iter().map(|(key, (record, _))| (key, record)).collect();
    left.sort_unstable_by_key(|(_, record)| *record);
    for (key, record) in left {
        import.reject(
            record,
            &format!("/{key}"),
            "E_MISSING_FIELD",
            format!("{key} has no caption beside it ({key}.txt)"),
        );
        import.write_many_rejects().await?;
    }
    Ok(())
}

async fn take(import: &mut Import<'_>, record: i64, key: &str, blob: String, caption: &str) -> Result<()> {
    let mut tx = import.context.pool.begin().await?;
    let graph_id = match import.graph_of(&mut tx, caption, record).await? {
        Ok(id) => id,
        Err(message) => {
            import.reject(record, &format!("/{key}"), "E_CAPTION", message);
            return Ok(());
        }
    };
    if candidate::of_graphs(&mut tx, &[graph_id]).await?.iter().any(|one| one.image_blob == blob) {
        import.counts.unchanged += 1;
        return Ok(());
    }
    let (generation_id, index) = import.place(&mut tx, UNKNOWN_MODEL, graph_id).await?;
    let id = crate::id::new();
    let new = NewCandidate { id, generation_id, graph_id, index, seed: 0, image_blob: blob, latent_blob: None };
    candidate::insert_many(&mut tx, &[new]).await?;
    tx.commit().await?;
    import.counts.accepted += 1;
    Ok(())
}

/// Until the archive ends or nobody listens.
fn read(path: &Path, sender: &mpsc::Sender<Entry>) -> Result<()> {
    let wrong = |error: std::io::Error| Error::Format(format!("the archive: {error}"));
    let mut archive = tar::Archive::new(unpacked(path)?);
    for entry in archive.entries().map_err(wrong)? {
        let mut entry = entry.map_err(wrong)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some((key, extension)) = name.rsplit_once('.') else { continue };
        let (key, extension) = (key.trim_start_matches("./").to_owned(), extension.to_ascii_lowercase());
        let is_picture = matches!(extension.as_str(), "png" | "jpg" | "jpeg" | "webp");
        if !is_picture && extension != "txt" && extension != "caption" {
            continue;
        }
        let mut content = Vec::new();
        (&mut entry).take(MOST_BYTES + 1).read_to_end(&mut content).map_err(wrong)?;
        let too_large = content.len() as u64 > MOST_BYTES;
        let read = if is_picture {
            let file = match too_large {
                true => Err(format!("it has more than {} MiB", MOST_BYTES >> 20)),
                false => checked(&content).map_err(|error| error.to_string()),
            };
            Entry::Picture(key, file)
        } else {
            if content.len() > 64 << 10 {
                return Err(Error::Format(format!("the caption {name} has more than 64 KiB")));
            }
            Entry::Caption(key, String::from_utf8_lossy(&content).trim().to_owned())
        };
        if sender.blocking_send(read).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
