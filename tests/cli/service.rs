//! `diptych serve` and `diptych demo` as processes: they say where they are, answer, and can be stopped and killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{data_folder, diptych};

/// A running service.
pub struct Service {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    /// HOST:PORT.
    pub address: String,
}

impl Service {
    /// Starts `diptych` and reads the first line, which is the URL.
    pub fn start(data: &Path, args: &[&str]) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(data.join("test.log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_diptych"))
            .args(["--data", data.to_str().unwrap()])
            .args(args)
            .args(["--port", "0"])
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("http://") else {
            let log = fs_err::read_to_string(data.join("test.log")).unwrap();
            panic!("the first line is {line:?}; {:?}\n{log}", child.wait())
        };
        Self { child, stdout, address: address.to_owned() }
    }

    /// The status and the JSON at `path`; none while nobody answers.
    pub fn get(&self, path: &str) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        // A body in chunks: nothing but the sizes stands around the one document.
        let start = body.find(['{', '['])?;
        let end = body.rfind(['}', ']'])?;
        let body: String = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunk(body)
        } else {
            body[start..=end].to_owned()
        };
        Some((status, serde_json::from_str(&body).ok()?))
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as `kill` does; how it ended, and what was left on stdout.
    pub fn stop(self) -> Output {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Output {
        let mut stdout = Vec::new();
        self.stdout.read_to_end(&mut stdout).unwrap();
        Output { status: self.child.wait().unwrap(), stdout, stderr: Vec::new() }
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

#[test]
fn a_service_says_where_it_is_answers_and_stops_cleanly() {
    let data = data_folder();
    let service = Service::start(data.path(), &["serve", "--workers", "0"]);
    assert!(service.address.starts_with("127.0.0.1:"), "{}", service.address);
    let (status, health) = service.get("/api/v1/health").unwrap();
    assert_eq!((status, &health["status"]), (200, &"ok".into()));
    // The port is taken: the reason names the address.
    let port = service.address.rsplit(':').next().unwrap().to_owned();
    let other = data_folder();
    let output = diptych().args(["--data", other.path().to_str().unwrap(), "serve", "--port", &port]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&service.address), "{text}");
    let begun = Instant::now();
    let output = service.stop();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty(), "nothing but the URL is on stdout");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let left = fs_err::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert!(!left.iter().any(|path| path.join("postmaster.pid").exists()), "Postgres was stopped too: {left:?}");
}

#[test]
fn other_machines_are_kept_out() {
    let data = data_folder();
    for bind in ["0.0.0.0", "::", "192.0.2.1"] {
        let args = ["--data", data.path().to_str().unwrap(), "serve", "--port", "0", "--bind", bind];
        let output = diptych().args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(bind) && text.contains("127.0.0.1"), "{text}");
    }
}
