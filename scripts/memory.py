"""Peak memory of one UNet gradient at several widths and sizes, with and without gradient checkpointing.

    python scripts/memory.py [--binary target/release/diptych]

SDXL's own UNet, narrowed: a folder of random parameters (needs torch, diffusers, transformers, as `make goldens`), run by
`diptych model run unet --grad --json`, which tells the most memory that it held. What parameters and gradients take
is taken off, so the rest is what activations take.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/parity"))

from safetensors.torch import save_file  # noqa: E402

from make_goldens import XL_UNET  # noqa: E402
from reference import Reference, make_folder  # noqa: E402


def narrowed(share):
    """SDXL with channels and heads divided by `share`; layers, context and conditioning stay."""
    return {
        **XL_UNET, "block_out_channels": [c // share for c in XL_UNET["block_out_channels"]],
        "attention_head_dim": [max(1, h // share) for h in XL_UNET["attention_head_dim"]], "norm_num_groups": 8,
        "cross_attention_dim": 2048 // share, "projection_class_embeddings_input_dim": 6 * 256 + 1280 // share,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=str(ROOT / "target/release/diptych"))
    parser.add_argument("--share", type=int, default=5)
    parser.add_argument("--sides", default="16,32,64")
    arguments = parser.parse_args()
    print("| latents | checkpointing | parameters, MB | peak, MB | activations, MB |\n| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        spec = {"pipeline": "StableDiffusionXLPipeline", "dtype": "float32", "unet": narrowed(arguments.share)}
        make_folder(folder, spec, seed=0)
        reference = Reference(folder, spec, 0)
        unet = reference.load_unet()
        parameters = sum(parameter.numel() for parameter in unet.parameters()) * 4
        for side in map(int, arguments.sides.split(",")):
            inputs = {
                "sample": reference.randn(1, 4, side, side), "timestep": reference.randint(0, 1000, (1,)),
                **reference.conditioning(unet, 1, 77), "cotangent": reference.randn(1, 4, side, side),
            }  # fmt: skip
            save_file({key: value.contiguous() for key, value in inputs.items()}, folder / "in.safetensors")
            for flags in ([], ["--checkpointing"]):
                done = subprocess.run(
                    [arguments.binary, "model", "run", "unet", "--grad", "--json", "--model", folder, "--input",
                     folder / "in.safetensors", "--output", folder / "out.safetensors", *flags],
                    capture_output=True, text=True,
                )  # fmt: skip
                if done.returncode:
                    sys.exit(done.stderr)
                peak = json.loads(done.stdout)["peak_memory_bytes"]
                numbers = [parameters / 1e6, peak / 1e6, (peak - 2 * parameters) / 1e6]
                how = "yes" if flags else "no"
                print(f"| {side} × {side} | {how} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |", flush=True)


if __name__ == "__main__":
    main()
