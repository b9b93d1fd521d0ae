//! `diptych serve`: API, pages and a worker.

use std::net::IpAddr;

use clap::Args;

use super::{Global, Usage, output, session};
use crate::serve::Server;
use crate::state::Limits;

/// Where to answer.
#[derive(Clone, Debug, Args)]
pub(crate) struct Listen {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub(crate) bind: IpAddr,
    /// Port to listen on; 0: any free one
    #[arg(long, value_name = "P", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Listen beyond this machine although everybody who reaches the port may do everything
    #[arg(long)]
    pub(crate) allow_unauthenticated: bool,
}

impl Listen {
    /// The API has no users yet, so only this machine may reach it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.bind.is_loopback() || self.allow_unauthenticated {
            return Ok(());
        }
        Err(Usage(format!(
            "{} can be reached from other machines, and whoever reaches it may do everything; bind to 127.0.0.1, or say \
             --allow-unauthenticated if the network itself keeps others away",
            self.bind
        ))
        .into())
    }
}

/// Serve the API and the pages, and work through the queue
///
/// The first line of stdout is the URL.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych serve --port 8080 --workers 1")]
pub(crate) struct Serve {
    #[command(flatten)]
    listen: Listen,
    /// Tasks at a time in this process; each uses all cores. 0: none, `diptych worker` does the work
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Largest upload, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    max_import: u64,
}

impl Serve {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        self.listen.check()?;
        session::with(global, async |session| {
            let limits = Limits { import_bytes: self.max_import << 20, ..Limits::default() };
            let server = Server::bind(session.context.clone(), self.listen.bind, self.listen.port, limits).await?;
            announce(&server.url()?, global.json)?;
            if self.workers > 0 {
                session.start_worker(self.workers);
            }
            server.run().await
        })
    }
}

/// Says where the service is. Nothing is ever written before it.
pub(crate) fn announce(url: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&serde_json::json!({ "url": url }));
    }
    Ok(output::line(url)?)
}
