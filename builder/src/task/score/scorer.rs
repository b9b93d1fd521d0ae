//! Scorers by the names that requests use.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use sqlx::PgConnection;

use crate::answer::Answerer;
use crate::answer::blip_vqa::BlipVqaAnswerer;
use crate::answer::openai::OpenAiAnswerer;
use crate::answer::shapes::ShapesAnswerer;
use crate::detect::{Detector, DetectorSettings, HttpDetector, ShapesDetector};
use crate::endpoint::chat::{OpenAiSettings, Spent};
use crate::extract::{OpenAiExtractor, Vocabulary};
use crate::score::{self, detections};
use crate::scorer::{BoxScorer, GRAPH_METRICS, GraphScorer, ImageScorer, NetworkFiles, NetworkScorer};
use crate::store::metric_network::{self, MetricNetwork};
use crate::task::{TaskContext, frechet, on_thread};
use crate::{Error, Result};

/// Who can score candidates in the store. `human` are people's votes.
pub const SCORERS: [&str; 10] = [
    "shapes",
    "openai",
    "blip-vqa",
    "clip-score",
    "pick-score",
    "aesthetic",
    "shapes-boxes",
    "http-boxes",
    "openai-graph",
    HUMAN,
];
/// The scorer whose scores are people's votes.
pub const HUMAN: &str = "human";
/// Version of how votes become scores.
pub(super) const HUMAN_VERSION: &str = "1";
/// Answers that were given are kept in this file of the data folder.
const OPENAI_CACHE: &str = "openai-answers.jsonl";
/// The same of a detector's boxes.
const DETECTOR_CACHE: &str = "detector-boxes.jsonl";
/// The same of graphs that were read.
const GRAPH_CACHE: &str = "openai-graphs.jsonl";

/// Who scores.
#[derive(Clone)]
pub(crate) enum Scorer {
    /// Somebody who answers questions.
    Answers(Arc<dyn Answerer>),
    /// Somebody who needs none.
    Pictures(Arc<dyn ImageScorer>),
}

impl Scorer {
    /// Of its scores.
    pub(crate) fn version(&self) -> String {
        match self {
            Self::Answers(answerer) => answering_version(answerer.version()),
            Self::Pictures(scorer) => scorer.version().to_owned(),
        }
    }

    /// Of who judges, whatever is computed from it: what a registered network is known by.
    pub(crate) fn network_version(&self) -> &str {
        match self {
            Self::Answers(answerer) => answerer.version(),
            Self::Pictures(scorer) => scorer.version(),
        }
    }

    /// What was spent so far on whoever is asked over the network.
    pub(crate) fn spent(&self) -> Option<Spent> {
        match self {
            Self::Answers(answerer) => answerer.spent(),
            Self::Pictures(scorer) => scorer.spent(),
        }
    }
}

/// Version of the scores that follow from what an answerer says to our questions.
pub(crate) fn answering_version(answerer_version: &str) -> String {
    score::scorer_version(&score::answers_version(answerer_version))
}

/// Who answers questions, of those who need no registered network.
///
/// # Errors
/// Nobody has this name, or the environment does not say where to ask.
pub fn answerer(name: &str) -> Result<Arc<dyn Answerer>> {
    match name {
        "shapes" => Ok(Arc::new(ShapesAnswerer::default())),
        "openai" => Ok(Arc::new(OpenAiAnswerer::new(OpenAiSettings::from_environment(name)?)?)),
        _ => Err(Error::not_found("scorer", name)),
    }
}

/// As [`answerer`]; what was answered once is kept in the data folder, and never asked again by the same repetition.
pub(crate) fn keeping_answerer(context: &TaskContext, name: &str, repetition: u32) -> Result<Arc<dyn Answerer>> {
    if name != "openai" {
        return answerer(name);
    }
    Ok(Arc::new(OpenAiAnswerer::new(openai(context, name, OPENAI_CACHE, repetition)?)?))
}

/// The endpoint of the environment, with a file of replies.
fn openai(context: &TaskContext, scorer: &str, cache: &str, repetition: u32) -> Result<OpenAiSettings> {
    let mut settings = OpenAiSettings::from_environment(scorer)?.with_cache(cache_file(context, cache)?);
    settings.repetition = repetition;
    Ok(settings)
}

fn cache_file(context: &TaskContext, name: &str) -> Result<std::path::PathBuf> {
    let folder = context.data.join("cache");
    fs_err::create_dir_all(&folder)?;
    Ok(folder.join(name))
}

/// The metrics that the scorer `name` writes.
pub(crate) fn metrics_of(name: &str) -> Vec<String> {
    let metrics: &[&str] = match name {
        "clip-score" => &["clip_score"],
        "pick-score" => &["pick_score"],
        "aesthetic" => &["aesthetic"],
        "shapes-boxes" | "http-boxes" => &detections::METRICS,
        "openai-graph" => &GRAPH_METRICS,
        HUMAN => &[crate::vote::METRIC],
        _ => &score::METRICS,
    };
    metrics.iter().map(|&metric| metric.to_owned()).collect()
}

