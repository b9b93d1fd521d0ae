//! The names and shapes of all tensors of full-size networks are those that diffusers and transformers have.

use std::collections::BTreeMap;
use std::fmt::Write;

use candle_nn::VarBuilder;
use models::clip::{ClipTextModel, ClipTextModelWithProjection};
use models::unet::UNet2DConditionModel;
use models::vae::AutoencoderKL;
use models::weights::{Layout, layout, read_json};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::golden;

#[derive(Deserialize)]
struct Expected {
    config: Value,
    tensors: usize,
    parameters: usize,
    sha256: String,
    shapes: Option<Layout>,
}

fn layout_of(name: &str, config: &Value) -> Layout {
    fn read<C: serde::de::DeserializeOwned>(config: &Value) -> C {
        serde_json::from_value(config.clone()).unwrap()
    }
    let load = |vb: VarBuilder| match name {
        "sdxl.unet" | "sd15.unet" => UNet2DConditionModel::load(&vb, &read(config)).map(drop),
        "vae" => AutoencoderKL::load(&vb, &read(config)).map(drop),
        "clip_l" => ClipTextModel::load(&vb, &read(config)).map(drop),
        "clip_g" => ClipTextModelWithProjection::load(&vb, &read(config)).map(drop),
        other => panic!("{other}"),
    };
    layout(Layout::new(), load).unwrap()
}

#[test]
fn full_size_networks_have_the_references_tensors() {
    let all: BTreeMap<String, Expected> = read_json(&golden("layouts.json")).unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), ["clip_g", "clip_l", "sd15.unet", "sdxl.unet", "vae"]);
    for (name, expected) in all {
        let got = layout_of(&name, &expected.config);
        let parameters: usize = got.values().map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!((got.len(), parameters), (expected.tensors, expected.parameters), "{name}");
        if let Some(shapes) = &expected.shapes {
            for (tensor, shape) in shapes {
                assert_eq!(got.get(tensor), Some(shape), "{name}: {tensor}");
            }
        }
        let mut lines = String::new();
        for (tensor, shape) in &got {
            writeln!(lines, "{tensor} {shape:?}").unwrap();
        }
        assert_eq!(hex::encode(Sha256::digest(lines)), expected.sha256, "{name}: names or shapes differ");
    }
}
