//! The forms that we write of a LoRA: Python's diffusers opened these very files and made the golden image from each of
//! them (`make_goldens.py lora_forms`), and ours is the same.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use models::artifact::{LoraStyle, ModelSpec, TrainedWeights, write_folder, write_lora};
use models::pipeline::{Conditioning, Pipeline, SampleSettings};
use models::weights::{read_file, read_folder, read_json};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{golden, root};

/// Largest difference of a pixel in 0..1: half of an eighth bit for rounding, as much again for the arithmetic.
const PIXEL: f64 = 1.0 / 255.0;

#[derive(Deserialize)]
struct Index {
    model: String,
    steps: usize,
    guidance: f64,
    /// SHA-256 of the file that diffusers opened, by form.
    forms: BTreeMap<String, String>,
}

fn hash(file: &Path) -> String {
    hex::encode(Sha256::digest(fs_err::read(file).unwrap()))
}

/// The picture of the golden inputs, `[3 · H · W]` in 0..1, rows of pixels as `decode` has them.
fn picture(pipeline: &Pipeline, index: &Index) -> Vec<f64> {
    let inputs = read_file(&golden("lora_forms/in.safetensors"), DType::F32, &Device::Cpu).unwrap();
    let conditioning = Conditioning {
        encoder_hidden_states: inputs["encoder_hidden_states"].clone(),
        text_embeds: inputs["text_embeds"].clone(),
    };
    let settings = SampleSettings { num_inference_steps: index.steps, guidance_scale: index.guidance };
    let latents = pipeline.sample_from(&inputs["latents"], &conditioning, settings).unwrap();
    let pixels = pipeline.decode(&latents).unwrap().remove(0);
    pixels.into_iter().map(|value| f64::from(value) / 255.0).collect()
}

fn largest_difference(found: &[f64], expected: &Tensor) -> f64 {
    let expected = expected.get(0).unwrap().permute((1, 2, 0)).unwrap().contiguous().unwrap(); // [H, W, 3]
    let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - f64::from(b)).abs()).fold(0.0, f64::max)
}

#[test]
fn every_form_of_a_lora_makes_the_image_that_diffusers_makes() {
    let index: Index = read_json(&golden("lora_forms/cases.json")).unwrap();
    let expected = read_file(&golden("lora_forms/out.safetensors"), DType::F32, &Device::Cpu).unwrap();
    let model = root(&index.model);
    let source = golden("lora_forms/source.safetensors");
    let reference = Pipeline::load(&model, &Device::Cpu).unwrap();
    let base = read_folder(&model.join("unet"), DType::F32, &Device::Cpu).unwrap();
    let trained = TrainedWeights::read(&source, &base, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spec =
        ModelSpec { resolution: reference.image_size(), prediction_type: "epsilon".to_owned(), ..ModelSpec::default() };
    let file = |name: &str| folder.path().join(name);
    for (form, style) in [("diffusers", LoraStyle::Diffusers), ("kohya", LoraStyle::Kohya)] {
        write_lora(&file(form), style, &trained.adapters, &base, &spec, DType::F32).unwrap();
        assert_eq!(hash(&file(form)), index.forms[form], "{form}: not the file that diffusers opened");
    }
    write_folder(&model, &trained, &file("merged"), DType::F32).unwrap();
    let merged = file("merged").join("unet/diffusion_pytorch_model.safetensors");
    let merged = read_file(&merged, DType::F32, &Device::Cpu).unwrap();
    let opened: Vec<_> = expected.iter().filter(|(name, _)| *name != "image").collect();
    assert!(opened.len() > 10, "{}", opened.len());
    for (name, opened) in opened {
        let difference =
            (&merged[name] - opened).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-5, "merged: {name} is not what diffusers opened: {difference}");
    }

    let plain = largest_difference(&picture(&reference, &index), &expected["image"]);
    assert!(plain > 0.05, "the adapters change nothing: {plain}");
    let lora = |file: &Path| picture(&reference.with_unet(file).unwrap(), &index);
    let forms = [
        ("source", lora(&source)),
        ("diffusers", lora(&file("diffusers"))),
        ("kohya", lora(&file("kohya"))),
        ("merged", picture(&Pipeline::load(&file("merged"), &Device::Cpu).unwrap(), &index)),
    ];
    for (form, found) in forms {
        let difference = largest_difference(&found, &expected["image"]);
        assert!(difference <= PIXEL, "{form}: a pixel differs by {difference}");
    }
}
