//! The networks that judge images against transformers, torch and PIL, on random folders of
//! `make_metric_network_goldens.py`; and the same folders damaged.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use models::metric_network::clip_model::{cosine, preferences, rows};
use models::metric_network::{AestheticHead, BlipVqa, Center, ClipModel, InceptionV3, Pixels};
use models::weights::{TensorMap, read_file, read_json};
use serde::Deserialize;

use super::golden;

/// Largest difference, in shares of the largest value.
const BOUND: f64 = 1e-4;
const PICTURES: usize = 3;

#[derive(Deserialize)]
struct Cases {
    prompts: Vec<String>,
    questions: Vec<String>,
}

fn place(name: &str) -> PathBuf {
    golden("metric_network").join(name)
}

fn cases() -> Cases {
    read_json(&place("cases.json")).unwrap()
}

fn expected() -> TensorMap {
    // 8-bit values are read as i64.
    read_file(&place("expected.safetensors"), DType::F32, &Device::Cpu).unwrap()
}

fn pictures() -> Vec<Pixels> {
    let one = |i: usize| {
        let image = image::open(place(&format!("pictures/{i}.png"))).unwrap().to_rgb8();
        Pixels::new(image.width() as usize, image.height() as usize, image.into_raw()).unwrap()
    };
    (0..PICTURES).map(one).collect()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, got: &[f64], expected: &Tensor) {
    let expected = values(expected);
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0., |largest: f64, value| largest.max(value.abs()));
    for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= BOUND * scale, "{what}[{i}]: {a}, not {b}; the scale is {scale}");
    }
}

