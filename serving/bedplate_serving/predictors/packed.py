"""A batch of texts as one row without padding, on transformers' own modules and weights.

The tokens of all texts stand one after another in a row of length T, positions restarting at each text. All linear
layers see [1, T]; attention sees each text by itself (texts of one length together); the head sees each text's first
token. So a batch costs its tokens, however different the lengths, and needs no sorting across requests. The logits are
those of the padded pass, which `is_exact` checks on the loaded model before it is trusted.

    ids        a a a b b b b c c        one row
    positions  0 1 2 0 1 2 3 0 1
    starts     0     3       7          the head reads these
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from bedplate_serving.predictors.base import Encoded

__all__ = ["Packing", "packing_for"]

NAME = "bedplate_packed"
# Encoders whose attention is full and whose positions can be given; others have windows or relative positions.
MODEL_TYPES = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"})
EXACT = 1e-5


@dataclass(frozen=True, slots=True)
class _Run:
    """`count` texts of `length` tokens each, from `start` on."""

    start: int
    count: int
    length: int


class Packing:
    """The packed pass of one model. One at a time: the model's modules look here for the batch in hand."""

    def __init__(self, model: Any, encoder: torch.nn.Module, first_position: int) -> None:
        self._model = model
        self._first_position = first_position
        self._runs: list[_Run] | None = None
        self._starts: torch.Tensor | None = None
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        for module in encoder.modules():
            module.bedplate_packing = self  # read by `_attend`; no parameter, no buffer
        encoder.register_forward_hook(self._keep_first_tokens)
        model.set_attn_implementation(NAME)

    def logits(self, batch: Sequence[Encoded], forward: Callable[..., torch.Tensor]) -> torch.Tensor:
        """`forward`'s result for each text, in the order of the batch."""
        order = sorted(range(len(batch)), key=lambda index: batch[index].length)
        texts = [batch[index] for index in order]
        inputs = self._inputs(texts)
        try:
            rows = forward(**inputs)
        finally:
            self._runs = self._starts = None
        return rows[torch.from_numpy(np.argsort(order))]

    def _inputs(self, texts: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        lengths = np.array([text.length for text in texts])
        starts = np.cumsum(lengths) - lengths
        positions = np.arange(lengths.sum()) - np.repeat(starts, lengths) + self._first_position
        arrays = {"input_ids": [text.ids for text in texts], "position_ids": [positions]}
        if texts[0].type_ids is not None:
            arrays["token_type_ids"] = [text.type_ids for text in texts]
        self._starts = torch.from_numpy(starts)
        self._runs = _runs(lengths.tolist())
        return {name: torch.from_numpy(np.concatenate(pieces))[None].long() for name, pieces in arrays.items()}

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """[1, heads, T, size] each; the result is [1, T, heads, size], as transformers' attention functions return."""
        assert self._runs is not None
        _, heads, tokens, size = query.shape
        result = query.new_empty(1, tokens, heads, size)
        for run in self._runs:
            end = run.start + run.count * run.length
            q, k, v = (
                tensor[0, :, run.start : end].view(heads, run.count, run.length, size).transpose(0, 1)
                for tensor in (query, key, value)
            )
            attended = scaled_dot_product_attention(q, k, v, scale=scale)  # [count, heads, length, size]
            result[0, run.start : end].view(run.count, run.length, heads, size).copy_(attended.transpose(1, 2))
        return result

    @property
    def is_active(self) -> bool:
        return self._runs is not None

    def _keep_first_tokens(self, module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        """The head takes the first token of each row: it gets one row a text, holding that token alone."""
        if self._starts is None:
            return output
        return type(output)(last_hidden_state=output.last_hidden_state[0].index_select(0, self._starts)[:, None])

    def is_exact(self, padded: Callable[..., torch.Tensor], samples: Sequence[Encoded]) -> bool:
        """Whether packed texts answer as each alone does, on this model."""
        packed = self.logits(samples, padded)
        for row, sample in zip(packed, samples, strict=True):
            inputs = {"input_ids": torch.tensor([list(sample.ids)])}
            if sample.type_ids is not None:
                inputs["token_type_ids"] = torch.tensor([list(sample.type_ids)])
            if not torch.allclose(padded(**inputs)[0], row, atol=EXACT, rtol=EXACT):
                return False
        return True


def _runs(lengths: Sequence[int]) -> list[_Run]:
    runs, start = [], 0
    for length, group in groupby(lengths):
        count = len(list(group))
        runs.append(_Run(start, count, length))
        start += count * length
    return runs


def _attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **named: Any) -> tuple[Any, Any]:
    packing: Packing | None = getattr(module, "bedplate_packing", None)
    if packing is None or not packing.is_active:
        return cast(tuple[Any, Any], sdpa_attention_forward(module, query, key, value, attention_mask, **named))
    scale = named.get("scaling") or query.shape[-1] ** -0.5
    return packing.attend(query, key, value, scale), None


def packing_for(model: Any, first_position: int) -> Packing | None:
    """The packed pass, where the architecture allows it. (On a GPU its many small kernels would not pay.)"""
    base = getattr(model, model.base_model_prefix, None)
    encoder = getattr(base, "encoder", None) or getattr(base, "transformer", None)
    if model.config.model_type not in MODEL_TYPES or not isinstance(encoder, torch.nn.Module):
        return None
    if getattr(model.config, "is_decoder", False) or next(model.parameters()).device.type != "cpu":
        return None
    return Packing(model, encoder, first_position)
