"""LoRA files in the styles of diffusers, PEFT and kohya, each opened again by diffusers or PEFT for what it must give."""

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from original import original_unet

RANK, ALPHA = 3, 5
# As kohya's scripts: every linear layer and 1 x 1 projection of the transformers.
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]


def randomize_adapters(unet):
    """Torch's start of zeros would hide every error."""
    generator = torch.Generator().manual_seed(77)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def write_lora_files(folder, pipeline, reference, inputs):
    """(file, output) of each style; the same adapters in all, so that all outputs agree."""
    settings = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, init_lora_weights=True)

    @torch.no_grad()
    def output(unet):
        return unet(
            inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"], added_cond_kwargs=reference.added(inputs)
        ).sample

    plain = output(reference.load_unet())
    unet = reference.load_unet()
    unet.add_adapter(settings)
    randomize_adapters(unet)
    expected = output(unet)
    assert (expected - plain).abs().max() > 0.1 * plain.abs().max()
    adapters = {name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(unet).items()}

    pipeline.save_lora_weights(
        folder, unet_lora_layers=adapters, weight_name="diffusers.safetensors",
        unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
    )  # fmt: skip
    xl = "text_encoder_2" in reference.spec
    save_file(kohya(adapters, reference.spec["unet"] if xl else None), folder / "kohya.safetensors")

    made = []
    for file in ("diffusers.safetensors", "kohya.safetensors"):
        opened = pipeline.from_pretrained(reference.folder, **reference.options, **({} if xl else {"safety_checker": None}))
        opened.load_lora_weights(folder / file)
        got = output(opened.unet)
        assert torch.allclose(got, expected, atol=1e-5), f"{file}: diffusers itself gives something else"
        made.append((file, got))

    # PEFT writes the settings beside the file.
    wrapped = get_peft_model(reference.load_unet(), settings)
    randomize_adapters(wrapped)
    wrapped.save_pretrained(folder / "peft")
    (folder / "peft/README.md").unlink(missing_ok=True)
    opened = PeftModel.from_pretrained(reference.load_unet(), folder / "peft")
    made.append(("peft/adapter_model.safetensors", output(opened)))
    assert "base_model.model." in next(iter(load_file(folder / "peft/adapter_model.safetensors")))
    return made


def kohya(adapters, xl):
    """`lora_unet_…` with `alpha` as tensors; of SDXL (`xl`, its UNet's configuration) with the blocks numbered as in sgm."""
    renamed = {}
    for name, tensor in adapters.items():
        layer, half = name.removesuffix(".weight").rsplit(".", 1)
        if xl:
            (original,) = original_unet({f"{layer}.weight": tensor}, xl)
            layer = original.removeprefix("model.diffusion_model.").removesuffix(".weight")
        layer = "lora_unet_" + layer.replace(".", "_")
        renamed[f"{layer}.{ {'lora_A': 'lora_down', 'lora_B': 'lora_up'}[half] }.weight"] = tensor.clone()
        renamed[f"{layer}.alpha"] = torch.tensor(float(ALPHA))
    return renamed
