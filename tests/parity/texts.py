"""Strings for the tokenizer: every prompt in the shared data, and made-up ones of all scripts.

`texts.rs` makes the same list in the same order.
"""

import csv
import json
from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "shared/data"
SYNTHETIC = 2500
# First code point and number of code points.
POOLS = [
    (0x61, 26), (0x41, 26), (0x20, 1), (0x20, 1), (0x30, 10), (0x21, 15), (0x09, 5), (0x20, 95), (0xA0, 96), (0x100, 128),
    (0x300, 112), (0x370, 144), (0x400, 256), (0x5D0, 27), (0x600, 256), (0x900, 128), (0xE00, 128), (0x1E00, 256),
    (0x2000, 112), (0x20A0, 32), (0x2100, 80), (0x2190, 112), (0x2600, 256), (0x3040, 192), (0x4E00, 1024), (0xAC00, 1024),
    (0xFB00, 7), (0xFE00, 16), (0xFF00, 240), (0x1F300, 768), (0x1F900, 256), (0x1D400, 256),
]  # fmt: skip
SPECIAL = ["<|endoftext|>", "<|startoftext|>", "'s", "'ll", "don't", "</w>", "\r\n", "\u200d", "\ufe0f", "e\u0301", "İ", "ß", "!!", "..."]


def shared():
    yield from (json.loads(line)["prompt"] for line in open(DATA / "dpg_bench/prompts.jsonl", encoding="utf-8"))
    yield from (json.loads(line)["prompt"] for line in open(DATA / "t2i_compbench/val_prompts.jsonl", encoding="utf-8"))
    with open(DATA / "dpg_bench/dsg1k_questions.csv", encoding="utf-8", newline="") as file:
        yield from dict.fromkeys(row["text"] for row in csv.DictReader(file))
    for name in ["derived/dsg1k_graphs", "derived/factual_vg_image_unions", "real/factual_vg_regions", "real/vg_regions_2785"]:
        for graph in json.loads((DATA / f"scene_graphs/{name}.json").read_text(encoding="utf-8")):
            yield graph["caption_ori"]


class Random:
    """SplitMix64."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        return (z ^ (z >> 31)) % n


def synthetic():
    random = Random(7)
    for _ in range(SYNTHETIC):
        text = ""
        for _ in range(random.below(12)):
            if random.below(6) == 0:
                text += SPECIAL[random.below(len(SPECIAL))]
                continue
            first, count = POOLS[random.below(len(POOLS))]
            for _ in range(1 + random.below(6)):
                text += chr(first + random.below(count))
        yield text


def texts():
    return [*shared(), *synthetic()]
