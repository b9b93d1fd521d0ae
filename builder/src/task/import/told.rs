//! What somebody elsewhere says of candidates that are here: a JSON value a line, each said once.

use std::collections::HashSet;
use std::hash::Hash;
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use super::{Import, lines};
use crate::{Error, Result};

/// Longest line, in bytes.
const MOST_LINE: usize = 1 << 20;

/// Pointer within the line, code, message.
pub(super) type Fault = (String, &'static str, String);

/// Of which candidate a line tells, and who says it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Teller {
    pub candidate_id: Uuid,
    pub answerer: String,
    pub answerer_version: String,
}

pub(super) fn text(value: &Value, key: &str) -> std::result::Result<String, Fault> {
    match value[key].as_str() {
        Some(text) if !text.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
        Some(_) => Err((format!("/{key}"), "E_WRONG_TYPE", format!("{key} is a text that is not empty"))),
        None => Err((format!("/{key}"), "E_MISSING_FIELD", format!("{key} is a text"))),
    }
}

pub(super) fn wrong(key: &str, message: impl Into<String>) -> Fault {
    (format!("/{key}"), "E_WRONG_TYPE", message.into())
}

pub(super) fn teller(value: &Value) -> std::result::Result<Teller, Fault> {
    let candidate_id = text(value, "candidate_id")?;
    Ok(Teller {
        candidate_id: Uuid::parse_str(&candidate_id)
            .map_err(|_| wrong("candidate_id", format!("{candidate_id:?} is no UUID")))?,
        answerer: text(value, "answerer")?,
        answerer_version: text(value, "answerer_version")?,
    })
}

/// The lines of a file, read by `read` into what is said and a key that no two lines may share.
pub(super) struct Told<K, R> {
    lines: Box<dyn Iterator<Item = std::io::Result<Vec<u8>>> + Send>,
    known: HashSet<K>,
    read: R,
}

impl<K, T, R> Told<K, R>
where
    K: Eq + Hash,
    R: Fn(&Value) -> std::result::Result<(K, T), Fault>,
{
    pub(super) fn open(path: &Path, read: R) -> Result<Self> {
        Ok(Self { lines: Box::new(lines(path, MOST_LINE)?), known: HashSet::new(), read })
    }

    /// What the next lines say, up to `most`, each with its number; `None` after the last. Wrong lines are rejected.
    pub(super) async fn next(&mut self, import: &mut Import<'_>, most: usize) -> Result<Option<Vec<(i64, T)>>> {
        let mut batch = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.map_err(|error| Error::Format(error.to_string()))?;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let record = import.counts.read;
            import.counts.read += 1;
            let said = serde_json::from_slice::<Value>(&line)
                .map_err(|error| (String::new(), "E_JSON_SYNTAX", error.to_string()))
                .and_then(|value| (self.read)(&value));
            match said {
                Ok((key, said)) => {
                    if self.known.insert(key) {
                        batch.push((record, said));
                    } else {
                        import.reject(record, "", "E_DUP_KEY", "an earlier line says this of the same candidate");
                    }
                }
                Err((pointer, code, message)) => import.reject(record, &pointer, code, message),
            }
            import.write_many_rejects().await?;
            if batch.len() == most {
                break;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}
