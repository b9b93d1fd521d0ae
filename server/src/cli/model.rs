//! `diptych model`: look into model folders and run their networks.

use clap::{Args, Subcommand};

use super::Global;

mod inspect;
mod run;
mod tokenize;

/// Look into a model folder, and run one of its networks on given tensors
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych model inspect models/tiny")]
pub(crate) struct Model {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Inspect(inspect::Inspect),
    Tokenize(tokenize::Tokenize),
}

impl Model {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.command {
            Command::Run(command) => command.run(global),
            Command::Inspect(command) => command.run(global),
            Command::Tokenize(command) => command.run(),
        }
    }
}
