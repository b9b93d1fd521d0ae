//! `diptych model`: look into model folders, run their networks, write what was trained in the forms of others.

use clap::{Args, Subcommand};

use super::Global;

mod inspect;
mod lora;
mod memory;
mod merge;
mod noise_pairs;
mod register;
mod run;
mod step;
mod tokenize;

/// Look into a model folder, run one of its networks on given tensors, merge a training into it, register networks that
/// judge images
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
    Merge(merge::Merge),
    Lora(lora::Lora),
    Memory(memory::Memory),
    Step(step::Step),
    Register(register::Register),
}

impl Model {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.command {
            Command::Run(command) => command.run(global),
            Command::Inspect(command) => command.run(global),
            Command::Tokenize(command) => command.run(),
            Command::Merge(command) => command.run(global),
            Command::Lora(command) => command.run(global),
            Command::Memory(command) => command.run(global),
            Command::Step(command) => command.run(global),
            Command::Register(command) => command.run(global),
        }
    }
}
