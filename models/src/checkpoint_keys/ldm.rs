//! Names of the original Stable Diffusion code (ldm, and sgm for SDXL), from those of diffusers and transformers.
//!
//! Source: `CompVis/stable-diffusion`, `Stability-AI/generative-models`, `mlfoundations/open_clip`; diffusers'
//! `loaders/single_file_utils.py` goes the other way.

use std::collections::BTreeMap;

/// Where each block of a UNet begins in ldm's running numbers.
#[derive(Clone, Debug)]
pub struct Blocks {
    down: Vec<Block>,
    up: Vec<Block>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    start: usize,
    resnets: usize,
    attends: bool,
    resamples: bool,
}

impl Blocks {
    /// Counts the blocks in the names of a UNet's tensors.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut found: BTreeMap<(&str, usize), Block> = BTreeMap::new();
        for name in names {
            let parts: Vec<&str> = name.splitn(5, '.').collect();
            let [side @ ("down_blocks" | "up_blocks"), number, kind, index, ..] = parts.as_slice() else { continue };
            let (Ok(number), Ok(index)) = (number.parse(), index.parse::<usize>()) else { continue };
            let block = found.entry((*side, number)).or_default();
            match *kind {
                "resnets" => block.resnets = block.resnets.max(index + 1),
                "attentions" => block.attends = true,
                _ => block.resamples = true,
            }
        }
        let side = |side: &str, first: usize| {
            let mut start = first;
            let mut blocks = Vec::new();
            for (_, block) in found.iter().filter(|((of, _), _)| *of == side) {
                blocks.push(Block { start, ..*block });
                // A downsampler has a number of its own, an upsampler that of the last residual block.
                start += block.resnets + usize::from(block.resamples && side == "down_blocks");
            }
            blocks
        };
        Self { down: side("down_blocks", 1), up: side("up_blocks", 0) }
    }

    /// The original name of a tensor or module of the UNet.
    pub fn unet_name(&self, name: &str) -> Option<String> {
        const FIXED: [(&str, &str); 8] = [
            ("conv_in", "input_blocks.0.0"),
            ("conv_norm_out", "out.0"),
            ("conv_out", "out.2"),
            ("time_embedding.linear_1", "time_embed.0"),
            ("time_embedding.linear_2", "time_embed.2"),
            ("add_embedding.linear_1", "label_emb.0.0"),
            ("add_embedding.linear_2", "label_emb.0.2"),
            ("mid_block.attentions.0", "middle_block.1"),
        ];
        for (ours, original) in FIXED {
            if let Some(rest) = after(name, ours) {
                return Some(format!("{original}{rest}"));
            }
        }
        for (ours, original) in [("mid_block.resnets.0", "middle_block.0"), ("mid_block.resnets.1", "middle_block.2")] {
            if let Some(rest) = after(name, ours) {
                return Some(format!("{original}{}", of_resnet(rest)));
            }
        }
        let mut parts = name.splitn(5, '.');
        let (side, number, kind, index) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (number, index): (usize, usize) = (number.parse().ok()?, index.parse().ok()?);
        let rest = parts.next().map(|rest| format!(".{rest}")).unwrap_or_default();
        let (blocks, column) =
            if side == "down_blocks" { (&self.down, "input_blocks") } else { (&self.up, "output_blocks") };
        let block = blocks.get(number)?;
        Some(match kind {
            "resnets" => format!("{column}.{}.0{}", block.start + index, of_resnet(&rest)),
            "attentions" => format!("{column}.{}.1{rest}", block.start + index),
            "downsamplers" => format!("{column}.{}.0{}", block.start + block.resnets, rest.replacen(".conv", ".op", 1)),
            "upsamplers" => {
                format!("{column}.{}.{}{rest}", block.start + block.resnets - 1, 1 + usize::from(block.attends))
            }
            _ => return None,
        })
    }
}

