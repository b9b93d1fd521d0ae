"""Golden values of the Python reference, for `cargo test --test parity`.

    pip install torch diffusers transformers safetensors
    python tests/parity/make_goldens.py [random] [tiny]

`random` first makes a small folder of random parameters, `tests/parity/random`, in another configuration than the
embedded default's (three levels, convolutional projections, two layers a block, an offset in the schedule), then its
goldens. `tiny` opens `models/tiny`, as diffusers itself does. Each writes `golden/NAME.safetensors` (inputs and
outputs) and `golden/NAME.json` (token ids, and of each parameter's gradient the norm and one projection).

The scene-graph encoder has no Python package: its reference is written out here, from arXiv 2412.08580 and its code.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

HERE = Path(__file__).parent
TEXTS = [
    "large red circle left of small blue square",
    "small green star above large black cross small green star right of small orange triangle",
    "A  Dog's  leash,\n2 cats & 10 cafés!",
    "été \u65e5\u672c \U0001f98a don't we'll",
    "",
    "-",
    "circle " * 100,
]
GRAPHS = [
    {
        "triples": [
            ["large red circle", "left of", "small blue square"],
            ["small blue square", "above", "old wooden table"],
        ],
        "isolated": ["small green star"],
    },
    {"triples": [["dog", "on", "grass"]], "isolated": []},
    {"triples": [], "isolated": ["large purple diamond"]},
]
NUM_INFERENCE_STEPS = 20
GUIDANCE_SCALE = 4.0


def make_random(folder):
    """A folder in which no parameter has a value that hides an error, such as a bias of zero."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=[1, 1, 2],
        attention_head_dim=[1, 2, 4],
        norm_num_groups=4,
        cross_attention_dim=56,
        use_linear_projection=False,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 20,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 24),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.7,
        force_upcast=False,
    )
    vocabulary, merges = small_vocabulary()
    common = dict(
        vocab_size=len(vocabulary),
        bos_token_id=vocabulary["<|startoftext|>"],
        eos_token_id=vocabulary["<|endoftext|>"],
        pad_token_id=vocabulary["<|endoftext|>"],
    )
    first = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
            projection_dim=24, hidden_act="quick_gelu", **common,
        )
    )
    second = CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            projection_dim=20, hidden_act="gelu", **common,
        )
    )
    networks = {"unet": unet, "vae": vae, "text_encoder": first, "text_encoder_2": second}
    with torch.no_grad():
        for network in networks.values():
            for name, parameter in network.named_parameters():
                if parameter.dim() < 2:
                    parameter += 0.2 * torch.randn(parameter.shape)
                elif "embedding.weight" in name:
                    parameter.copy_(torch.randn(parameter.shape))
    for name, network in networks.items():
        network.half().save_pretrained(folder / name)
        if name == "text_encoder":
            rename_as_published(folder / name / "model.safetensors")
    for name, pad in [("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")]:
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_json(folder / name / "vocab.json", vocabulary)
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (folder / name / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}
        write_json(folder / name / "special_tokens_map.json", special)
        write_json(
            folder / name / "tokenizer_config.json",
            {**special, "model_max_length": 77, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"},
        )
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading",
    ).save_pretrained(folder / "scheduler")
    make_random_scene_graph_encoder(folder / "scene_graph_encoder")
    write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionXLPipeline",
            "force_zeros_for_empty_prompt": True,
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )


def rename_as_published(file):
    """transformers 5 leaves a prefix out that every published folder has, and reads both."""
    prefix = "text_model."
    tensors = load_file(file)
    tensors = {name if name.startswith(prefix) else prefix + name: tensor for name, tensor in tensors.items()}
    save_file(tensors, file, metadata={"format": "pt"})


