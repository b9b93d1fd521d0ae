//! What a trainer needs, out of the store: graphs, latents, and which paths can be replayed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use models::pipeline::{Pipeline, SampleSettings};
use models::scene_graph_encoder::GraphText;
use models::trainer::tensor_cache::{Precision, TensorCache};
use models::trainer::{ImageInput, PairInput};
use uuid::Uuid;

use crate::blob::BlobStore;
use crate::conditioning::graph_text;
use crate::job::{JobSpec, PathChoice};
use crate::store::candidate::Candidate;
use crate::store::rate::Origin;
use crate::store::{candidate, graph, pairing};
use crate::task::sampling::{self, SAMPLER};
use crate::task::{TaskContext, get_blobs, on_thread};
use crate::{Error, Result};

/// Everything that a trainer is made of, beside its settings.
pub(super) struct Inputs {
    pub reference: Arc<Pipeline>,
    pub sampling: SampleSettings,
    pub graphs: Vec<GraphText>,
    pub pairs: Vec<PairInput>,
    /// Images whose path is replayed, and whose is inverted; none where the objective reads no paths.
    pub replayed: usize,
    pub inverted: usize,
    /// What the paths take in the cache where none of them is there yet.
    pub cache_bytes: u64,
}

impl Inputs {
    /// For people: what is trained on, and what it takes before the first step.
    pub(super) fn told(&self) -> String {
        let pairs = format!("{} pairs of {} graphs", self.pairs.len(), self.graphs.len());
        if self.replayed + self.inverted == 0 {
            return format!("{pairs}; the objective reads no paths");
        }
        let (replayed, inverted) = (self.replayed, self.inverted);
        let mib = self.cache_bytes as f64 / f64::from(1 << 20);
        format!("{pairs}; {replayed} paths to replay, {inverted} to invert: up to {mib:.1} MiB of the cache")
    }
}

