//! A scene graph file into the store: `diptych ingest`, `POST /imports`, and the demo's first stage.
//!
//! The file is read and checked on a thread of its own and arrives in batches, each of which is one transaction; at most
//! a few batches are in memory, however long the file is. Killed and started again it finds the graphs that it has stored
//! already and calls them unchanged.

use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{TaskContext, error_json, on_thread};
use crate::laion_sg::{self, Record};
use crate::lint::{Code, Fault, Finding};
use crate::scene_graph::SceneGraph;
use crate::store::graph::{self, NewGraph, Upserted};
use crate::store::ingest::{self, Counts, Reject};
use crate::store::state::TaskState;
use crate::{Error, Result};

/// Records a transaction.
const BATCH_RECORDS: usize = 1000;
/// Bytes of text after which a batch is closed early, so that large records do not pile up.
const BATCH_BYTES: usize = 8 << 20;
/// A batch that is smaller is sent after this time: who reads from a pipe sees progress.
const BATCH_TIME: Duration = Duration::from_secs(1);
/// How much of a rejected record's text is kept.
const RAW_BYTES: usize = 64 << 10;

/// What became of a file. The JSON is that of `diptych ingest --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Default)]
pub struct Summary {
    #[serde(skip)]
    pub id: Uuid,
    /// The file as a whole is at fault; the records before the fault are counted.
    #[serde(skip)]
    pub is_broken: bool,
    /// Records; those of a file that breaks off as far as it goes.
    pub read: i64,
    pub accepted: i64,
    /// Were in the store already.
    pub unchanged: i64,
    pub rejected: i64,
    /// Findings that do not keep a record out.
    pub warnings: i64,
    pub seconds: f64,
}

/// Reads a file of the machine.
///
/// # Errors
/// `Io` when it cannot be opened; those of [`run_reader`].
pub async fn run(context: &TaskContext, path: &Path) -> Result<Summary> {
    let reader = std::io::BufReader::with_capacity(1 << 17, fs_err::File::open(path)?);
    run_reader(&context.pool, reader, &path.to_string_lossy(), &mut |_| {}).await
}

/// Reads LAION-SG from `reader`; the format follows from `file`, the name in every finding. `on_finding` gets every
/// finding, warnings too, in the order of the file.
///
/// # Errors
/// Those of the store. A file that is not what it should be is an ingest that failed, with a summary of what was taken in
/// before the fault, and no error.
pub async fn run_reader(
    pool: &PgPool,
    reader: impl BufRead + Send + 'static,
    file: &str,
    on_finding: &mut (dyn FnMut(&Finding) + Send),
) -> Result<Summary> {
    let name = file.to_owned();
    run_records(pool, file, move || laion_sg::read(reader, &name), on_finding).await
}

/// As [`run_reader`], of records that `open` reads; it is called on the reading thread.
///
/// # Errors
/// Those of the store.
pub async fn run_records(
    pool: &PgPool,
    file: &str,
    open: impl FnOnce() -> laion_sg::Records<'static> + Send + 'static,
    on_finding: &mut (dyn FnMut(&Finding) + Send),
) -> Result<Summary> {
    let id = ingest::insert(&mut *pool.acquire().await?, file).await?;
    let mut work =
        Work { pool, id, file, counts: Counts::default(), num_rejects: 0, broken: None, started: Instant::now() };
    let outcome = work.read_all(open, on_finding).await;
    work.counts.seconds = work.started.elapsed().as_secs_f64();
    let mut conn = pool.acquire().await?;
    ingest::set_counts(&mut conn, id, &work.counts).await?;
    match outcome {
        Ok(()) => match &work.broken {
            None => ingest::finish(&mut conn, id, TaskState::Succeeded, None).await?,
            // What came before the fault is taken in; the rest of the file was never seen.
            Some(message) => {
                let error = serde_json::json!({ "message": message, "retryable": false });
                ingest::finish(&mut conn, id, TaskState::Failed, Some(&error)).await?;
            }
        },
        Err(error) => {
            ingest::finish(&mut conn, id, TaskState::Failed, Some(&error_json(&error))).await?;
            return Err(error);
        }
    }
    let Counts { read, accepted, unchanged, rejected, warnings, seconds } = work.counts;
    tracing::info!(ingest.id = %id, file, read, accepted, unchanged, rejected, seconds, "read a scene graph file");
    Ok(Summary { id, read, accepted, unchanged, rejected, warnings, seconds, is_broken: work.broken.is_some() })
}

struct Work<'a> {
    pool: &'a PgPool,
    id: Uuid,
    file: &'a str,
    counts: Counts,
    num_rejects: i64,
    /// What is wrong with the file as a whole.
    broken: Option<String>,
    started: Instant,
}

