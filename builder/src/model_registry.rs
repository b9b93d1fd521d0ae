//! Models by name, folder or hash, each loaded once a process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device};
use models::pipeline::Pipeline;
use sqlx::PgConnection;

use crate::scorer::NetworkFiles;
use crate::store::model;
use crate::task::on_thread;
use crate::task::score::{self, Scorer};
use crate::{Error, Result};

/// The name of the model that comes with Diptych.
pub const DEFAULT_MODEL: &str = "tiny";

/// Cheap to clone; clones share what is loaded.
#[derive(Clone)]
pub struct ModelRegistry {
    inner: Arc<Inner>,
}

/// Where models compute, and in what.
#[derive(Clone, Debug)]
pub struct Compute {
    /// Of all networks.
    pub device: Device,
    /// Of pipelines; networks that judge images compute in f32.
    pub dtype: DType,
}

impl Default for Compute {
    fn default() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32 }
    }
}

struct Inner {
    default_folder: PathBuf,
    compute: Compute,
    // By folder. A hash is looked up in the store, which knows the folder.
    loaded: Mutex<HashMap<PathBuf, Arc<Pipeline>>>,
    // Networks that judge images, by the version of their scorer.
    networks: Mutex<HashMap<String, Scorer>>,
}

impl std::fmt::Debug for ModelRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelRegistry").field("default_folder", &self.inner.default_folder).finish_non_exhaustive()
    }
}

impl ModelRegistry {
    /// `default_folder` holds the model named [`DEFAULT_MODEL`], in diffusers layout.
    pub fn new(default_folder: PathBuf, compute: Compute) -> Self {
        let (loaded, networks) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { default_folder, compute, loaded, networks }) }
    }

    /// Where networks compute.
    pub(crate) fn device(&self) -> &Device {
        &self.inner.compute.device
    }

    /// Loads the model `name` (a name, the hash of a known one, or the path of a folder in diffusers layout) and makes it
    /// known to the store.
    pub async fn by_name(&self, connection: &mut PgConnection, name: Option<&str>) -> Result<Arc<Pipeline>> {
        let name = name.unwrap_or(DEFAULT_MODEL);
        let folder = if name == DEFAULT_MODEL {
            self.inner.default_folder.clone()
        } else if let Some(row) = model::find_by_name(connection, name).await? {
            PathBuf::from(row.path)
        } else if model::find(connection, name).await?.is_some() {
            return self.by_hash(connection, name).await;
        } else {
            PathBuf::from(name)
        };
        if !folder.join("model_index.json").exists() {
            return Err(Error::not_found("model", name));
        }
        let pipeline = self.load(folder.clone()).await?;
        let config = serde_json::json!({ "image_size": pipeline.image_size() });
        model::upsert(connection, pipeline.hash(), name, &folder.display().to_string(), &config).await?;
        Ok(pipeline)
    }

    /// The model with this hash, which the store must know.
    ///
    /// # Errors
    /// `NotFound` when nothing has this hash; `Conflict` when its folder now holds other weights.
    pub async fn by_hash(&self, connection: &mut PgConnection, hash: &str) -> Result<Arc<Pipeline>> {
        let folder = self.folder(connection, hash).await?;
        let pipeline = self.load(folder.clone()).await?;
        if pipeline.hash() == hash {
            return Ok(pipeline);
        }
        Err(Error::conflict(
            "model_changed",
            format!(
                "the folder {} holds other weights ({}) than the model {hash} had",
                folder.display(),
                pipeline.hash()
            ),
        ))
    }

    /// Where the model with this hash lies.
    ///
    /// # Errors
    /// `NotFound` when nothing has this hash.
    pub async fn folder(&self, connection: &mut PgConnection, hash: &str) -> Result<PathBuf> {
        let row = model::find(connection, hash).await?.ok_or_else(|| Error::not_found("model", hash))?;
        // The default model moves with the installation; the row may name where it was.
        Ok(if row.name == DEFAULT_MODEL { self.inner.default_folder.clone() } else { PathBuf::from(&row.path) })
    }

    /// The scorer `name` of this version, made of the network in `files`.
    ///
    /// # Errors
    /// `Conflict` when the files hold another network than the one that was registered.
    pub(crate) fn network(&self, name: &str, version: &str, files: &NetworkFiles) -> Result<Scorer> {
        // Held while loading: two tasks that want the same network wait for one load.
        let mut networks = self.inner.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{name} {version}");
        if let Some(scorer) = networks.get(&key) {
            return Ok(scorer.clone());
        }
        let scorer = score::load(name, files, self.device())?;
        let found = scorer.network_version();
        if found != version {
            let folder = files.folder.display();
            let message = format!("the folder {folder} gives version {found} of {name}, {version} was registered");
            return Err(Error::conflict("model_changed", message));
        }
        networks.insert(key, scorer.clone());
        Ok(scorer)
    }

    async fn load(&self, folder: PathBuf) -> Result<Arc<Pipeline>> {
        let registry = self.clone();
        on_thread(move || registry.load_now(&folder)).await
    }

    fn load_now(&self, folder: &Path) -> Result<Arc<Pipeline>> {
        // Held while loading: two tasks that want the same model wait for one load.
        let mut loaded = self.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = loaded.get(folder) {
            return Ok(Arc::clone(pipeline));
        }
        let Compute { device, dtype } = &self.inner.compute;
        let pipeline = Arc::new(Pipeline::load_in(folder, *dtype, device)?);
        tracing::info!(folder = %folder.display(), hash = pipeline.hash(), "model loaded");
        loaded.insert(folder.to_path_buf(), Arc::clone(&pipeline));
        Ok(pipeline)
    }
}
