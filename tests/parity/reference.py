"""The Python reference: model folders of random parameters, and what each network of `diptych model run` must give.

Every parameter is random, norms and biases too, for a zero or a one hides errors. The scene-graph encoder has no Python
package: its reference is written out in `scene_graph.py`.
"""

import json
import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from scene_graph import SceneGraphEncoder, make_scene_graph_encoder

CLASSES = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------- folders


def randomize(network, generator):
    """No parameter keeps a value that hides an error."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() < 2:
                parameter.copy_(0.2 * noise + (1.0 if name.endswith("weight") else 0.0))
            elif "embedding.weight" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
    return network


def make_folder(folder, spec, seed):
    """Writes the folder of `spec`: configurations of each network, precision, variant, shards, scheduler."""
    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, spec.get("dtype", "float16"))
    saving = {key: spec[key] for key in ("variant",) if key in spec}
    index = {"_class_name": spec["pipeline"]}
    if "unet" in spec:
        unet = randomize(UNet2DConditionModel(**spec["unet"]), generator).to(dtype)
        unet.save_pretrained(folder / "unet", max_shard_size=spec.get("max_shard_size", "10GB"), **saving)
        index["unet"] = ["diffusers", "UNet2DConditionModel"]
    if "vae" in spec:
        vae = randomize(AutoencoderKL(**spec["vae"]), generator).to(dtype)
        vae.save_pretrained(folder / "vae", **saving)
        if spec.get("old_vae_names"):
            rename(folder / "vae/diffusion_pytorch_model.safetensors", old_attention_name)
        index["vae"] = ["diffusers", "AutoencoderKL"]
    vocabulary, merges = small_vocabulary()
    for name, cls in CLASSES.items():
        if name not in spec:
            continue
        config = CLIPTextConfig(
            **{
                "vocab_size": len(vocabulary),
                "bos_token_id": vocabulary["<|startoftext|>"],
                "eos_token_id": vocabulary["<|endoftext|>"],
                "pad_token_id": vocabulary["<|endoftext|>"],
                **spec[name],
            }
        )
        encoder = randomize(cls(config), generator).to(dtype)
        encoder.save_pretrained(folder / name, **saving)
        index[name] = ["transformers", cls.__name__]
        weights = folder / name / ("model.fp16.safetensors" if "variant" in spec else "model.safetensors")
        # transformers 5 leaves a prefix out that every published folder has, and reads both.
        rename(weights, lambda name: name if name.startswith("text_") else f"text_model.{name}")
        if spec.get("position_ids"):
            tensors = load_file(weights)
            tensors["text_model.embeddings.position_ids"] = torch.arange(config.max_position_embeddings)[None]
            save_file(tensors, weights, metadata={"format": "pt"})
        tokenizer = name.replace("text_encoder", "tokenizer")
        write_tokenizer(folder / tokenizer, vocabulary, merges, "!" if name == "text_encoder_2" else "<|endoftext|>")
        index[tokenizer] = ["transformers", "CLIPTokenizer"]
    if "scheduler" in spec:
        write_json(folder / "scheduler/scheduler_config.json", spec["scheduler"])
        index["scheduler"] = ["diffusers", spec["scheduler"]["_class_name"]]
    if "scene_graph_encoder" in spec:
        make_scene_graph_encoder(folder / "scene_graph_encoder", spec["scene_graph_encoder"], dtype, generator)
    write_json(folder / "model_index.json", index)


def rename(file, change):
    tensors = {change(name): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def old_attention_name(name):
    """Of diffusers before 0.17, as the published SD1.5 has them; diffusers still reads them."""
    for old, new in [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")]:
        name = name.replace(f"mid_block.attentions.0.{new}.", f"mid_block.attentions.0.{old}.")
    return name


def small_vocabulary():
    """CLIP's byte alphabet, plain and at the end of a word, and a few merges: words of the world, and "!" as id 0."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = [chr(code) for code in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
    tokens = alphabet + [letter + "</w>" for letter in alphabet]
    merges = []
    words = "red blue green circle square large small left of above star 's the and with a photo painting ing er ly".split()
    for word in words:
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


