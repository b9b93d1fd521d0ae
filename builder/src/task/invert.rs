//! Candidate → its inversion: the path on which it was sampled, beside the one on which it is inverted.
//!
//! Both follow from the candidate and the request, so a killed inversion begins again and ends the same.

use std::sync::Arc;

use candle_core::Tensor;
use models::path_comparison::{self, ComparisonSettings, PathComparison};
use models::pipeline::{GraphMode, Pipeline, SampleSettings};
use models::scene_graph_encoder::GraphText;
use serde::Deserialize;
use uuid::Uuid;

use super::queue::{self, Task};
use super::{TaskContext, error_json, on_thread, put_blobs, sampling};
use crate::conditioning::graph_text;
use crate::inversion::{InvertedPoint, Paths, SampledPoint, StatePictures, project, shown_places};
use crate::store::candidate::Candidate;
use crate::store::inversion::{Inversion, NewInversion};
use crate::store::state::InverseLabel;
use crate::store::{candidate, graph, inversion};
use crate::{Error, Result};

/// What is asked of an inversion.
#[derive(Clone, Debug, PartialEq)]
pub struct InversionRequest {
    /// Which picture.
    pub candidate_id: Uuid,
    /// Steps from the image to the noise.
    pub num_inference_steps: u32,
    /// Classifier-free guidance on the way.
    pub guidance_scale: f64,
    /// Which timestep the network is told.
    pub label: InverseLabel,
}

impl InversionRequest {
    /// As Inversion-DPO inverts by default: many steps and no guidance stay close to the sampling path.
    pub fn new(candidate_id: Uuid) -> Self {
        Self { candidate_id, num_inference_steps: 50, guidance_scale: 1.0, label: InverseLabel::Destination }
    }
}

/// Writes an inversion down and puts it into the queue; the same request again is the same inversion.
///
/// # Errors
/// `Invalid` where there is no such candidate, or one that was not sampled here: it has no path to compare with.
pub async fn create(context: &TaskContext, request: &InversionRequest) -> Result<Uuid> {
    let mut transaction = context.pool.begin().await?;
    let fault = |message: String| Error::invalid("/candidate_id", message);
    let found = candidate::find(&mut transaction, request.candidate_id).await?;
    let found = found.ok_or_else(|| fault(format!("there is no candidate {}", request.candidate_id)))?;
    if found.sampler != sampling::SAMPLER || found.latent_blob.is_none() {
        return Err(fault("was not sampled here: there is no path to compare its inversion with".to_owned()));
    }
    let new = NewInversion {
        candidate_id: request.candidate_id,
        num_inference_steps: request.num_inference_steps as i32,
        guidance_scale: request.guidance_scale,
        label: request.label,
        total: settings(&found, request.num_inference_steps, request.guidance_scale, request.label).num_steps() as i64,
    };
    let id = inversion::upsert(&mut transaction, &new).await?;
    let row = inversion::find(&mut transaction, id).await?.ok_or_else(|| Error::not_found("inversion", id))?;
    if !row.state.is_final() {
        queue::enqueue(&mut transaction, Task::Invert(id)).await?;
    }
    transaction.commit().await?;
    Ok(id)
}

/// Finds both paths of the inversion `id`.
pub async fn run(context: &TaskContext, id: Uuid) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    if !inversion::start(&mut connection, id).await? {
        return Ok(()); // done, or deleted while it waited
    }
    let Some(row) = inversion::find(&mut connection, id).await? else { return Ok(()) };
    let found = candidate::find(&mut connection, row.candidate_id).await?;
    let found = found.ok_or_else(|| Error::not_found("candidate", row.candidate_id))?;
    let graphs = graph::scene_graphs(&mut connection, &[found.graph_id]).await?;
    let of = graphs.first().ok_or_else(|| Error::not_found("graph", found.graph_id))?;
    let text = graph_text(&of.graph);
    let reference = context.models.by_hash(&mut connection, &found.model_hash).await?;
    drop(connection);
    let blob = found.latent_blob.clone().ok_or_else(|| Error::not_found("latent", found.id))?;
    let latent = sampling::latent_from_bytes(&context.blobs.get(&blob).await?);

    let (compared, files) = compare(context, &row, found, reference, text, latent).await?;
    let blobs = put_blobs(&context.blobs, files).await?;
    let result = paths(&compared, blobs)?;
    let result = serde_json::to_value(result)
        .map_err(|source| Error::Json { context: "writing the inversion's result".to_owned(), source })?;
    inversion::succeed(&mut *context.pool.acquire().await?, id, &result).await?;
    Ok(())
}

/// Writes down that the inversion cannot be finished.
pub async fn fail(context: &TaskContext, id: Uuid, error: &Error) -> Result<()> {
    inversion::fail(&mut *context.pool.acquire().await?, id, &error_json(error)).await?;
    Ok(())
}

