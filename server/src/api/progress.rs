//! How far long work is.

use serde::Serialize;
use utoipa::ToSchema;

/// How far a piece of long work is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Progress {
    /// Units done.
    #[schema(minimum = 0)]
    pub done: i64,
    /// Units in all; 0 while nobody knows.
    #[schema(minimum = 0)]
    pub total: i64,
    /// What is counted.
    #[schema(example = "candidates")]
    pub unit: String,
}

impl Progress {
    /// `done` of `total` `unit`s.
    pub fn new(done: i64, total: i64, unit: impl Into<String>) -> Self {
        Self { done, total, unit: unit.into() }
    }
}
