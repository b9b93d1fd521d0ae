//! The command line, as a program that others start.
#![expect(clippy::unwrap_used, reason = "tests")]

mod by_hand;
mod demo;
mod detector;
mod help;
mod ingest;
mod kills;
mod lint;
mod metric_network;
mod metrics;
mod model;
mod openai;
mod score;
mod service;
mod sg_iou;
mod stored_scores;

use std::path::PathBuf;

use assert_cmd::Command;

/// The binary, without the caller's environment of databases and data folders.
fn diptych() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diptych"));
    for name in ["DATABASE_URL", "DIPTYCH_DATA", "DIPTYCH_BLOBS", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// A data folder that an unprivileged Postgres can reach.
fn data_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("diptych-cli-").tempdir_in("/tmp").unwrap()
}

/// A file of the shared data, which lies beside the repository.
fn shared(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(path)
}

/// Serves until the test ends; HOST:PORT.
fn serve(app: axum::Router) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    receiver.recv().unwrap().to_string()
}

/// Standard output as JSON lines.
fn lines(output: &[u8]) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(output).expect("stdout is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect()
}
