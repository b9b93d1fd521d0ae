//! HTTP and the command line. Depends on `builder` and `models`; nothing depends on it but its own binary and the tests.
//!
//! Invariants: handlers translate and call one function of `builder`; SQL lies in `builder::store` alone; an error becomes a
//! status code in `problem` alone, and an exit code in `cli` alone.

pub mod api;
pub mod auth;
pub mod cli;
pub mod docs;
pub mod embedded_model;
pub mod embedded_postgres;
pub mod embedded_web;
pub mod events;
pub mod extract;
mod kept_index;
mod kept_summaries;
pub mod openapi;
pub mod page;
pub mod precondition;
pub mod problem;
pub mod router;
pub mod serve;
pub mod state;
pub mod telemetry;
pub mod unchanged;