def small_vocabulary():
    """CLIP's byte alphabet, plain and at the end of a word, and a few merges: words of the world, and "!" as id 0."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = [chr(code) for code in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
    tokens = alphabet + [letter + "</w>" for letter in alphabet]
    merges = []
    for word in ["red", "blue", "green", "circle", "square", "large", "small", "left", "of", "above", "star", "'s"]:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            # From the left, or by what is there already; an order as good as any.
            pair = next(((a, b) for a, b in zip(pieces, pieces[1:]) if (a, b) in merges), (pieces[0], pieces[1]))
            if pair not in merges:
                merges.append(pair)
                if "".join(pair) not in tokens:
                    tokens.append("".join(pair))
            at = next(i for i in range(len(pieces) - 1) if (pieces[i], pieces[i + 1]) == pair)
            pieces[at : at + 2] = ["".join(pair)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}, merges


def make_random_scene_graph_encoder(folder):
    config = {"clip_dim": 56, "embed_dim": 12, "width": 20, "layers": 2}
    shapes = {
        "alpha_obj": (1,),
        "projection_mlp_1.weight": (config["embed_dim"], config["clip_dim"]),
        "projection_mlp_2.weight": (config["clip_dim"], config["embed_dim"]),
    }
    m, h = config["embed_dim"], config["width"]
    for prefix in ["graph_conv", *(f"graph_net.gconvs.{i}" for i in range(config["layers"]))]:
        shapes |= {
            f"{prefix}.net1.0.weight": (h, 3 * m), f"{prefix}.net1.0.bias": (h,),
            f"{prefix}.net1.2.weight": (2 * h + m, h), f"{prefix}.net1.2.bias": (2 * h + m,),
            f"{prefix}.net2.0.weight": (h, h), f"{prefix}.net2.0.bias": (h,),
            f"{prefix}.net2.2.weight": (m, h), f"{prefix}.net2.2.bias": (m,),
        }
    tensors = {
        name: (torch.randn(shape) * (1.0 if len(shape) < 2 else 1.5 / math.sqrt(shape[1]))).half()
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    write_json(folder / "config.json", config)


class SceneGraphEncoder:
    """LAION-SG's encoder of one graph, token by token, as its code has it."""

    def __init__(self, folder):
        self.weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        self.config = json.loads((folder / "config.json").read_text())

    def linear(self, x, name):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def convolve(self, prefix, nodes, edges, links):
        h, m = self.config["width"], self.config["embed_dim"]
        triples = torch.stack([torch.cat([nodes[s], edge, nodes[o]]) for (s, o), edge in zip(links, edges)])
        hidden = self.linear(triples, f"{prefix}.net1.0").relu()
        subjects, edges, objects = self.linear(hidden, f"{prefix}.net1.2").relu().split([h, m, h], dim=1)
        pooled, counts = torch.zeros(len(nodes), h), torch.zeros(len(nodes))
        for (s, o), to_subject, to_object in zip(links, subjects, objects):
            pooled[s] += to_subject
            pooled[o] += to_object
            counts[s] += 1
            counts[o] += 1
        pooled = pooled / counts.clamp(min=1)[:, None]
        nodes = self.linear(self.linear(pooled, f"{prefix}.net2.0").relu(), f"{prefix}.net2.2").relu()
        return nodes, edges

    def __call__(self, graph, encode):
        """`encode(text)`: features `[n, d]` of all tokens, begin and end included."""
        sentence = "".join(f"{s} {p} {o} " for s, p, o in graph["triples"])
        sentence = (sentence + "".join(f"{item} " for item in graph["isolated"])).strip()
        states = encode(sentence)
        if graph["triples"]:
            dash = encode("-")[1:-1]
            assert len(dash) == 1
            nodes, edges, links, order = [], [], [], []
            for subject, predicate, object_ in graph["triples"]:
                heads = []
                for item in (subject, object_):
                    tokens = encode(item)[1:-1]
                    first = len(nodes)
                    head = first + len(tokens) - 1
                    nodes += list(tokens)
                    for i in range(first, head):
                        links.append((i, head))
                        edges.append(dash[0])
                    heads.append(head)
                    order.append([("node", i) for i in range(first, head + 1)])
                between = []
                for token in encode(predicate)[1:-1]:
                    between.append(("edge", len(edges)))
                    links.append(tuple(heads))
                    edges.append(token)
                order.insert(-1, between)
            nodes = self.linear(torch.stack(nodes), "projection_mlp_1")
            edges = self.linear(torch.stack(edges), "projection_mlp_1")
            nodes, edges = self.convolve("graph_conv", nodes, edges, links)
            for i in range(self.config["layers"]):
                nodes, edges = self.convolve(f"graph_net.gconvs.{i}", nodes, edges, links)
            outputs = {
                "node": self.linear(F.normalize(nodes, dim=1), "projection_mlp_2"),
                "edge": self.linear(F.normalize(edges, dim=1), "projection_mlp_2"),
            }
            sequence = torch.stack([outputs[kind][i] for part in order for kind, i in part])[:75]
            states = states.clone()
            states[1 : 1 + len(sequence)] += self.weights["alpha_obj"] * sequence
        return torch.cat([states, states[-1:].repeat(77, 1)])[:77]


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1 if len(value) > 3 and "gradients" not in value else None, ensure_ascii=False) + "\n", encoding="utf-8")


