//! Every endpoint, through the real router, on a real Postgres, with the model of the repository.
//!
//! The tests run under a harness of their own: they share one server and one finished pipeline, and the last thing asked is
//! whether every operation of the document was called.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tests::test_app::{self, Cluster};
use tokio::runtime::Runtime;

mod access;
mod curation;
mod document;
mod exchange;
mod finished;
mod foreign;
mod graphs;
mod imports;
mod inversions;
mod jobs;
mod pages;
mod pairings;
mod pipeline;
mod problems;
mod scorers;
mod streams;
mod votes;

/// What a test answers.
pub type Outcome = anyhow::Result<()>;
type Test = fn(Arc<World>) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What every test reaches.
pub struct World {
    /// Gives each test a database of its own.
    pub cluster: Cluster,
    finished: tokio::sync::OnceCell<finished::Finished>,
}

impl World {
    /// A store in which everything has happened once; made by the first test that asks, and only read by all.
    pub async fn finished(&self) -> anyhow::Result<&finished::Finished> {
        self.finished.get_or_try_init(|| finished::Finished::new(&self.cluster)).await
    }
}

/// Names an async test for the harness.
#[macro_export]
macro_rules! test {
    ($test:path) => {
        (stringify!($test), (|world| Box::pin($test(world))) as $crate::Test)
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    models::threads::keep_candle_single_threaded();
    let runtime = Arc::new(Runtime::new()?);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-postgres");
    let server = runtime.block_on(server::embedded_postgres::start(&folder))?;
    let cluster = runtime.block_on(Cluster::prepare(&server.url))?;
    let world = Arc::new(World { cluster, finished: tokio::sync::OnceCell::new() });
    let tests: Vec<(&'static str, Test)> = [
        access::TESTS,
        curation::TESTS,
        document::TESTS,
        exchange::TESTS,
        foreign::TESTS,
        graphs::TESTS,
        imports::TESTS,
        inversions::TESTS,
        jobs::TESTS,
        pages::TESTS,
        pairings::TESTS,
        pipeline::TESTS,
        problems::TESTS,
        scorers::TESTS,
        streams::TESTS,
        votes::TESTS,
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| trial(name, test, &runtime, &world)).collect();
    let conclusion = libtest_mimic::run(arguments, trials);
    let mut failed = conclusion.has_failed();
    if arguments.filter.is_none() && !arguments.list && !failed {
        let coverage = Trial::test("every_operation_is_called", || {
            let missing = test_app::uncalled(&document::kept().map_err(Failed::from)?);
            if missing.is_empty() { Ok(()) } else { Err(format!("no test calls {missing:#?}").into()) }
        });
        failed = libtest_mimic::run(arguments, vec![coverage]).has_failed();
    }
    drop(world);
    runtime.block_on(server.stop())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn trial(name: &'static str, test: Test, runtime: &Arc<Runtime>, world: &Arc<World>) -> Trial {
    let (runtime, world) = (Arc::clone(runtime), Arc::clone(world));
    Trial::test(name, move || {
        let task = runtime.spawn(test(world));
        match runtime.block_on(task) {
            Ok(outcome) => outcome.map_err(|error| Failed::from(format!("{error:#}"))),
            Err(panic) => Err(Failed::from(panic.to_string())),
        }
    })
}
