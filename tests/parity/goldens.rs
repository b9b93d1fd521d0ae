//! Every network of every golden folder, through the code of `diptych model run`.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use models::model_folder::Which;
use models::run::{Inputs, Network, Settings, Steps, run};
use models::scene_graph_encoder::GraphText;
use models::scheduler::InverseLabel;
use models::vae::TileSize;
use models::weights::{SafetensorsFile, TensorMap, read_file, read_json, write_file};
use serde::Deserialize;

use super::{golden, root};

/// Largest difference of an output, in shares of its largest value.
const OUTPUT: f64 = 1e-4;
/// The same at the end of, or along, many steps.
const PATH: f64 = 1e-3;
/// Norm of a gradient's difference, in shares of its norm.
const GRADIENT: f64 = 1e-3;
/// Largest difference of an output in bf16.
const HALF: f64 = 2e-2;

#[derive(Deserialize)]
struct Index {
    /// Folder of the model, from the root of the repository.
    model: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    network: String,
    #[serde(default)]
    gradients: bool,
    #[serde(skip)]
    checkpointing: bool,
    #[serde(default)]
    steps: usize,
    #[serde(default)]
    guidance: f64,
    label: Option<InverseLabel>,
    graph: Option<GraphText>,
    /// The VAE works in tiles of the size that its configuration has.
    #[serde(default)]
    tiled: bool,
    /// A file of adapters beside the cases.
    lora: Option<String>,
}

impl Case {
    fn network(&self) -> Network {
        let steps = Steps { num_inference_steps: self.steps, guidance_scale: self.guidance };
        match self.network.as_str() {
            "unet" => Network::Unet { gradients: self.gradients, checkpointing: self.checkpointing },
            "vae_encode" => Network::VaeEncode,
            "vae_decode" => Network::VaeDecode,
            "text_encoder" => Network::TextEncoder(Which::First),
            "text_encoder_2" => Network::TextEncoder(Which::Second),
            "ddim_sample" => Network::DdimSample(steps),
            "ddim_invert" => Network::DdimInvert(steps, self.label.unwrap_or_default()),
            "euler_sample" => Network::EulerSample(steps),
            "scene_graph_encoder" => Network::SceneGraphEncoder(self.graph.clone().expect("a graph")),
            other => panic!("unknown network {other}"),
        }
    }

    fn bound(&self) -> f64 {
        if self.steps > 0 { PATH } else { OUTPUT }
    }
}

/// Runs a case of a folder: what came out, and what should have.
fn run_case(folder: &Path, model: &Path, case: &Case, dtype: DType) -> (TensorMap, TensorMap) {
    let file = |part: &str| folder.join(format!("{}.{part}.safetensors", case.name));
    let inputs = Inputs::read(&file("in")).unwrap();
    let settings = Settings {
        dtype,
        vae_tile: case.tiled.then_some(TileSize::OfConfig),
        lora: case.lora.as_ref().map(|file| folder.join(file)),
        ..Settings::cpu()
    };
    let outcome = run(&case.network(), model, &inputs, &settings)
        .unwrap_or_else(|error| panic!("{}/{}: {error}", folder.display(), case.name));
    let mut expected = SafetensorsFile::open(&file("out")).unwrap();
    let names: Vec<String> = expected.entries().keys().cloned().collect();
    let expected =
        names.into_iter().map(|name| (name.clone(), expected.read(&name, None, &Device::Cpu).unwrap())).collect();
    (outcome.tensors, expected)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Fails with the place of the largest difference where it is beyond `bound` times the scale.
fn assert_close(what: &str, got: &Tensor, expected: &Tensor, bound: f64) {
    assert_eq!(got.dims(), expected.dims(), "{what}: shape");
    let (got, expected) = (values(got), values(expected));
    let scale = expected.iter().fold(0., |largest: f64, v| largest.max(v.abs()));
    let differences = got.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let (index, largest) =
        differences.enumerate().fold((0, 0.), |most, one| if one.1 > most.1 || one.1.is_nan() { one } else { most });
    assert!(
        largest <= bound * scale,
        "{what}[{index}] is {}, not {}: {largest:e} of a scale of {scale}",
        got[index],
        expected[index]
    );
}

fn assert_gradient_close(what: &str, got: &Tensor, expected: &Tensor, of_sample: f64) {
    assert_eq!(got.dims(), expected.dims(), "{what}: shape");
    let (got, expected) = (values(got), values(expected));
    let whole = norm(expected.iter().copied());
    let difference = norm(got.iter().zip(&expected).map(|(a, b)| a - b));
    // What is left of the gradient of a bias that a norm takes out again is rounding.
    let rounding = 1e-5 * of_sample;
    let bound = if whole < rounding { rounding } else { GRADIENT * whole };
    assert!(difference <= bound, "{what}: off by {difference:e} of {whole:e}");
}

fn check(name: &str) {
    let index: Index = read_json(&golden(name).join("cases.json")).unwrap();
    let model = root(&index.model);
    check_on(name, &model, &index);
}

fn check_on(name: &str, model: &Path, index: &Index) {
    let folder = golden(name);
    assert!(index.cases.len() >= if name.starts_with("lora") { 3 } else { 7 }, "{name}: {}", index.cases.len());
    for case in &index.cases {
        let (got, expected) = run_case(&folder, model, case, DType::F32);
        // Of the embedded model not every gradient is kept.
        let whole = name != "tiny" || !case.gradients;
        assert!(!whole || got.keys().eq(expected.keys()), "{name}/{}: other tensors than expected", case.name);
        let of_sample = expected.get("grad.sample").map_or(0., |tensor| norm(values(tensor)));
        for (tensor, expected) in &expected {
            let what = format!("{name}/{}/{tensor}", case.name);
            let got = got.get(tensor).unwrap_or_else(|| panic!("{what} is missing"));
            if tensor.starts_with("grad.") {
                assert_gradient_close(&what, got, expected, of_sample);
            } else {
                assert_close(&what, got, expected, case.bound());
            }
        }
    }
}

#[test]
fn sdxl_with_a_scene_graph_encoder() {
    check("sdxl");
}

#[test]
fn sd15_with_old_names_in_bf16() {
    check("sd15");
}

/// Blocks that are computed again give the gradients of the reference, too.
#[test]
fn checkpointed_gradients_are_the_same() {
    for name in ["sdxl", "sd15", "velocity", "variant"] {
        let mut index: Index = read_json(&golden(name).join("cases.json")).unwrap();
        index.cases.iter_mut().for_each(|case| case.checkpointing = case.gradients);
        assert!(index.cases.iter().any(|case| case.checkpointing));
        check_on(name, &root(&index.model), &index);
    }
}

#[test]
fn velocity_from_pure_noise_in_shards() {
    check("velocity");
}

#[test]
fn half_precision_variant() {
    check("variant");
}

#[test]
fn clipped_estimates_and_tiles() {
    check("clipped");
}

#[test]
fn adapters_of_linear_layers() {
    check("lora_xl");
}

#[test]
fn adapters_of_projections_by_convolution() {
    check("lora_sd");
}

/// What torch's data-parallel wrapper saved, as the published scene-graph encoder of SDXL-SG is.
#[test]
fn names_below_module_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let model = golden("sdxl/model");
    for part in ["tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "scene_graph_encoder"] {
        fs_err::create_dir_all(dir.path().join(part)).unwrap();
        for entry in fs_err::read_dir(model.join(part)).unwrap() {
            let file = entry.unwrap().path();
            fs_err::copy(&file, dir.path().join(part).join(file.file_name().unwrap())).unwrap();
        }
    }
    let weights = dir.path().join("scene_graph_encoder/model.safetensors");
    let renamed = read_file(&weights, DType::F32, &Device::Cpu).unwrap();
    let renamed = renamed.into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor)).collect();
    write_file(&weights, &renamed, DType::F32).unwrap();
    let index: Index = read_json(&golden("sdxl/cases.json")).unwrap();
    let case = index.cases.iter().find(|case| case.graph.is_some()).unwrap();
    let (got, expected) = run_case(&golden("sdxl"), dir.path(), case, DType::F32);
    for (tensor, expected) in &expected {
        assert_close(&format!("module./{tensor}"), &got[tensor], expected, OUTPUT);
    }
}

