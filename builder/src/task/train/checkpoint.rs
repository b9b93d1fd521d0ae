//! Checkpoints: the trainer's files and the runner's own notes, each a blob, named by one row that is written last.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::store::checkpoint::{self, CheckpointFile};
use crate::store::job_event;
use crate::task::TaskContext;
use crate::task::queue::{self, Task};
use crate::{Error, Result};

/// Checkpoints kept a job: the newest, and one before it should a disk have lost the newest.
const KEEP: usize = 2;
/// The runner's notes among the trainer's files.
const NOTES: &str = "runner.json";
/// The best weights so far, beside them.
const BEST: &str = "best.safetensors";

/// What the runner knows beside the trainer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Notes {
    /// The best weights so far.
    pub best: Option<Best>,
    /// Mean score of the reference on the selection graphs, once it was measured.
    pub base_selection_score: Option<f64>,
    /// Steps after which a selection was made, with its score.
    pub selections: Vec<(usize, f64)>,
    /// Score of the reference on each selection graph.
    #[serde(default)]
    pub base_scores: Vec<f64>,
    /// Steps after which a selection was made, with mean and standard error of the difference from the reference.
    #[serde(default)]
    pub deltas: Vec<(usize, (f64, f64))>,
    /// Seconds spent in steps, over all attempts.
    pub training_seconds: f64,
}

/// Weights that did well on the selection graphs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Best {
    pub step: usize,
    pub score: f64,
    /// The weights file.
    pub blob: String,
    pub bytes: i64,
}

/// Stores everything under `folder` and `notes` as the checkpoint of `step`; older ones beyond two are let go.
pub(super) async fn write(
    context: &TaskContext,
    job_id: Uuid,
    step: usize,
    folder: &Path,
    notes: &Notes,
) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let content = fs_err::tokio::read(entry.path()).await?;
        files.push(put(context, name, content).await?);
    }
    let best = notes.best.clone();
    let notes = serde_json::to_vec(notes)
        .map_err(|source| Error::Json { context: "writing the runner's notes".to_owned(), source })?;
    files.push(put(context, NOTES.to_owned(), notes).await?);
    // Named by the row, so that nothing collects it as waste.
    if let Some(best) = best {
        files.push(CheckpointFile { name: BEST.to_owned(), blob: best.blob, bytes: best.bytes });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes: i64 = files.iter().map(|file| file.bytes).sum();

    let mut transaction = context.pool.begin().await?;
    checkpoint::upsert(&mut transaction, job_id, step as i32, &files).await?;
    let kept = checkpoint::list(&mut transaction, job_id).await?;
    let old = &kept[..kept.len().saturating_sub(KEEP)];
    for one in old {
        checkpoint::delete(&mut transaction, job_id, one.step).await?;
    }
    job_event::append(&mut transaction, job_id, "checkpoint", &json!({ "step": step, "bytes": bytes })).await?;
    queue::made_progress(&mut transaction, Task::Train(job_id)).await?;
    transaction.commit().await?;
    // After the commit: a row never names a blob that is gone. Left over by a crash here, a blob is only waste.
    let mut connection = context.pool.acquire().await?;
    for file in old.iter().flat_map(|one| one.files.iter()) {
        if !checkpoint::names_blob(&mut connection, &file.blob).await? {
            context.blobs.delete(&file.blob).await?;
        }
    }
    Ok(())
}

/// Lays the files of the job's newest whole checkpoint into `folder`; its step and the notes, or `None` when there is none.
///
/// A checkpoint that the storage has damaged is let go, with an event that says so, and the one before it is taken: the
/// steps between are done again, to the same weights. The damaged file goes too, or it would be taken for written when
/// its content comes up again.
pub(super) async fn read_latest(context: &TaskContext, job_id: Uuid, folder: &Path) -> Result<Option<(usize, Notes)>> {
    let rows = checkpoint::list(&mut *context.pool.acquire().await?, job_id).await?;
    for row in rows.into_iter().rev() {
        let step = row.step;
        match read_files(context, &row.files, folder).await {
            Ok(notes) => return Ok(Some((step as usize, notes))),
            Err(error @ (Error::BlobDamaged { .. } | Error::NotFound { what: "blob", .. } | Error::Json { .. })) => {
                tracing::warn!(job = %job_id, step, %error, "a checkpoint is damaged");
                let message = format!("the checkpoint at step {step} is damaged and let go: {error}");
                let mut transaction = context.pool.begin().await?;
                checkpoint::delete(&mut transaction, job_id, step).await?;
                job_event::append(&mut transaction, job_id, "log", &json!({ "message": message, "step": step }))
                    .await?;
                transaction.commit().await?;
                if let Error::BlobDamaged { key, .. } = error {
                    context.blobs.delete(&key).await?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

async fn read_files(context: &TaskContext, files: &[CheckpointFile], folder: &Path) -> Result<Notes> {
    let mut notes = Notes::default();
    for file in files {
        let content = context.blobs.get(&file.blob).await?;
        match file.name.as_str() {
            // Only seen to be there: it is stored already, and becomes an artifact at the end.
            BEST => {}
            NOTES => {
                notes = serde_json::from_slice(&content)
                    .map_err(|source| Error::Json { context: "the runner's notes".to_owned(), source })?;
            }
            name => fs_err::tokio::write(folder.join(name), &content).await?,
        }
    }
    Ok(notes)
}

async fn put(context: &TaskContext, name: String, content: Vec<u8>) -> Result<CheckpointFile> {
    let bytes = content.len() as i64;
    let blob = context.blobs.put(content).await?;
    Ok(CheckpointFile { name, blob, bytes })
}