/// What follows a module's name: nothing, or a dot and more.
fn after<'a>(name: &'a str, module: &str) -> Option<&'a str> {
    name.strip_prefix(module).filter(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The rest of a name inside a UNet's residual block.
fn of_resnet(rest: &str) -> String {
    const PARTS: [(&str, &str); 6] = [
        (".norm1", ".in_layers.0"),
        (".conv1", ".in_layers.2"),
        (".time_emb_proj", ".emb_layers.1"),
        (".norm2", ".out_layers.0"),
        (".conv2", ".out_layers.3"),
        (".conv_shortcut", ".skip_connection"),
    ];
    for (ours, original) in PARTS {
        if let Some(end) = after(rest, ours) {
            return format!("{original}{end}");
        }
    }
    rest.to_owned()
}

/// The original name of a tensor of the autoencoder with so many levels.
pub fn vae_name(name: &str, levels: usize) -> Option<String> {
    let Some((half @ ("encoder" | "decoder"), rest)) = name.split_once('.') else {
        return Some(name.to_owned());
    };
    let mut parts = rest.splitn(4, '.');
    let first = parts.next()?;
    if first == "mid_block" {
        const PARTS: [(&str, &str); 8] = [
            ("mid_block.resnets.0", "mid.block_1"),
            ("mid_block.resnets.1", "mid.block_2"),
            ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
            ("mid_block.attentions.0.to_q", "mid.attn_1.q"),
            ("mid_block.attentions.0.to_k", "mid.attn_1.k"),
            ("mid_block.attentions.0.to_v", "mid.attn_1.v"),
            ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
            ("mid_block", "mid"),
        ];
        return PARTS.iter().find_map(|(ours, original)| Some(format!("{half}.{original}{}", after(rest, ours)?)));
    }
    if let Some(end) = after(rest, "conv_norm_out") {
        return Some(format!("{half}.norm_out{end}"));
    }
    if first != "down_blocks" && first != "up_blocks" {
        return Some(name.to_owned());
    }
    let (number, kind, rest) = (parts.next()?.parse::<usize>().ok()?, parts.next()?, parts.next()?);
    // The original counts the decoder's levels from the finest, too.
    let (side, number) =
        if first == "down_blocks" { ("down", number) } else { ("up", levels.checked_sub(number + 1)?) };
    Some(match kind {
        "resnets" => {
            let rest = rest.replacen("conv_shortcut", "nin_shortcut", 1);
            format!("{half}.{side}.{number}.block.{rest}")
        }
        "downsamplers" => format!("{half}.{side}.{number}.downsample.{}", rest.strip_prefix("0.")?),
        "upsamplers" => format!("{half}.{side}.{number}.upsample.{}", rest.strip_prefix("0.")?),
        _ => return None,
    })
}

/// How a stored tensor becomes ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Whole,
    /// This third of its rows: query, key and value are one in OpenCLIP.
    Third(usize),
    /// Rows and columns exchanged.
    Transposed,
    /// Without its last two sizes, which are 1: a 1 × 1 convolution that is a linear layer to us.
    Squeezed,
}

