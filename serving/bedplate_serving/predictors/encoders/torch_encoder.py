"""A text encoder on torch: loads the model and its tokenizer, says what must be known of them, and picks the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from bedplate_serving.predictors.encoders.engines import EncoderEngine, EncoderFacts, Head, Window
from bedplate_serving.predictors.encoders.packed import PackedEngine
from bedplate_serving.predictors.encoders.padded import PaddedEngine
from bedplate_serving.predictors.loading import load_model, load_tokenizer

__all__ = ["TorchEncoder", "load_encoder", "sample_windows"]

UNLIMITED = 1_000_000  # tokenizers without a limit state one of about 1e30
SAMPLES = (  # of unlike lengths, so that a packed pass that looks across texts is found out
    ("a", None),
    ("where is my order?", "it is late"),
    ("my card is lost", None),
    ("Größe 😀 naïve 東京", None),
    ("my <pad> card", None),  # RoBERTa's padding, which its positions pass over
    ("the app is slow and it can crash when i log in with my old phone " * 6, None),
    ("the app is slow", "please help, i can not log in " * 3),
)


class TorchEncoder(NamedTuple):
    facts: EncoderFacts
    tokenizer: Any  # of the library tokenizers
    padded: PaddedEngine
    engine: EncoderEngine  # the best there is for this model and device


def load_encoder(folder: Path, head: Head, device: str, threads: int | None = None) -> TorchEncoder:
    """`device` is one of torch's, not `auto`. Raises Refused: load-failed, no-head, no-fast-tokenizer."""
    if threads is not None:
        torch.set_num_threads(threads)
    model = load_model(getattr(transformers, head.auto_class), folder, device, head=head.task)
    if not head.task and getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    tokenizer = load_tokenizer(folder)
    facts = _facts(model, tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(facts.context_length, strategy="longest_first")
    padded = PaddedEngine(model, head, facts)
    samples = sample_windows(backend, facts)
    return TorchEncoder(facts, backend, padded, PackedEngine.checked(padded, samples) or padded)


def sample_windows(tokenizer: Any, facts: EncoderFacts) -> list[Window]:
    """What engines are compared on: texts and pairs, and of each its first token and one in its middle."""
    return [
        Window(
            length=len(one.ids),
            ids=one.ids,
            type_ids=one.type_ids if facts.wants_type_ids else None,
            take=(0, len(one.ids) // 2),
        )
        for one in (tokenizer.encode(text, pair) for text, pair in SAMPLES)
        if one.ids
    ]


def _facts(model: Any, tokenizer: Any) -> EncoderFacts:
    config = model.config
    first_position = _first_position(model)
    return EncoderFacts(
        labels=tuple(str(config.id2label[index]) for index in range(config.num_labels)),
        problem_type=config.problem_type,
        hidden_size=int(getattr(config, "hidden_size", 0)),
        context_length=_context_length(model, tokenizer.model_max_length, first_position),
        first_position=first_position,
        pad_id=_pad_id(model),
        pads_left=tokenizer.padding_side == "left",  # XLNet classifies by the last token: a real one
        wants_type_ids="token_type_ids" in tokenizer.model_input_names,
        mask_token=tokenizer.mask_token,
        mask_token_id=tokenizer.mask_token_id,
    )


def _first_position(model: Any) -> int:
    table: Any = next((m for name, m in model.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _context_length(model: Any, stated: float, first_position: int) -> int:
    """The smaller of what the tokenizer states and what the position embeddings hold."""
    positions = int(getattr(model.config, "max_position_embeddings", None) or 0)  # -1: XLNet has no table of them
    held = positions - first_position if positions > 0 else UNLIMITED
    length = min(int(min(stated, UNLIMITED)), held)
    return length if length < UNLIMITED else 4096


def _pad_id(model: Any) -> int:
    pad = model.config.pad_token_id
    if pad is None:  # decoders used as classifiers find the end of a text by this id
        eos = getattr(model.config, "eos_token_id", None)
        pad = model.config.pad_token_id = (eos[0] if isinstance(eos, list) else eos) or 0
    return int(pad)
