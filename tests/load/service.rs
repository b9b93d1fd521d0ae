//! The service under load: the release binary, on a data folder of its own.

use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub struct Service {
    child: Child,
    pub url: String,
    _data: tempfile::TempDir,
}

impl Service {
    pub async fn start() -> anyhow::Result<Self> {
        // An unprivileged Postgres must reach it.
        let data = tempfile::Builder::new().prefix("diptych-load-").tempdir_in("/tmp")?;
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/diptych"))
            .args(["serve", "--port", "0", "--data"])
            .arg(data.path())
            .env_remove("DATABASE_URL")
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("target/release/diptych; `make build` makes it")?;
        let stdout = child.stdout.take().context("stdout")?;
        let url = BufReader::new(stdout).lines().next_line().await?.context("the service ended")?;
        Ok(Self { child, url, _data: data })
    }

    /// Resident memory in MiB: now, and the most there ever was.
    pub fn memory(&self) -> anyhow::Result<(f64, f64)> {
        let id = self.child.id().context("the service ended")?;
        let status = fs_err::read_to_string(format!("/proc/{id}/status"))?;
        let read = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
        };
        Ok((read("VmRSS:").context("VmRSS")?, read("VmHWM:").context("VmHWM")?))
    }

    /// Forgets the most memory there ever was.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        let id = self.child.id().context("the service ended")?;
        Ok(fs_err::write(format!("/proc/{id}/clear_refs"), "5")?)
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.child.id().context("the service ended")?;
        Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        self.child.wait().await?;
        Ok(())
    }
}
