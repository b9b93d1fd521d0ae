//! Tasks on a real Postgres: the same request gives the same result, and a kill at any point loses nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../store/database.rs"]
#[expect(dead_code, reason = "shared with the tests of the store, which use more of it")]
mod database;
mod demo;
mod generate;
mod job;
mod life;
mod resume;
