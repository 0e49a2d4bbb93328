"""Tiny models for tests and benchmarks: real architectures with random weights and real tokenizers, made here.

They load through `from_pretrained` like any other model folder, need no download and answer in milliseconds.
One family of models is one file; its builders take the folder to write and give it back.
"""

from bedplate_serving.testing.encoders import (
    FAMILIES,
    SHAPES,
    WORDS,
    tiny_encoder,
    tiny_masked_lm,
    tiny_question_answerer,
    tiny_text_classifier,
    tiny_token_classifier,
)
from bedplate_serving.testing.images import tiny_diffusion, tiny_diffusion_xl, tiny_resnet, tiny_timm, tiny_vit

__all__ = [
    "FAMILIES",
    "SHAPES",
    "WORDS",
    "tiny_diffusion",
    "tiny_diffusion_xl",
    "tiny_encoder",
    "tiny_masked_lm",
    "tiny_question_answerer",
    "tiny_resnet",
    "tiny_text_classifier",
    "tiny_timm",
    "tiny_token_classifier",
    "tiny_vit",
]
