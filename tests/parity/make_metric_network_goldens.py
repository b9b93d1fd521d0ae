"""Goldens of the networks that judge images, for `cargo test -p tests --test parity metric_network`.

    pip install torch transformers safetensors pillow numpy
    python tests/parity/make_metric_network_goldens.py

Makes `golden/metric_network`: random folders of CLIPModel, BlipForQuestionAnswering and InceptionV3 (a sixteenth of its
channels), an aesthetic head, pictures, and what transformers, torch and PIL make of them. Every parameter is random.
Inception is written out below, because torchvision's has fixed channels; where torchvision and pytorch-fid are
installed, it is compared with theirs at full width.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from transformers import BlipConfig, BlipForQuestionAnswering, CLIPConfig, CLIPModel

HERE = Path(__file__).parent / "golden"
OUT = HERE / "metric_network"
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
SIZES = [(40, 23), (19, 50), (32, 32)]
PROMPTS = ["a red bus", "two dogs beside a tree, at night"]
QUESTIONS = ["red bus?", "Two (blue) dogs beside a tree?", "no dog?", "blue tree?"]


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        spread = 0.3 if value.dim() > 1 else 0.1
        value.data = torch.randn(value.shape, generator=generator) * spread
        if "orm" in name and name.endswith("weight"):
            value.data += 1
    return model.eval()


def resize(image, w, h):
    """Rows first, then columns: PIL's order for long. Pillow 13 takes columns first for some sizes, and then differs by
    the rounding between the passes."""
    return image.resize((w, image.height), Image.BICUBIC).resize((w, h), Image.BICUBIC)


def shortest_and_crop(image, size):
    """As transformers' image processors: shorter side bicubic, centre crop rounded down."""
    w, h = image.size
    long = int(size * max(w, h) / min(w, h))
    w, h = (size, long) if w <= h else (long, size)
    image = resize(image, w, h)
    left, top = (w - size) // 2, (h - size) // 2
    return image.crop((left, top, left + size, top + size))


def to_tensor(image):
    return torch.from_numpy((np.asarray(image, dtype=np.float32) / 255 - MEAN) / STD).permute(2, 0, 1)[None]


def clip_model(pictures, out):
    folder = OUT / "clip"
    tower = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, projection_dim=99)
    tokens = json.loads((HERE / "sd15/model/tokenizer/vocab.json").read_text())
    ids = {"bos_token_id": tokens["<|startoftext|>"], "eos_token_id": tokens["<|endoftext|>"]}
    config = CLIPConfig(
        text_config=dict(tower, vocab_size=len(tokens), hidden_act="gelu", max_position_embeddings=77, **ids),
        vision_config=dict(tower, image_size=16, patch_size=8, hidden_act="quick_gelu"),
        projection_dim=12,
    )
    model = randomize(CLIPModel(config), 1)
    model.logit_scale.data = torch.tensor(3.1)
    model.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(HERE / "sd15/model/tokenizer" / name, folder / name)
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)
    for i, picture in enumerate(pictures):
        cropped = shortest_and_crop(picture, 16)
        out[f"crop.{i}"] = torch.from_numpy(np.array(cropped))
    pixels = torch.cat([to_tensor(shortest_and_crop(picture, 16)) for picture in pictures])
    out["clip.image"] = tensor_of(model.get_image_features(pixel_values=pixels))
    encoded = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    out["clip.text"] = tensor_of(model.get_text_features(**encoded))
    image, text = (F.normalize(out[f"clip.{name}"], dim=-1) for name in ("image", "text"))
    out["clip.cosine"] = text @ image.T
    out["clip.preference"] = torch.softmax(model.logit_scale.exp() * out["clip.cosine"], dim=-1)


def tensor_of(output):
    return output if torch.is_tensor(output) else output.pooler_output


