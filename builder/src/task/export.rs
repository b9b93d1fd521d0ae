//! Rows out of the store into files that can be fetched by ranges: `POST /exports`.
//!
//! A file is written piece by piece, each piece a blob, and so memory holds a piece and a batch of rows whatever the length.
//! A killed export begins again; the same rows are the same pieces.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{TaskContext, error_json, freeze, get_blobs, queue};
use crate::error::Fault;
use crate::export::card::{self, Facts};
use crate::export::{ExportFormat, ExportRequest, PairRow, Side, Sink, TIES_FILE, pair_writer};
use crate::pair::GraphScores;
use crate::policy::Policy;
use crate::store::export::{self, Export, ExportFile, ExportedCandidate, Line, Piece};
use crate::store::graph::Filter;
use crate::store::pairing::{Pair, Pairing};
use crate::store::state::TaskState;
use crate::store::{collection, graph, pairing};
use crate::{Error, Result};

/// Rows read at a time.
const BATCH: usize = 32;
/// Bytes of a piece.
const PIECE: usize = 8 << 20;
/// Ties told of one graph.
const TIES_A_GRAPH: usize = 6;

/// Writes an export down and puts it into the queue.
///
/// # Errors
/// `Invalid` with every fault that the store knows of.
pub async fn create(context: &TaskContext, request: &ExportRequest) -> Result<Export> {
    let mut tx = context.pool.begin().await?;
    let mut faults = Vec::new();
    if let Some(id) = request.pairing_id
        && pairing::find(&mut tx, id).await?.is_none()
    {
        faults.push(Fault::new("/pairing_id", format!("there is no pairing {id}")));
    }
    if let Some(id) = request.collection_id
        && collection::find(&mut tx, id).await?.is_none()
    {
        faults.push(Fault::new("/collection_id", format!("there is no collection {id}")));
    }
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let document = serde_json::to_value(request)
        .map_err(|source| Error::Json { context: "writing the export's request".to_owned(), source })?;
    let id = export::insert(&mut tx, request.format.as_str(), request.pairing_id, &document).await?;
    queue::enqueue(&mut tx, queue::Task::Export(id)).await?;
    let export = export::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("export", id))?;
    tx.commit().await?;
    Ok(export)
}

/// Writes the files of an export.
pub async fn run(context: &TaskContext, id: Uuid) -> Result<()> {
    let mut conn = context.pool.acquire().await?;
    let Some(found) = export::find(&mut conn, id).await? else { return Ok(()) };
    if !export::start(&mut conn, id).await? {
        return Ok(());
    }
    let request: ExportRequest = serde_json::from_value(found.request)
        .map_err(|source| Error::Json { context: format!("the request of export {id}"), source })?;
    drop(conn);
    let mut files = Vec::new();
    let mut facts = match request.pairing_id {
        Some(pairing_id) => pairs(context, id, &request, pairing_id, &mut files).await?,
        None => rows(context, id, &request, &mut files).await?,
    };
    facts.created_at = found.created_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let markdown = "text/markdown";
    text(context, id, ("LICENSES.md", markdown), card::licenses(&request, &facts), &mut files).await?;
    text(context, id, ("README.md", markdown), card::card(&request, &facts), &mut files).await?;
    let croissant = format!("{:#}\n", card::croissant(&request, &facts, &files));
    text(context, id, ("croissant.json", "application/ld+json"), croissant, &mut files).await?;
    export::finish(&mut *context.pool.acquire().await?, id, TaskState::Succeeded, None).await
}

/// Writes down that the export cannot be made, and why.
pub async fn fail(context: &TaskContext, id: Uuid, error: &Error) -> Result<()> {
    export::finish(&mut *context.pool.acquire().await?, id, TaskState::Failed, Some(&error_json(error))).await
}

/// A file that is being written.
struct Output<'a> {
    context: &'a TaskContext,
    id: Uuid,
    name: &'a str,
    media_type: &'a str,
    sink: Sink,
    position: i32,
    bytes: i64,
    sha256: Sha256,
}

impl<'a> Output<'a> {
    fn new(context: &'a TaskContext, id: Uuid, (name, media_type): (&'a str, &'a str)) -> Self {
        Self { context, id, name, media_type, sink: Sink::default(), position: 0, bytes: 0, sha256: Sha256::new() }
    }

    /// Stores what waits as a piece once it is large enough.
    async fn flush(&mut self, at_least: usize) -> Result<()> {
        self.context.check_shutdown()?;
        if self.sink.len() < at_least.max(1) {
            return Ok(());
        }
        let content = self.sink.take();
        self.sha256.update(&content);
        let bytes = content.len() as i64;
        let piece = Piece { blob: self.context.blobs.put(content).await?, bytes };
        export::insert_piece(&mut *self.context.pool.acquire().await?, self.id, self.name, self.position, &piece)
            .await?;
        (self.position, self.bytes) = (self.position + 1, self.bytes + bytes);
        Ok(())
    }

