//! The command line: one file a command, which reads its arguments and calls the library.
//!
//! Data goes to stdout, words and bars to stderr. Exit code 0: done; 1: failed; 2: wrong usage.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use models::trainer::tensor_cache::CacheLimits;
use precision::Precision;

mod agreement;
mod demo;
mod endpoint;
mod evaluate;
mod experiment;
mod export;
mod generate;
mod ingest;
mod lint;
mod metrics;
mod migrate;
mod model;
mod openapi;
mod output;
mod pair;
mod precision;
mod pretrain;
mod score;
mod serve;
mod session;
mod token;
mod train;
mod wait;
mod worker;

/// Scene graphs, four pictures of each, what is right in them, and the models that learn from it.
#[derive(Debug, Parser)]
#[command(name = "diptych", version, propagate_version = true, after_help = "Start here:  diptych demo")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Folder of the cluster, blobs, caches and logs [default: the platform's data folder]
    #[arg(long, global = true, env = "DIPTYCH_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Postgres to use instead of the embedded one
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Where pixels and tensors are: file:///… or s3://… [default: `blobs` in the data folder]
    #[arg(long, global = true, env = "DIPTYCH_BLOBS", hide_env_values = true, value_name = "URL")]
    pub(crate) blobs: Option<String>,
    /// Threads that compute [default: one a core]
    #[arg(long, global = true, env = "DIPTYCH_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Where networks compute: `cpu` or `cuda:0` [default: the first GPU, in a build with the feature `cuda`; else the CPU]
    #[arg(long, global = true, env = "DIPTYCH_DEVICE", value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// What the networks of diffusion models compute in; on the CPU f32 is the fastest
    #[arg(long, global = true, env = "DIPTYCH_COMPUTE_DTYPE", value_enum, default_value_t = Precision::F32)]
    pub(crate) compute_dtype: Precision,
    /// Bytes that paths and encodings may take in the data folder; beyond, those go that were not used for longest
    #[arg(long, global = true, env = "DIPTYCH_CACHE_BYTES", value_name = "BYTES", default_value_t = CacheLimits::default().max_bytes)]
    pub(crate) cache_bytes: u64,
    /// One JSON document (or JSON lines) on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more; twice: still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Worker(worker::Worker),
    Migrate(migrate::Migrate),
    Ingest(ingest::Ingest),
    Lint(lint::Lint),
    Generate(generate::Generate),
    Score(score::Score),
    Metrics(metrics::Metrics),
    Agreement(agreement::Agreement),
    Pair(pair::Pair),
    Train(train::Train),
    Evaluate(evaluate::Evaluate),
    Experiment(experiment::Experiment),
    Export(export::Export),
    Token(token::Token),
    Pretrain(pretrain::Pretrain),
    Model(model::Model),
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
}

/// Reads a side of the split.
fn split(word: &str) -> Result<builder::scene_graph::Split, String> {
    use builder::scene_graph::Split;
    match word {
        "train" => Ok(Split::Train),
        "held_out" => Ok(Split::HeldOut),
        _ => Err("is `train` or `held_out`".to_owned()),
    }
}

/// Something that the caller wrote cannot be meant; clap did not see it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The command has said already what is wrong, and only its exit code is left to give.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub(crate) struct Told;

/// Runs the command line and gives the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Help and version are no errors; their exit code is 0.
            let code = message.exit_code();
            let _ = message.print();
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
    };
    crate::telemetry::start(cli.global.verbose);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let global = cli.global;
    match cli.command {
        Command::Demo(command) => command.run(&global),
        Command::Serve(command) => command.run(&global),
        Command::Worker(command) => command.run(&global),
        Command::Migrate(command) => command.run(&global),
        Command::Ingest(command) => command.run(&global),
        Command::Lint(command) => command.run(&global),
        Command::Generate(command) => command.run(&global),
        Command::Score(command) => command.run(&global),
        Command::Metrics(command) => command.run(&global),
        Command::Agreement(command) => command.run(&global),
        Command::Pair(command) => command.run(&global),
        Command::Train(command) => command.run(&global),
        Command::Evaluate(command) => command.run(&global),
        Command::Experiment(command) => command.run(&global),
        Command::Export(command) => command.run(&global),
        Command::Token(command) => command.run(&global),
        Command::Pretrain(command) => command.run(&global),
        Command::Model(command) => command.run(&global),
        Command::OpenApi(command) => command.run(),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    // Whoever reads our output has seen enough (`diptych lint … | head`).
    let pipe_closed = |io: &std::io::Error| io.kind() == std::io::ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(pipe_closed)) {
        return ExitCode::SUCCESS;
    }
    if error.is::<Told>() {
        return ExitCode::FAILURE;
    }
    output::error(error);
    let invalid = |error: &builder::Error| matches!(error, builder::Error::Invalid(_));
    let wrong_usage = error.is::<Usage>() || error.downcast_ref().is_some_and(invalid);
    ExitCode::from(if wrong_usage { 2 } else { 1 })
}