/// What was found, once it is.
///
/// # Errors
/// The row holds something else.
pub fn result(inversion: &Inversion) -> Result<Option<Paths>> {
    let Some(result) = &inversion.result else { return Ok(None) };
    let failed = |source| Error::Json { context: format!("the result of inversion {}", inversion.id), source };
    Paths::deserialize(result).map(Some).map_err(failed)
}

fn settings(candidate: &Candidate, steps: u32, guidance_scale: f64, label: InverseLabel) -> ComparisonSettings {
    ComparisonSettings {
        sampling: SampleSettings {
            num_inference_steps: candidate.num_inference_steps as usize,
            guidance_scale: candidate.guidance_scale,
        },
        inversion: SampleSettings { num_inference_steps: steps as usize, guidance_scale },
        label: label.into(),
    }
}

/// Both paths, and PNG files of the shown states: of each first the inversion's, then sampling's where there is one.
async fn compare(
    context: &TaskContext,
    row: &Inversion,
    candidate: Candidate,
    reference: Arc<Pipeline>,
    graph: GraphText,
    latent: Vec<f32>,
) -> Result<(PathComparison, Vec<Vec<u8>>)> {
    let settings = settings(&candidate, row.num_inference_steps as u32, row.guidance_scale, row.label);
    let (context, id) = (context.clone(), row.id);
    let runtime = tokio::runtime::Handle::current();
    on_thread(move || {
        let report = |done: usize, total: usize| -> Result<()> {
            context.check_shutdown()?;
            runtime.block_on(async {
                let mut connection = context.pool.acquire().await?;
                inversion::set_progress(&mut connection, id, done as i64, total as i64).await
            })
        };
        let mut reported = Ok(());
        let mut progress = |done, total| {
            reported = report(done, total);
            if reported.is_ok() { Ok(()) } else { Err(models::Error::Stopped) }
        };
        let conditioning = reference.encode_graphs(&[graph], GraphMode::SceneGraph)?;
        let seed = candidate.seed as u64;
        let compared = path_comparison::compare(&reference, &conditioning, seed, &latent, settings, &mut progress);
        // What stopped the work from outside is its error, not that it was stopped.
        reported?;
        let compared = compared?;
        let mut files = Vec::new();
        for place in shown_places(compared.inverted.len()) {
            context.check_shutdown()?;
            let shown = &compared.inverted[place];
            let states: Vec<&Tensor> = std::iter::once(&shown.state.latent).chain(&shown.sampled).collect();
            let states = Tensor::cat(&states, 0).map_err(models::Error::from)?;
            for rgb in reference.decode(&states)? {
                files.push(sampling::encode_png(&sampling::rgb_image(reference.image_size(), rgb)?)?);
            }
        }
        Ok((compared, files))
    })
    .await
}

/// What the page draws; `blobs` of the shown states' pictures, in the order of [`compare`]'s files.
fn paths(compared: &PathComparison, blobs: Vec<String>) -> Result<Paths> {
    let latents = compared.sampled.iter().chain(compared.inverted.iter().map(|one| &one.state)).map(|one| &one.latent);
    let rows = latents.map(values).collect::<Result<Vec<_>>>()?;
    let projection = project(&rows)?;
    let (sampled, inverted) = projection.points.split_at(compared.sampled.len());
    let mut blobs = blobs.into_iter();
    let mut next = || blobs.next().ok_or_else(|| Error::Thread("a shown state has no picture".to_owned()));
    let picture = |place: usize| {
        let shown = &compared.inverted[place];
        let inverted_blob = next()?;
        let sampled_blob = if shown.sampled.is_some() { Some(next()?) } else { None };
        Ok(StatePictures { timestep: shown.state.timestep, sampled_blob, inverted_blob })
    };
    Ok(Paths {
        terminal_std: compared.quality.terminal_std,
        terminal_autocorrelation: compared.quality.terminal_autocorrelation,
        initial_std: compared.initial_std,
        initial_autocorrelation: compared.initial_autocorrelation,
        reconstruction_error: compared.quality.reconstruction_error,
        latent_variance: compared.quality.latent_variance,
        explained_variance: projection.explained,
        sampled: compared
            .sampled
            .iter()
            .zip(sampled)
            .map(|(state, &[x, y])| SampledPoint { timestep: state.timestep, x, y })
            .collect(),
        inverted: compared
            .inverted
            .iter()
            .zip(inverted)
            .map(|(one, &[x, y])| InvertedPoint { timestep: one.state.timestep, x, y, deviation: one.deviation })
            .collect(),
        pictures: shown_places(compared.inverted.len()).into_iter().map(picture).collect::<Result<_>>()?,
    })
}

fn values(latent: &Tensor) -> Result<Vec<f64>> {
    let values = latent.flatten_all().and_then(|latent| latent.to_vec1::<f32>()).map_err(models::Error::from)?;
    Ok(values.into_iter().map(f64::from).collect())
}
