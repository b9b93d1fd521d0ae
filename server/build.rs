//! Puts the built pages where `rust-embed` reads them. A checkout whose pages were not built still compiles: it then serves
//! one page that says so.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=../web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    let out = std::env::var("OUT_DIR").unwrap_or_else(|_| "target".to_owned());
    let target = Path::new(&out).join("web");
    if let Err(error) = fill(&target) {
        println!("cargo::error=copying the pages to {}: {error}", target.display());
    }
}

fn fill(target: &Path) -> std::io::Result<()> {
    if target.exists() {
        fs_err::remove_dir_all(target)?;
    }
    fs_err::create_dir_all(target)?;
    let built = Path::new("../web/dist");
    if built.join("index.html").exists() {
        return copy(built, target);
    }
    // cargo looks at the folder's time: made here so that a later `make web` is noticed.
    fs_err::create_dir_all(built)?;
    fs_err::write(target.join("index.html"), MISSING)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            fs_err::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

const MISSING: &str = "<!doctype html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>Diptych</title></head>
<body>
<h1>The pages are not built</h1>
<p>This binary was compiled without them. Run <code>make web</code>, then build again. The API works: see
<a href=\"/api/docs\">/api/docs</a>.</p>
</body>
</html>
";
