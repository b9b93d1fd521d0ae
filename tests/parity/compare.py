"""Folders of random configuration and parameters, through the Python reference and through `diptych model run`.

    python tests/parity/compare.py [--binary target/release/diptych] [--seeds 0:10] [--names sdxl,sd15]

Prints each case's largest difference relative to the output's scale, each gradient's relative to its own norm, and exits
with 1 where one is beyond its bound. Needs torch, diffusers, transformers and safetensors.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from reference import Reference, make_folder
from specs import SPECS, random_spec

TEXTS = ["large red circle left of small blue square", "A  Dog's  leash,\n2 cats & 10 cafés! \u65e5\u672c \U0001f98a", "circle " * 100]
GRAPH = {
    "triples": [["large red circle", "left of", "small blue square"], ["small blue square", "above", "old wooden table"]],
    "isolated": ["small green star"],
}
OUTPUT, PATH, GRADIENT = 1e-4, 1e-3, 1e-3


def record(graph):
    """The LAION-SG record that has these triples and isolated items."""
    items, numbers = [], {}

    def number(text):
        if text not in numbers:
            *attributes, label = text.split(" ")
            numbers[text] = len(items)
            items.append({"item_id": len(items), "label": label, "attributes": attributes, "global_item_id": len(items)})
        return numbers[text]

    relations = [
        {"triple_id": i, "item1": number(s), "relation": r, "item2": number(o), "global_relation_id": i}
        for i, (s, r, o) in enumerate(graph["triples"])
    ]
    for text in graph["isolated"]:
        number(text)
    return {
        "img_id": "1", "name": "1.jpg", "caption_ori": "", "score": "6.5", "url": "", "items": items, "relations": relations,
    }  # fmt: skip


def cases(reference, spec):
    """(name, network, flags, inputs, outputs, bound)"""
    levels = len(spec["unet"]["block_out_channels"])
    odd = 5 + 2**levels
    yield "unet", "unet", ["--grad"], *reference.unet(), OUTPUT
    yield "unet_odd", "unet", ["--grad"], *reference.unet(b=1, h=odd, w=odd + 3), OUTPUT
    yield "vae_encode", "vae_encode", [], *reference.vae_encode(), OUTPUT
    yield "vae_decode", "vae_decode", [], *reference.vae_decode(), OUTPUT
    for name in ("text_encoder", "text_encoder_2"):
        if name in spec:
            yield name, name, [], *reference.text(name, TEXTS), OUTPUT
    if spec["unet"].get("in_channels", 4) == spec["unet"].get("out_channels", 4):
        for steps, guidance in [(20, 5.0), (7, 1.0)]:
            flags = ["--steps", str(steps), "--guidance", str(guidance)]
            yield f"ddim_sample_{steps}", "ddim_sample", flags, *reference.ddim_sample(steps, guidance), PATH
            yield f"ddim_invert_{steps}", "ddim_invert", flags, *reference.ddim_invert(steps, guidance), PATH
        flags = ["--steps", "5", "--guidance", "2", "--label", "source"]
        yield "ddim_invert_source", "ddim_invert", flags, *reference.ddim_invert(5, 2.0, "source"), PATH
        flags = ["--steps", "12", "--guidance", "3"]
        yield "euler_sample", "euler_sample", flags, *reference.euler_sample(12, 3.0), PATH
    if "scene_graph_encoder" in spec:
        yield "scene_graph_encoder", "scene_graph_encoder", [], *reference.scene_graph(GRAPH), OUTPUT


def difference(name, expected, got):
    expected, got = expected.double(), got.double()
    if expected.shape != got.shape:
        return float("inf")
    if name.startswith("grad."):
        scale = expected.norm()
        error = (expected - got).norm()
    else:
        scale, error = expected.abs().max(), (expected - got).abs().max()
    return float(error / scale) if scale > 0 else float(error)


def check(binary, folder, spec, seed):
    reference, failures = Reference(folder, spec, seed), 0
    for name, network, flags, inputs, outputs, bound in cases(reference, spec):
        source, target = folder / f"{name}.in.safetensors", folder / f"{name}.out.safetensors"
        command = [*binary, network, "--model", str(folder), "--output", str(target), *flags]
        if network == "scene_graph_encoder":
            (folder / "graph.json").write_text(json.dumps(GRAPH if "dev_run" in binary[0] else record(GRAPH)))
            command += ["--graph", str(folder / "graph.json")]
        else:
            save_file({key: value.contiguous() for key, value in inputs.items()}, source)
            command += ["--input", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"  {name}: exit code {done.returncode}: {done.stderr.strip()[-400:]}")
            failures += 1
            continue
        got = load_file(target)
        worst = {}
        for key, value in outputs.items():
            error = difference(key, value.detach(), got[key]) if key in got else float("inf")
            kind = "gradient" if key.startswith("grad.") else "output"
            # A gradient of rounding errors alone, such as that of a bias before a norm over its own channel.
            if kind == "gradient" and value.norm() < 1e-5 * outputs["grad.sample"].norm():
                continue
            worst[kind] = max(worst.get(kind, (0.0, "")), (error, key))
        missing, extra = set(outputs) - set(got), set(got) - set(outputs)
        bad = bool(missing or extra) or worst["output"][0] > bound or worst.get("gradient", (0,))[0] > GRADIENT
        failures += bad
        text = "  ".join(f"{kind} {error:.1e} ({key})" for kind, (error, key) in worst.items())
        print(f"  {'BAD ' if bad else ''}{name}: {text}{f' missing {missing}' if missing else ''}{f' extra {extra}' if extra else ''}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/diptych model run")
    parser.add_argument("--seeds", default="0:0")
    parser.add_argument("--names", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    first, last = map(int, arguments.seeds.split(":"))
    wanted = [(name, SPECS[name], 0) for name in arguments.names.split(",") if name]
    wanted += [(f"seed {seed}", random_spec(seed), seed) for seed in range(first, last)]
    failures = 0
    for name, spec, seed in wanted:
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            make_folder(Path(folder), spec, seed)
            failures += check(arguments.binary.split(), Path(folder), spec, seed)
    print(f"{failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
