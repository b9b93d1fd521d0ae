//! What detectors and readers of graphs elsewhere saw in candidates that are here: boxes and graphs in JSON lines, scored as
//! they come in.
//!
//! ```json
//! {"candidate_id": "…", "answerer": "unidet", "answerer_version": "2", "detections": [{"label": "bus", "box": [10, 20, 110, 90], "confidence": 0.9}]}
//! {"candidate_id": "…", "answerer": "qwen", "answerer_version": "7b", "triples": [["bus", "on", "road"]]}
//! {"candidate_id": "…", "answerer": "qwen", "answerer_version": "7b", "reply": "Here it is: {\"triples\": …}"}
//! ```
//! Boxes are in pixels of the picture.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;

use super::facts::tell_runs;
use super::told::{Fault, Teller, Told, teller};
use super::{Import, ImportFormat};
use crate::Result;
use crate::detect::{self, Detected};
use crate::extract;
use crate::metrics::scene_graph_iou::{Extraction, triples_of};
use crate::scene_graph::SceneGraph;
use crate::score::scorer_version;
use crate::scorer::{Subject, Verdicts, boxes, graphs};
use crate::store::candidate::{self, Candidate};
use crate::store::detection::{self, Detection};
use crate::store::graph;
use crate::store::score_card::{self, ScoreCard};
use crate::task::{get_blobs, on_thread, sampling};

/// Lines a transaction, whose pictures are held together.
const BATCH: usize = 64;

enum Seen {
    Boxes(Vec<Detected>),
    Graph(Extraction),
}

struct Sighting {
    record: i64,
    by: Teller,
    seen: Seen,
}

pub(super) async fn run(import: &mut Import<'_>, path: &Path, format: ImportFormat) -> Result<()> {
    let mut told =
        Told::open(path, |value: &Value| sighting(value, format).map(|(by, seen)| (by.clone(), (by, seen))))?;
    while let Some(batch) = told.next(import, BATCH).await? {
        let sightings = batch.into_iter().map(|(record, (by, seen))| Sighting { record, by, seen });
        store(import, sightings.collect()).await?;
    }
    tell_runs(import).await
}

fn sighting(value: &Value, format: ImportFormat) -> std::result::Result<(Teller, Seen), Fault> {
    let by = teller(value)?;
    if format == ImportFormat::Detections {
        let found = detect::recorded::parse(value).map_err(|message| within("E_DETECTIONS", &message))?;
        return Ok((by, Seen::Boxes(found)));
    }
    let read = extract::recorded::parse(value).and_then(|read| read).map_err(|message| within("E_GRAPH", &message))?;
    Ok((by, Seen::Graph(read)))
}

/// `detections/0: label: is missing` is a fault at `/detections/0`.
fn within(code: &'static str, message: &str) -> Fault {
    match message.split_once(": ") {
        Some((field, _)) if !field.contains(char::is_whitespace) => (format!("/{field}"), code, message.to_owned()),
        _ => (String::new(), code, message.to_owned()),
    }
}

async fn store(import: &mut Import<'_>, batch: Vec<Sighting>) -> Result<()> {
    let mut connection = import.context.pool.acquire().await?;
    let ids: Vec<Uuid> = batch.iter().map(|one| one.by.candidate_id).collect();
    let candidates = candidate::load_many(&mut connection, &ids).await?;
    let mut graph_ids: Vec<Uuid> = candidates.iter().map(|one| one.graph_id).collect();
    graph_ids.sort_unstable();
    graph_ids.dedup();
    let graphs: HashMap<Uuid, SceneGraph> =
        graph::scene_graphs(&mut connection, &graph_ids).await?.into_iter().map(|one| (one.id, one.graph)).collect();
    drop(connection);
    let candidates: HashMap<Uuid, Candidate> = candidates.into_iter().map(|one| (one.id, one)).collect();
    let mut known = Vec::with_capacity(batch.len());
    for one in batch {
        let id = one.by.candidate_id;
        match candidates.get(&id).and_then(|candidate| Some((candidate, graphs.get(&candidate.graph_id)?))) {
            Some((candidate, graph)) => known.push((one, candidate.image_blob.clone(), graph.clone())),
            None => {
                let message = format!("there is no candidate {id}");
                import.reject(one.record, "/candidate_id", "E_UNKNOWN_CANDIDATE", message);
            }
        }
    }
    let files = get_blobs(&import.context.blobs, known.iter().map(|(_, blob, _)| blob.clone()).collect()).await?;
    let judged = on_thread(move || {
        Ok(known
            .into_iter()
            .zip(files)
            .map(|((one, _, graph), file)| {
                let verdicts = verdicts(&one, &graph, &file);
                (one, verdicts)
            })
            .collect::<Vec<_>>())
    })
    .await?;
    let (mut cards, mut detections) = (Vec::new(), Vec::new());
    for (Sighting { record, by, .. }, verdicts) in judged {
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                import.reject(record, "", "E_UNSCORED", error.to_string());
                continue;
            }
        };
        import.counts.accepted += 1;
        let version = scorer_version(&by.answerer_version);
        let metrics = import.scorers.entry((by.answerer.clone(), version.clone())).or_default();
        for (metric, verdict) in verdicts.scores {
            let Some(score) = verdict.score else { continue };
            *metrics.entry(metric.to_owned()).or_default() += 1;
            cards.push(ScoreCard {
                candidate_id: by.candidate_id,
                metric: metric.to_owned(),
                answerer: by.answerer.clone(),
                answerer_version: version.clone(),
                score,
                parts: json!(verdict.parts),
            });
        }
        detections.extend(verdicts.detections.map(|found| Detection {
            candidate_id: by.candidate_id,
            answerer: by.answerer,
            answerer_version: version,
            found: json!(found),
        }));
    }
    let mut tx = import.context.pool.begin().await?;
    score_card::upsert_many(&mut tx, &cards).await?;
    detection::upsert_many(&mut tx, &detections).await?;
    tx.commit().await?;
    Ok(())
}

fn verdicts(one: &Sighting, graph: &SceneGraph, file: &[u8]) -> Result<Verdicts> {
    match &one.seen {
        Seen::Graph(read) => Ok(graphs::verdicts(&triples_of(graph), read)),
        Seen::Boxes(found) => {
            let image = sampling::decode_image(file)?;
            boxes::verdicts(&Subject { name: "", image: &image, graph }, found)
        }
    }
}