def aesthetic(out):
    generator = torch.Generator().manual_seed(2)
    state, hidden = {}, F.normalize(out["clip.image"], dim=-1)
    for index, (inner, outer) in zip((0, 2, 4, 6, 7), ((12, 1024), (1024, 128), (128, 64), (64, 16), (16, 1))):
        # Rounded, so that the file is small; the head is evaluated as it is stored.
        weight = (torch.randn(outer, inner, generator=generator) / inner**0.5).half()
        bias = (torch.randn(outer, generator=generator) * 0.1).half()
        state |= {f"layers.{index}.weight": weight, f"layers.{index}.bias": bias}
        hidden = F.linear(hidden, weight.float(), bias.float())
    save_file(state, OUT / "aesthetic.safetensors")
    out["aesthetic"] = hidden[:, 0]


def blip(pictures, out):
    folder = OUT / "blip"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "yes", "no", "red", "blue", "bus", "two", "dog", "##s", "beside", "a", "tree", "?", ","]
    text = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=len(words) + 2,
                bos_token_id=len(words), max_position_embeddings=40, sep_token_id=3, eos_token_id=3)
    vision = dict(hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, image_size=24, patch_size=8)
    model = randomize(BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=vision)), 3)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    start, enc = len(words), len(words) + 1
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(folder)
    for i, picture in enumerate(pictures):
        pixels = to_tensor(resize(picture, 24, 24))
        for k, question in enumerate(QUESTIONS):
            prepared = "".join(c for c in question.lower() if c not in '.!"()*#:;~')
            ids = [enc, *tokenizer(prepared, add_special_tokens=False).input_ids, 3]
            ids = torch.tensor([ids])
            mask = torch.ones_like(ids)
            seen = model.vision_model(pixel_values=pixels).last_hidden_state
            read = model.text_encoder(
                input_ids=ids, attention_mask=mask, encoder_hidden_states=seen,
                encoder_attention_mask=torch.ones(seen.shape[:-1], dtype=torch.long),
            ).last_hidden_state
            logits = model.text_decoder(
                input_ids=torch.tensor([[start]]), encoder_hidden_states=read, encoder_attention_mask=mask
            ).logits[:, -1]
            out[f"blip.ids.{k}"] = ids
            out[f"blip.logits.{i}.{k}"] = logits
            out[f"blip.yes.{i}.{k}"] = torch.sigmoid(logits[0, 4] - logits[0, 5]).reshape(1)
        out[f"blip.seen.{i}"] = seen


