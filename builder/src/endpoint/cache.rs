//! Replies that were given, in memory and in a file of JSON lines that only grows.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{Error, Result};

/// SHA-256 of everything that the reply depends on.
pub(crate) type Key = [u8; 32];

/// What is known of one request; filled once.
type Cell<T> = Arc<OnceCell<T>>;

#[derive(Serialize, Deserialize)]
struct Line<T> {
    key: String,
    #[serde(flatten)]
    given: T,
}

pub(super) struct Cache<T> {
    cells: Mutex<HashMap<Key, Cell<T>>>,
    file: Option<Mutex<fs_err::File>>,
}

impl<T: Clone + Serialize + DeserializeOwned> Cache<T> {
    /// Reads what is there; a line that was cut off when a process died is passed over.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let mut cells = HashMap::new();
        let Some(path) = path else { return Ok(Self { cells: Mutex::new(cells), file: None }) };
        let mut ends_whole = true;
        if path.exists() {
            for line in BufReader::new(fs_err::File::open(path)?).split(b'\n') {
                let line = line?;
                let read = serde_json::from_slice::<Line<T>>(&line).ok().and_then(|line| {
                    let key: Key = hex::decode(&line.key).ok()?.try_into().ok()?;
                    Some((key, line.given))
                });
                ends_whole = read.is_some();
                if let Some((key, given)) = read {
                    cells.insert(key, Arc::new(OnceCell::new_with(Some(given))));
                }
            }
        }
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
        if !ends_whole {
            file.write_all(b"\n")?;
        }
        Ok(Self { cells: Mutex::new(cells), file: Some(Mutex::new(file)) })
    }

    /// Where the reply of this key is or will be.
    pub(super) fn cell(&self, key: Key) -> Cell<T> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(key).or_default())
    }

    /// Writes a reply down.
    pub(super) fn keep(&self, key: &Key, given: &T) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let line = Line { key: hex::encode(key), given: given.clone() };
        let mut text = serde_json::to_string(&line)
            .map_err(|source| Error::Json { context: "keeping a reply".to_owned(), source })?;
        text.push('\n');
        // One write, so that no other process's line gets in between.
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Given {
        word: String,
    }

    #[test]
    fn what_was_kept_is_there_again_and_a_broken_line_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let given = Given { word: "yes".to_owned() };
        Cache::<Given>::open(Some(file.path())).unwrap().keep(&[1; 32], &given).unwrap();
        let mut text = fs_err::read_to_string(file.path()).unwrap();
        text.push_str("{\"key\":\"02");
        fs_err::write(file.path(), text).unwrap();
        let again = Cache::<Given>::open(Some(file.path())).unwrap();
        assert_eq!(again.cell([1; 32]).get(), Some(&given));
        assert_eq!(again.cell([2; 32]).get(), None);
        again.keep(&[3; 32], &given).unwrap();
        assert_eq!(Cache::<Given>::open(Some(file.path())).unwrap().cell([3; 32]).get(), Some(&given));
    }
}
