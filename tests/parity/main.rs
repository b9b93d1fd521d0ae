//! Parity with the Python reference, on goldens that `make_goldens.py` made, and loading of good and damaged files.
#![expect(clippy::unwrap_used, reason = "tests")]

mod damaged;
mod fuzz;
mod goldens;
mod layouts;
mod lora;
mod metric_network;
mod prompts;
mod texts;
mod tokens;

use std::path::{Path, PathBuf};

/// A place in the repository.
fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A place among the goldens.
fn golden(path: &str) -> PathBuf {
    root("tests/parity/golden").join(path)
}
