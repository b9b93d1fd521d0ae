//! Data in that is not LAION-SG: `POST /imports?format=…`.
//!
//! What is text becomes LAION-SG records and goes the way of every scene graph ([`super::ingest`]). What has pictures comes
//! as candidates of the graphs that the captions give, each checked before it is kept; pairs come frozen, ready to train on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{TaskContext, error_json, ingest as graphs};
use crate::lint;
use crate::prompt;
use crate::scene_graph::{SceneGraph, sha256_hex};
use crate::store::generation::NewGeneration;
use crate::store::graph::{self, NewGraph, Upserted};
use crate::store::ingest::{self, Counts, Reject};
use crate::store::state::TaskState;
use crate::store::{generation, model};
use crate::{Error, Result};

mod facts;
mod images;
mod pairs;
mod picture;
mod records;
mod sightings;
mod told;

pub use picture::{MOST_PIXELS_A_SIDE, checked};

/// What the hash of a model begins with that is known by name only: its pictures came from elsewhere.
pub const IMPORTED: &str = "imported:";
/// The model of pictures that name none.
const UNKNOWN_MODEL: &str = "unknown";
/// Findings that are written at a time.
const REJECTS_AT_A_TIME: usize = 1000;

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportFormat {
    /// Scene graphs in LAION-SG's JSON.
    #[default]
    LaionSg,
    /// Scene graphs in Visual Genome's original JSON (`scene_graphs.json`).
    VisualGenome,
    /// One caption a line; a rule-based parser makes the graphs.
    Prompts,
    /// A tar of pictures, each beside a `.txt` with its caption.
    Images,
    /// Pick-a-Pic parquet: pictures with captions, and which of two is better.
    PickAPic,
    /// A score card a line.
    Scores,
    /// An answer a line.
    Answers,
    /// What a detector found in a candidate, a line each.
    Detections,
    /// The graph that somebody read out of a candidate, a line each.
    Extractions,
}

impl ImportFormat {
    pub const ALL: [Self; 9] = [
        Self::LaionSg,
        Self::VisualGenome,
        Self::Prompts,
        Self::Images,
        Self::PickAPic,
        Self::Scores,
        Self::Answers,
        Self::Detections,
        Self::Extractions,
    ];

    /// The word used in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LaionSg => "laion-sg",
            Self::VisualGenome => "visual-genome",
            Self::Prompts => "prompts",
            Self::Images => "images",
            Self::PickAPic => "pick-a-pic",
            Self::Scores => "scores",
            Self::Answers => "answers",
            Self::Detections => "detections",
            Self::Extractions => "extractions",
        }
    }
}

/// Takes in the file at `path`, which is called `name`; the id of its import.
///
/// # Errors
/// Those of the store. A file that is not what it should be is an import that failed, and no error.
pub async fn run(context: &TaskContext, path: &Path, name: &str, format: ImportFormat) -> Result<Uuid> {
    match format {
        ImportFormat::LaionSg => {
            let reader = BufReader::with_capacity(1 << 17, fs_err::File::open(path)?);
            Ok(graphs::run_reader(&context.pool, reader, name, &mut |_| {}).await?.id)
        }
        ImportFormat::VisualGenome | ImportFormat::Prompts => {
            let outcome = match format {
                ImportFormat::Prompts => records::run_prompts(context, path, name).await,
                _ => records::run_visual_genome(context, path, name).await,
            };
            let mut conn = context.pool.acquire().await?;
            match outcome {
                Ok(id) => {
                    ingest::set_format(&mut conn, id, format.as_str(), None).await?;
                    Ok(id)
                }
                Err(error @ Error::Format(_)) => {
                    let id = ingest::insert(&mut conn, name).await?;
                    Import::new(context, id, name).finish(format, Err(error)).await?;
                    Ok(id)
                }
                Err(error) => Err(error),
            }
        }
        _ => {
            let id = ingest::insert(&mut *context.pool.acquire().await?, name).await?;
            let mut import = Import::new(context, id, name);
            let outcome = match format {
                ImportFormat::Images => images::run(&mut import, path).await.map(|()| None),
                ImportFormat::PickAPic => pairs::run(&mut import, path).await,
                ImportFormat::Detections | ImportFormat::Extractions => {
                    sightings::run(&mut import, path, format).await.map(|()| None)
                }
                _ => facts::run(&mut import, path, format).await.map(|()| None),
            };
            import.finish(format, outcome).await?;
            Ok(id)
        }
    }
}

/// An import under way.
struct Import<'a> {
    context: &'a TaskContext,
    id: Uuid,
    file: &'a str,
    counts: Counts,
    /// Those that are not written yet.
    rejects: Vec<Reject>,
    /// Those that are.
    num_written: i64,
    started: Instant,
    /// The generation of each model's pictures.
    generations: HashMap<String, Uuid>,
    /// How many pictures each generation has of each graph.
    indexes: HashMap<(Uuid, Uuid), i32>,
    listed: HashSet<(Uuid, Uuid)>,
    /// Imported scores by metric, of each scorer's name and version.
    scorers: BTreeMap<(String, String), BTreeMap<String, i64>>,
}

impl<'a> Import<'a> {
    fn new(context: &'a TaskContext, id: Uuid, file: &'a str) -> Self {
        Self {
            context,
            id,
            file,
            counts: Counts::default(),
            rejects: Vec::new(),
            num_written: 0,
            started: Instant::now(),
            generations: HashMap::new(),
            indexes: HashMap::new(),
            listed: HashSet::new(),
            scorers: BTreeMap::new(),
        }
    }

