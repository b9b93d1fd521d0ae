//! The repository's own rules, as tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust source of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["models", "builder", "server", "tests"].iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn dependencies_point_one_way() {
    for (name, forbidden) in [("models", ["builder", "server"].as_slice()), ("builder", &["server", "axum"])] {
        let manifest = fs_err::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        for other in forbidden {
            assert!(!manifest.contains(&format!("\n{other}.workspace")), "{name} must not depend on {other}");
        }
    }
    let models = fs_err::read_to_string(root().join("models/Cargo.toml")).unwrap();
    for other in ["sqlx", "axum", "tokio"] {
        assert!(!models.contains(&format!("\n{other}.")), "models must not know {other}");
    }
}

#[test]
fn every_source_says_what_it_is_about() {
    for path in sources() {
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!") || text.starts_with("#!["), "{}: no head", path.display());
    }
}

#[test]
fn no_test_is_skipped() {
    let mark = ["#[", "ignore"].concat();
    for path in sources() {
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(!text.contains(&mark), "{}: a skipped test", path.display());
    }
}

#[test]
fn sql_lies_in_the_store_alone() {
    for path in sources() {
        let name = path.to_string_lossy().replace('\\', "/");
        if (name.contains("/builder/src/") || name.contains("/server/src/")) && !name.contains("/builder/src/store") {
            let text = fs_err::read_to_string(&path).unwrap();
            assert!(!text.contains("query!(") && !text.contains("query_as!("), "{name}: SQL outside the store");
        }
    }
}