#[test]
fn metric_network_pictures_are_resized_as_by_pil() {
    let (expected, pictures) = (expected(), pictures());
    let mut compared = 0;
    for (i, picture) in pictures.iter().enumerate() {
        let crop = picture.resize_and_crop(16, Center::Transformers);
        assert_eq!(crop.values(), bytes(&expected[&format!("crop.{i}")]), "crop {i}");
        for (width, height) in [(7, 11), (64, 48)] {
            let resized = picture.resize(width, height);
            assert_eq!(resized.values(), bytes(&expected[&format!("resize.{i}.{width}x{height}")]), "{i}");
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * PICTURES);
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    values(tensor).into_iter().map(|value| value as u8).collect()
}

#[test]
fn metric_network_clip_and_what_stands_on_it() {
    let expected = expected();
    let model = ClipModel::open(&place("clip"), &place("clip"), &Device::Cpu).unwrap();
    let images = model.image_features(&pictures(), Center::Transformers).unwrap();
    assert_close("image", &values(&images), &expected["clip.image"]);
    let cases = cases();
    let prompts: Vec<&str> = cases.prompts.iter().map(String::as_str).collect();
    let texts = model.text_features(&prompts).unwrap();
    assert_close("text", &values(&texts), &expected["clip.text"]);
    let (images_rows, texts_rows) = (rows(&images).unwrap(), rows(&texts).unwrap());
    let scores: Vec<Vec<f64>> =
        texts_rows.iter().map(|text| images_rows.iter().map(|image| cosine(text, image).unwrap()).collect()).collect();
    assert_close("cosine", &scores.concat(), &expected["clip.cosine"]);
    let shares: Vec<f64> = scores.iter().flat_map(|scores| preferences(scores, model.scale())).collect();
    assert_close("preference", &shares, &expected["clip.preference"]);

    let head = AestheticHead::open(&place("aesthetic.safetensors"), &Device::Cpu).unwrap();
    let scores: Vec<f64> = head.scores(&images).unwrap().into_iter().map(Option::unwrap).collect();
    assert_close("aesthetic", &scores, &expected["aesthetic"]);
    let nothing = Tensor::zeros((1, 12), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(head.scores(&nothing).unwrap(), [None]);
    let wide = Tensor::zeros((1, 13), DType::F32, &Device::Cpu).unwrap();
    assert!(head.scores(&wide).unwrap_err().to_string().contains("12 dimensions, this CLIP gives 13"));
}

#[test]
fn metric_network_inception() {
    let network = InceptionV3::open(&place("inception.safetensors"), &Device::Cpu).unwrap();
    let features = network.features(&pictures()).unwrap();
    assert_eq!(features.dims(), [PICTURES, 128]);
    assert_close("features", &values(&features), &expected()["inception"]);
}

#[test]
fn metric_network_blip_vqa() {
    let expected = expected();
    let model = BlipVqa::open(&place("blip"), &Device::Cpu).unwrap();
    let cases = cases();
    let questions: Vec<&str> = cases.questions.iter().map(String::as_str).collect();
    for (i, picture) in pictures().iter().enumerate() {
        let seen = model.image(picture).unwrap();
        assert_close("seen", &values(&seen.hidden_states), &expected[&format!("blip.seen.{i}")]);
        let answers = model.ask(picture, &questions).unwrap();
        for (k, question) in questions.iter().enumerate() {
            let ids = model.encode(question).unwrap();
            assert_eq!(
                ids,
                values(&expected[&format!("blip.ids.{k}")]).iter().map(|&id| id as u32).collect::<Vec<_>>()
            );
            let logits = model.logits(&seen, &Tensor::new(vec![ids], &Device::Cpu).unwrap()).unwrap();
            assert_close("logits", &values(&logits), &expected[&format!("blip.logits.{i}.{k}")]);
            assert_close("yes", &answers[k..=k], &expected[&format!("blip.yes.{i}.{k}")]);
        }
    }
}

/// Copies a golden folder and changes one file of it.
fn damaged(folder: &str, file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs_err::read_dir(place(folder)).unwrap() {
        let entry = entry.unwrap();
        fs_err::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let path = dir.path().join(file);
    fs_err::write(&path, change(fs_err::read(&path).unwrap())).unwrap();
    dir
}

/// Replaces a text of a file by one of the same length.
fn replaced(from: &'static str, to: &'static str) -> impl Fn(Vec<u8>) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    move |mut bytes| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text is there");
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        bytes
    }
}

fn assert_told<T>(outcome: models::Result<T>, words: &[&str]) {
    let error = outcome.err().expect("an error").to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn metric_network_files_that_are_damaged_are_told() {
    let clip = |dir: &Path| ClipModel::open(dir, dir, &Device::Cpu);
    let blip = |dir: &Path| BlipVqa::open(dir, &Device::Cpu);
    let weights = "model.safetensors";
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 5].to_vec();
    assert_told(clip(damaged("clip", weights, cut).path()), &[weights]);
    assert_told(blip(damaged("blip", weights, cut).path()), &[weights]);
    let renamed = replaced("visual_projection.weight", "visual_projection.height");
    assert_told(clip(damaged("clip", weights, renamed).path()), &["visual_projection.weight", "missing", "height"]);
    let renamed = replaced("crossattention.self.key.bias", "crossattention.self.key.bios");
    assert_told(blip(damaged("blip", weights, renamed).path()), &["crossattention.self.key.bias", "missing"]);
    let other = replaced("\"projection_dim\": 12", "\"projection_dim\": 13");
    assert_told(clip(damaged("clip", "config.json", other).path()), &["projection.weight", "12", "13"]);
    let other = replaced("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"");
    assert_told(clip(damaged("clip", "config.json", other).path()), &["config.json", "text_config", "relu"]);
    assert_told(blip(damaged("blip", "vocab.txt", replaced("yes", "yea")).path()), &["vocab.txt", "`yes`"]);
    assert_told(clip(&place("blip")), &["config.json", "model_type", "clip"]);
    assert_told(blip(&place("clip")), &["config.json", "model_type", "blip"]);
    assert_told(clip(&place("nowhere")), &["nowhere"]);

    let file = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs_err::write(&path, change(fs_err::read(place(name)).unwrap())).unwrap();
        (dir, path)
    };
    let (_dir, path) =
        file("inception.safetensors", &replaced("Mixed_7c.branch1x1.bn.bias", "Mixed_7c.branch1x1.bn.bios"));
    assert_told(InceptionV3::open(&path, &Device::Cpu), &["inception.safetensors", "Mixed_7c.branch1x1.bn.bias"]);
    let (_dir, path) = file("aesthetic.safetensors", &replaced("layers.7.bias", "layers.8.bias"));
    assert_told(AestheticHead::open(&path, &Device::Cpu), &["aesthetic.safetensors", "layers.7.bias"]);
    let (_dir, path) = file("aesthetic.safetensors", &cut);
    assert_told(AestheticHead::open(&path, &Device::Cpu), &["aesthetic.safetensors"]);
}
