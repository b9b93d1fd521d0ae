"""Golden values of the Python reference, for `cargo test -p tests --test parity`.

    pip install torch diffusers transformers peft safetensors
    python tests/parity/make_goldens.py [sdxl] [sd15] [velocity] [variant] [clipped] [original_sd15] [original_xl]
                                        [lora_xl] [lora_sd] [prompts] [corpus] [tokens] [layouts] [tiny] [lora_forms]

Each name of `specs.SPECS` makes `golden/NAME`: a folder of random parameters, `model`, and `cases.json` with inputs and
outputs of its networks beside it; `original_…` a single file in the original naming instead of the folder, `lora_…` adapters for the
folder of another name. `tokens` makes the hashes of the ids of more than 10,000 strings, `layouts` the names and
shapes of all tensors of full-size SDXL and SD1.5, `corpus` the folder that `fuzz.rs` damages. `tiny` opens `models/tiny` as diffusers does; run it after each training
of that model. `lora_forms` needs the built program, for the forms that it writes of
a LoRA. Without names everything is made.

`compare.py` does the same comparison for any number of further configurations, against the built program.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from adapters import write_lora_files
from compare import GRAPH, TEXTS
from original import write_original
from reference import Reference, make_folder, write_json
from specs import FUZZED, ORIGINAL, SPECS
from texts import texts

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def cases(reference, spec):
    """(name, network, options, inputs, outputs)"""
    height, width = (7, 10) if spec.get("max_shard_size") else (8, 4)
    yield "unet", "unet", {"gradients": True}, *reference.unet(h=height, w=width)
    yield "vae_encode", "vae_encode", {}, *reference.vae_encode(b=1, height=16, width=24)
    yield "vae_decode", "vae_decode", {}, *reference.vae_decode(b=2, h=3, w=5)
    for name in ("text_encoder", "text_encoder_2"):
        if name in spec:
            yield name, name, {}, *reference.text(name, TEXTS[:2])
    guidance = spec.get("guidance", 5.0)
    path = {"steps": 20, "guidance": guidance}
    yield "ddim_sample", "ddim_sample", path, *reference.ddim_sample(20, guidance, 4, 6)
    yield "ddim_invert", "ddim_invert", path, *reference.ddim_invert(20, guidance, "destination", 4, 6)
    source = {"steps": 7, "guidance": 2.0, "label": "source"}
    yield "ddim_invert_source", "ddim_invert", source, *reference.ddim_invert(7, 2.0, "source", 4, 6)
    yield "euler_sample", "euler_sample", path, *reference.euler_sample(20, guidance, 4, 6)
    if "tiled" in spec:
        yield "vae_encode_tiled", "vae_encode", {"tiled": True}, *reference.vae_encode(1, 76, 60, tiled=True)
        yield "vae_decode_tiled", "vae_decode", {"tiled": True}, *reference.vae_decode(2, 9, 21, tiled=True)
    if "scene_graph_encoder" in spec:
        yield "scene_graph_encoder", "scene_graph_encoder", {"graph": GRAPH}, *reference.scene_graph(GRAPH)


def write_cases(folder, model, made):
    index = []
    for name, network, options, inputs, outputs in made:
        index.append({"name": name, "network": network, **options})
        for part, tensors in [("in", inputs), ("out", outputs)]:
            tensors = {key: value.detach().contiguous() for key, value in tensors.items()}
            save_file(tensors, folder / f"{name}.{part}.safetensors")
    write_json(folder / "cases.json", {"model": model, "versions": versions(), "cases": index})


def versions():
    import diffusers
    import transformers

    return {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__}


def make_random(name):
    folder = HERE / "golden" / name
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder / "model", SPECS[name], seed=0)
    reference = Reference(folder / "model", SPECS[name], seed=0)
    write_cases(folder, f"tests/parity/golden/{name}/model", cases(reference, SPECS[name]))


def make_original(name):
    spec, folder = ORIGINAL[name], HERE / "golden" / name
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as source:
        source = Path(source)
        make_folder(source, spec, seed=0)
        write_original(source, folder / "model.safetensors", spec)
        reference = Reference(source, spec, seed=0)
        made = [case for case in cases(reference, spec) if case[0] not in ("unet", "euler_sample")]
        inputs, outputs = reference.unet(h=4, w=6)
        made.append(("unet", "unet", {}, inputs, {"sample": outputs["sample"]}))
        write_cases(folder, f"tests/parity/golden/{name}/model.safetensors", made)


def make_lora(name):
    """Adapters of rank 3 and alpha 5 for the folder `of`, in each style, and what the UNet gives with them."""
    of, pipeline = {"lora_xl": ("sdxl", StableDiffusionXLPipeline), "lora_sd": ("clipped", StableDiffusionPipeline)}[name]
    folder, model = HERE / "golden" / name, HERE / "golden" / of / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reference = Reference(model, SPECS[of], seed=0)
    inputs = {key: value for key, value in reference.unet(b=1, h=4, w=6)[0].items() if key != "cotangent"}
    files = write_lora_files(folder, pipeline, reference, inputs)
    made = [(file.split(".")[0], "unet", {"lora": file}, inputs, {"sample": output}) for file, output in files]
    write_cases(folder, f"tests/parity/golden/{of}/model", made)


def make_corpus():
    folder = HERE / "corpus/base"
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder, FUZZED, seed=0)


@torch.no_grad()
def make_prompts():
    """What diffusers' pipelines condition on: SD1.5 (`clipped`) and SDXL (`variant`, with and without forced zeros)."""
    prompt, tensors = "large red circle left of small blue square", {}
    options = {"torch_dtype": torch.float32, "local_files_only": True}
    pipeline = StableDiffusionPipeline.from_pretrained(HERE / "golden/clipped/model", safety_checker=None, **options)
    states, empty = pipeline.encode_prompt(prompt, "cpu", 1, True)
    tensors |= {"sd.encoder_hidden_states": states, "sd.empty.encoder_hidden_states": empty}
    pipeline = StableDiffusionXLPipeline.from_pretrained(HERE / "golden/variant/model", variant="fp16", **options)
    assert pipeline.config.force_zeros_for_empty_prompt
    for forced in (True, False):
        pipeline.register_to_config(force_zeros_for_empty_prompt=forced)
        states, empty, pooled, empty_pooled = pipeline.encode_prompt(prompt, device="cpu")
        name = "zeros" if forced else "empty"
        tensors |= {"xl.encoder_hidden_states": states, "xl.text_embeds": pooled}
        tensors |= {f"xl.{name}.encoder_hidden_states": empty, f"xl.{name}.text_embeds": empty_pooled}
    save_file({key: value.clone() for key, value in tensors.items()}, HERE / "golden/prompts.safetensors")