def inception(state, x):
    """Features [b, d] of pixels in -1..1 by the weights of pytorch-fid's layout, of any width."""

    def conv(x, name, stride=1, padding=0):
        y = F.conv2d(x, state[f"{name}.conv.weight"], stride=stride, padding=padding)
        norm = [state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(y, *norm, eps=0.001))

    def chain(x, block, *layers):
        for name, *options in layers:
            x = conv(x, f"{block}.{name}", *options)
        return x

    def average(x):
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    x = conv(conv(conv(x, "Conv2d_1a_3x3", 2), "Conv2d_2a_3x3"), "Conv2d_2b_3x3", 1, 1)
    x = F.max_pool2d(x, 3, 2)
    x = F.max_pool2d(conv(conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = torch.cat([
            chain(x, block, ("branch1x1",)),
            chain(x, block, ("branch5x5_1",), ("branch5x5_2", 1, 2)),
            chain(x, block, ("branch3x3dbl_1",), ("branch3x3dbl_2", 1, 1), ("branch3x3dbl_3", 1, 1)),
            chain(average(x), block, ("branch_pool",)),
        ], 1)
    x = torch.cat([
        chain(x, "Mixed_6a", ("branch3x3", 2)),
        chain(x, "Mixed_6a", ("branch3x3dbl_1",), ("branch3x3dbl_2", 1, 1), ("branch3x3dbl_3", 2)),
        F.max_pool2d(x, 3, 2),
    ], 1)
    across, down = (0, 3), (3, 0)
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = torch.cat([
            chain(x, block, ("branch1x1",)),
            chain(x, block, ("branch7x7_1",), ("branch7x7_2", 1, across), ("branch7x7_3", 1, down)),
            chain(x, block, ("branch7x7dbl_1",), ("branch7x7dbl_2", 1, down), ("branch7x7dbl_3", 1, across),
                  ("branch7x7dbl_4", 1, down), ("branch7x7dbl_5", 1, across)),
            chain(average(x), block, ("branch_pool",)),
        ], 1)
    x = torch.cat([
        chain(x, "Mixed_7a", ("branch3x3_1",), ("branch3x3_2", 2)),
        chain(x, "Mixed_7a", ("branch7x7x3_1",), ("branch7x7x3_2", 1, across), ("branch7x7x3_3", 1, down), ("branch7x7x3_4", 2)),
        F.max_pool2d(x, 3, 2),
    ], 1)
    for block, pool in (("Mixed_7b", average), ("Mixed_7c", lambda x: F.max_pool2d(x, 3, 1, 1))):
        three = chain(x, block, ("branch3x3_1",))
        double = chain(x, block, ("branch3x3dbl_1",), ("branch3x3dbl_2", 1, 1))
        x = torch.cat([
            chain(x, block, ("branch1x1",)),
            chain(three, block, ("branch3x3_2a", 1, (0, 1))), chain(three, block, ("branch3x3_2b", 1, (1, 0))),
            chain(double, block, ("branch3x3dbl_3a", 1, (0, 1))), chain(double, block, ("branch3x3dbl_3b", 1, (1, 0))),
            chain(pool(x), block, ("branch_pool",)),
        ], 1)
    return x.mean((2, 3))


def layout():
    """Names and shapes of all tensors at full width: channels that go in, that come out, kernel."""
    found = {}

    def conv(name, i, o, kh, kw=None):
        found[name] = (o, i, kh, kw or kh)
        return o

    conv("Conv2d_1a_3x3", 3, 32, 3), conv("Conv2d_2a_3x3", 32, 32, 3), conv("Conv2d_2b_3x3", 32, 64, 3)
    conv("Conv2d_3b_1x1", 64, 80, 1), conv("Conv2d_4a_3x3", 80, 192, 3)
    for m, i, p in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        conv(f"{m}.branch1x1", i, 64, 1), conv(f"{m}.branch5x5_1", i, 48, 1), conv(f"{m}.branch5x5_2", 48, 64, 5)
        conv(f"{m}.branch3x3dbl_1", i, 64, 1), conv(f"{m}.branch3x3dbl_2", 64, 96, 3), conv(f"{m}.branch3x3dbl_3", 96, 96, 3)
        conv(f"{m}.branch_pool", i, p, 1)
    conv("Mixed_6a.branch3x3", 288, 384, 3), conv("Mixed_6a.branch3x3dbl_1", 288, 64, 1)
    conv("Mixed_6a.branch3x3dbl_2", 64, 96, 3), conv("Mixed_6a.branch3x3dbl_3", 96, 96, 3)
    for m, c in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        conv(f"{m}.branch1x1", 768, 192, 1), conv(f"{m}.branch7x7_1", 768, c, 1)
        conv(f"{m}.branch7x7_2", c, c, 1, 7), conv(f"{m}.branch7x7_3", c, 192, 7, 1)
        conv(f"{m}.branch7x7dbl_1", 768, c, 1), conv(f"{m}.branch7x7dbl_2", c, c, 7, 1), conv(f"{m}.branch7x7dbl_3", c, c, 1, 7)
        conv(f"{m}.branch7x7dbl_4", c, c, 7, 1), conv(f"{m}.branch7x7dbl_5", c, 192, 1, 7), conv(f"{m}.branch_pool", 768, 192, 1)
    m = "Mixed_7a"
    conv(f"{m}.branch3x3_1", 768, 192, 1), conv(f"{m}.branch3x3_2", 192, 320, 3), conv(f"{m}.branch7x7x3_1", 768, 192, 1)
    conv(f"{m}.branch7x7x3_2", 192, 192, 1, 7), conv(f"{m}.branch7x7x3_3", 192, 192, 7, 1), conv(f"{m}.branch7x7x3_4", 192, 192, 3)
    for m, i in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        conv(f"{m}.branch1x1", i, 320, 1), conv(f"{m}.branch3x3_1", i, 384, 1), conv(f"{m}.branch3x3dbl_1", i, 448, 1)
        conv(f"{m}.branch3x3dbl_2", 448, 384, 3), conv(f"{m}.branch_pool", i, 192, 1)
        for part in ("branch3x3_2", "branch3x3dbl_3"):
            conv(f"{m}.{part}a", 384, 384, 1, 3), conv(f"{m}.{part}b", 384, 384, 3, 1)
    return found


def random_state(divisor, seed):
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, (o, i, kh, kw) in layout().items():
        o, i = o // divisor, i if i == 3 else i // divisor
        draw = lambda *shape: torch.randn(*shape, generator=generator)
        state[f"{name}.conv.weight"] = draw(o, i, kh, kw) * (2 / (i * kh * kw)) ** 0.5
        state[f"{name}.bn.weight"] = 1 + 0.2 * draw(o)
        state[f"{name}.bn.bias"] = 0.2 * draw(o)
        state[f"{name}.bn.running_mean"] = 0.2 * draw(o)
        state[f"{name}.bn.running_var"] = torch.rand(o, generator=generator) + 0.5
    return state


def inception_features(state, picture):
    x = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)[None]
    return inception(state, 2 * F.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1)


def compare_with_pytorch_fid(picture):
    try:
        from pytorch_fid import inception as theirs
    except ImportError:
        return print("pytorch-fid is not installed: not compared")
    network = theirs._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    for block, kind in (("Mixed_5b", "A"), ("Mixed_5c", "A"), ("Mixed_5d", "A"), ("Mixed_6b", "C"), ("Mixed_6c", "C"),
                        ("Mixed_6d", "C"), ("Mixed_6e", "C"), ("Mixed_7b", "E_1"), ("Mixed_7c", "E_2")):
        getattr(network, block).__class__ = getattr(theirs, f"FIDInception{kind}")
    state = random_state(1, 9)
    missing, unknown = network.load_state_dict(state, strict=False)
    assert not unknown and all(name.startswith("fc.") or name.endswith("num_batches_tracked") for name in missing), missing
    network.eval()
    network.fc = torch.nn.Identity()
    x = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)[None]
    x = 2 * F.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1
    a, b = inception(state, x), network(x)
    print("inception against pytorch-fid:", float((a - b).abs().max() / b.abs().max()))
    assert (a - b).abs().max() < 1e-4 * b.abs().max()