    async fn finish(mut self, files: &mut Vec<ExportFile>) -> Result<()> {
        self.flush(1).await?;
        let file = ExportFile {
            name: self.name.to_owned(),
            media_type: self.media_type.to_owned(),
            bytes: self.bytes,
            sha256: hex::encode(self.sha256.finalize()),
        };
        export::insert_file(&mut *self.context.pool.acquire().await?, self.id, &file).await?;
        files.push(file);
        Ok(())
    }
}

async fn text(
    context: &TaskContext,
    id: Uuid,
    file: (&str, &str),
    content: String,
    files: &mut Vec<ExportFile>,
) -> Result<()> {
    let mut output = Output::new(context, id, file);
    std::io::Write::write_all(&mut output.sink, content.as_bytes())?;
    output.finish(files).await
}

async fn pairs(
    context: &TaskContext,
    id: Uuid,
    request: &ExportRequest,
    pairing_id: Uuid,
    files: &mut Vec<ExportFile>,
) -> Result<Facts> {
    let mut conn = context.pool.acquire().await?;
    let frozen = pairing::find(&mut conn, pairing_id).await?.ok_or_else(|| Error::not_found("pairing", pairing_id))?;
    let pairs = pairing::pairs(&mut conn, pairing_id).await?;
    let mut graph_ids: Vec<Uuid> = pairs.iter().map(|pair| pair.graph_id).collect();
    graph_ids.sort_unstable();
    graph_ids.dedup();
    let ties = match request.format {
        ExportFormat::PickAPic => ties(&mut conn, &frozen, &graph_ids).await?,
        _ => Vec::new(),
    };
    let mut facts = Facts {
        name: frozen.name.clone(),
        hash: frozen.hash.clone(),
        policy: Some(frozen.policy.clone()),
        num_rows: pairs.len() as i64,
        num_ties: ties.len() as i64,
        num_graphs: graph_ids.len() as i64,
        sources: export::sources(&mut conn, &graph_ids).await?,
        ..Facts::default()
    };
    drop(conn);
    let mut models = BTreeMap::new();
    let total = (pairs.len() + ties.len()) as i64;
    let mut done = 0;
    for (file, rows) in [(request.format.file(), &pairs), (TIES_FILE, &ties)] {
        if rows.is_empty() && file == TIES_FILE {
            continue;
        }
        let mut output = Output::new(context, id, file);
        let about = [
            ("diptych.pairing_hash".to_owned(), frozen.hash.clone()),
            ("diptych.policy".to_owned(), frozen.policy.to_string()),
            ("license".to_owned(), request.license.clone()),
        ];
        let mut writer = pair_writer(request.format, output.sink.clone(), &about)?;
        let mut of_graph: HashMap<Uuid, i64> = HashMap::new();
        for pair in rows {
            *of_graph.entry(pair.graph_id).or_default() += 1;
        }
        for (batch, first) in rows.chunks(BATCH).zip((0..).step_by(BATCH)) {
            for row in read(context, &frozen, batch, first, &of_graph).await? {
                for side in [&row.winner, &row.loser] {
                    models.insert(side.candidate.model_hash.clone(), side.candidate.model_name.clone());
                }
                writer.write(&row)?;
                done += 1;
            }
            output.flush(PIECE).await?;
            export::set_progress(&mut *context.pool.acquire().await?, id, done, total).await?;
        }
        writer.finish()?;
        output.finish(files).await?;
    }
    facts.models = models.into_iter().map(|(hash, name)| (name, hash)).collect();
    Ok(facts)
}

/// Candidates of these graphs that score the same under the pairing's policy, as they are now.
async fn ties(conn: &mut sqlx::PgConnection, frozen: &Pairing, graph_ids: &[Uuid]) -> Result<Vec<Pair>> {
    // The policy of imported pairs names no metric of ours.
    let Ok(policy) = Policy::parse(&frozen.policy) else { return Ok(Vec::new()) };
    let metrics: Vec<String> = policy.weights.keys().cloned().collect();
    let scope = freeze::training_scope();
    let scores = crate::store::score_card::graph_scores(conn, &metrics, &scope).await?;
    let mut ties = Vec::new();
    for one in scores.into_iter().filter(|one| graph_ids.binary_search(&one.graph).is_ok()) {
        let graph = GraphScores { graph: one.graph, candidates: one.candidates };
        let scored: Vec<(Uuid, f64)> =
            graph.candidates.iter().filter_map(|(id, scores)| Some((*id, policy.score(scores)?))).collect();
        let equal = scored
            .iter()
            .enumerate()
            .flat_map(|(place, one)| scored.iter().skip(place + 1).map(move |other| (one, other)))
            .filter(|(one, other)| one.1 == other.1);
        ties.extend(equal.take(TIES_A_GRAPH).map(|(one, other)| Pair {
            graph_id: graph.graph,
            winner_id: one.0,
            loser_id: other.0,
            winner_score: one.1,
            loser_score: other.1,
            margin: 0.0,
        }));
    }
    Ok(ties)
}

