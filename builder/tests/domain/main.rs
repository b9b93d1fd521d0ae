//! The domain on the shared reference data, and its properties.
#![expect(clippy::unwrap_used, reason = "tests")]

mod dpg_bench_data;
mod graph_properties;
mod laion_sg_data;
mod metric_data;
mod metric_parity;
mod pair_properties;
mod shapes_answers;

use std::path::PathBuf;

/// A file of the shared reference data; a test that cannot find it fails.
fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name)
}

fn json(name: &str) -> serde_json::Value {
    let path = data(name);
    serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
