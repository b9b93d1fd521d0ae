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
    /// Ask every request for a token (`diptych token create`)
    #[arg(long)]
    pub(crate) auth: bool,
    /// Listen beyond this machine although everybody who reaches the port may do everything
    #[arg(long, conflicts_with = "auth")]
    pub(crate) allow_unauthenticated: bool,
    /// Requests a second of one token
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate_limit: u32,
    /// Let webhooks call this machine and private networks
    #[arg(long)]
    pub(crate) allow_private_webhooks: bool,
}

impl Listen {
    /// Without tokens, only this machine may reach the API.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.bind.is_loopback() || self.auth || self.allow_unauthenticated {
            return Ok(());
        }
        Err(Usage(format!(
            "{} can be reached from other machines, and whoever reaches it may do everything; bind to 127.0.0.1, ask \
             for tokens with --auth, or say --allow-unauthenticated if the network itself keeps others away",
            self.bind
        ))
        .into())
    }

    /// What is allowed to whoever is let in.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            auth: self.auth,
            requests_per_second: f64::from(self.rate_limit),
            private_webhooks: self.allow_private_webhooks,
            ..Limits::default()
        }
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
            let limits = Limits { import_bytes: self.max_import << 20, ..self.listen.limits() };
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