async fn read(
    context: &TaskContext,
    frozen: &Pairing,
    pairs: &[Pair],
    first: usize,
    of_graph: &HashMap<Uuid, i64>,
) -> Result<Vec<PairRow>> {
    let mut conn = context.pool.acquire().await?;
    let ids: Vec<Uuid> = pairs.iter().flat_map(|pair| [pair.winner_id, pair.loser_id]).collect();
    let made = export::candidates(&mut conn, &ids).await?;
    let graph_ids: Vec<Uuid> = pairs.iter().map(|pair| pair.graph_id).collect();
    let graphs = graph::load_many(&mut conn, &graph_ids).await?;
    drop(conn);
    let keys = made.iter().map(|one| one.image_blob.clone()).collect();
    let images = get_blobs(&context.blobs, keys).await?;
    let sides: HashMap<Uuid, (ExportedCandidate, bytes::Bytes)> =
        made.into_iter().zip(images).map(|(one, image)| (one.id, (one, image))).collect();
    let side = |id: Uuid, score: f64| {
        let (candidate, image) = sides.get(&id).cloned().ok_or_else(|| Error::not_found("candidate", id))?;
        Ok::<_, Error>(Side { candidate, image, score })
    };
    pairs
        .iter()
        .zip(first..)
        .map(|(pair, position)| {
            let of = graphs.iter().find(|graph| graph.id == pair.graph_id);
            let of = of.ok_or_else(|| Error::not_found("graph", pair.graph_id))?;
            Ok(PairRow {
                position: position as i32,
                graph_id: pair.graph_id,
                img_id: of.img_id.clone(),
                caption: of.caption.clone(),
                winner: side(pair.winner_id, pair.winner_score)?,
                loser: side(pair.loser_id, pair.loser_score)?,
                margin: pair.margin,
                pairs_of_graph: of_graph.get(&pair.graph_id).copied().unwrap_or(1),
                created_at: frozen.created_at.timestamp_micros(),
            })
        })
        .collect()
}

/// Graphs, scores or answers.
async fn rows(context: &TaskContext, id: Uuid, request: &ExportRequest, files: &mut Vec<ExportFile>) -> Result<Facts> {
    let mut facts = Facts { name: request.format.as_str().to_owned(), ..Facts::default() };
    let mut output = Output::new(context, id, request.format.file());
    match request.format {
        ExportFormat::LaionSg => graphs(&mut output, request, &mut facts).await?,
        _ => lines(&mut output, request.format, &mut facts).await?,
    }
    output.finish(files).await?;
    facts.hash = files.first().map(|file| file.sha256.clone()).unwrap_or_default();
    Ok(facts)
}

async fn graphs(output: &mut Output<'_>, request: &ExportRequest, facts: &mut Facts) -> Result<()> {
    let mut conn = output.context.pool.acquire().await?;
    let filter = Filter { split: request.split, collection: request.collection_id, ..Filter::default() };
    let ids = graph::list_ids(&mut conn, &filter).await?;
    facts.sources = export::sources(&mut conn, &ids).await?;
    (facts.num_rows, facts.num_graphs) = (ids.len() as i64, ids.len() as i64);
    drop(conn);
    use std::io::Write as _;
    output.sink.write_all(b"[")?;
    let mut done = 0;
    for part in ids.chunks(BATCH * 8) {
        let mut conn = output.context.pool.acquire().await?;
        for document in graph::documents(&mut conn, part).await? {
            output.sink.write_all(if done == 0 { b"\n" } else { b",\n" })?;
            output.sink.write_all(document.as_bytes())?;
            done += 1;
        }
        export::set_progress(&mut conn, output.id, done, ids.len() as i64).await?;
        drop(conn);
        output.flush(PIECE).await?;
    }
    output.sink.write_all(b"\n]\n")?;
    Ok(())
}

async fn lines(output: &mut Output<'_>, format: ExportFormat, facts: &mut Facts) -> Result<()> {
    use std::io::Write as _;
    let limit = BATCH as i64 * 32;
    let mut after = (Uuid::nil(), String::new());
    loop {
        let mut conn = output.context.pool.acquire().await?;
        let found: Vec<Line> = match format {
            ExportFormat::Scores => export::scores(&mut conn, &after, limit).await?,
            _ => export::answers(&mut conn, &after, limit).await?,
        };
        let Some(last) = found.last() else { return Ok(()) };
        after = last.key.clone();
        facts.num_rows += found.len() as i64;
        export::set_progress(&mut conn, output.id, facts.num_rows, facts.num_rows).await?;
        drop(conn);
        for line in &found {
            writeln!(output.sink, "{}", line.document)?;
        }
        output.flush(PIECE).await?;
    }
}
