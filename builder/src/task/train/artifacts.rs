//! What a finished job leaves for others: the report with its plots, the adapters in the keys of diffusers and of kohya, the
//! scene-graph encoder apart, the merged diffusers folder as an archive, and the card that says where they come from.
//!
//! Everything follows from what is stored already, so a job that was killed here makes it once more, the same.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use models::artifact::{self, LoraStyle, ModelSpec, TrainedWeights};
use models::pipeline::Pipeline;
use serde_json::{Value, json};
use uuid::Uuid;

use super::card::{Subject, card};
use super::report::{self, Picture};
use super::runner::{REPORT, WEIGHTS};
use crate::job::JobSpec;
use crate::store::{checkpoint as rows, evaluation, job, job_metric, model, pairing};
use crate::task::evaluate::scratch_folder;
use crate::task::{TaskContext, get_blobs, on_thread, sampling};
use crate::{Error, Result, archive};

const MARKDOWN: &str = "report.md";
const CARD: &str = "README.md";
const LORA: &str = "pytorch_lora_weights.safetensors";
const KOHYA: &str = "lora_kohya.safetensors";
const ENCODER: &str = "scene_graph_encoder.safetensors";
const MERGED: &str = "model.zip";
/// Steps of a curve that a plot is made of.
const PLOTTED_STEPS: usize = 4000;

/// Makes and stores every artifact of a job whose weights are stored and whose comparison, if any, is made.
pub(super) async fn write(
    context: &TaskContext,
    job_id: Uuid,
    spec: &JobSpec,
    reference: &Arc<Pipeline>,
    weights: &str,
) -> Result<()> {
    let report = full_report(context, job_id, spec, reference, weights).await?;
    let mut connection = context.pool.acquire().await?;
    let stride = spec.max_steps.div_ceil(PLOTTED_STEPS).max(1);
    let metrics = job_metric::list(&mut connection, job_id, 0, stride as i32).await?;
    let created = job::find(&mut connection, job_id).await?.ok_or_else(|| Error::not_found("job", job_id))?.created_at;
    let base = context.models.folder(&mut connection, reference.hash()).await?;
    drop(connection);

    let plots = report::plots(&report, &metrics)?;
    let document = serde_json::to_vec_pretty(&report)
        .map_err(|source| Error::Json { context: "writing the job's report".to_owned(), source })?;
    put(context, job_id, REPORT, document, "application/json").await?;
    let markdown = report::markdown(&report, &plots);
    put(context, job_id, MARKDOWN, markdown.into_bytes(), "text/markdown; charset=utf-8").await?;
    for (name, plot) in plots {
        put(context, job_id, name, plot.into_bytes(), "image/svg+xml").await?;
    }

    let trained = context.blobs.get(weights).await?;
    let scratch = scratch_folder(context)?;
    let (reference, spec) = (Arc::clone(reference), spec.clone());
    let date = created.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let files = on_thread(move || weight_files(&scratch, &trained, &base, &reference, &spec, &report, &date)).await?;
    for (name, content) in files {
        let media_type = match name {
            CARD => "text/markdown; charset=utf-8",
            MERGED => "application/zip",
            _ => "application/octet-stream",
        };
        put(context, job_id, name, content, media_type).await?;
    }
    Ok(())
}

async fn put(context: &TaskContext, job_id: Uuid, name: &str, content: Vec<u8>, media_type: &str) -> Result<()> {
    let bytes = content.len() as i64;
    let blob = context.blobs.put(content).await?;
    let mut connection = context.pool.acquire().await?;
    let before = rows::find_artifact(&mut connection, job_id, name).await?;
    rows::upsert_artifact(&mut connection, job_id, name, &blob, bytes, media_type).await?;
    // What the row named before is waste where nobody else names it.
    if let Some(before) = before.filter(|before| before.blob != blob)
        && !rows::names_blob(&mut connection, &before.blob).await?
    {
        context.blobs.delete(&before.blob).await?;
    }
    Ok(())
}

