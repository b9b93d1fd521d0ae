//! What commands print: lines on stdout, bars and errors on stderr.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// One line on stdout. A closed pipe is an error here and a success in `main`; never a panic.
pub(crate) fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Many lines on stdout, written together.
pub(crate) fn lines(texts: impl IntoIterator<Item = String>) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    for text in texts {
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// One JSON document on one line of stdout.
pub(crate) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(&serde_json::to_string(document)?)?)
}

/// One line on stderr.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error with its causes, each once, on stderr.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
        }
    }
    note(&text);
}

/// A bar on stderr; draws nothing where stderr is no terminal.
pub(crate) fn bar(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), target());
    let style = ProgressStyle::with_template("{msg:<12} {bar:32} {human_pos}/{human_len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar
}

/// A counter without an end, for streams.
pub(crate) fn counter(what: &str) -> ProgressBar {
    let counter = ProgressBar::with_draw_target(None, target());
    let style = ProgressStyle::with_template("{msg:<12} {human_pos} ({per_sec}, {elapsed})");
    counter.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    counter.set_message(what.to_owned());
    counter.enable_steady_tick(Duration::from_millis(200));
    counter
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}
