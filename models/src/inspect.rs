//! What a model folder holds, found without reading its weights.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::model_folder::{ModelFolder, Which};
use crate::weights::read_json;
use crate::{Error, Result};

/// A folder's components.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Class in `model_index.json`, or what the components look like.
    pub pipeline: String,
    /// Parameters of all components.
    pub parameters: u64,
    /// In the order of their use.
    pub components: Vec<Component>,
    /// Components that a pipeline of this kind has and this folder has not.
    pub missing: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Component {
    /// Name of its folder.
    pub name: String,
    /// Class of diffusers or transformers.
    pub class: String,
    /// Values in all its tensors; none for tokenizers and schedulers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Types of its tensors: `F32`, `F16`, `BF16`.
    pub precision: Vec<String>,
    /// Names of its weight files.
    pub files: Vec<String>,
    /// Tensors that are missing, unknown or misshaped, or what else is wrong.
    pub faults: Vec<String>,
}

impl Report {
    /// Whether nothing is missing and everything fits.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.components.iter().all(|component| component.faults.is_empty())
    }
}

const NETWORKS: [&str; 5] = ["text_encoder", "text_encoder_2", "scene_graph_encoder", "unet", "vae"];

/// Looks into a folder.
///
/// # Errors
/// There is no such folder, or nothing in it is a component. What is wrong with a component is in the report.
pub fn folder(path: &Path) -> Result<Report> {
    let folder = ModelFolder::open(path)?;
    let index_file = path.join("model_index.json");
    let index: Option<Value> = if index_file.exists() { Some(read_json(&index_file)?) } else { None };
    let listed = |name: &str| index.as_ref().and_then(|index| index.get(name)).is_some_and(|value| !value[1].is_null());
    let there = |name: &str| path.join(name).is_dir();

    let mut components = Vec::new();
    for which in [Which::First, Which::Second] {
        if there(which.tokenizer()) {
            let fault = folder.tokenizer(which).err().map(|error| error.to_string());
            components.push(Component::small(which.tokenizer(), "CLIPTokenizer".to_owned(), fault));
        }
    }
    components.extend(NETWORKS.into_iter().filter(|name| there(name)).map(|name| network(&folder, name)));
    if there("scheduler") {
        let (class, fault) = match folder.schedule() {
            Ok(schedule) => (schedule.config().class_name.clone(), None),
            Err(error) => (String::new(), Some(error.to_string())),
        };
        components.push(Component::small("scheduler", class, fault));
    }
    if components.is_empty() {
        return Err(Error::Invalid(format!("{}: holds no component of a model in diffusers' layout", path.display())));
    }

    let two = there("text_encoder_2") || listed("text_encoder_2") || asks_for_text_time(&folder);
    let mut expected: BTreeSet<&str> = ["tokenizer", "text_encoder", "unet", "vae", "scheduler"].into();
    if two {
        expected.extend(["tokenizer_2", "text_encoder_2"]);
    }
    expected.extend(NETWORKS.into_iter().filter(|name| listed(name)));
    let mut missing: Vec<String> = expected.into_iter().filter(|name| !there(name)).map(str::to_owned).collect();
    let class = index.as_ref().and_then(|index| index.get("_class_name")).and_then(Value::as_str);
    let pipeline = if let Some(class) = class {
        class.to_owned()
    } else {
        missing.push("model_index.json".to_owned());
        if two { "StableDiffusionXLPipeline" } else { "StableDiffusionPipeline" }.to_owned()
    };
    let parameters = components.iter().filter_map(|component| component.parameters).sum();
    Ok(Report { pipeline, parameters, components, missing })
}

fn asks_for_text_time(folder: &ModelFolder) -> bool {
    folder.has("unet") && folder.unet_config().is_ok_and(|config| config.addition_embed_type.is_some())
}

fn network(folder: &ModelFolder, name: &str) -> Component {
    let config: Result<Value> = read_json(&folder.path().join(name).join("config.json"));
    let class = match &config {
        Ok(config) => config
            .get("_class_name")
            .or_else(|| config.get("architectures").and_then(|names| names.get(0)))
            .and_then(Value::as_str)
            .unwrap_or(match name {
                "text_encoder" => "CLIPTextModel",
                "text_encoder_2" => "CLIPTextModelWithProjection",
                "scene_graph_encoder" => "SceneGraphEncoder",
                "unet" => "UNet2DConditionModel",
                _ => "AutoencoderKL",
            })
            .to_owned(),
        Err(_) => String::new(),
    };
    let mut component = Component::small(name, class, None);
    match folder.layout(name) {
        Err(error) => component.faults.push(error.to_string()),
        Ok((layout, files)) => {
            let mut types = BTreeSet::new();
            let mut parameters = 0;
            for (_, entry) in files.entries().filter(|(_, entry)| entry.is_float()) {
                types.insert(entry.dtype.clone());
                parameters += entry.count() as u64;
            }
            component.parameters = Some(parameters);
            component.precision = types.into_iter().collect();
            component.files = files
                .paths()
                .into_iter()
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect();
            component.faults =
                files.faults(&layout).into_iter().map(|(tensor, message)| format!("`{tensor}`: {message}")).collect();
        }
    }
    component
}

impl Component {
    fn small(name: &str, class: String, fault: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            class,
            parameters: None,
            precision: Vec::new(),
            files: Vec::new(),
            faults: fault.into_iter().collect(),
        }
    }
}