/// Whether the scorer `name` is made of a registered network.
pub fn needs_network(name: &str) -> bool {
    name == "blip-vqa" || NetworkScorer::NAMES.contains(&name)
}

/// Whether files are registered for `name`: a scorer that is made of a network, or what Fréchet distances need.
pub fn is_registrable(name: &str) -> bool {
    needs_network(name) || frechet::KINDS.contains(&name)
}

/// The version that a run of `name` will have, without loading a network.
///
/// # Errors
/// `Invalid` at the field that is wrong.
pub(crate) async fn version_of(
    context: &TaskContext,
    connection: &mut PgConnection,
    name: &str,
    network: Option<&str>,
) -> Result<String> {
    if name == HUMAN {
        return Ok(HUMAN_VERSION.to_owned());
    }
    if needs_network(name) {
        let version = registered(connection, name, network).await?.version;
        // Another formula leaves a registered network what it is.
        return Ok(if name == "blip-vqa" { answering_version(&version) } else { version });
    }
    if network.is_some() {
        return Err(Error::invalid("/network", format!("the scorer {name} needs no network")));
    }
    open(context, connection, name, None, 1).await.map(|scorer| scorer.version())
}

/// The network that a run of `name` uses.
async fn registered(connection: &mut PgConnection, name: &str, network: Option<&str>) -> Result<MetricNetwork> {
    let Some(network) = network else {
        let message = format!("the scorer {name} needs a registered network (`diptych model register`)");
        return Err(Error::invalid("/network", message));
    };
    match metric_network::find(connection, network).await? {
        Some(row) if row.scorer == name => Ok(row),
        Some(row) => Err(Error::invalid("/network", format!("{network} is registered for the scorer {}", row.scorer))),
        None => Err(Error::invalid("/network", format!("no network is registered as {network}"))),
    }
}

/// Opens the scorer `name`.
pub(crate) async fn open(
    context: &TaskContext,
    connection: &mut PgConnection,
    name: &str,
    network: Option<&str>,
    repetition: u32,
) -> Result<Scorer> {
    if needs_network(name) {
        let row = registered(connection, name, network).await?;
        let models = context.models.clone();
        return on_thread(move || models.network(&row.scorer, &row.version, &row.files())).await;
    }
    let boxes = |detector: Arc<dyn Detector>| Scorer::Pictures(Arc::new(BoxScorer::new(detector)));
    Ok(match name {
        "shapes-boxes" => boxes(Arc::new(ShapesDetector::default())),
        "http-boxes" => {
            let mut settings = DetectorSettings::from_environment()?;
            settings.patience.cache = Some(cache_file(context, DETECTOR_CACHE)?);
            boxes(Arc::new(HttpDetector::new(settings)?))
        }
        "openai-graph" => {
            let settings = openai(context, name, GRAPH_CACHE, repetition)?;
            let extractor = OpenAiExtractor::new(settings, Vocabulary::Open)?;
            Scorer::Pictures(Arc::new(GraphScorer::new(Arc::new(extractor))))
        }
        _ => Scorer::Answers(keeping_answerer(context, name, repetition)?),
    })
}

/// Loads the network of a scorer from its files.
///
/// # Errors
/// As [`NetworkScorer::open`] and [`BlipVqaAnswerer::open`].
pub(crate) fn load(name: &str, files: &NetworkFiles, device: &Device) -> Result<Scorer> {
    if name == "blip-vqa" {
        return Ok(Scorer::Answers(Arc::new(BlipVqaAnswerer::open(&files.folder, device)?)));
    }
    Ok(Scorer::Pictures(Arc::new(NetworkScorer::open(name, files, device)?)))
}

/// Registers the network in `files` as `network`, for runs of the scorer `name` (or for Fréchet distances,
/// [`frechet::KINDS`]); its version.
///
/// # Errors
/// `Invalid` for a scorer without a network or a name that is none; as [`load`].
pub async fn register(context: &TaskContext, network: &str, name: &str, files: NetworkFiles) -> Result<String> {
    if !is_registrable(name) {
        return Err(Error::invalid("/scorer", format!("the scorer {name} is made of no network")));
    }
    if network.trim().is_empty() || network.contains('\0') {
        return Err(Error::invalid("/name", "is a text that is not empty"));
    }
    let absolute = |path: &Path| std::path::absolute(path);
    let files = NetworkFiles {
        folder: absolute(&files.folder)?,
        processor: files.processor.as_deref().map(absolute).transpose()?,
        head: files.head.as_deref().map(absolute).transpose()?,
    };
    let (scorer, place, device) = (name.to_owned(), files.clone(), context.models.device().clone());
    let version = on_thread(move || {
        if frechet::KINDS.contains(&scorer.as_str()) {
            return frechet::version_of(&scorer, &place.folder);
        }
        Ok(load(&scorer, &place, &device)?.network_version().to_owned())
    })
    .await?;
    metric_network::upsert(&mut *context.pool.acquire().await?, network, name, &files, &version).await?;
    Ok(version)
}
