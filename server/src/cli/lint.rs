//! `diptych lint`: the checks of an ingest, without a store.

use std::path::PathBuf;

use builder::laion_sg::{self, Record};
use builder::lint::{Finding, Severity};
use clap::Args;

use super::{Global, Told, output};

/// Check scene graph files (LAION-SG JSON: an array or JSON lines, also gzipped) without storing them
///
/// Prints one line a finding. The exit code is 1 where a record would be rejected.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych lint --json graphs.json.gz | jq .code")]
pub(crate) struct Lint {
    /// Files to check; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Lint {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let (mut records, mut errors, mut warnings) = (0_u64, 0_u64, 0_u64);
        for file in &self.files {
            let counter = output::counter("checking");
            for record in open(file)? {
                if !matches!(&record, Record::Rejected { record: None, .. }) {
                    records += 1;
                    counter.inc(1);
                }
                for finding in record.findings() {
                    match finding.severity {
                        Severity::Error => errors += 1,
                        Severity::Warning => warnings += 1,
                    }
                    counter.suspend(|| print(finding, global.json))?;
                }
            }
            counter.finish_and_clear();
        }
        if !global.json {
            output::line(&format!("{records} records, {errors} errors, {warnings} warnings"))?;
        }
        if errors > 0 { Err(Told.into()) } else { Ok(()) }
    }
}

/// Opens `file` for reading records; `-` is the standard input.
pub(super) fn open(file: &std::path::Path) -> anyhow::Result<laion_sg::Records<'static>> {
    if file.as_os_str() == "-" {
        return Ok(laion_sg::read(std::io::BufReader::new(std::io::stdin()), "-"));
    }
    Ok(laion_sg::read_file(file)?)
}

/// One finding on stdout, as a person or a program reads it.
fn print(finding: &Finding, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(finding);
    }
    Ok(output::line(&describe(finding))?)
}

/// `file:record:pointer: severity CODE: message (suggestion)`.
pub(super) fn describe(finding: &Finding) -> String {
    let Finding { file, record, pointer, code, severity, message, suggestion } = finding;
    let record = record.map_or_else(String::new, |record| record.to_string());
    let hint = if suggestion.is_empty() { String::new() } else { format!(" ({suggestion})") };
    format!("{file}:{record}:{pointer}: {} {}: {message}{hint}", severity.as_str(), code.as_str())
}