    /// A record that is not taken in; `pointer` is within the record.
    fn reject(&mut self, record: i64, pointer: &str, code: &str, message: impl Into<String>) {
        self.counts.rejected += 1;
        let message: String = message.into();
        self.rejects.push(Reject {
            position: self.num_written + self.rejects.len() as i64,
            file: self.file.to_owned(),
            record: Some(record),
            pointer: format!("/{record}{pointer}"),
            code: code.to_owned(),
            severity: "error".to_owned(),
            message: message.replace('\0', "\u{fffd}"),
            suggestion: None,
            raw: None,
        });
    }

    /// Writes the findings once they are many: a file that is wrong everywhere does not fill the memory.
    async fn write_many_rejects(&mut self) -> Result<()> {
        if self.rejects.len() < REJECTS_AT_A_TIME {
            return Ok(());
        }
        ingest::insert_rejects(&mut *self.context.pool.acquire().await?, self.id, &self.rejects).await?;
        self.num_written += self.rejects.len() as i64;
        self.rejects.clear();
        Ok(())
    }

    async fn finish(mut self, format: ImportFormat, outcome: Result<Option<Uuid>>) -> Result<()> {
        self.counts.seconds = self.started.elapsed().as_secs_f64();
        let mut conn = self.context.pool.acquire().await?;
        let (pairing_id, failed) = match outcome {
            Ok(pairing_id) => (pairing_id, None),
            // The file is not what it should be; what came before the fault is taken in.
            Err(Error::Format(message)) => (None, Some((json!({ "message": message, "retryable": false }), None))),
            Err(error) => (None, Some((error_json(&error), Some(error)))),
        };
        ingest::set_counts(&mut conn, self.id, &self.counts).await?;
        ingest::set_format(&mut conn, self.id, format.as_str(), pairing_id).await?;
        ingest::insert_rejects(&mut conn, self.id, &self.rejects).await?;
        match failed {
            None => ingest::finish(&mut conn, self.id, TaskState::Succeeded, None).await,
            Some((reason, error)) => {
                ingest::finish(&mut conn, self.id, TaskState::Failed, Some(&reason)).await?;
                error.map_or(Ok(()), Err)
            }
        }
    }

    /// The graph of a caption, made where it is missing; what the lint says against the caption.
    async fn graph_of(
        &self,
        conn: &mut PgConnection,
        caption: &str,
        record: i64,
    ) -> Result<std::result::Result<Uuid, String>> {
        let key = format!("caption-{}", &sha256_hex(caption.as_bytes())[..20]);
        let document = prompt::parse(caption).record(&key, &format!("{key}.png"), caption);
        let findings = lint::check(&document);
        if let Some(fault) = findings.iter().find(|fault| fault.code.is_error()) {
            return Ok(Err(fault.message.clone()));
        }
        let graph = SceneGraph::from_laion_sg(&document).map_err(|error| Error::Format(error.to_string()))?;
        let findings: Vec<_> = findings.into_iter().map(|fault| fault.at(self.file, Some(record as u64))).collect();
        let new = NewGraph {
            graph: &graph,
            document: &document.to_string(),
            lint: serde_json::to_string(&findings).unwrap_or_else(|_| "[]".to_owned()),
            lint_codes: graphs::lint_codes(&findings),
            source_file: self.file,
            record,
        };
        let outcome = graph::upsert(conn, &[new]).await?.pop();
        Ok(match outcome {
            // Another graph under the key is the same caption as an earlier parser read it, or as a curator edited it.
            Some(Upserted::Accepted(id) | Upserted::Unchanged(id) | Upserted::Duplicate(id)) => Ok(id),
            None => Err("the caption gave no graph".to_owned()),
        })
    }

    /// The generation that holds this import's pictures by `model`, and the next place among those of a graph.
    async fn place(&mut self, conn: &mut PgConnection, model_name: &str, graph_id: Uuid) -> Result<(Uuid, i32)> {
        let name = if model_name.trim().is_empty() { UNKNOWN_MODEL } else { model_name.trim() };
        let id = match self.generations.get(name) {
            Some(id) => *id,
            None => {
                let hash = format!("{IMPORTED}{name}");
                model::upsert(conn, &hash, name, "", &json!({})).await?;
                let new = NewGeneration {
                    model_hash: hash,
                    seed: 0,
                    num_inference_steps: 1,
                    guidance_scale: 0.0,
                    sampler: "imported".to_owned(),
                    num_candidates: 1,
                    selection: json!({ "import_id": self.id }),
                    graph_ids: Vec::new(),
                };
                let id = generation::insert(conn, &new).await?;
                generation::update_state(conn, id, &[TaskState::Queued], TaskState::Succeeded).await?;
                self.generations.insert(name.to_owned(), id);
                id
            }
        };
        if self.listed.insert((id, graph_id)) {
            generation::add_graph(conn, id, graph_id).await?;
        }
        let index = self.indexes.entry((id, graph_id)).or_default();
        *index += 1;
        Ok((id, *index - 1))
    }
}

/// What is in the file, unpacked where it is gzipped.
fn unpacked(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::with_capacity(1 << 17, fs_err::File::open(path)?);
    let is_gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(match is_gzip {
        true => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}

/// Lines of text, gzipped or not, each at most `most` bytes.
fn lines(path: &Path, most: usize) -> Result<impl Iterator<Item = std::io::Result<Vec<u8>>> + use<>> {
    let mut reader = unpacked(path)?;
    let mut broken = false;
    Ok(std::iter::from_fn(move || {
        if broken {
            return None;
        }
        let mut line = Vec::new();
        match (&mut reader).take(most as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) if line.len() > most => {
                broken = true;
                Some(Err(std::io::Error::other(format!("a line is longer than {most} bytes"))))
            }
            Ok(_) => {
                while line.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
                    line.pop();
                }
                Some(Ok(line))
            }
            Err(error) => {
                broken = true;
                Some(Err(error))
            }
        }
    }))
}
