//! Foreign names of weights, brought to our own: LoRA files of diffusers (new and old), PEFT and kohya.
//!
//! Our own name of an adapter is the layer's name as diffusers has it, then `lora_A.weight`, `lora_B.weight`, `alpha`.
//!
//! | style | example |
//! | --- | --- |
//! | diffusers | `unet.down_blocks.1.attentions.0.….attn1.to_q.lora_A.weight`, alpha in the header |
//! | diffusers, old | `unet.….attn1.to_q.lora.down.weight`, `unet.….attn1.processor.to_q_lora.down.weight` |
//! | PEFT | `base_model.model.….attn1.to_q.lora_A.weight`, also with an adapter's name before `weight` |
//! | kohya, SDXL | `lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight` |
//! | kohya | `lora_unet_down_blocks_1_attentions_0_…_attn1_to_q.lora_down.weight`, `….alpha` |

pub mod ldm;

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde_json::Value;

use crate::weights::TensorMap;
use crate::{Error, Result};

/// The text fields in a safetensors file's header.
pub type Header = BTreeMap<String, String>;

/// Reads the text fields of a safetensors file's header.
///
/// # Errors
/// The bytes are not a safetensors file.
pub fn lora_header(bytes: &[u8]) -> Result<Header> {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|error| Error::Tensor {
        path: "LoRA".into(),
        tensor: "*".to_owned(),
        message: format!("not a readable safetensors file: {error}"),
    })?;
    Ok(metadata.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Adapters for the layers of `base`, in our own names, from a file in any of the styles above.
///
/// # Errors
/// A tensor whose name is in none of the styles, or that belongs to no layer of `base`; each is named.
pub fn adapters_from_any(tensors: TensorMap, header: &Header, base: &TensorMap) -> Result<TensorMap> {
    let modules = || base.keys().filter_map(|name| name.strip_suffix(".weight"));
    // Kohya's scripts number the blocks as diffusers does for SD1.5 and as the original code does for SDXL.
    let blocks = ldm::Blocks::of(base.keys().map(String::as_str));
    let layers: BTreeMap<String, &str> = modules()
        .filter_map(|layer| Some((blocks.unet_name(layer)?, layer)))
        .chain(modules().map(|layer| (layer.to_owned(), layer)))
        .map(|(foreign, layer)| (foreign.replace('.', "_"), layer))
        .collect();
    let unknown = |name: &str, message: &str| Error::Tensor {
        path: "LoRA".into(),
        tensor: name.to_owned(),
        message: message.to_owned(),
    };
    let mut adapters = TensorMap::new();
    for (name, tensor) in tensors {
        let (layer, part) =
            split(&name).ok_or_else(|| unknown(&name, "is not part of a LoRA adapter in a known style"))?;
        let layer = layers
            .get(&layer.replace('.', "_"))
            .ok_or_else(|| unknown(&name, "belongs to no linear layer of this network"))?;
        adapters.insert(format!("{layer}.{part}"), tensor);
    }
    if let Some(alphas) = HeaderAlphas::read(header)? {
        let additions: TensorMap = adapters
            .iter()
            .filter_map(|(name, down)| Some((name.strip_suffix(".lora_A.weight")?, down)))
            .filter(|(layer, _)| !adapters.contains_key(&format!("{layer}.alpha")))
            .map(|(layer, down)| Ok((format!("{layer}.alpha"), Tensor::new(alphas.of(layer) as f32, down.device())?)))
            .collect::<Result<_>>()?;
        adapters.extend(additions);
    }
    Ok(adapters)
}

/// The present name of a tensor that was saved under another: the attention of the VAE by older versions of diffusers, as
/// in every published folder of SD1.5; anything below `module.` by torch's data-parallel wrappers, as in the published
/// scene-graph encoder of SDXL-SG.
pub fn current_name(name: &str) -> String {
    let name = name.strip_prefix("module.").unwrap_or(name);
    const RENAMED: [(&str, &str); 4] =
        [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];
    for (old, new) in RENAMED {
        for kind in ["weight", "bias"] {
            if let Some(block) = name.strip_suffix(&format!(".mid_block.attentions.0.{old}.{kind}")) {
                return format!("{block}.mid_block.attentions.0.{new}.{kind}");
            }
        }
    }
    name.to_owned()
}

/// Whether these are adapters rather than whole weights, in whichever style.
pub fn are_adapters(tensors: &TensorMap) -> bool {
    tensors.keys().any(|name| name.contains("lora"))
}

/// Kohya's name of one of our own: `lora_unet_` and the layer with underscores, `lora_down`, `lora_up`, `alpha`.
///
/// Layers keep diffusers' numbering of blocks, which kohya's scripts read for SD1.5.
pub fn kohya_name(name: &str) -> Option<String> {
    let (layer, part) = split(name)?;
    let part = match part {
        "lora_A.weight" => "lora_down.weight",
        "lora_B.weight" => "lora_up.weight",
        other => other,
    };
    Some(format!("lora_unet_{}.{part}", layer.replace('.', "_")))
}

/// A foreign name as the layer (dots or underscores) and our own name of the part.
fn split(name: &str) -> Option<(String, &'static str)> {
    const DOWN: &str = "lora_A.weight";
    const UP: &str = "lora_B.weight";
    // Longer endings first.
    const ENDINGS: [(&str, &str); 11] = [
        ("_lora.down.weight", DOWN),
        ("_lora.up.weight", UP),
        (".lora_linear_layer.down.weight", DOWN),
        (".lora_linear_layer.up.weight", UP),
        (".lora.down.weight", DOWN),
        (".lora.up.weight", UP),
        (".lora_down.weight", DOWN),
        (".lora_up.weight", UP),
        (".lora_A.weight", DOWN),
        (".lora_B.weight", UP),
        (".alpha", "alpha"),
    ];
    let mut name = name;
    for prefix in ["base_model.model.", "unet.", "lora_unet_"] {
        name = name.strip_prefix(prefix).unwrap_or(name);
    }
    // PEFT puts the adapter's name before `weight`.
    let plain;
    if let Some((layer, rest)) = name.split_once(".lora_A.").or_else(|| name.split_once(".lora_B.")) {
        let half = &name[layer.len() + 1..=layer.len() + 6];
        if rest != "weight" && rest.ends_with(".weight") && !rest.trim_end_matches(".weight").contains('.') {
            plain = format!("{layer}.{half}.weight");
            name = &plain;
        }
    }
    let (layer, part) = ENDINGS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))?;
    // Old attention processors: `attn1.processor.to_q_lora`, and `to_out` for `to_out.0`.
    let mut layer = layer.replace(".processor.", ".");
    if layer.ends_with(".to_out") {
        layer.push_str(".0");
    }
    Some((layer, part))
}

