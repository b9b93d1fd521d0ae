//! `diptych ingest`: files of scene graphs into the store.

use std::io::{BufReader, Read};
use std::path::PathBuf;

use builder::lint::{Finding, Severity};
use builder::task::ingest;
use clap::Args;

use super::{Global, Told, lint, output, session};

/// Take scene graph files (LAION-SG JSON: an array or JSON lines, also gzipped) into the store
///
/// A record with errors is rejected alone and kept in the store's table of rejects; ingesting a file twice changes nothing.
/// The exit code is 1 where a record was rejected or a file is broken.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych ingest --json graphs.json.gz 2> rejects.jsonl")]
pub(crate) struct Ingest {
    /// Files to take in; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Ingest {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        // Before anything is written: a file that cannot be opened.
        for file in self.files.iter().filter(|file| file.as_os_str() != "-") {
            fs_err::File::open(file)?;
        }
        let json = global.json;
        let total = session::with(global, async |session| {
            let mut total = ingest::Summary::default();
            for file in &self.files {
                let bar = output::counter("ingesting");
                let reader = BufReader::with_capacity(1 << 17, open(file, bar.clone())?);
                let mut on_finding = |finding: &Finding| {
                    bar.suspend(|| tell(finding, json));
                };
                let pool = &session.context.pool;
                let one = ingest::run_reader(pool, reader, &file.to_string_lossy(), &mut on_finding).await?;
                bar.finish_and_clear();
                total.read += one.read;
                total.accepted += one.accepted;
                total.unchanged += one.unchanged;
                total.rejected += one.rejected;
                total.warnings += one.warnings;
                total.seconds += one.seconds;
                total.is_broken |= one.is_broken;
            }
            Ok(total)
        })?;
        if json {
            output::json(&total)?;
        } else {
            let ingest::Summary { read, accepted, unchanged, rejected, warnings, seconds, .. } = &total;
            output::line(&format!(
                "{read} records: {accepted} accepted, {unchanged} unchanged, {rejected} rejected; {warnings} warnings; \
                 {seconds:.1} s"
            ))?;
        }
        if total.rejected > 0 || total.is_broken { Err(Told.into()) } else { Ok(()) }
    }
}

/// Rejects as `lint` prints them, on stderr: stdout is the summary's.
fn tell(finding: &Finding, json: bool) {
    if !json {
        output::note(&lint::describe(finding));
    } else if finding.severity == Severity::Error
        && let Ok(line) = serde_json::to_string(finding)
    {
        output::note(&line);
    }
}

/// The file's bytes, counted.
fn open(file: &std::path::Path, bar: indicatif::ProgressBar) -> anyhow::Result<Box<dyn Read + Send>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(bar.wrap_read(std::io::stdin())));
    }
    Ok(Box::new(bar.wrap_read(fs_err::File::open(file)?)))
}
