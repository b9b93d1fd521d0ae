"""Speed against torch eager: the same folder, threads and inputs, in turns, in one run.

    python tests/parity/bench.py [--binary target/release/diptych] [--threads 2] [--sizes tiny,small] [--rounds 3]

Prints a Markdown table of medians and ratios (torch's seconds over ours; at least 1: ours is as fast). Each round times
torch first and then us, so that whatever else the machine does meets both. `medium` is SD1.5's UNet at its real size.
candle-transformers has a UNet for SD1.5's form alone (models/examples/candle_unet.rs), and no gradient of it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from reference import Reference, make_folder
from specs import DDIM, clip, vae

ROOT = Path(__file__).resolve().parents[2]

SIZES = {
    # The embedded model's form.
    "tiny": {
        "pipeline": "StableDiffusionXLPipeline", "dtype": "float32",
        "unet": dict(
            sample_size=8, block_out_channels=(64, 128), layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
            transformer_layers_per_block=1, attention_head_dim=[2, 4], norm_num_groups=16, cross_attention_dim=192,
            use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=6 * 32 + 128,
        ),
        "vae": {**vae((16, 32, 64, 64)), "norm_num_groups": 8},
        "text_encoder": clip(64, 3, 2, "quick_gelu"), "text_encoder_2": clip(128, 3, 4, "gelu", projection_dim=128),
        "scheduler": DDIM, "side": 8, "batch": 8,
    },
    # About 30 million parameters, 32 × 32 latents.
    "small": {
        "pipeline": "StableDiffusionPipeline", "dtype": "float32",
        "unet": dict(
            sample_size=32, block_out_channels=(96, 192, 288), layers_per_block=2,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=6,
            norm_num_groups=32, cross_attention_dim=384,
        ),
        "vae": {**vae((32, 64, 128, 128)), "norm_num_groups": 32},
        "text_encoder": clip(384, 6, 6, "quick_gelu"),
        "scheduler": DDIM, "side": 32, "batch": 2,
    },
    # SD1.5 as it is, at 16 × 16 latents.
    "medium": {
        "pipeline": "StableDiffusionPipeline", "dtype": "float32",
        "unet": dict(sample_size=64, cross_attention_dim=768),
        "scheduler": DDIM, "side": 16, "batch": 1,
    },
}  # fmt: skip


def timed(run, repeats):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def jobs(reference, spec):
    """(name, network, flags, inputs, torch's run)"""
    side, batch = spec["side"], spec["batch"]
    unet = reference.load_unet()
    inputs = {
        "sample": reference.randn(batch, 4, side, side), "timestep": reference.randint(0, 1000, (batch,)),
        **reference.conditioning(unet, batch, 77), "cotangent": reference.randn(batch, 4, side, side),
    }  # fmt: skip
    call = lambda sample, states: unet(sample, inputs["timestep"], states, added_cond_kwargs=reference.added(inputs)).sample

    def forward():
        with torch.no_grad():
            call(inputs["sample"], inputs["encoder_hidden_states"])

    def backward():
        unet.zero_grad(set_to_none=True)
        sample, states = (inputs[key].clone().requires_grad_() for key in ("sample", "encoder_hidden_states"))
        (call(sample, states) * inputs["cotangent"]).sum().backward()

    yield "UNet forward", "unet", [], inputs, forward
    yield "UNet forward + backward", "unet", ["--grad"], inputs, backward
    if "vae" in spec:
        decoder = reference.load_vae()
        latents = {"latents": reference.randn(batch, 4, side, side)}
        yield "VAE decode", "vae_decode", [], latents, lambda: torch.no_grad()(decoder.decode)(latents["latents"])
    for name in ("text_encoder", "text_encoder_2"):
        if name in spec:
            encoder = reference.load_text(name)
            ids = {"input_ids": reference.randint(0, 500, (batch, 77))}
            yield name, name, [], ids, lambda encoder=encoder, ids=ids: torch.no_grad()(encoder)(ids["input_ids"], output_hidden_states=True)
    path = reference.path_inputs(unet, side, side, 77)
    predict = reference.guided(unet, path, 5.0)

    def sample():
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config(spec["scheduler"])
        scheduler.set_timesteps(10)
        latents = path["latents"]
        with torch.no_grad():
            for t in scheduler.timesteps:
                latents = scheduler.step(predict(latents, t), t, latents).prev_sample

    yield "sampling, 10 steps", "ddim_sample", ["--steps", "10", "--guidance", "5"], path, sample


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=str(ROOT / "target/release/diptych"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--sizes", default="tiny,small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, about")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    command = [*arguments.binary.split(), *([] if "dev_run" in arguments.binary else ["model", "run"])]
    print(f"torch {torch.__version__}, {arguments.threads} threads, {cpu()}, load {os.getloadavg()[0]:.1f}\n")
    candle = ROOT / "target/release/examples/candle_unet"
    print("| size | network | torch, ms | candle, ms | diptych, ms | torch / diptych |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for size in arguments.sizes.split(","):
        spec = SIZES[size]
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            make_folder(folder, spec, seed=0)
            for name, network, flags, inputs, run in jobs(Reference(folder, spec, 0), spec):
                source = folder / "in.safetensors"
                save_file({key: value.contiguous() for key, value in inputs.items()}, source)
                run()
                repeats = max(1, min(200, int(arguments.seconds / max(timed(run, 1)[0], 1e-4))))
                compared = network == "unet" and not flags and "addition_embed_type" not in spec["unet"]
                theirs, candles, ours = [], [], []
                for _ in range(arguments.rounds):
                    theirs += timed(run, repeats)
                    if compared:
                        candles.append(median_of([candle, folder, source, str(arguments.threads), str(max(1, repeats // 8))]))
                    ours.append(median_of(
                        [*command, network, "--model", folder, "--input", source, "--output", folder / "out.safetensors",
                         "--threads", str(arguments.threads), "--repeat", str(repeats), *flags],
                    ))  # fmt: skip
                theirs, ours = statistics.median(theirs), statistics.median(ours)
                candles = f"{1e3 * statistics.median(candles):.2f}" if candles else ""
                print(f"| {size} | {name} | {1e3 * theirs:.2f} | {candles} | {1e3 * ours:.2f} | {theirs / ours:.2f} |", flush=True)


def median_of(command):
    """Of a program that times itself."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")
    return json.loads(done.stdout)["median_seconds"]


def cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


if __name__ == "__main__":
    main()