def write_tokenizer(folder, vocabulary, merges, pad):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {**special, "model_max_length": 77, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"},
    )


# --------------------------------------------------------------------------------------------------------- networks


class Reference:
    """A folder, opened by diffusers and transformers in f32; a case is (inputs, outputs) by the names of `model run`."""

    def __init__(self, folder, spec, seed):
        self.folder, self.spec = Path(folder), spec
        self.generator = torch.Generator().manual_seed(1000 + seed)
        self.options = {"torch_dtype": torch.float32, "local_files_only": True}
        self.variant = {"variant": spec["variant"]} if "variant" in spec else {}

    def randn(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def randint(self, low, high, shape):
        return torch.randint(low, high, shape, generator=self.generator)

    def load_unet(self):
        return UNet2DConditionModel.from_pretrained(self.folder / "unet", **self.options, **self.variant).eval()

    def conditioning(self, unet, b, s):
        config = unet.config
        width = config.cross_attention_dim
        inputs = {"encoder_hidden_states": self.randn(b, s, width if isinstance(width, int) else width[0])}
        if config.addition_embed_type == "text_time":
            p = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            inputs["text_embeds"] = self.randn(b, p)
            inputs["time_ids"] = self.randint(0, 1025, (b, 6)).float()
        return inputs

    @staticmethod
    def added(inputs):
        return {key: inputs[key] for key in ("text_embeds", "time_ids") if key in inputs}

    def unet(self, b=2, h=8, w=12, s=7):
        unet = self.load_unet()
        inputs = {
            "sample": self.randn(b, unet.config.in_channels, h, w),
            "timestep": self.randint(0, 1000, (b,)),
            **self.conditioning(unet, b, s),
            "cotangent": self.randn(b, unet.config.out_channels, h, w),
        }
        sample, states = inputs["sample"].clone().requires_grad_(), inputs["encoder_hidden_states"].clone().requires_grad_()
        output = unet(sample, inputs["timestep"], states, added_cond_kwargs=self.added(inputs)).sample
        (output * inputs["cotangent"]).sum().backward()
        zero = torch.zeros_like
        outputs = {
            "sample": output,
            "grad.sample": sample.grad,
            "grad.encoder_hidden_states": zero(states) if states.grad is None else states.grad,
            **{f"grad.{name}": zero(p) if p.grad is None else p.grad for name, p in unet.named_parameters()},
        }
        return inputs, outputs

    def load_vae(self):
        return AutoencoderKL.from_pretrained(self.folder / "vae", **self.options, **self.variant).eval()

    @torch.no_grad()
    def vae_encode(self, b=2, height=24, width=32, tiled=False):
        vae = self.load_vae()
        vae.use_tiling = tiled
        sample = torch.rand(b, vae.config.in_channels, height, width, generator=self.generator) * 2 - 1
        posterior = vae.encode(sample).latent_dist
        return {"sample": sample}, {"mean": posterior.mean, "logvar": posterior.logvar}

    @torch.no_grad()
    def vae_decode(self, b=2, h=6, w=5, tiled=False):
        vae = self.load_vae()
        vae.use_tiling = tiled
        latents = self.randn(b, vae.config.latent_channels, h, w)
        return {"latents": latents}, {"sample": vae.decode(latents).sample}

    def load_text(self, name):
        return CLASSES[name].from_pretrained(self.folder / name, **self.options, **self.variant).eval()

    def tokenizer(self, name="tokenizer"):
        return CLIPTokenizer.from_pretrained(self.folder / name, local_files_only=True)

    @torch.no_grad()
    def text(self, name, texts):
        encoder = self.load_text(name)
        tokenizer = self.tokenizer(name.replace("text_encoder", "tokenizer"))
        ids = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        output = encoder(ids, output_hidden_states=True)
        return {"input_ids": ids}, {
            "last_hidden_state": output.last_hidden_state,
            "penultimate": output.hidden_states[-2],
            "pooled": output.text_embeds if name == "text_encoder_2" else output.pooler_output,
        }

    def guided(self, unet, inputs, guidance):
        def predict(latents, timestep):
            output = unet(
                torch.cat([latents, latents]), timestep, inputs["encoder_hidden_states"], added_cond_kwargs=self.added(inputs)
            ).sample
            unconditional, conditional = output.chunk(2)
            return unconditional + guidance * (conditional - unconditional)

        return predict

    def path_inputs(self, unet, h, w, s):
        return {"latents": self.randn(1, unet.config.in_channels, h, w), **self.conditioning(unet, 2, s)}

    @torch.no_grad()
    def ddim_sample(self, steps, guidance, h=8, w=6, s=7):
        unet = self.load_unet()
        inputs = self.path_inputs(unet, h, w, s)
        predict = self.guided(unet, inputs, guidance)
        scheduler = DDIMScheduler.from_config(self.spec["scheduler"])
        scheduler.set_timesteps(steps)
        latents = inputs["latents"]
        for t in scheduler.timesteps:
            latents = scheduler.step(predict(latents, t), t, latents).prev_sample
        return inputs, {"latents": latents, "timesteps": scheduler.timesteps.clone()}

    @torch.no_grad()
    def euler_sample(self, steps, guidance, h=8, w=6, s=7):
        unet = self.load_unet()
        inputs = self.path_inputs(unet, h, w, s)
        predict = self.guided(unet, inputs, guidance)
        scheduler = EulerDiscreteScheduler.from_config(self.spec["scheduler"])
        scheduler.set_timesteps(steps)
        latents = inputs["latents"] * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            latents = scheduler.step(predict(scheduler.scale_model_input(latents, t), t), t, latents).prev_sample
        return inputs, {"latents": latents, "timesteps": scheduler.timesteps.clone()}

    @torch.no_grad()
    def ddim_invert(self, steps, guidance, label="destination", h=8, w=6, s=7):
        """The released script's inversion, or with `source` the paper's reading."""
        unet = self.load_unet()
        inputs = self.path_inputs(unet, h, w, s)
        predict = self.guided(unet, inputs, guidance)
        scheduler = DDIMScheduler.from_config(self.spec["scheduler"])
        scheduler.set_timesteps(steps)
        timesteps = scheduler.timesteps.flip(0)
        ratio = scheduler.config.num_train_timesteps // steps
        alpha = lambda t: scheduler.alphas_cumprod[t] if t >= 0 else scheduler.final_alpha_cumprod
        x = inputs["latents"]
        trajectory, epsilons = [x], []
        for t in timesteps.tolist():
            source = t - ratio
            output = predict(x, t if label == "destination" else max(source, 0))
            a, b = alpha(source), alpha(t)
            if scheduler.config.prediction_type == "v_prediction":
                original, epsilon = a.sqrt() * x - (1 - a).sqrt() * output, a.sqrt() * output + (1 - a).sqrt() * x
            else:
                original, epsilon = (x - (1 - a).sqrt() * output) / a.sqrt(), output
            x = b.sqrt() * original + (1 - b).sqrt() * epsilon
            trajectory.append(x)
            epsilons.append(epsilon)
        return inputs, {"trajectory": torch.cat(trajectory), "epsilon": torch.cat(epsilons), "timesteps": timesteps}

    @torch.no_grad()
    def scene_graph(self, graph):
        """`graph`: `triples` of texts and `isolated` texts."""
        tokenizer = self.tokenizer()
        encoders = [self.load_text(name) for name in CLASSES if name in self.spec]

        def encode(text):
            ids = tokenizer(text, max_length=77, truncation=True, return_tensors="pt").input_ids
            outputs = [encoder(ids, output_hidden_states=True) for encoder in encoders]
            last = outputs[-1]
            pooled = last.text_embeds if "text_encoder_2" in self.spec else last.pooler_output
            return torch.cat([output.hidden_states[-2][0] for output in outputs], dim=-1), pooled

        states, pooled = SceneGraphEncoder(self.folder / "scene_graph_encoder")(graph, encode)
        return {}, {"encoder_hidden_states": states[None], "text_embeds": pooled}
