//! `diptych migrate`: the schema, and nothing else.

use clap::Args;

use super::{Global, output, session};

/// Bring the schema of the store up to date
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych migrate --database-url postgres://host/diptych")]
pub(crate) struct Migrate {}

impl Migrate {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        // Opening a session does it.
        session::with(global, async |_| Ok(()))?;
        if global.json {
            return output::json(&serde_json::json!({ "migrated": true }));
        }
        Ok(output::line("the schema is up to date")?)
    }
}