#[test]
fn single_file_of_sd15() {
    check("original_sd15");
}

#[test]
fn single_file_of_sdxl() {
    check("original_xl");
}

/// Goldens that are made anew with each training of the embedded model: `make_goldens.py tiny`.
#[test]
fn every_golden_folder_is_checked() {
    let mut names: Vec<String> = fs_err::read_dir(golden(""))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    if names.iter().any(|name| name == "tiny") {
        check("tiny");
    }
    // These have tests of their own: `lora.rs` and `metric_network.rs`.
    names.retain(|name| !["tiny", "lora_forms", "metric_network"].contains(&name.as_str()));
    assert_eq!(
        names,
        ["clipped", "lora_sd", "lora_xl", "original_sd15", "original_xl", "sd15", "sdxl", "variant", "velocity"]
    );
}

#[test]
fn half_precision_stays_near() {
    for name in ["sdxl", "sd15"] {
        let folder = golden(name);
        let index: Index = read_json(&folder.join("cases.json")).unwrap();
        for case in
            index.cases.iter().filter(|case| ["unet", "vae_decode", "text_encoder"].contains(&case.name.as_str()))
        {
            let case = Case {
                gradients: false,
                graph: None,
                lora: None,
                name: case.name.clone(),
                network: case.network.clone(),
                ..*case
            };
            let (got, expected) = run_case(&folder, &root(&index.model), &case, DType::BF16);
            for (tensor, got) in &got {
                assert_close(&format!("{name}/{}/{tensor} in bf16", case.name), got, &expected[tensor], HALF);
            }
        }
    }
}

/// What one image gives does not depend on the other in the batch, nor on the number of threads.
#[test]
fn a_batch_is_its_images() {
    let folder = golden("sdxl");
    let inputs = folder.join("unet.in.safetensors");
    let all = models::weights::read_file(&inputs, DType::F32, &Device::Cpu).unwrap();
    let settings = Settings::cpu();
    let run_on = |tensors: TensorMap| {
        let inputs = Inputs::new(&inputs, tensors);
        let outcome =
            run(&Network::Unet { gradients: false, checkpointing: false }, &folder.join("model"), &inputs, &settings)
                .unwrap();
        outcome.tensors["sample"].clone()
    };
    let both = run_on(all.clone());
    for row in 0..2 {
        let one = all.iter().map(|(name, tensor)| (name.clone(), tensor.narrow(0, row, 1).unwrap())).collect();
        assert_eq!(values(&run_on(one)), values(&both.narrow(0, row, 1).unwrap()), "image {row}");
    }
}
