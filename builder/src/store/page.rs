//! Cursor pagination. A cursor is opaque to callers; inside it is the sort key of the last row that was shown.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// At most this many rows a page.
pub const MAX_LIMIT: i64 = 200;

#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Of the next page; `None` on the last one.
    pub next_cursor: Option<String>,
    /// Rows that match, on all pages.
    pub total: i64,
}

impl<T> Page<T> {
    /// From `rows` fetched with `LIMIT limit + 1`.
    pub(super) fn new<K: Serialize>(mut rows: Vec<T>, limit: i64, total: i64, key: impl Fn(&T) -> K) -> Result<Self> {
        let more = rows.len() as i64 > limit;
        rows.truncate(usize::try_from(limit).unwrap_or(0));
        let next_cursor = match rows.last() {
            Some(last) if more => Some(encode(&key(last))?),
            _ => None,
        };
        Ok(Self { items: rows, next_cursor, total })
    }

    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next_cursor: self.next_cursor, total: self.total }
    }
}

pub(super) fn clamp(limit: i64) -> i64 {
    limit.clamp(1, MAX_LIMIT)
}

pub(super) fn encode<K: Serialize>(key: &K) -> Result<String> {
    let json = serde_json::to_vec(key).map_err(|source| Error::Json { context: "encoding a cursor".into(), source })?;
    Ok(hex::encode(json))
}

pub(super) fn decode<K: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<K>> {
    let Some(cursor) = cursor else { return Ok(None) };
    hex::decode(cursor)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .map(Some)
        .ok_or_else(|| Error::invalid("/cursor", "this is not a cursor of this list"))
}
