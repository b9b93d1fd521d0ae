//! `diptych export`: a frozen pairing as a folder, graphs as a LAION-SG file, what a job left.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use builder::archive;
use builder::store::state::Split;
use builder::store::{candidate, checkpoint, graph, job, pairing};
use builder::task::TaskContext;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::{Global, output, session};

/// Rows read at a time.
const CHUNK: usize = 200;

/// Write data out of the store
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych export pairing 01890a5d-ac96-774b-bcce-b302099a8057 --output pairs")]
pub(crate) struct Export {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A frozen pairing: `pairs.jsonl`, `policy.json` and the pictures under `images/`
    #[command(after_help = "Example:  diptych export pairing 01890a5d-ac96-774b-bcce-b302099a8057 --output pairs")]
    Pairing {
        /// The pairing
        id: Uuid,
        /// Folder to make
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Scene graphs, as the LAION-SG JSON array that `ingest` reads; key for key as they came
    #[command(after_help = "Example:  diptych export graphs --split train --output graphs.json")]
    Graphs {
        /// `train` or `held_out`. Default: both
        #[arg(long, value_parser = super::split)]
        split: Option<Split>,
        /// File to make
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// What a job left: weights, LoRA files, report and card, and under `model/` the merged folder in diffusers' layout
    #[command(after_help = "Example:  diptych export job 01890a5d-ac96-774b-bcce-b302099a8057 --output trained")]
    Job {
        /// The job
        id: Uuid,
        /// Folder to make
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
}

impl Export {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let (what, path) = session::with(global, async |session| match &self.what {
            What::Pairing { id, output } => Ok((export_pairing(&session.context, *id, output).await?, output)),
            What::Graphs { split, output } => Ok((export_graphs(&session.context, *split, output).await?, output)),
            What::Job { id, output } => Ok((export_job(&session.context, *id, output).await?, output)),
        })?;
        if global.json {
            return output::json(&json!({ "exported": what, "output": path }));
        }
        Ok(output::line(&format!("{what} written to {}", path.display()))?)
    }
}

/// One line a pair; a picture is named by its content, so one that is in many pairs is written once.
async fn export_pairing(context: &TaskContext, id: Uuid, folder: &Path) -> anyhow::Result<usize> {
    let mut connection = context.pool.acquire().await?;
    let frozen = pairing::find(&mut connection, id).await?;
    let frozen = frozen.ok_or_else(|| builder::Error::not_found("pairing", id))?;
    let images = folder.join("images");
    fs_err::create_dir_all(&images)?;
    let about =
        json!({ "name": frozen.name, "hash": frozen.hash, "policy": frozen.policy, "num_pairs": frozen.num_pairs });
    fs_err::write(folder.join("policy.json"), format!("{about:#}\n"))?;
    let mut lines = BufWriter::new(fs_err::File::create(folder.join("pairs.jsonl"))?);
    let mut written: HashSet<String> = HashSet::new();
    let (mut cursor, mut count) = (None, 0);
    let bar = output::bar(u64::try_from(frozen.num_pairs).unwrap_or(0), "exporting");
    loop {
        let page = pairing::list_pairs(&mut connection, id, CHUNK as i64, cursor.as_deref()).await?;
        let graph_ids: Vec<Uuid> = page.items.iter().map(|one| one.pair.graph_id).collect();
        let graphs = graph::load_many(&mut connection, &graph_ids).await?;
        for one in page.items {
            let pair = one.pair;
            let of_pair = graphs.iter().find(|graph| graph.id == pair.graph_id);
            let mut sides = Vec::with_capacity(2);
            for (candidate_id, score) in [(pair.winner_id, pair.winner_score), (pair.loser_id, pair.loser_score)] {
                let made = candidate::find(&mut connection, candidate_id).await?;
                let made = made.ok_or_else(|| builder::Error::not_found("candidate", candidate_id))?;
                let name = format!("images/{}.png", made.image_blob);
                if written.insert(made.image_blob.clone()) {
                    fs_err::write(folder.join(&name), context.blobs.get(&made.image_blob).await?)?;
                }
                sides.push(json!({ "id": candidate_id, "image": name, "score": score, "seed": made.seed,
                    "model_hash": made.model_hash, "num_inference_steps": made.num_inference_steps,
                    "guidance_scale": made.guidance_scale, "sampler": made.sampler }));
            }
            let line = json!({ "position": one.position, "graph_id": pair.graph_id,
                "img_id": of_pair.map(|graph| &graph.img_id), "caption": of_pair.map(|graph| &graph.caption),
                "margin": pair.margin, "winner": sides.first(), "loser": sides.last() });
            writeln!(lines, "{line}")?;
            count += 1;
            bar.inc(1);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    lines.flush()?;
    bar.finish_and_clear();
    Ok(count)
}

/// Every artifact as a file; an archive of a folder as that folder.
async fn export_job(context: &TaskContext, id: Uuid, folder: &Path) -> anyhow::Result<usize> {
    let mut connection = context.pool.acquire().await?;
    let job = job::find(&mut connection, id).await?.ok_or_else(|| builder::Error::not_found("job", id))?;
    let artifacts = checkpoint::artifacts(&mut connection, id).await?;
    drop(connection);
    if artifacts.is_empty() {
        anyhow::bail!("job {id} is {} and has left nothing yet", job.state);
    }
    fs_err::create_dir_all(folder)?;
    let bar = output::bar(artifacts.len() as u64, "exporting");
    for artifact in &artifacts {
        let content = context.blobs.get(&artifact.blob).await?;
        match artifact.name.strip_suffix(".zip") {
            Some(name) => archive::unpack(&content, &folder.join(name))?,
            None => fs_err::write(folder.join(&artifact.name), content)?,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(artifacts.len())
}

async fn export_graphs(context: &TaskContext, split: Option<Split>, file: &Path) -> anyhow::Result<usize> {
    let mut connection = context.pool.acquire().await?;
    let refs = graph::list_refs(&mut connection, split).await?;
    let mut out = BufWriter::new(fs_err::File::create(file)?);
    let bar = output::bar(refs.len() as u64, "exporting");
    out.write_all(b"[")?;
    for (place, (id, _)) in refs.iter().enumerate() {
        let document = graph::document(&mut connection, *id).await?;
        let document = document.ok_or_else(|| builder::Error::not_found("graph", id))?;
        out.write_all(if place == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut out, &document)?;
        bar.inc(1);
    }
    out.write_all(b"\n]\n")?;
    out.flush()?;
    bar.finish_and_clear();
    Ok(refs.len())
}
