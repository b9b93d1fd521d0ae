//! Tasks on a real Postgres: the same request gives the same result, and a kill at any point loses nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

mod generate;
mod life;
