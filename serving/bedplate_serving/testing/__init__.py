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

__all__ = [
    "FAMILIES",
    "SHAPES",
    "WORDS",
    "tiny_encoder",
    "tiny_masked_lm",
    "tiny_question_answerer",
    "tiny_text_classifier",
    "tiny_token_classifier",
]