/// Loads the inputs of `spec`.
pub(super) async fn load(context: &TaskContext, spec: &JobSpec) -> Result<Inputs> {
    let mut connection = context.pool.acquire().await?;
    let pairs = pairing::pairs(&mut connection, spec.pairing_id).await?;
    let mut ids: Vec<Uuid> = pairs.iter().flat_map(|pair| [pair.winner_id, pair.loser_id]).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut origins = candidate::load_many(&mut connection, &ids).await?;
    origins.sort_unstable_by_key(|one| one.id);
    let Some(first) = origins.first() else {
        return Err(Error::invalid("/pairing_id", "this pairing holds no pairs"));
    };
    let reference = match &spec.model {
        Some(name) => context.models.by_name(&mut connection, Some(name)).await?,
        None if origins.iter().all(|one| one.model_hash == first.model_hash) => {
            context.models.by_hash(&mut connection, &first.model_hash).await?
        }
        None => {
            return Err(Error::invalid(
                "/model",
                "the pairing's candidates come from several models: say which is the reference",
            ));
        }
    };
    let settings = SampleSettings {
        num_inference_steps: spec.num_inference_steps.unwrap_or(first.num_inference_steps as usize),
        guidance_scale: spec.guidance_scale.unwrap_or(first.guidance_scale),
    };

    let mut graph_ids: Vec<Uuid> = pairs.iter().map(|pair| pair.graph_id).collect();
    graph_ids.sort_unstable();
    graph_ids.dedup();
    let graphs = graph::scene_graphs(&mut connection, &graph_ids).await?;
    drop(connection);
    let conditions: HashMap<Uuid, usize> = graphs.iter().enumerate().map(|(place, graph)| (graph.id, place)).collect();

    let mut images: HashMap<Uuid, ImageInput> = HashMap::with_capacity(origins.len());
    let latents = latents(context, &reference, &origins).await?;
    let mut replayed = 0;
    for (origin, latent) in origins.iter().zip(latents) {
        let seed = path_seed(spec, &reference, settings, origin)?;
        replayed += usize::from(seed.is_some());
        images.insert(origin.id, ImageInput { latent, seed });
    }
    let needs_paths = spec.objective.path().is_some();
    let inverted = if needs_paths { images.len() - replayed } else { 0 };
    let cache_bytes = path_bytes(spec, &reference, settings.num_inference_steps, (replayed, inverted));
    let image = |id: Uuid| images.get(&id).cloned().ok_or_else(|| Error::not_found("candidate", id));
    let pairs = pairs
        .iter()
        .map(|pair| {
            Ok(PairInput {
                condition: *conditions.get(&pair.graph_id).ok_or_else(|| Error::not_found("graph", pair.graph_id))?,
                winner: image(pair.winner_id)?,
                loser: image(pair.loser_id)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Inputs {
        reference,
        sampling: settings,
        graphs: graphs.iter().map(|one| graph_text(&one.graph)).collect(),
        pairs,
        replayed,
        inverted,
        cache_bytes,
    })
}

/// What the paths of so many images take in the cache, replayed ones of `num_inference_steps` and inverted ones.
pub(super) fn path_bytes(
    spec: &JobSpec,
    reference: &Pipeline,
    num_inference_steps: usize,
    (replayed, inverted): (usize, usize),
) -> u64 {
    let parts = spec.objective.parts();
    let inversion_steps = parts.iter().filter_map(|part| part.num_inversion_steps()).max().unwrap_or(0);
    let exact = parts.iter().any(|part| part.reads_step_noises());
    let width = if exact { Precision::Full } else { Precision::Half }.width();
    let state = reference.latent_channels() * reference.latent_size().pow(2) * width;
    ((replayed * (num_inference_steps + 1) + inverted * (inversion_steps + 1)) * state) as u64
}

/// Whether the reference made images of this origin with these very settings, so that their paths follow from their seeds.
pub(super) fn is_replayable(reference: &str, num_inference_steps: usize, guidance_scale: f64, origin: &Origin) -> bool {
    origin.model_hash == reference
        && origin.num_inference_steps as usize == num_inference_steps
        && origin.guidance_scale == guidance_scale
        && origin.sampler == SAMPLER
}

/// The seed, where the reference made the image with these very settings and the objective wants to replay.
fn path_seed(
    spec: &JobSpec,
    reference: &Pipeline,
    settings: SampleSettings,
    origin: &Candidate,
) -> Result<Option<u64>> {
    // Published objectives invert; fresh noise needs no path.
    let path = spec.objective.path().unwrap_or(PathChoice::Inverted);
    let made = Origin {
        model_hash: origin.model_hash.clone(),
        num_inference_steps: origin.num_inference_steps,
        guidance_scale: origin.guidance_scale,
        sampler: origin.sampler.clone(),
        num_images: 1,
    };
    let same = is_replayable(reference.hash(), settings.num_inference_steps, settings.guidance_scale, &made);
    match path {
        PathChoice::Inverted => Ok(None),
        PathChoice::Auto => Ok(same.then_some(origin.seed as u64)),
        PathChoice::Recorded if same => Ok(Some(origin.seed as u64)),
        PathChoice::Recorded => Err(Error::invalid(
            "/objective/path",
            format!(
                "candidate {} was not made by this reference with these steps and guidance: its path cannot be replayed",
                origin.id
            ),
        )),
    }
}

/// Scaled latents, in order: as kept, or encoded from the pixels where none was kept.
async fn latents(context: &TaskContext, reference: &Arc<Pipeline>, origins: &[Candidate]) -> Result<Vec<Vec<f32>>> {
    let (places, keys): (Vec<usize>, Vec<String>) =
        origins.iter().enumerate().filter_map(|(place, origin)| Some((place, origin.latent_blob.clone()?))).unzip();
    let kept = get_blobs(&context.blobs, keys).await?;
    let mut latents: BTreeMap<usize, Vec<f32>> =
        places.into_iter().zip(kept.iter().map(|bytes| sampling::latent_from_bytes(bytes))).collect();
    let without: Vec<usize> = (0..origins.len()).filter(|place| !latents.contains_key(place)).collect();
    if !without.is_empty() {
        let keys: Vec<String> = without.iter().map(|&place| origins[place].image_blob.clone()).collect();
        let (reference, blobs) = (Arc::clone(reference), context.blobs.clone());
        let cache = context.cache();
        let encoded = on_thread(move || encoded(&reference, &blobs, &keys, &cache)).await?;
        latents.extend(without.into_iter().zip(encoded));
    }
    Ok(latents.into_values().collect())
}

/// Latents of the pictures at `keys`; only those that the cache does not have are read.
fn encoded(reference: &Pipeline, blobs: &BlobStore, keys: &[String], cache: &TensorCache) -> Result<Vec<Vec<f32>>> {
    let size = reference.image_size() as u32;
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Handle::current();
    let mut fault = None;
    let mut pixels = |places: &[usize]| {
        let wanted = places.iter().map(|&place| keys[place].clone()).collect();
        let pixels = runtime.block_on(get_blobs(blobs, wanted)).and_then(|files| {
            files.iter().map(|file| Ok(fitted(file, size)?.into_raw())).collect::<Result<Vec<Vec<u8>>>>()
        });
        pixels.map_err(|error| {
            fault = Some(error);
            models::Error::Stopped
        })
    };
    let latents = models::trainer::latents(reference, &names, cache, &mut pixels);
    // What is wrong with a picture says more than that the work stopped.
    match fault {
        Some(error) => Err(error),
        None => Ok(latents?),
    }
}

/// The picture at the model's size: an imported one may have any, and what stands out of a square in its middle is cut.
fn fitted(file: &[u8], size: u32) -> Result<image::RgbImage> {
    let image = sampling::decode_image(file)?;
    if image.dimensions() == (size, size) {
        return Ok(image);
    }
    let filter = image::imageops::FilterType::Lanczos3;
    Ok(image::DynamicImage::from(image).resize_to_fill(size, size, filter).into_rgb8())
}
