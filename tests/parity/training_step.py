"""Speed of training against torch eager: the embedded model, threads and batches the same, in turns, in one run.

    python tests/parity/training_step.py [--binary target/release/diptych] [--threads 2] [--rounds 3]

1. A step: the four terms of Diffusion-DPO and Inversion-DPO, at given states of each pair's two images, all of the UNet,
   AdamW, clipping and a moving average, f32.
2. An epoch of pairs, inversion included, against the official algorithm as published: batch 1, each pair inverted (20
   steps, guidance 2) when it is its turn, reference and policy both asked at each state under guidance 2, the
   gradients of all timesteps in one graph, AdamW.

A ratio is torch's seconds over ours; at least 1: ours is as fast.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDIMInverseScheduler, DDIMScheduler, UNet2DConditionModel

from bench import cpu

ROOT = Path(__file__).resolve().parents[2]


class Torch:
    """The policy and the reference of a training, in torch."""

    def __init__(self, model, learning_rate=3e-5):
        generator = torch.Generator().manual_seed(0)
        self.randn = lambda *shape: torch.randn(*shape, generator=generator)
        self.model = model
        self.reference = UNet2DConditionModel.from_pretrained(model, subfolder="unet").requires_grad_(False)
        self.policy = copy.deepcopy(self.reference).requires_grad_(True)
        self.averaged = copy.deepcopy(self.reference)
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=learning_rate, weight_decay=0.0)
        self.alphas = DDIMScheduler.from_pretrained(model, subfolder="scheduler").alphas_cumprod
        config = self.reference.config
        self.side, self.width = config.sample_size, config.cross_attention_dim
        self.pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim

    def conditioning(self, images):
        """One graph's, for all images."""
        states, pooled = self.randn(1, 77, self.width), self.randn(1, self.pooled)
        return states.expand(images, -1, -1), dict(text_embeds=pooled.expand(images, -1), time_ids=torch.full((images, 6), 64.0))

    def latents(self, images):
        return self.randn(images, 4, self.side, self.side)

    def predict(self, network, sample, timestep, condition):
        states, added = condition
        return network(sample, timestep, states, added_cond_kwargs=added).sample

    def guided(self, network, sample, timestep, condition, unconditional, scale):
        """Both halves in one call, as pipelines do."""
        states = torch.cat([unconditional[0], condition[0]])
        added = {key: torch.cat([unconditional[1][key], condition[1][key]]) for key in condition[1]}
        both = network(torch.cat([sample] * 2), timestep, states, added_cond_kwargs=added).sample
        without, with_text = both.chunk(2)
        return without + scale * (with_text - without)

    def update(self):
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.policy.parameters()), 0.03)

    def step(self, batch, beta=2000.0):
        """Winners are the first half of the batch, losers the second."""
        images = self.latents(2 * batch)
        timesteps = torch.randint(0, 1000, (batch,)).repeat(2)
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        noise = self.randn(*images.shape)
        states = alpha.sqrt() * images + (1 - alpha).sqrt() * noise
        condition = self.conditioning(2 * batch)

        def run():
            with torch.no_grad():
                reference = (self.predict(self.reference, states, timesteps, condition) - noise).pow(2).mean((1, 2, 3))
            policy = (self.predict(self.policy, states, timesteps, condition) - noise).pow(2).mean((1, 2, 3))
            winner, loser = (policy - reference).chunk(2)
            (-F.logsigmoid(-beta * (winner - loser))).mean().backward()
            self.update()

        return run

    def official(self, num_steps, beta=2000.0, guidance=2.0):
        """One pair, from the images to the step."""
        images = self.latents(2)
        condition, unconditional = self.conditioning(1), self.conditioning(1)
        scheduler = DDIMInverseScheduler.from_pretrained(self.model, subfolder="scheduler")
        scheduler.set_timesteps(num_steps)

        def run():
            sums = []
            for image in images.split(1):
                states, sample = [], image
                with torch.no_grad():
                    for timestep in scheduler.timesteps:
                        states.append((sample, timestep))
                        noise = self.guided(self.reference, sample, timestep, condition, unconditional, guidance)
                        sample = scheduler.step(noise, timestep, sample).prev_sample
                total = 0
                for sample, timestep in states:
                    with torch.no_grad():
                        reference = self.guided(self.reference, sample, timestep, condition, unconditional, guidance)
                    policy = self.guided(self.policy, sample, timestep, condition, unconditional, guidance)
                    total = total + (policy - reference).pow(2).mean() / (2 * self.alphas[timestep])
                sums.append(total)
            (-F.logsigmoid(0.5 * beta / num_steps * (sums[0] - sums[1]))).backward()
            self.update()

        return run