/// What training noted, with the comparison, the diversity, the lineage and the settings.
async fn full_report(
    context: &TaskContext,
    job_id: Uuid,
    spec: &JobSpec,
    reference: &Pipeline,
    weights: &str,
) -> Result<Value> {
    let mut connection = context.pool.acquire().await?;
    let noted = rows::find_artifact(&mut connection, job_id, REPORT).await?;
    let noted = noted.ok_or_else(|| Error::not_found("artifact", REPORT))?;
    let mut report: Value = serde_json::from_slice(&context.blobs.get(&noted.blob).await?)
        .map_err(|source| Error::Json { context: "the job's report".to_owned(), source })?;
    let frozen = pairing::find(&mut connection, spec.pairing_id).await?;
    let frozen = frozen.ok_or_else(|| Error::not_found("pairing", spec.pairing_id))?;
    let known = model::find(&mut connection, reference.hash()).await?;
    if let Some(row) = evaluation::of_job(&mut connection, job_id).await?.into_iter().find(|row| row.result.is_some()) {
        let images = evaluation::images(&mut connection, row.id).await?;
        report["evaluation"] = row.result.unwrap_or_default();
        let files = get_blobs(&context.blobs, images.iter().map(|one| one.image_blob.clone()).collect()).await?;
        report["diversity"] = on_thread(move || {
            let pictures = images
                .iter()
                .zip(&files)
                .map(|(one, file)| {
                    Ok(Picture { graph: one.graph_id, role: one.role, image: sampling::decode_image(file)? })
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(report::diversity(&pictures).unwrap_or_default())
        })
        .await?;
    }
    report["lineage"] = json!({
        "job_id": job_id,
        "model_hash": reference.hash(),
        "model_name": known.map(|model| model.name),
        "pairing_id": spec.pairing_id,
        "pairing_hash": frozen.hash,
        "pairs": frozen.num_pairs,
        "policy": frozen.policy,
        "weights_sha256": weights,
    });
    report["spec"] = serde_json::to_value(spec)
        .map_err(|source| Error::Json { context: "writing the job's settings".to_owned(), source })?;
    Ok(report)
}

/// Every form of the trained weights by name, and the card.
fn weight_files(
    scratch: &Path,
    trained: &[u8],
    base: &Path,
    reference: &Pipeline,
    spec: &JobSpec,
    report: &Value,
    date: &str,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let folder = tempfile::tempdir_in(scratch)?;
    let file = folder.path().join(WEIGHTS);
    fs_err::write(&file, trained)?;
    let trained = TrainedWeights::read(&file, reference.unet_weights(), &Device::Cpu)?;
    let mut files: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let lineage = &report["lineage"];
    let about = ModelSpec {
        title: spec.name.clone(),
        description: format!(
            "{} on the pairing {}; reference {}",
            spec.objective.name(),
            lineage["pairing_hash"].as_str().unwrap_or_default(),
            reference.hash()
        ),
        date: date.to_owned(),
        resolution: reference.image_size(),
        prediction_type: reference.schedule().config().prediction_type.modelspec().to_owned(),
    };
    if !trained.adapters.is_empty() {
        for (name, style) in [(LORA, LoraStyle::Diffusers), (KOHYA, LoraStyle::Kohya)] {
            let file = folder.path().join(name);
            artifact::write_lora(&file, style, &trained.adapters, reference.unet_weights(), &about, DType::F32)?;
            files.push((name, fs_err::read(&file)?));
        }
    }
    if !trained.encoder.is_empty() {
        let file = folder.path().join(ENCODER);
        artifact::write_weights(&file, &trained.encoder, DType::F32)?;
        files.push((ENCODER, fs_err::read(&file)?));
    }
    let names: Vec<&str> = [WEIGHTS].into_iter().chain(files.iter().map(|(name, _)| *name)).collect();
    let of_folder = card(&Subject { spec, report, files: &[] });
    let all: Vec<&str> = names.into_iter().chain([MERGED, MARKDOWN]).collect();
    let of_job = card(&Subject { spec, report, files: &all });
    let merged = folder.path().join("model");
    artifact::write_folder(base, &trained, &merged, DType::F32)?;
    fs_err::write(merged.join(CARD), of_folder)?;
    files.push((MERGED, archive::pack(&merged, "")?));
    files.push((CARD, of_job.into_bytes()));
    Ok(files)
}
