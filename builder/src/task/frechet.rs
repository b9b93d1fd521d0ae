//! The Fréchet distance (FID) of a generation's pictures from those of another, or from features that are given.
//!
//! Features are Inception's, of the network that an operator has registered. One that was killed begins again: there is
//! nothing to be had of half a set.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use models::metric_network::{InceptionV3, Pixels};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::queue::{self, Task};
use super::{TaskContext, error_json, get_blobs, on_thread, sampling};
use crate::error::Fault;
use crate::metrics::Mode;
use crate::metrics::frechet::{self, Features};
use crate::scene_graph::sha256_hex;
use crate::store::frechet_distance::{self, FrechetDistance, NewFrechetDistance};
use crate::store::metric_network::{self, MetricNetwork};
use crate::store::{candidate, generation};
use crate::{Error, Result};

/// What an operator may register for it: the network, and features of pictures that are not in the store.
pub const KINDS: [&str; 2] = [INCEPTION, FEATURES];
const INCEPTION: &str = "inception";
const FEATURES: &str = "features";
/// Changes whenever pictures are prepared otherwise.
const VERSION: &str = "1";
/// Pictures that are in memory at a time.
const BATCH: usize = 32;

/// What is compared with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrechetRequest {
    /// Whose pictures.
    pub generation_id: Uuid,
    /// With those of this one,
    pub reference_generation_id: Option<Uuid>,
    /// or with these registered features.
    pub reference_features: Option<String>,
    /// Name of a registered Inception.
    pub network: String,
    /// Which form of the figure.
    pub mode: Mode,
}

/// A registered Inception, opened.
#[derive(Clone)]
pub struct Network {
    /// The network.
    pub inception: Arc<InceptionV3>,
    /// Of its preparation and its weights.
    pub version: String,
}

/// Version of what lies at `path`, one of [`KINDS`]; it is opened to see that it is whole.
///
/// # Errors
/// The file is damaged or of another kind; it and the tensor are named.
pub(crate) fn version_of(kind: &str, path: &Path) -> Result<String> {
    if kind == FEATURES {
        let bytes = fs_err::read(path)?;
        Features::of_file(&path.display().to_string(), &bytes)?;
        return Ok(sha256_hex(&bytes)[..16].to_owned());
    }
    let network = InceptionV3::open(path, &Device::Cpu)?;
    Ok(format!("{VERSION}/{}", &network.content_hash()[..16]))
}

/// Writes a distance down and puts it into the queue.
///
/// # Errors
/// `Invalid`, with every field that is wrong.
pub async fn create(context: &TaskContext, request: &FrechetRequest) -> Result<Uuid> {
    let mut tx = context.pool.begin().await?;
    let mut faults = Vec::new();
    let generations =
        [("/generation_id", Some(request.generation_id)), (REFERENCE_POINTER, request.reference_generation_id)];
    for (pointer, id) in generations {
        if let Some(id) = id
            && generation::find(&mut tx, id).await?.is_none()
        {
            faults.push(Fault::new(pointer, format!("there is no generation {id}")));
        }
    }
    match (&request.reference_generation_id, &request.reference_features) {
        (None, None) => faults.push(Fault::new(REFERENCE_POINTER, "is missing, and so is reference_features")),
        (Some(_), Some(_)) => {
            faults.push(Fault::new(
                "/reference_features",
                "goes without reference_generation_id: it is one or the other",
            ));
        }
        (None, Some(name)) => {
            let found = registered(&mut tx, FEATURES, name, "/reference_features").await;
            faults.extend(found.err().map(faults_of).transpose()?.into_iter().flatten());
        }
        (Some(_), None) => {}
    }
    let network = match registered(&mut tx, INCEPTION, &request.network, "/network").await {
        Ok(row) => Some(row),
        Err(error) => {
            faults.extend(faults_of(error)?);
            None
        }
    };
    let Some(network) = network.filter(|_| faults.is_empty()) else { return Err(Error::Invalid(faults)) };
    let new = NewFrechetDistance {
        generation_id: request.generation_id,
        reference_generation_id: request.reference_generation_id,
        reference_features: request.reference_features.clone(),
        network: request.network.clone(),
        network_version: network.version,
        mode: request.mode.as_str().to_owned(),
    };
    let id = frechet_distance::insert(&mut tx, &new).await?;
    queue::enqueue(&mut tx, Task::Frechet(id)).await?;
    tx.commit().await?;
    Ok(id)
}

const REFERENCE_POINTER: &str = "/reference_generation_id";

/// The faults that an error names; another error stays one.
fn faults_of(error: Error) -> Result<Vec<Fault>> {
    match error {
        Error::Invalid(faults) => Ok(faults),
        other => Err(other),
    }
}

async fn registered(connection: &mut PgConnection, kind: &str, name: &str, pointer: &str) -> Result<MetricNetwork> {
    match metric_network::find(connection, name).await? {
        Some(row) if row.scorer == kind => Ok(row),
        Some(row) => Err(Error::invalid(pointer, format!("{name} is registered as {}, not as {kind}", row.scorer))),
        None => {
            let message = format!("nothing is registered as {name} (`diptych model register --scorer {kind}`)");
            Err(Error::invalid(pointer, message))
        }
    }
}