def digest_gradients(network):
    """Norm, and projection on cos(1.3 i), of the gradient of each parameter."""
    digests = {}
    for name, parameter in sorted(network.named_parameters()):
        if parameter.grad is None:
            continue
        if name.startswith(("embeddings.", "encoder.layers.", "final_layer_norm.")):
            name = f"text_model.{name}"
        gradient = parameter.grad.double().flatten()
        probe = torch.cos(1.3 * torch.arange(len(gradient), dtype=torch.float64))
        digests[name] = [float(f"{value:.7g}") for value in (gradient.norm(), gradient @ probe)]
    network.zero_grad(set_to_none=True)
    return digests


def make_goldens(name, folder):
    torch.manual_seed(1)
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, add_watermarker=False, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    unet, vae = pipeline.unet, pipeline.vae
    tensors, digests = {}, {}

    # tokenizers
    tokens = {
        key: [{"text": text, "ids": tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids} for text in TEXTS]
        for key, tokenizer in [("tokenizer", pipeline.tokenizer), ("tokenizer_2", pipeline.tokenizer_2)]
    }

    # text encoders
    ids = pipeline.tokenizer(TEXTS[:2], padding="max_length", max_length=40, truncation=True, return_tensors="pt").input_ids
    tensors["text.input_ids"] = ids
    for key, encoder in [("text_encoder", pipeline.text_encoder), ("text_encoder_2", pipeline.text_encoder_2)]:
        output = encoder(ids, output_hidden_states=True)
        outputs = {
            "penultimate": output.hidden_states[-2],
            "last_hidden_state": output.last_hidden_state,
            "pooled": output.text_embeds if key == "text_encoder_2" else output.pooler_output,
        }
        loss = 0
        for part, value in outputs.items():
            tensors[f"{key}.{part}"] = value
            tensors[f"{key}.{part}.weights"] = torch.randn(value.shape)
            loss = loss + (value * tensors[f"{key}.{part}.weights"]).sum()
        loss.backward()
        digests[key] = digest_gradients(encoder)

    # scene-graph encoder
    def encode(text):
        ids = pipeline.tokenizer(text, max_length=77, truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            states = [e(ids, output_hidden_states=True).hidden_states[-2][0] for e in (pipeline.text_encoder, pipeline.text_encoder_2)]
        return torch.cat(states, dim=-1)

    if (folder / "scene_graph_encoder").exists():
        scene_graph_encoder = SceneGraphEncoder(folder / "scene_graph_encoder")
        tensors["scene_graph.encoder_hidden_states"] = torch.stack([scene_graph_encoder(graph, encode) for graph in GRAPHS])

    # UNet, at another aspect ratio than it was trained on where its levels allow
    side = unet.config.sample_size
    d, p = unet.config.cross_attention_dim, pipeline.text_encoder_2.config.projection_dim
    sample = torch.randn(2, 4, side, side + 4, requires_grad=True)
    states = torch.randn(2, 9, d, requires_grad=True)
    embeds = torch.randn(2, p, requires_grad=True)
    timestep = torch.tensor([981, 120])
    time_ids = torch.tensor([[64.0, 64, 0, 0, 64, 64], [100, 80, 3, 5, 64, 48]])
    output = unet(sample, timestep, states, added_cond_kwargs={"text_embeds": embeds, "time_ids": time_ids}).sample
    weights = torch.randn(output.shape)
    (output * weights).sum().backward()
    tensors |= {
        "unet.sample": sample, "unet.encoder_hidden_states": states, "unet.text_embeds": embeds,
        "unet.timestep": timestep, "unet.time_ids": time_ids, "unet.output": output, "unet.output.weights": weights,
        "unet.sample.gradient": sample.grad, "unet.encoder_hidden_states.gradient": states.grad,
        "unet.text_embeds.gradient": embeds.grad,
    }
    digests["unet"] = digest_gradients(unet)

    # VAE
    size = vae.config.sample_size
    pixels = torch.rand(1, 3, size, size // 2) * 2 - 1
    pixels = F.interpolate(F.avg_pool2d(pixels, 8), size=pixels.shape[2:], mode="bilinear") * 2
    posterior = vae.encode(pixels).latent_dist
    latents = torch.randn(posterior.mean.shape)
    decoded = vae.decode(latents).sample
    tensors |= {
        "vae.sample": pixels, "vae.mean": posterior.mean, "vae.logvar": posterior.logvar, "vae.latents": latents,
        "vae.decoded": decoded,
    }
    loss = 0
    for part, value in [("mean", posterior.mean), ("logvar", posterior.logvar), ("decoded", decoded)]:
        tensors[f"vae.{part}.weights"] = torch.randn(value.shape)
        loss = loss + (value * tensors[f"vae.{part}.weights"]).sum()
    loss.backward()
    digests["vae"] = digest_gradients(vae)

    # whole sampling, in diffusers' own pipeline
    picture = side * 2 ** (len(vae.config.block_out_channels) - 1)
    sequences = [encode(text) for text in TEXTS[:2]]
    states = torch.stack([torch.cat([s, s[-1:].repeat(77, 1)])[:77] for s in sequences])
    with torch.no_grad():
        embeds = pipeline.text_encoder_2(ids).text_embeds
    noise = torch.randn(2, 4, side, side)
    settings = dict(
        prompt_embeds=states, pooled_prompt_embeds=embeds,
        negative_prompt_embeds=torch.zeros_like(states), negative_pooled_prompt_embeds=torch.zeros_like(embeds),
        num_inference_steps=NUM_INFERENCE_STEPS, guidance_scale=GUIDANCE_SCALE, height=picture, width=picture,
    )
    tensors |= {"sample.encoder_hidden_states": states, "sample.text_embeds": embeds, "sample.noise": noise}
    # Each call scales the noise that it is given in place.
    tensors["sample.latents"] = pipeline(latents=noise.clone(), output_type="latent", **settings).images
    images = pipeline(latents=noise.clone(), output_type="np", **settings).images
    tensors["sample.images"] = (torch.from_numpy(images) * 255).round().to(torch.uint8)

    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, HERE / f"golden/{name}.safetensors")
    golden = {
        "num_inference_steps": NUM_INFERENCE_STEPS, "guidance_scale": GUIDANCE_SCALE,
        "graphs": GRAPHS, "tokens": tokens, "gradients": digests,
    }
    write_json(HERE / f"golden/{name}.json", golden)


def main():
    wanted = sys.argv[1:] or ["random", "tiny"]
    torch.set_num_threads(1)
    if "random" in wanted:
        make_random(HERE / "random")
        make_goldens("random", HERE / "random")
    if "tiny" in wanted:
        make_goldens("tiny", HERE.parents[1] / "models/tiny")


if __name__ == "__main__":
    main()
