//! `diptych lint`: the checks of an ingest, without a store.

use std::path::PathBuf;

use builder::laion_sg::{self, Record};
use builder::lint::{Finding, Severity, content};
use clap::{Args, ValueEnum};

use super::{Global, Told, output};

mod sarif;

/// Check scene graph files (LAION-SG JSON: an array or JSON lines, also gzipped) without storing them
///
/// Prints one line a finding. The exit code is 1 where a record would be rejected. Notes (items in no relation, opposite
/// relations of one pair) are about what may well be meant; they are shown to people, and are findings with --strict.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  diptych lint --json graphs.json.gz | jq .code
  diptych lint --sarif graphs.json > findings.sarif")]
pub(crate) struct Lint {
    /// Files to check; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How findings are written [default: text, or json with --json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Short for --format sarif: one SARIF 2.1.0 document, for code hosts and editors
    #[arg(long, conflicts_with = "format")]
    sarif: bool,
    /// Count notes as warnings
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for people
    Text,
    /// A JSON object on a line
    Json,
    /// One SARIF 2.1.0 document
    Sarif,
}

/// How much was found.
#[derive(Default)]
struct Counts {
    records: u64,
    errors: u64,
    warnings: u64,
    notes: u64,
}

impl Lint {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let format = match (self.sarif, self.format) {
            (true, _) => Format::Sarif,
            (false, Some(format)) => format,
            (false, None) if global.json => Format::Json,
            (false, None) => Format::Text,
        };
        let mut counts = Counts::default();
        let mut log = sarif::Log::default();
        for file in &self.files {
            let counter = output::counter("checking");
            for record in open(file)? {
                if !matches!(&record, Record::Rejected { record: None, .. }) {
                    counts.records += 1;
                    counter.inc(1);
                }
                for finding in record.findings() {
                    match finding.severity {
                        Severity::Error => counts.errors += 1,
                        Severity::Warning => counts.warnings += 1,
                    }
                    log.add(finding, false, format == Format::Sarif);
                    counter.suspend(|| print(finding, format, finding.severity.as_str()))?;
                }
                for note in notes(&record, &file.to_string_lossy()) {
                    if self.strict {
                        counts.warnings += 1;
                    } else {
                        counts.notes += 1;
                    }
                    log.add(&note, !self.strict, format == Format::Sarif);
                    if self.strict || format == Format::Text {
                        let word = if self.strict { "warning" } else { "note" };
                        counter.suspend(|| print(&note, format, word))?;
                    }
                }
            }
            counter.finish_and_clear();
        }
        match format {
            Format::Text => {
                let Counts { records, errors, warnings, notes } = counts;
                output::line(&format!("{records} records, {errors} errors, {warnings} warnings, {notes} notes"))?;
            }
            Format::Sarif => output::json(&log.document())?,
            Format::Json => {}
        }
        if counts.errors > 0 { Err(Told.into()) } else { Ok(()) }
    }
}

/// Opens `file` for reading records; `-` is the standard input.
pub(super) fn open(file: &std::path::Path) -> anyhow::Result<laion_sg::Records<'static>> {
    if file.as_os_str() == "-" {
        return Ok(laion_sg::read(std::io::BufReader::new(std::io::stdin()), "-"));
    }
    Ok(laion_sg::read_file(file)?)
}

/// What is to be noted about a good record.
fn notes(record: &Record, file: &str) -> Vec<Finding> {
    let Record::Graph { record, graph, .. } = record else { return Vec::new() };
    content::notes(graph).into_iter().map(|fault| fault.at(file, Some(*record))).collect()
}

/// One finding on stdout, as a person or a program reads it.
fn print(finding: &Finding, format: Format, word: &str) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json(finding),
        Format::Text => Ok(output::line(&describe_as(finding, word))?),
        // The document is written at the end.
        Format::Sarif => Ok(()),
    }
}

/// `file:record:pointer: severity CODE: message (suggestion)`.
pub(super) fn describe(finding: &Finding) -> String {
    describe_as(finding, finding.severity.as_str())
}

fn describe_as(finding: &Finding, word: &str) -> String {
    let Finding { file, record, pointer, code, message, suggestion, .. } = finding;
    let record = record.map_or_else(String::new, |record| record.to_string());
    let hint = if suggestion.is_empty() { String::new() } else { format!(" ({suggestion})") };
    format!("{file}:{record}:{pointer}: {word} {}: {message}{hint}", code.as_str())
}
