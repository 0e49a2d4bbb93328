"""A batch of texts as one row without padding, on transformers' own modules and weights.

The tokens of all texts stand one after another in a row of length T, positions restarting at each text. All linear
layers see [1, T]; attention sees each text by itself (texts of one length together); a pooled head sees each text's
first token, any other the tokens that were asked for. So a batch costs its tokens, however different the lengths, and
needs no sorting across requests. The logits are those of the padded pass, which `is_exact` checks on the loaded model
before it is trusted.

    ids        a a a b b b b c c        one row
    positions  0 1 2 0 1 2 3 0 1
    starts     0     3       7          a pooled head reads these
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from bedplate_serving.predictors.encoder import Window

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

    def __init__(self, model: Any, encoder: torch.nn.Module, first_position: int, *, pooled: bool) -> None:
        self._model = model
        self._first_position = first_position
        self._pooled = pooled
        self._runs: list[_Run] | None = None
        self._taken: torch.Tensor | None = None
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        for module in encoder.modules():
            module.bedplate_packing = self  # read by `_attend`; no parameter, no buffer
        encoder.register_forward_hook(self._keep_taken)
        model.set_attn_implementation(NAME)

    def run(self, batch: Sequence[Window], forward: Callable[..., torch.Tensor]) -> list[np.ndarray[Any, Any]]:
        """Of each window, in the order of the batch: its row where the head is pooled, else its taken tokens' rows."""
        order = sorted(range(len(batch)), key=lambda index: batch[index].length)
        windows = [batch[index] for index in order]
        taken = _taken(windows, pooled=self._pooled)
        inputs = self._inputs(windows, taken)
        try:
            outputs = forward(**inputs)[:, 0].float().numpy() if not self._pooled else forward(**inputs).float().numpy()
        finally:
            self._runs = self._taken = None
        pieces = outputs if self._pooled else np.split(outputs, np.cumsum([len(one) for one in taken])[:-1])
        results: list[Any] = [None] * len(batch)
        for index, piece in zip(order, pieces, strict=True):
            results[index] = piece
        return results

    def _inputs(self, windows: Sequence[Window], taken: Sequence[np.ndarray[Any, Any]]) -> dict[str, torch.Tensor]:
        lengths = np.array([window.length for window in windows])
        starts = np.cumsum(lengths) - lengths
        positions = np.arange(lengths.sum()) - np.repeat(starts, lengths) + self._first_position
        arrays = {"input_ids": [window.ids for window in windows], "position_ids": [positions]}
        if windows[0].type_ids is not None:
            arrays["token_type_ids"] = [window.type_ids for window in windows]
        places = [start + one for start, one in zip(starts, taken, strict=True)]
        self._taken = torch.from_numpy(np.concatenate(places))
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

    def _keep_taken(self, module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        """Of the one long row the head gets a row for each token that is taken, holding that token alone: a pooled head
        takes the first token of each row, any other reads token by token.
        """
        if self._taken is None:
            return output
        return type(output)(last_hidden_state=output.last_hidden_state[0].index_select(0, self._taken)[:, None])

    def is_exact(self, padded: Callable[..., torch.Tensor], samples: Sequence[Window]) -> bool:
        """Whether packed texts answer as each alone does, on this model."""
        for rows, sample in zip(self.run(samples, padded), samples, strict=True):
            inputs = {"input_ids": torch.tensor([list(sample.ids)])}
            if sample.type_ids is not None:
                inputs["token_type_ids"] = torch.tensor([list(sample.type_ids)])
            if not np.allclose(padded(**inputs)[0].float().numpy(), rows, atol=EXACT, rtol=EXACT):
                return False
        return True


def _taken(windows: Sequence[Window], *, pooled: bool) -> list[np.ndarray[Any, Any]]:
    """The places in each window that the head reads."""
    if pooled:
        return [np.zeros(1, dtype=np.int64) for _ in windows]
    return [
        np.arange(window.length) if window.take is None else np.asarray(window.take, dtype=np.int64)
        for window in windows
    ]


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


def packing_for(model: Any, first_position: int, *, pooled: bool) -> Packing | None:
    """The packed pass, where the architecture allows it. (On a GPU its many small kernels would not pay.)"""
    base = getattr(model, model.base_model_prefix, model)  # a base is its own
    encoder = getattr(base, "encoder", None) or getattr(base, "transformer", None)
    if model.config.model_type not in MODEL_TYPES or not isinstance(encoder, torch.nn.Module):
        return None
    if getattr(model.config, "is_decoder", False) or next(model.parameters()).device.type != "cpu":
        return None
    return Packing(model, encoder, first_position, pooled=pooled)
