"""What runs a text encoder: the contract of its engines, what they take, and what must be known of a model to feed it.

    padded.py         torch, texts padded to the longest: any architecture. What every other engine is held against.
    packed.py         torch, texts in one row without padding
    onnx_session.py   ONNX Runtime on a CPU, packed as well; imports neither torch nor transformers

An engine is trusted after it has answered some samples as the padded pass of torch does (`agree`), never before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from bedplate_serving.predictors.base import Encoded, ItemError

__all__ = ["EncoderEngine", "EncoderFacts", "Head", "Rows", "Window", "agree"]

Rows = np.ndarray[Any, Any]


class Head(NamedTuple):
    """What stands on the encoder, and what is read from it. Each task's module has its own as HEAD."""

    auto_class: str  # of transformers
    outputs: Literal["pooled", "tokens"]  # one row for each window, or one for each token of it
    read: Callable[[Any], Any]  # the model's output -> [windows, n] where pooled, [windows, tokens, n] where not
    task: str = ""  # that the head is for; without one it is a base, which has none

    @property
    def is_pooled(self) -> bool:
        return self.outputs == "pooled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Encoded):
    """Token ids that pass through the model together: a text, or a part of one. Raises ItemError where there are none:
    some tokenizers make nothing of a text, and in a packed row nothing would be answered with what stands beside it.
    """

    ids: Sequence[int]
    type_ids: Sequence[int] | None
    take: Sequence[int] | None = None  # the tokens whose outputs are wanted; None = all of them

    def __post_init__(self) -> None:
        if not self.ids:
            raise ItemError("holds nothing that this model's tokenizer knows")


@dataclass(frozen=True, kw_only=True)
class EncoderFacts:
    """Of a model and its tokenizer, all that tasks and engines go by. Plain values: it is kept as JSON."""

    labels: tuple[str, ...]
    problem_type: str | None
    hidden_size: int
    context_length: int  # in tokens, special ones included
    first_position: int  # 0, but RoBERTa and its kin count from the one after padding
    pad_id: int
    pads_left: bool
    wants_type_ids: bool  # whether the tokenizer tells the first text of a pair from the second
    mask_token: str | None
    mask_token_id: int | None

    @property
    def num_labels(self) -> int:
        return len(self.labels)


class EncoderEngine(Protocol):
    """One pass of a model. It may be run from several threads at once; `workers` says how many of them gain by it."""

    name: str  # as /info says it
    workers: int
    token_budget: int  # of one batch

    def run(self, batch: Sequence[Window]) -> list[Rows]:
        """float32, in the order of the batch: [n] for each window where the head is pooled, else [tokens taken, n]."""


def agree(rows: Sequence[Rows], expected: Sequence[Rows], tolerance: float) -> bool:
    """Whether the numbers are the same, up to `tolerance` and that share of each."""
    return len(rows) == len(expected) and all(
        one.shape == other.shape and np.allclose(one, other, atol=tolerance, rtol=tolerance)
        for one, other in zip(rows, expected, strict=True)
    )