/// Opens the Inception that is registered as `name`.
///
/// # Errors
/// `Invalid` at `/network` where there is none; `Conflict` when its file now holds other weights.
pub async fn network(context: &TaskContext, name: &str) -> Result<Network> {
    let row = registered(&mut *context.pool.acquire().await?, INCEPTION, name, "/network").await?;
    let device = context.models.device().clone();
    on_thread(move || {
        let inception = Arc::new(InceptionV3::open(Path::new(&row.path), &device)?);
        let version = format!("{VERSION}/{}", &inception.content_hash()[..16]);
        if version != row.version {
            return Err(changed(&row, &version));
        }
        Ok(Network { inception, version })
    })
    .await
}

fn changed(row: &MetricNetwork, found: &str) -> Error {
    let message = format!("{} gives version {found}, {} was registered as {}", row.path, row.version, row.name);
    Error::conflict("model_changed", message)
}

/// The features that are registered as `name`.
///
/// # Errors
/// As [`network`], at `/reference_features`.
pub async fn registered_features(context: &TaskContext, name: &str) -> Result<Features> {
    let row = registered(&mut *context.pool.acquire().await?, FEATURES, name, "/reference_features").await?;
    on_thread(move || {
        let bytes = fs_err::read(&row.path)?;
        let found = &sha256_hex(&bytes)[..16];
        if found != row.version {
            return Err(changed(&row, found));
        }
        Features::of_file(&row.name, &bytes)
    })
    .await
}

/// Inception's features of every picture of a generation, by graph and index, some at a time.
pub struct Gathering {
    generation_id: Uuid,
    blobs: Vec<String>,
    values: Vec<f64>,
    done: usize,
}

impl Gathering {
    /// Makes ready to look at the pictures of a generation.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn new(context: &TaskContext, generation_id: Uuid) -> Result<Self> {
        let blobs = candidate::image_blobs(&mut *context.pool.acquire().await?, generation_id).await?;
        Ok(Self { generation_id, blobs, values: Vec::new(), done: 0 })
    }

    /// Pictures looked at, and how many there are.
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.blobs.len())
    }

    /// Looks at some more; false once there are no more.
    ///
    /// # Errors
    /// A picture cannot be read (one that is left out would change the distance without a word), or the process stops.
    pub async fn step(&mut self, context: &TaskContext, network: &Network) -> Result<bool> {
        context.check_shutdown()?;
        let batch: Vec<String> = self.blobs[self.done..].iter().take(BATCH).cloned().collect();
        if batch.is_empty() {
            return Ok(false);
        }
        self.done += batch.len();
        let files = get_blobs(&context.blobs, batch).await?;
        let inception = Arc::clone(&network.inception);
        let rows = on_thread(move || {
            let pixels = |file: &bytes::Bytes| {
                let image = sampling::decode_image(file)?;
                Ok(Pixels::new(image.width() as usize, image.height() as usize, image.into_raw())?)
            };
            let pictures = files.iter().map(pixels).collect::<Result<Vec<_>>>()?;
            Ok(models::metric_network::clip_model::rows(&inception.features(&pictures)?)?)
        })
        .await?;
        self.values.extend(rows.into_iter().flatten());
        Ok(true)
    }

    /// The features.
    ///
    /// # Errors
    /// There are fewer than two pictures.
    pub fn finish(self) -> Result<Features> {
        let columns = self.values.len().checked_div(self.done).unwrap_or(1);
        Features::new(&format!("generation {}", self.generation_id), self.done, columns, self.values)
    }
}

/// Computes the distance `id`.
pub async fn run(context: &TaskContext, id: Uuid) -> Result<()> {
    let mut connection = context.pool.acquire().await?;
    let Some(row) = frechet_distance::find(&mut connection, id).await? else {
        return Ok(()); // deleted while it waited
    };
    if row.state.is_final() {
        return Ok(());
    }
    let mut total = candidate::count(&mut connection, Some(row.generation_id)).await?;
    if let Some(reference) = row.reference_generation_id {
        total += candidate::count(&mut connection, Some(reference)).await?;
    }
    frechet_distance::start(&mut connection, id, total).await?;
    drop(connection);
    let network = network(context, &row.network).await?;
    if network.version != row.network_version {
        let message = format!("{} is now {}; {} was asked for", row.network, network.version, row.network_version);
        return Err(Error::conflict("model_changed", message));
    }
    let a = looked_at(context, &network, &row, row.generation_id, 0).await?;
    let b = match (row.reference_generation_id, &row.reference_features) {
        (Some(reference), _) => looked_at(context, &network, &row, reference, a.num_rows()).await?,
        (None, Some(name)) => registered_features(context, name).await?,
        (None, None) => return Err(Error::not_found("reference", id)),
    };
    let mode = row.mode.parse().map_err(|message| Error::Row { table: "frechet_distance", column: "mode", message })?;
    let found = on_thread(move || frechet::distance(&a, &b, mode)).await?;
    let result = json!({
        "distance": found.distance, "num_images": found.num_a, "num_reference": found.num_b,
        "dimensions": found.dimensions,
    });
    frechet_distance::succeed(&mut *context.pool.acquire().await?, id, &result).await
}

async fn looked_at(
    context: &TaskContext,
    network: &Network,
    row: &FrechetDistance,
    generation_id: Uuid,
    before: usize,
) -> Result<Features> {
    let mut gathering = Gathering::new(context, generation_id).await?;
    while gathering.step(context, network).await? {
        let done = (before + gathering.progress().0) as i64;
        frechet_distance::set_done(&mut *context.pool.acquire().await?, row.id, done).await?;
    }
    gathering.finish()
}

/// Writes down that the distance cannot be computed.
pub async fn fail(context: &TaskContext, id: Uuid, error: &Error) -> Result<()> {
    frechet_distance::fail(&mut *context.pool.acquire().await?, id, &error_json(error)).await?;
    Ok(())
}