/// Field of the header with PEFT's settings, as diffusers writes them.
pub const SETTINGS: &str = "lora_adapter_metadata";

/// The alphas of PEFT's settings in the header.
struct HeaderAlphas {
    /// Of every layer that is not named apart.
    common: f64,
    /// Ends of the names of layers, each with its own.
    pattern: BTreeMap<String, f64>,
}

impl HeaderAlphas {
    /// # Errors
    /// The settings are not JSON, or scale the adapters in a way that is not implemented.
    fn read(header: &Header) -> Result<Option<Self>> {
        let Some(text) = header.get(SETTINGS) else { return Ok(None) };
        let fault = |key: &str, message: String| Error::Config { path: "LoRA".into(), key: key.to_owned(), message };
        let settings: Value =
            serde_json::from_str(text).map_err(|error| fault(SETTINGS, format!("is not JSON: {error}")))?;
        let find = |key: &str| settings.get(format!("unet.{key}")).or_else(|| settings.get(key));
        for key in ["use_rslora", "use_dora"] {
            match find(key) {
                None | Some(Value::Null | Value::Bool(false)) => {}
                Some(value) => return Err(fault(key, format!("{value} is not implemented"))),
            }
        }
        let Some(common) = find("lora_alpha").and_then(Value::as_f64) else { return Ok(None) };
        let mut pattern = BTreeMap::new();
        for (layer, alpha) in find("alpha_pattern").and_then(Value::as_object).into_iter().flatten() {
            let number = alpha.as_f64();
            let number = number.ok_or_else(|| fault("alpha_pattern", format!("{alpha} of {layer} is no number")))?;
            pattern.insert(layer.clone(), number);
        }
        Ok(Some(Self { common, pattern }))
    }