def make_tiny():
    """The embedded model, opened by diffusers' own pipeline, and its networks."""
    model = ROOT / "models/tiny"
    pipeline = StableDiffusionXLPipeline.from_pretrained(model, torch_dtype=torch.float32, add_watermarker=False, local_files_only=True)
    print("diffusers opens models/tiny:", sorted(pipeline.components))
    spec = {
        "scheduler": json.loads((model / "scheduler/scheduler_config.json").read_text()),
        "text_encoder": {}, "text_encoder_2": {}, "scene_graph_encoder": {},
    }  # fmt: skip
    folder = HERE / "golden/tiny"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reference = Reference(model, spec, seed=0)
    made = [case for case in cases(reference, spec) if case[0] != "unet"]
    inputs, outputs = reference.unet(b=1, h=8, w=8)
    # Gradients of so large a network would be the largest files here; its form is that of `sdxl`.
    outputs = {key: value for key, value in outputs.items() if key in ("sample", "grad.sample", "grad.encoder_hidden_states", "grad.conv_in.weight")}
    write_cases(folder, "models/tiny", [("unet", "unet", {"gradients": True}, inputs, outputs), *made])


def make_tokens():
    """Of each string eight digits of a hash of its ids, for both tokenizers of `sdxl`."""
    reference = Reference(HERE / "golden/sdxl/model", SPECS["sdxl"], seed=0)
    hashes = {}
    for name in ("tokenizer", "tokenizer_2"):
        ids = reference.tokenizer(name)(texts(), padding="max_length", max_length=77, truncation=True).input_ids
        hashes[name] = "".join(hashlib.sha256(",".join(map(str, row)).encode()).hexdigest()[:8] for row in ids)
    write_json(HERE / "golden/tokens.json", {"versions": versions(), "count": len(texts()), **hashes})


XL_UNET = dict(
    sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=[1, 2, 10],
    attention_head_dim=[5, 10, 20], cross_attention_dim=2048, use_linear_projection=True,
    addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
)  # fmt: skip
FULL_VAE = dict(
    block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=512,
)  # fmt: skip
CLIP_L = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768)
CLIP_G = dict(
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280, hidden_act="gelu"
)  # fmt: skip


def make_layouts():
    """Names and shapes at full size, without allocating anything."""
    with torch.device("meta"):
        networks = {
            "sdxl.unet": UNet2DConditionModel(**XL_UNET),
            "sd15.unet": UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
            "vae": AutoencoderKL(**FULL_VAE),
            "clip_l": CLIPTextModel(CLIPTextConfig(**CLIP_L)),
            "clip_g": CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_G)),
        }
    layouts = {}
    for name, network in networks.items():
        tensors = {}
        for key, parameter in network.named_parameters():
            if name.startswith("clip") and not key.startswith("text_"):
                key = f"text_model.{key}"
            tensors[key] = list(parameter.shape)
        config = dict(network.config) if hasattr(network.config, "items") else network.config.to_dict()
        lines = "".join(f"{key} {shape}\n" for key, shape in sorted(tensors.items()))
        layouts[name] = {
            "config": {key: value for key, value in config.items() if not key.startswith("_")},
            "tensors": len(tensors), "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "sha256": hashlib.sha256(lines.encode()).hexdigest(),
            # Every tensor of SD1.5 by name; of the others the hash above says the same.
            **({"shapes": tensors} if name in ("sd15.unet", "vae") else {}),
        }  # fmt: skip
    path = HERE / "golden/layouts.json"
    path.write_text(json.dumps(layouts, default=list) + "\n")


