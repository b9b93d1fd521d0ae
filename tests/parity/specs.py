"""Configurations: the committed folders, and random ones by seed over the space that Diptych takes."""

import random

DDIM = {
    "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "clip_sample": False, "prediction_type": "epsilon",
}  # fmt: skip
# As published with SD1.5 and SDXL, where keys that DDIM has are missing.
PNDM = {
    "_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
    "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "trained_betas": None, "clip_sample": False,
}  # fmt: skip
EULER = {
    "_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
    "clip_sample": False, "interpolation_type": "linear", "num_train_timesteps": 1000, "prediction_type": "epsilon",
    "sample_max_value": 1.0, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "timestep_spacing": "leading", "trained_betas": None, "use_karras_sigmas": False,
}  # fmt: skip


def clip(width, layers, heads, act, **more):
    return dict(
        hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=heads,
        hidden_act=act, **{"projection_dim": width, **more},
    )  # fmt: skip


def vae(channels, layers=1, **more):
    return dict(
        block_out_channels=channels, down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels), layers_per_block=layers, norm_num_groups=4,
        sample_size=32, **more,
    )  # fmt: skip


SPECS = {
    # SDXL-SG: linear projections, heads and transformer layers by block, three levels, the first without attention.
    "sdxl": {
        "pipeline": "StableDiffusionXLPipeline",
        "unet": dict(
            sample_size=8, block_out_channels=(8, 16, 24), layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 1, 2], attention_head_dim=[1, 2, 4], norm_num_groups=4,
            cross_attention_dim=40, use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 12,
        ),
        "vae": vae((8, 16, 24), scaling_factor=0.13025, force_upcast=True),
        "text_encoder": clip(16, 2, 2, "quick_gelu"),
        "text_encoder_2": clip(24, 3, 4, "gelu", projection_dim=12),
        "scheduler": EULER,
        "scene_graph_encoder": {"clip_dim": 40, "embed_dim": 12, "width": 20, "layers": 2},
    },
    # SD1.5-SG: convolutional projections, one number of heads, the old end token, old names in the VAE, PNDM's file.
    "sd15": {
        "pipeline": "StableDiffusionPipeline",
        "dtype": "bfloat16", "old_vae_names": True, "position_ids": True,
        "unet": dict(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=2,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=4, norm_num_groups=4, cross_attention_dim=24,
        ),
        "vae": vae((8, 16), layers=2, scaling_factor=0.18215),
        "text_encoder": clip(24, 3, 3, "quick_gelu", eos_token_id=2),
        "scheduler": PNDM,
        "scene_graph_encoder": {"clip_dim": 24, "embed_dim": 10, "width": 16, "layers": 1},
    },
    # v-prediction from pure noise, trailing; layers by block; shards; a VAE with a shift and without 1 × 1 convolutions.
    "velocity": {
        "pipeline": "StableDiffusionPipeline",
        "max_shard_size": "60KB",
        "unet": dict(
            sample_size=8, block_out_channels=(8, 16, 16), layers_per_block=[1, 2, 1],
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
            transformer_layers_per_block=1, attention_head_dim=[2, 2, 8], norm_num_groups=8, cross_attention_dim=20,
            use_linear_projection=True, flip_sin_to_cos=False, freq_shift=1,
        ),
        "vae": vae((8, 8), scaling_factor=0.3611, shift_factor=0.1159, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False),
        "text_encoder": clip(20, 2, 5, "gelu"),
        "scheduler": {
            **DDIM, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
            "set_alpha_to_one": True,
        },
    },
    # Half-precision variant; linspace; a linear schedule; a middle block without attention.
    "variant": {
        "pipeline": "StableDiffusionXLPipeline",
        "variant": "fp16",
        "unet": dict(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, mid_block_type="UNetMidBlock2D",
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), transformer_layers_per_block=[2, 1],
            attention_head_dim=[4, 8], norm_num_groups=2, cross_attention_dim=16, addition_embed_type="text_time",
            addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + 8,
        ),
        "vae": vae((8, 16), mid_block_add_attention=False),
        "text_encoder": clip(8, 1, 2, "gelu"),
        "text_encoder_2": clip(8, 2, 1, "quick_gelu", projection_dim=8),
        "scheduler": {**DDIM, "beta_schedule": "linear", "timestep_spacing": "linspace", "set_alpha_to_one": True},
    },
}

SPECS["clipped"] = {
    # DDIM as Python's own default has it, which clips; a VAE whose tiles are small; convolutions that LoRA files adapt.
    "pipeline": "StableDiffusionPipeline",
    "unet": dict(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2, norm_num_groups=4, cross_attention_dim=16,
    ),
    "vae": vae((8, 16, 16), scaling_factor=0.18215),
    "text_encoder": clip(16, 2, 2, "quick_gelu"),
    "scheduler": {**{key: value for key, value in DDIM.items() if key != "clip_sample"}, "clip_sample_range": 0.8},
    "tiled": True,
    # With clipping a network without training amplifies its own rounding along the path; guidance would do so further.
    "guidance": 1.0,
}

# What `fuzz.rs` damages: everything as small as it can be.
FUZZED = {
    "pipeline": "StableDiffusionXLPipeline",
    "unet": dict(
        sample_size=4, block_out_channels=(4, 4), layers_per_block=1, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=[2, 2], norm_num_groups=2,
        cross_attention_dim=8, addition_embed_type="text_time", addition_time_embed_dim=2,
        projection_class_embeddings_input_dim=6 * 2 + 4,
    ),
    "vae": {**vae((4, 4)), "norm_num_groups": 2},
    "text_encoder": clip(4, 1, 1, "quick_gelu"),
    "text_encoder_2": clip(4, 1, 1, "gelu", projection_dim=4),
    "scheduler": {**EULER, "steps_offset": 1},
    "scene_graph_encoder": {"clip_dim": 8, "embed_dim": 2, "width": 2, "layers": 1},
    "max_shard_size": "6KB",
}

