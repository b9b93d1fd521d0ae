//! What a pipeline conditions on, for a prompt and for none, is what diffusers' pipelines do.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use models::pipeline::{Conditioning, GraphMode, Pipeline};
use models::scene_graph_encoder::GraphText;
use models::weights::{TensorMap, read_file};

use super::golden;

fn assert_close(what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.dims(), expected.dims(), "{what}: shape");
    let largest = |tensor: &Tensor| tensor.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    let (off, scale) = (largest(&(got - expected).unwrap()), largest(expected));
    assert!(off <= 1e-4 * scale, "{what}: off by {off:e} of {scale:e}");
}

fn check(what: &str, got: &Conditioning, expected: &TensorMap) {
    assert_close(what, &got.encoder_hidden_states, &expected[&format!("{what}.encoder_hidden_states")]);
    if let Some(expected) = expected.get(&format!("{what}.text_embeds")) {
        assert_close(what, &got.text_embeds, expected);
    }
}

fn prompt() -> GraphText {
    GraphText { triples: vec![], isolated: vec!["large red circle left of small blue square".to_owned()] }
}

#[test]
fn prompts_are_encoded_as_in_diffusers() {
    let expected = read_file(&golden("prompts.safetensors"), DType::F32, &Device::Cpu).unwrap();
    for (name, model) in [("sd", "clipped/model"), ("xl", "variant/model")] {
        let pipeline = Pipeline::load(&golden(model), &Device::Cpu).unwrap();
        check(name, &pipeline.encode_graphs(&[prompt()], GraphMode::SceneGraph).unwrap(), &expected);
        let empty = if name == "sd" { "sd.empty" } else { "xl.zeros" };
        check(empty, &pipeline.unconditional(1).unwrap(), &expected);
        assert_eq!(pipeline.unconditional(3).unwrap().len(), 3);
    }
}

fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs_err::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn the_index_says_whether_an_empty_prompt_is_zeros() {
    let expected = read_file(&golden("prompts.safetensors"), DType::F32, &Device::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("variant/model"), dir.path());
    let index = dir.path().join("model_index.json");
    let good = fs_err::read_to_string(&index).unwrap();
    let write = |value: &str| {
        let text = good.replacen('{', &format!(r#"{{"force_zeros_for_empty_prompt": {value},"#), 1);
        fs_err::write(&index, text).unwrap();
    };
    write("false");
    let pipeline = Pipeline::load(dir.path(), &Device::Cpu).unwrap();
    check("xl.empty", &pipeline.unconditional(1).unwrap(), &expected);
    write("7");
    let error = Pipeline::load(dir.path(), &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("model_index.json") && error.contains("force_zeros_for_empty_prompt"), "{error}");
}