impl Work<'_> {
    async fn read_all(
        &mut self,
        open: impl FnOnce() -> laion_sg::Records<'static> + Send + 'static,
        on_finding: &mut (dyn FnMut(&Finding) + Send),
    ) -> Result<()> {
        let (sender, mut receiver) = mpsc::channel(2);
        let reading = tokio::spawn(on_thread(move || {
            send_batches(open(), &sender);
            Ok(())
        }));
        while let Some(batch) = receiver.recv().await {
            self.store(batch, on_finding).await?;
        }
        reading.await.map_err(|error| Error::Thread(error.to_string()))?
    }

    /// One transaction: the batch's graphs, its rejects, and the counts so far.
    async fn store(&mut self, batch: Vec<Record>, on_finding: &mut (dyn FnMut(&Finding) + Send)) -> Result<()> {
        let mut tx = self.pool.begin().await?;
        let news: Vec<NewGraph> = batch.iter().filter_map(|record| new_graph(record, self.file)).collect();
        let upserted = graph::upsert(&mut tx, &news).await?;
        let mut outcomes = upserted.into_iter();
        let mut counts = self.counts;
        let mut rejects = Vec::new();
        let mut findings_of_batch = Vec::new();
        for record in &batch {
            let mut findings = record.findings().to_vec();
            let mut is_rejected = true;
            let raw = match record {
                Record::Graph { record, graph, raw, .. } => {
                    let outcome = match storable(graph) {
                        Err(fault) => Err(fault),
                        Ok(()) => match outcomes.next() {
                            Some(Upserted::Duplicate(id)) => Err(duplicate(graph, id)),
                            other => Ok(other),
                        },
                    };
                    match outcome {
                        Err(fault) => findings.push(fault.at(self.file, Some(*record))),
                        Ok(outcome) => {
                            is_rejected = false;
                            let is_new = matches!(outcome, Some(Upserted::Accepted(_)));
                            *(if is_new { &mut counts.accepted } else { &mut counts.unchanged }) += 1;
                        }
                    }
                    counts.read += 1;
                    raw
                }
                Record::Rejected { record, raw, .. } => {
                    counts.read += i64::from(record.is_some());
                    raw
                }
            };
            // A fault of the file is none of a record's, and is not counted as one.
            let is_record = !matches!(record, Record::Rejected { record: None, .. });
            counts.rejected += i64::from(is_rejected && is_record);
            if !is_record && self.broken.is_none() {
                self.broken = findings.first().map(|finding| finding.message.clone());
            }
            counts.warnings += findings.iter().filter(|finding| !finding.code.is_error()).count() as i64;
            if is_rejected {
                for (index, finding) in findings.iter().enumerate() {
                    rejects.push(reject(finding, self.num_rejects + rejects.len() as i64, (index == 0).then_some(raw)));
                }
            }
            findings_of_batch.extend(findings);
        }
        ingest::insert_rejects(&mut tx, self.id, &rejects).await?;
        counts.seconds = self.started.elapsed().as_secs_f64();
        ingest::set_counts(&mut tx, self.id, &counts).await?;
        tx.commit().await?;
        self.counts = counts;
        self.num_rejects += rejects.len() as i64;
        findings_of_batch.iter().for_each(on_finding);
        Ok(())
    }
}

/// Until the file ends, or nobody listens any more.
fn send_batches(records: impl Iterator<Item = Record>, sender: &mpsc::Sender<Vec<Record>>) {
    let (mut batch, mut bytes, mut since) = (Vec::new(), 0, Instant::now());
    for record in records {
        let (Record::Graph { raw, .. } | Record::Rejected { raw, .. }) = &record;
        bytes += raw.len();
        batch.push(record);
        if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES || since.elapsed() >= BATCH_TIME {
            if sender.blocking_send(std::mem::take(&mut batch)).is_err() {
                return;
            }
            (bytes, since) = (0, Instant::now());
        }
    }
    if !batch.is_empty() {
        let _ = sender.blocking_send(batch);
    }
}

fn new_graph<'a>(record: &'a Record, file: &'a str) -> Option<NewGraph<'a>> {
    match record {
        Record::Graph { record, graph, raw, findings } if storable(graph).is_ok() => Some(NewGraph {
            graph,
            document: raw,
            lint: serde_json::to_string(findings).unwrap_or_else(|_| "[]".to_owned()),
            lint_codes: lint_codes(findings),
            source_file: file,
            record: *record as i64,
        }),
        _ => None,
    }
}

/// The codes among `findings`, each once.
pub(crate) fn lint_codes(findings: &[Finding]) -> Vec<&'static str> {
    let codes: std::collections::BTreeSet<&'static str> =
        findings.iter().map(|finding| finding.code.as_str()).collect();
    codes.into_iter().collect()
}

/// Postgres's text holds every character but U+0000. In a caption it is replaced (the document keeps it); an `img_id` is a
/// key and must stay what it is.
fn storable(graph: &SceneGraph) -> Result<(), Fault> {
    if graph.img_id.contains('\0') {
        return Err(Fault::new(
            Code::ControlChar,
            "/img_id",
            "img_id holds the character U+0000, which the store cannot keep",
            "remove the character",
        ));
    }
    Ok(())
}

fn duplicate(graph: &SceneGraph, other: Uuid) -> Fault {
    Fault::new(
        Code::DuplicateImgId,
        "/img_id",
        format!("the store has another graph with img_id {:?} ({other})", graph.img_id),
        "give the changed graph an img_id of its own",
    )
}

fn reject(finding: &Finding, position: i64, raw: Option<&String>) -> Reject {
    Reject {
        position,
        file: clean(&finding.file),
        record: finding.record.map(|record| record as i64),
        pointer: clean(&finding.pointer),
        code: finding.code.as_str().to_owned(),
        severity: finding.severity.as_str().to_owned(),
        message: clean(&finding.message),
        suggestion: Some(clean(&finding.suggestion)).filter(|text| !text.is_empty()),
        raw: raw.map(|raw| clean(&raw[..raw.floor_char_boundary(RAW_BYTES)])),
    }
}

fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
