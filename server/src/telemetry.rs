//! Logs go to stderr, as lines for people or as JSON for machines (`DIPTYCH_LOG_FORMAT=json`). `RUST_LOG` overrides `-v`.

use tracing_subscriber::EnvFilter;

/// Starts logging. Called once, by the command line; a second call changes nothing.
pub fn start(verbosity: u8) {
    let default = match verbosity {
        0 => "warn,server=info,builder=info",
        1 => "info,server=debug,builder=debug",
        2 => "debug,sqlx=info,hyper=info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let as_json = std::env::var("DIPTYCH_LOG_FORMAT").is_ok_and(|format| format == "json");
    // An error means that logging was started before, by a test beside this one.
    let _ = if as_json { lines.json().try_init() } else { lines.with_target(false).compact().try_init() };
}
