//! `diptych worker`: works through the queue, without a port.

use clap::Args;

use super::{Global, session};

/// Work through the queue of a store that others serve
///
/// Any number of workers may share a store; each may be killed at any time.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych worker --database-url postgres://host/diptych --blobs s3://bucket/diptych")]
pub(crate) struct Worker {
    /// Long tasks at a time, each of which uses all cores; exports and inversions go beside them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
}

impl Worker {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        session::with(global, async |session| {
            session.start_worker(usize::from(self.concurrency));
            session.context.shutdown.cancelled().await;
            Ok(())
        })
    }
}