@torch.no_grad()
def main():
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "pictures").mkdir(parents=True)
    draw = np.random.default_rng(5)
    pictures = []
    for i, (w, h) in enumerate(SIZES):
        coarse = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((w, h), Image.BILINEAR)
        noisy = np.clip(np.asarray(coarse).astype(int) + draw.integers(-20, 21, (h, w, 3)), 0, 255)
        pictures.append(Image.fromarray(noisy.astype(np.uint8)))
        pictures[-1].save(OUT / f"pictures/{i}.png")
    out = {}
    for i, picture in enumerate(pictures):
        for w, h in ((7, 11), (64, 48)):
            out[f"resize.{i}.{w}x{h}"] = torch.from_numpy(np.array(resize(picture, w, h)))
    clip_model(pictures, out)
    aesthetic(out)
    blip(pictures, out)
    compare_with_pytorch_fid(pictures[0])
    state = {name: value.half() for name, value in random_state(16, 4).items()}
    save_file(state, OUT / "inception.safetensors")
    state = {name: value.float() for name, value in state.items()}
    out["inception"] = torch.cat([inception_features(state, picture) for picture in pictures])
    save_file({name: value.contiguous() for name, value in out.items()}, OUT / "expected.safetensors")
    (OUT / "cases.json").write_text(json.dumps({"prompts": PROMPTS, "questions": QUESTIONS}, indent=1) + "\n")


main()
