//! Lists, a page at a time.

use builder::store::page::{MAX_LIMIT, Page};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How many rows a page has when the caller does not say.
pub const DEFAULT_LIMIT: i64 = 50;

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Rows a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Rows to fetch.
    pub fn limit(&self) -> i64 {
        self.limit.rows()
    }
}

/// How many rows a page has, 1 to 200 where the caller says it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit(Option<i64>);

impl Limit {
    /// Rows to fetch.
    pub fn rows(self) -> i64 {
        self.rows_or(DEFAULT_LIMIT)
    }

    /// Rows to fetch; `default` where the caller does not say.
    pub fn rows_or(self, default: i64) -> i64 {
        self.0.unwrap_or(default)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(Self(Some(limit))),
            _ => Err(serde::de::Error::custom(format!("{text:?} is not a whole number from 1 to {MAX_LIMIT}"))),
        }
    }
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