def make_lora_forms():
    """A LoRA on `sdxl`: the image that diffusers makes with it, which must be the same from every form that we write of it."""
    from diffusers import DDIMScheduler
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    model, folder = HERE / "golden/sdxl/model", HERE / "golden/lora_forms"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(7)

    def load(path):
        pipeline = StableDiffusionXLPipeline.from_pretrained(
            path, torch_dtype=torch.float32, add_watermarker=False, local_files_only=True
        )
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    pipeline = load(model)
    settings = {"r": 3, "lora_alpha": 6, "target_modules": ["to_q", "to_k", "to_v", "to_out.0"]}
    pipeline.unet.add_adapter(LoraConfig(**settings))
    for name, parameter in pipeline.unet.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.15
    StableDiffusionXLPipeline.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(pipeline.unet),
        unet_lora_adapter_metadata=settings,
        weight_name="source.safetensors",
    )

    size = pipeline.unet.config.sample_size
    pooled = pipeline.text_encoder_2.config.projection_dim
    inputs = {
        "latents": torch.randn(1, 4, size, size, generator=generator),
        "encoder_hidden_states": torch.randn(1, 7, pipeline.unet.config.cross_attention_dim, generator=generator),
        "text_embeds": torch.randn(1, pooled, generator=generator),
    }

    def image(pipeline):
        states, embeds = inputs["encoder_hidden_states"], inputs["text_embeds"]
        return pipeline(
            prompt_embeds=states, pooled_prompt_embeds=embeds, negative_prompt_embeds=torch.zeros_like(states),
            negative_pooled_prompt_embeds=torch.zeros_like(embeds), latents=inputs["latents"].clone(),
            num_inference_steps=6, guidance_scale=3.0, output_type="pt",
        ).images  # fmt: skip

    with torch.no_grad():
        expected, plain = image(pipeline), image(load(model))
    assert (expected - plain).abs().max() > 0.05, "the adapters change nothing"
    forms, source = {}, folder / "source.safetensors"
    with tempfile.TemporaryDirectory() as made:
        made = Path(made)
        for style in ("diffusers", "kohya"):
            file = made / f"{style}.safetensors"
            ours("lora", "--model", model, "--weights", source, "--style", style, "--output", file)
            pipeline = load(model)
            pipeline.load_lora_weights(made, weight_name=file.name)
            forms[style] = (image(pipeline), file)
        ours("merge", "--model", model, "--weights", source, "--output", made / "merged")
        merged = load(made / "merged")
        forms["merged"] = (image(merged), None)
        index = {"versions": versions(), "model": "tests/parity/golden/sdxl/model", "steps": 6, "guidance": 3.0, "forms": {}}
        for form, (found, file) in forms.items():
            difference = (found - expected).abs().max().item()
            print(f"{form}: largest difference of a pixel {difference:.2e} (without adapters {(expected - plain).abs().max():.2f})")
            # A quarter of a step of eight bits; merging rounds otherwise than adding.
            assert difference < 1e-3, form
            if file:
                index["forms"][form] = hashlib.sha256(file.read_bytes()).hexdigest()
    # Sums differ in the last bit from machine to machine, so of the merged weights the values are kept.
    adapted = {name: tensor for name, tensor in merged.unet.state_dict().items() if ".attn1.to_" in name and name.endswith("weight")}
    save_file(inputs, folder / "in.safetensors")
    save_file({"image": expected.contiguous(), **adapted}, folder / "out.safetensors")
    write_json(folder / "cases.json", index)


def ours(command, *arguments):
    """Runs `diptych model COMMAND`."""
    program = ROOT / "target/release/diptych"
    subprocess.run([program, "model", command, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def main():
    makers = {name: lambda name=name: make_random(name) for name in SPECS}
    makers |= {name: lambda name=name: make_original(name) for name in ORIGINAL}
    makers |= {name: lambda name=name: make_lora(name) for name in ("lora_xl", "lora_sd")}
    makers |= {"corpus": make_corpus, "prompts": make_prompts, "tokens": make_tokens, "layouts": make_layouts, "tiny": make_tiny, "lora_forms": make_lora_forms}
    wanted = sys.argv[1:] or list(makers)
    torch.set_num_threads(1)
    for name in wanted:
        makers[name]()


if __name__ == "__main__":
    main()
