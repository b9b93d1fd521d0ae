//! `diptych openapi`: the API's document.

use clap::Args;

use super::output;

/// Print the OpenAPI 3.1 document of the API
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych openapi > server/openapi.json")]
pub(crate) struct OpenApi {}

impl OpenApi {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        Ok(output::line(crate::openapi::text()?.trim_end())?)
    }
}