/// OpenCLIP's name of a tensor of SDXL's second text encoder.
pub fn open_clip_name(name: &str) -> Option<(String, Form)> {
    const PARTS: [(&str, &str); 5] = [
        ("self_attn.out_proj", "attn.out_proj"),
        ("layer_norm1", "ln_1"),
        ("layer_norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    ];
    let whole = |name: &str| Some((name.to_owned(), Form::Whole));
    if name == "text_projection.weight" {
        return Some(("text_projection".to_owned(), Form::Transposed));
    }
    let name = name.strip_prefix("text_model.")?;
    match name {
        "embeddings.token_embedding.weight" => return whole("token_embedding.weight"),
        "embeddings.position_embedding.weight" => return whole("positional_embedding"),
        "final_layer_norm.weight" => return whole("ln_final.weight"),
        "final_layer_norm.bias" => return whole("ln_final.bias"),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("encoder.layers.")?.split_once('.')?;
    let block = format!("transformer.resblocks.{layer}");
    for (third, part) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
        if let Some(kind) = rest.strip_prefix("self_attn.").and_then(|rest| rest.strip_prefix(part)) {
            return Some((format!("{block}.attn.in_proj_{}", kind.strip_prefix('.')?), Form::Third(third)));
        }
    }
    PARTS.iter().find_map(|(ours, original)| Some((format!("{block}.{original}{}", after(rest, ours)?), Form::Whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdxl() -> Blocks {
        let mut names = Vec::new();
        for i in 0..3 {
            for j in 0..2 {
                names.push(format!("down_blocks.{i}.resnets.{j}.norm1.weight"));
            }
            for j in 0..3 {
                names.push(format!("up_blocks.{i}.resnets.{j}.norm1.weight"));
            }
            if i > 0 {
                names.push(format!("down_blocks.{i}.attentions.0.norm.weight"));
            }
            if i < 2 {
                names.push(format!("up_blocks.{i}.attentions.0.norm.weight"));
                names.push(format!("down_blocks.{i}.downsamplers.0.conv.weight"));
                names.push(format!("up_blocks.{i}.upsamplers.0.conv.weight"));
            }
        }
        Blocks::of(names.iter().map(String::as_str))
    }

    #[test]
    fn names_of_sdxls_unet() {
        let blocks = sdxl();
        for (ours, original) in [
            ("conv_in.weight", "input_blocks.0.0.weight"),
            ("down_blocks.0.resnets.1.conv1.bias", "input_blocks.2.0.in_layers.2.bias"),
            ("down_blocks.0.downsamplers.0.conv.weight", "input_blocks.3.0.op.weight"),
            ("down_blocks.1.attentions.0.proj_in.weight", "input_blocks.4.1.proj_in.weight"),
            ("down_blocks.2.resnets.0.conv_shortcut.weight", "input_blocks.7.0.skip_connection.weight"),
            ("mid_block.resnets.1.time_emb_proj.bias", "middle_block.2.emb_layers.1.bias"),
            ("mid_block.attentions.0.norm.weight", "middle_block.1.norm.weight"),
            ("up_blocks.0.upsamplers.0.conv.bias", "output_blocks.2.2.conv.bias"),
            ("up_blocks.1.attentions.2.norm.weight", "output_blocks.5.1.norm.weight"),
            ("up_blocks.2.resnets.2.norm2.weight", "output_blocks.8.0.out_layers.0.weight"),
            ("add_embedding.linear_2.weight", "label_emb.0.2.weight"),
            ("conv_norm_out.weight", "out.0.weight"),
        ] {
            assert_eq!(blocks.unet_name(ours).as_deref(), Some(original));
        }
        assert_eq!(blocks.unet_name("nonsense"), None);
    }

    #[test]
    fn names_of_the_autoencoder() {
        for (ours, original) in [
            ("encoder.down_blocks.1.resnets.0.conv_shortcut.weight", "encoder.down.1.block.0.nin_shortcut.weight"),
            ("encoder.down_blocks.0.downsamplers.0.conv.bias", "encoder.down.0.downsample.conv.bias"),
            ("decoder.up_blocks.0.resnets.2.norm1.weight", "decoder.up.3.block.2.norm1.weight"),
            ("decoder.up_blocks.2.upsamplers.0.conv.weight", "decoder.up.1.upsample.conv.weight"),
            ("decoder.mid_block.attentions.0.to_out.0.bias", "decoder.mid.attn_1.proj_out.bias"),
            ("decoder.mid_block.resnets.1.conv2.weight", "decoder.mid.block_2.conv2.weight"),
            ("decoder.conv_norm_out.weight", "decoder.norm_out.weight"),
            ("decoder.conv_in.weight", "decoder.conv_in.weight"),
            ("quant_conv.weight", "quant_conv.weight"),
        ] {
            assert_eq!(vae_name(ours, 4).as_deref(), Some(original));
        }
    }

    #[test]
    fn names_of_open_clip() {
        let layer = "text_model.encoder.layers.7";
        for (ours, original, form) in [
            (format!("{layer}.self_attn.v_proj.bias"), "transformer.resblocks.7.attn.in_proj_bias", Form::Third(2)),
            (format!("{layer}.mlp.fc2.weight"), "transformer.resblocks.7.mlp.c_proj.weight", Form::Whole),
            ("text_projection.weight".to_owned(), "text_projection", Form::Transposed),
        ] {
            assert_eq!(open_clip_name(&ours), Some((original.to_owned(), form)));
        }
    }
}
