"""Single-file checkpoints in the naming of the original code, made from a folder and checked with diffusers' converters."""

import re

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def original_unet(tensors, config):
    layers, attends = config["layers_per_block"], [kind.startswith("Cross") for kind in config["down_block_types"]]
    levels = len(attends)

    def rename(name):
        for ours, original in [
            ("conv_in.", "input_blocks.0.0."), ("conv_norm_out.", "out.0."), ("conv_out.", "out.2."),
            ("time_embedding.linear_1.", "time_embed.0."), ("time_embedding.linear_2.", "time_embed.2."),
            ("add_embedding.linear_1.", "label_emb.0.0."), ("add_embedding.linear_2.", "label_emb.0.2."),
            ("mid_block.resnets.0.", "middle_block.0."), ("mid_block.attentions.0.", "middle_block.1."),
            ("mid_block.resnets.1.", "middle_block.2."),
        ]:  # fmt: skip
            if name.startswith(ours):
                return original + name[len(ours) :]
        side, i, kind, j, rest = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name).groups()
        i, j = int(i), int(j)
        if side == "down":
            number = 1 + i * (layers + 1) + (layers if kind == "downsamplers" else j)
            place = {"resnets": 0, "attentions": 1, "downsamplers": 0}[kind]
            return f"input_blocks.{number}.{place}.{rest.replace('conv.', 'op.') if kind == 'downsamplers' else rest}"
        number = i * (layers + 1) + (layers if kind == "upsamplers" else j)
        place = {"resnets": 0, "attentions": 1, "upsamplers": 1 + attends[levels - 1 - i]}[kind]
        return f"output_blocks.{number}.{place}.{rest}"

    def inside(name):
        if re.match(r"(in|out)put_blocks\.\d+\.0\.|middle_block\.[02]\.", name):
            for ours, original in RESNET.items():
                name = name.replace(f".{ours}.", f".{original}.")
        return name

    return {"model.diffusion_model." + inside(rename(name)): tensor for name, tensor in tensors.items()}


def original_vae(tensors, levels):
    renamed = {}
    for name, tensor in tensors.items():
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        for ours, original in [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")]:
            name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{original}.")
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "attn_1" in name and tensor.dim() == 2:
            tensor = tensor[:, :, None, None]
        renamed[f"first_stage_model.{name}"] = tensor
    return renamed


def original_open_clip(tensors, prefix):
    renamed = {f"{prefix}logit_scale": torch.tensor(4.6)}
    thirds = {}
    for name, tensor in tensors.items():
        if name == "text_projection.weight":
            renamed[f"{prefix}text_projection"] = tensor.T.contiguous()
            continue
        name = name.removeprefix("text_model.")
        if match := re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
            thirds.setdefault(f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}", {})[match[2]] = tensor
            continue
        for ours, original in [
            ("embeddings.token_embedding.weight", "token_embedding.weight"), ("embeddings.position_embedding.weight", "positional_embedding"),
            ("final_layer_norm", "ln_final"), ("encoder.layers", "transformer.resblocks"), ("self_attn.out_proj", "attn.out_proj"),
            ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
        ]:  # fmt: skip
            name = name.replace(ours, original)
        renamed[prefix + name] = tensor
    return renamed | {prefix + name: torch.cat([parts[k] for k in "qkv"]) for name, parts in thirds.items()}


def write_original(folder, file, spec):
    """Writes `file` with the weights of `folder`, after diffusers has led each part back to what it was."""
    load = lambda name, stem: load_file(folder / name / f"{stem}.safetensors")
    unet, vae = load("unet", "diffusion_pytorch_model"), load("vae", "diffusion_pytorch_model")
    all_tensors = original_unet(unet, spec["unet"])
    same(convert_ldm_unet_checkpoint(dict(all_tensors), spec["unet"] | {"class_embed_type": None}), unet, "unet")
    part = original_vae(vae, len(spec["vae"]["block_out_channels"]))
    same(convert_ldm_vae_checkpoint(dict(part), spec["vae"]), vae, "vae")
    all_tensors |= part
    first = load("text_encoder", "model")
    xl = "text_encoder_2" in spec
    prefix = "conditioner.embedders.0.transformer." if xl else "cond_stage_model.transformer."
    part = {prefix + name: tensor for name, tensor in first.items()}
    same(convert_ldm_clip_checkpoint(dict(part)), first, "text_encoder")
    all_tensors |= part
    if xl:
        second, prefix = load("text_encoder_2", "model"), "conditioner.embedders.1.model."
        part = original_open_clip(second, prefix)
        config = CLIPTextConfig(**spec["text_encoder_2"], vocab_size=8)
        back = convert_open_clip_checkpoint(CLIPTextModelWithProjection(config), dict(part), prefix)
        same(back, second, "text_encoder_2")
        all_tensors |= part
    else:
        all_tensors |= {"betas": torch.zeros(3), "model_ema.decay": torch.tensor(0.9)}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in all_tensors.items()}, file)


def same(back, expected, what):
    for name, tensor in expected.items():
        assert name in back, f"{what}: diffusers does not find {name}"
        assert torch.equal(back[name].float(), tensor.float()), f"{what}: {name} differs"
