"""Tiny models that read or make images, with random weights.

tiny_vit(folder, labels=("cat", "dog"))       a vision transformer for 32 x 32 pixels
tiny_resnet(folder)                           a convolutional network; its processor scales and crops
tiny_timm(folder)                             one of timm's own test models in transformers' wrapper; needs timm
tiny_diffusion(folder)                        a Stable Diffusion pipeline of a few hundred thousand parameters
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["tiny_diffusion", "tiny_diffusion_xl", "tiny_resnet", "tiny_timm", "tiny_vit"]

LABELS = ("cat", "dog", "palace", "daisy", "espresso", "rocket")


def tiny_vit(folder: Path, labels: Sequence[str] = LABELS, seed: int = 0, *, multi_label: bool = False) -> Path:
    """Writes a vision transformer; the same seed gives the same bytes."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
        **_labeled(labels),
    )
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    return _save(ViTForImageClassification, config, folder, seed, processor)


def tiny_resnet(folder: Path, labels: Sequence[str] = LABELS, seed: int = 0) -> Path:
    """Writes a ResNet with the processor that such models come with: the short edge scaled, the middle cut out."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **_labeled(labels))
    processor = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.875}
    return _save(ResNetForImageClassification, config, folder, seed, processor)


def tiny_timm(folder: Path, labels: Sequence[str] = LABELS, seed: int = 0) -> Path:
    """Writes a model of timm as its Hub pages hold it: no preprocessor_config.json, all of it in config.json."""
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    config = TimmWrapperConfig(
        architecture="test_efficientnet",
        pretrained_cfg={"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"},
        **_labeled(labels),
    )
    return _save(TimmWrapperForImageClassification, config, folder, seed, None)


def _labeled(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _save(model_class: Any, config: Any, folder: Path, seed: int, processor: dict[str, Any] | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _seeded(lambda: model_class(config), seed).save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2, sort_keys=True))
    return folder


def _seeded(make: Any, seed: int) -> Any:
    """A model in eval mode whose weights are spread wider than usual, so that answers differ from image to image."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
    return model.eval()


def tiny_diffusion(folder: Path, seed: int = 0, *, flags_everything: bool = False) -> Path:
    """Writes a Stable Diffusion pipeline: text encoder, tokenizer, UNet, autoencoder, scheduler. 32 x 32 pixels.

    `flags_everything` adds a safety checker, to which every image is one it may not show.
    """
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTextModel

    tokenizer = _clip_tokenizer(folder / "tokenizer")
    checker, extractor = _safety_checker() if flags_everything else (None, None)
    pipeline = StableDiffusionPipeline(
        text_encoder=_seeded(lambda: CLIPTextModel(_clip_text(tokenizer)), seed),
        tokenizer=tokenizer,
        unet=_seeded(lambda: _unet(cross_attention_dim=32, attention_head_dim=4), seed + 1),
        vae=_seeded(_autoencoder, seed + 2),
        scheduler=_scheduler(),
        safety_checker=checker,
        feature_extractor=extractor,
        requires_safety_checker=flags_everything,
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_diffusion_xl(folder: Path, seed: int = 0) -> Path:
    """Writes a pipeline in the layout of Stable Diffusion XL: two text encoders, and the image's size as an input."""
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = _clip_tokenizer(folder / "tokenizer")
    text = _clip_text(tokenizer)
    unet = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": text.projection_dim + 6 * 8,
        "transformer_layers_per_block": (1, 2),
        "use_linear_projection": True,
        "attention_head_dim": (2, 4),
        "cross_attention_dim": 2 * text.hidden_size,
    }
    pipeline = StableDiffusionXLPipeline(
        text_encoder=_seeded(lambda: CLIPTextModel(text), seed),
        text_encoder_2=_seeded(lambda: CLIPTextModelWithProjection(text), seed + 1),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_seeded(lambda: _unet(**unet), seed + 2),
        vae=_seeded(_autoencoder, seed + 3),
        scheduler=_scheduler(),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def _clip_text(tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        **more,
    )


def _autoencoder() -> Any:
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return AutoencoderKL(block_out_channels=(8, 16), latent_channels=4, norm_num_groups=4, sample_size=32, **blocks)


def _scheduler() -> Any:
    from diffusers import PNDMScheduler

    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    return PNDMScheduler(skip_prk_steps=True, steps_offset=1, **betas)


def _safety_checker() -> tuple[Any, Any]:
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessorPil

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**size, "vocab_size": 8, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**size, "image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    checker = _seeded(lambda: StableDiffusionSafetyChecker(config), 0)
    checker.concept_embeds_weights.data.fill_(-10)  # what is closer to a concept than this is flagged
    return checker, CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)


def _clip_tokenizer(folder: Path) -> Any:
    """Byte pairs without a merge: every character is a token, at the end of a word another one."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)