def median(run, repeats):
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/diptych"))
    parser.add_argument("--model", default=str(ROOT / "models/tiny"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="timed in each round")
    parser.add_argument("--inversion-steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {cpu()}, load {os.getloadavg()[0]:.1f}\n")
    theirs = Torch(arguments.model)

    def ours(objective, pairs, batch, steps, **more):
        settings = {"objective": objective, "batch_size": batch, **more}
        done = subprocess.run(
            [arguments.binary, "model", "step", "--json", "--model", arguments.model, "--settings", json.dumps(settings),
             "--pairs", str(pairs), "--steps", str(steps), "--threads", str(arguments.threads)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.stderr)
        return json.loads(done.stdout)

    print("| a step | torch, ms | diptych, ms | torch / diptych |\n| --- | ---: | ---: | ---: |")
    inverted = {"name": "inversion-dpo", "path": "inverted", "inversion_steps": 4, "inversion_guidance_scale": 1}
    for batch in (16, 64):
        run, steps = theirs.step(batch), max(2, arguments.steps * 16 // batch)
        rounds = {"torch": [], "diffusion-dpo": [], "inversion-dpo": []}
        for _ in range(arguments.rounds):
            rounds["torch"].append(median(run, steps))
            rounds["diffusion-dpo"].append(ours({"name": "diffusion-dpo"}, batch, batch, steps)["median_seconds"])
            rounds["inversion-dpo"].append(ours(inverted, batch, batch, steps)["median_seconds"])
        torch_seconds = statistics.median(rounds.pop("torch"))
        for name, seconds in rounds.items():
            seconds = statistics.median(seconds)
            print(f"| {name}, {batch} pairs | {1e3 * torch_seconds:.0f} | {1e3 * seconds:.0f} | {torch_seconds / seconds:.2f} |", flush=True)

    print("\n| an epoch, inversion included | torch, official, s a pair | diptych, s a pair | torch / diptych |\n| --- | ---: | ---: | ---: |")
    n = arguments.inversion_steps
    official = theirs.official(n)
    inverted = {**inverted, "inversion_steps": n}
    same = {"name": "inversion-dpo-official", "inversion_steps": n, "start": {"rule": "diffusion-dpo", "steps": 1}}
    epochs = {
        f"`inversion-dpo`, {n} steps of inversion, 16 pairs a step": (inverted, 64, 16, 4),
        f"`inversion-dpo-official` itself, {n} steps of inversion, 16 pairs a step": (same, 32, 16, 2),
    }
    rounds = {name: [] for name in epochs}
    pairs = []
    for _ in range(arguments.rounds):
        pairs.append(median(official, 2))
        for name, (objective, count, batch, steps) in epochs.items():
            done = ours(objective, count, batch, steps)
            rounds[name].append(done["preparation_seconds"] / count + done["median_seconds"] / batch)
    torch_seconds = statistics.median(pairs)
    for name, seconds in rounds.items():
        seconds = statistics.median(seconds)
        print(f"| {name} | {torch_seconds:.3f} | {seconds:.4f} | {torch_seconds / seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
