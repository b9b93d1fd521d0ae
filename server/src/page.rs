//! Lists, a page at a time.

use builder::store::page::{MAX_LIMIT, Page};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How many rows a page has when the caller does not say.
pub const DEFAULT_LIMIT: i64 = 50;

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Rows a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u8>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Rows to fetch, within what is allowed.
    pub fn limit(&self) -> i64 {
        limit(self.limit)
    }
}

/// Rows to fetch, within what is allowed.
pub fn limit(asked: Option<u8>) -> i64 {
    asked.map_or(DEFAULT_LIMIT, i64::from).clamp(1, MAX_LIMIT)
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The page's rows.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
    /// Rows on all pages.
    pub total: i64,
}

impl<T> List<T> {
    /// Everything there is, as one page.
    pub fn whole(items: Vec<T>) -> Self {
        let total = items.len() as i64;
        Self { items, next_cursor: None, total }
    }
}

impl<T> From<Page<T>> for List<T> {
    fn from(page: Page<T>) -> Self {
        Self { items: page.items, next_cursor: page.next_cursor, total: page.total }
    }
}