    fn of(&self, layer: &str) -> f64 {
        let ends_in = |end: &str| layer.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.pattern.iter().find(|(end, _)| ends_in(end)).map_or(self.common, |(_, alpha)| *alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const LAYER: &str = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
    const OUT: &str = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0";

    fn base() -> TensorMap {
        [LAYER, OUT].map(|layer| (format!("{layer}.weight"), tensor())).into()
    }

    fn tensor() -> Tensor {
        Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap()
    }

    fn renamed(names: &[&str]) -> Vec<String> {
        let tensors = names.iter().map(|&name| (name.to_owned(), tensor())).collect();
        adapters_from_any(tensors, &Header::new(), &base()).unwrap().into_keys().collect()
    }

    #[test]
    fn all_styles_lead_to_one() {
        let down = format!("{LAYER}.lora_A.weight");
        let out_up = format!("{OUT}.lora_B.weight");
        let block = "down_blocks.1.attentions.0.transformer_blocks.0.attn1";
        for (style, names) in [
            ("own", [down.clone(), out_up.clone()]),
            ("diffusers", [format!("unet.{down}"), format!("unet.{out_up}")]),
            ("old", [format!("unet.{LAYER}.lora.down.weight"), format!("unet.{OUT}.lora.up.weight")]),
            (
                "processors",
                [
                    format!("{block}.processor.to_q_lora.down.weight"),
                    format!("unet.{block}.processor.to_out_lora.up.weight"),
                ],
            ),
            ("PEFT", [format!("base_model.model.{down}"), format!("base_model.model.{OUT}.lora_B.default.weight")]),
            ("kohya", [kohya_name(&down).unwrap(), kohya_name(&out_up).unwrap()]),
        ] {
            assert_eq!(renamed(&names.each_ref().map(String::as_str)), [out_up.clone(), down.clone()], "{style}");
        }
        assert_eq!(
            kohya_name(&format!("{OUT}.alpha")).unwrap(),
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.alpha"
        );
    }

    #[test]
    fn what_is_unknown_is_named() {
        for name in ["unet.nowhere.to_q.lora_A.weight", "conv_in.weight", "lora_te_text_model.lora_down.weight"] {
            let error = adapters_from_any([(name.to_owned(), tensor())].into(), &Header::new(), &base()).unwrap_err();
            assert!(matches!(&error, Error::Tensor { tensor, .. } if tensor == name), "{error}");
        }
    }

    #[test]
    fn scales_that_are_not_alpha_over_rank_are_refused() {
        for (key, value) in
            [("use_rslora", "true"), ("unet.use_dora", "true"), ("unet.alpha_pattern", r#"{"to_q":"two"}"#)]
        {
            let header = [(SETTINGS.to_owned(), format!(r#"{{"{key}":{value},"lora_alpha":8}}"#))].into();
            let error = adapters_from_any(TensorMap::new(), &header, &base()).unwrap_err().to_string();
            assert!(error.contains(key.trim_start_matches("unet.")), "{error}");
        }
    }

    #[test]
    fn alpha_comes_from_the_header_where_no_tensor_says_it() {
        let header = [("lora_adapter_metadata".to_owned(), r#"{"unet.r":4,"unet.lora_alpha":8}"#.to_owned())].into();
        let tensors = [(format!("{LAYER}.lora_A.weight"), tensor())].into();
        let adapters = adapters_from_any(tensors, &header, &base()).unwrap();
        let alpha = adapters[&format!("{LAYER}.alpha")].to_scalar::<f32>().unwrap();
        assert_eq!(alpha, 8.);
    }
}