# Single files in the original naming: 32 groups everywhere, eight heads in SD1.5, heads of 64 (at least one) in SDXL.
ORIGINAL = {
    "original_sd15": {
        "pipeline": "StableDiffusionPipeline",
        "unet": dict(
            sample_size=64, block_out_channels=(32, 32), layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=8, cross_attention_dim=16,
        ),
        "vae": {**vae((32, 32), scaling_factor=0.18215), "norm_num_groups": 32},
        "text_encoder": clip(16, 2, 1, "quick_gelu"),
        "scheduler": {**PNDM},
    },
    "original_xl": {
        "pipeline": "StableDiffusionXLPipeline",
        "unet": dict(
            sample_size=128, block_out_channels=(32, 32), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 2], attention_head_dim=[1, 1], cross_attention_dim=24,
            use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + 8,
        ),
        "vae": {**vae((32, 32), scaling_factor=0.13025), "norm_num_groups": 32},
        "text_encoder": clip(16, 2, 1, "quick_gelu"),
        "text_encoder_2": clip(8, 3, 1, "gelu", projection_dim=8),
        "scheduler": {**DDIM, "steps_offset": 1, "set_alpha_to_one": False},
    },
}  # fmt: skip


def random_spec(seed):
    """Another corner of the space for each seed."""
    rng = random.Random(seed)
    levels = rng.choice([1, 2, 2, 3, 3, 4])
    groups = rng.choice([2, 4, 8])
    channels = [8 * rng.choice([1, 2, 3, 4]) for _ in range(levels)]
    xl = rng.random() < 0.5
    attends = [rng.random() < 0.7 for _ in range(levels)]
    width, first, second, pooled = 8 * rng.choice([1, 2, 5]), 16, 24, 8 * rng.choice([1, 2])
    per_block = lambda choices: rng.choice(choices) if rng.random() < 0.4 else [rng.choice(choices) for _ in range(levels)]
    unet = dict(
        sample_size=8, in_channels=rng.choice([4, 4, 9]), out_channels=4, block_out_channels=channels,
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        mid_block_type=rng.choice(["UNetMidBlock2DCrossAttn"] * 4 + ["UNetMidBlock2D", None]),
        layers_per_block=per_block([1, 2, 3]), transformer_layers_per_block=per_block([1, 2]),
        attention_head_dim=per_block([1, 2, 4, 8]), norm_num_groups=groups, cross_attention_dim=width,
        use_linear_projection=rng.random() < 0.5, flip_sin_to_cos=rng.random() < 0.7, freq_shift=rng.choice([0, 0, 1]),
        norm_eps=rng.choice([1e-5, 1e-6]),
    )  # fmt: skip
    if xl:
        e = rng.choice([4, 8, 16])
        unet |= dict(
            addition_embed_type="text_time", addition_time_embed_dim=e, projection_class_embeddings_input_dim=6 * e + pooled
        )
    if rng.random() < 0.2:
        unet["time_embedding_dim"] = 24
    scheduler = {
        **DDIM,
        "beta_schedule": rng.choice(["scaled_linear", "scaled_linear", "linear"]),
        "timestep_spacing": rng.choice(["leading", "trailing", "linspace"]),
        "steps_offset": rng.choice([0, 1]),
        "set_alpha_to_one": rng.random() < 0.5,
        "prediction_type": rng.choice(["epsilon", "v_prediction"]),
    }
    if scheduler["prediction_type"] == "v_prediction":
        scheduler["rescale_betas_zero_snr"] = rng.random() < 0.5
    acts = ["quick_gelu", "gelu"]
    spec = {
        "pipeline": "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline",
        "dtype": rng.choice(["float32", "float16", "bfloat16"]),
        "unet": unet,
        "vae": vae(
            [4 * rng.choice([1, 2, 4]) for _ in range(rng.choice([1, 2, 3, 4]))], layers=rng.choice([1, 2]),
            latent_channels=rng.choice([4, 16]), mid_block_add_attention=rng.random() < 0.8,
            use_quant_conv=rng.random() < 0.7, use_post_quant_conv=rng.random() < 0.7, scaling_factor=rng.random() + 0.1,
            shift_factor=rng.choice([None, 0.2]), force_upcast=rng.random() < 0.5,
        ),
        "text_encoder": clip(first, rng.choice([1, 2, 4]), rng.choice([1, 2, 4]), rng.choice(acts), **rng.choice([{}, {"eos_token_id": 2}])),
        "scheduler": scheduler,
        "scene_graph_encoder": {
            "clip_dim": first + second if xl else first, "embed_dim": rng.choice([6, 12]), "width": rng.choice([8, 20]),
            "layers": rng.choice([0, 1, 5]),
        },
    }  # fmt: skip
    if xl:
        spec["text_encoder_2"] = clip(second, rng.choice([2, 3]), rng.choice([2, 3]), rng.choice(acts), projection_dim=pooled)
    if rng.random() < 0.3:
        spec["max_shard_size"] = "50KB"
    if rng.random() < 0.3:
        spec["variant"] = "fp16"
        spec["dtype"] = "float16"
    if rng.random() < 0.3:
        spec["old_vae_names"] = "variant" not in spec
    spec["position_ids"] = rng.random() < 0.3
    return spec
