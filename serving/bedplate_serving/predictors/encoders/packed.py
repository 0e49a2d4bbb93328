"""The packed pass on torch: a batch of texts as one row without padding, on transformers' own modules and weights.

All linear layers see [1, T]; attention sees each text by itself; the head sees the tokens that are taken and no others
(packed_row.py). So a batch costs its tokens, however different the lengths, and needs no sorting across requests.

    on a CPU              texts of one length attend together, through torch's own kernel
    on a GPU              flash attention with cumulative lengths (half precision, compute capability 8 and later);
                          written after torch's documentation, checked at load, and not yet run on a card
    in an ONNX graph      one product over the whole row with a block-diagonal bias (onnx_export.py)
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from bedplate_serving.predictors.encoders.engines import Head, Rows, Window, agree
from bedplate_serving.predictors.encoders.packed_row import PackedRow, pack
from bedplate_serving.predictors.encoders.padded import PaddedEngine

__all__ = ["ATTENTION", "Attention", "PackedEngine", "PackedModel", "is_packable", "packed_model"]

log = logging.getLogger("bedplate_serving.predictors")

ATTENTION = "bedplate_packed"
# Encoders whose attention is full and whose positions can be given; others have windows or relative positions.
MODEL_TYPES = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"})
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}  # against the padded pass

# query, key and value [1, heads, T, size], and the scale -> [1, T, heads, size]
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]


class PackedModel:
    """A model that can run a packed row. One at a time: its modules look here for the row in hand."""

    def __init__(self, model: Any, encoder: torch.nn.Module, head: Head) -> None:
        self.model, self._head = model, head
        self.takes_type_ids = "token_type_ids" in inspect.signature(model.forward).parameters
        self.attention: Attention | None = None
        self._taken: torch.Tensor | None = None
        AttentionInterface.register(ATTENTION, _attend)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        for module in encoder.modules():
            module.bedplate_packed = self  # read by `_attend`; no parameter, no buffer
        encoder.register_forward_hook(self._keep_taken)
        model.set_attn_implementation(ATTENTION)

    def __call__(self, row: Mapping[str, torch.Tensor], attention: Attention) -> torch.Tensor:
        """The outputs of the taken tokens, [taken, n]. `row` holds the arrays of a PackedRow, by name."""
        inputs = {"input_ids": row["ids"][None], "position_ids": row["positions"][None]}
        if self.takes_type_ids:
            inputs["token_type_ids"] = row["type_ids"][None]
        self.attention, self._taken = attention, row["taken"]
        try:
            outputs = self._head.read(self.model(**inputs))
        finally:
            self.attention = self._taken = None
        return cast(torch.Tensor, outputs if self._head.is_pooled else outputs[:, 0])

    def _keep_taken(self, module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        """Of the one long row the head gets a row for each token that is taken, holding that token alone: a pooled head
        takes the first token of each row, any other reads token by token.
        """
        if self._taken is None:
            return output
        return type(output)(last_hidden_state=output.last_hidden_state[0].index_select(0, self._taken)[:, None])


def _attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **named: Any) -> tuple[Any, Any]:
    packed: PackedModel | None = getattr(module, "bedplate_packed", None)
    if packed is None or packed.attention is None:
        return cast(tuple[Any, Any], sdpa_attention_forward(module, query, key, value, attention_mask, **named))
    return packed.attention(query, key, value, named.get("scaling") or query.shape[-1] ** -0.5), None


def packed_model(model: Any, head: Head) -> PackedModel | None:
    """Where the architecture allows it."""
    return PackedModel(model, _encoder(model), head) if is_packable(model) else None


def is_packable(model: Any) -> bool:
    is_encoder = model.config.model_type in MODEL_TYPES and not getattr(model.config, "is_decoder", False)
    return is_encoder and isinstance(_encoder(model), torch.nn.Module)


def _encoder(model: Any) -> Any:
    base = getattr(model, model.base_model_prefix, model)  # a base is its own
    return getattr(base, "encoder", None) or getattr(base, "transformer", None)


class PackedEngine:
    """See engines.EncoderEngine."""

    name = "torch-packed"
    workers = 1

    def __init__(self, packed: PackedModel, padded: PaddedEngine) -> None:
        self.packed, self._lock, self._device = packed, padded.lock, padded.device
        self._pooled, self._first_position = padded.head.is_pooled, padded.facts.first_position
        self.token_budget = padded.token_budget
        self._attention = _runs_attention if self._device.type == "cpu" else _flash_attention

    @classmethod
    def checked(cls, padded: PaddedEngine, samples: Sequence[Window]) -> PackedEngine | None:
        """For the model of `padded`: the packed pass, if it has one and that answers the samples as each alone does."""
        packed = packed_model(padded.model, padded.head) if _has_attention(padded.model) else None
        if packed is None:
            return None
        engine, tolerance = cls(packed, padded), TOLERANCE[padded.model.dtype]
        expected = [padded.run([sample])[0] for sample in samples]
        try:
            rows = engine.run(samples)
        except Exception:  # a kernel that does not take this shape, for one: the padded pass takes any
            log.exception("the packed pass of this model fails; it runs padded")
            return None
        return engine if agree(rows, expected, tolerance) else None

    def run(self, batch: Sequence[Window]) -> list[Rows]:
        order = sorted(range(len(batch)), key=lambda index: batch[index].length)  # those of one length lie together
        row = pack([batch[index] for index in order], self._first_position, pooled=self._pooled)
        results: list[Any] = [None] * len(batch)
        for index, piece in zip(order, row.split(self._outputs(row)), strict=True):
            results[index] = piece
        return results

    def _outputs(self, row: PackedRow) -> Rows:
        names = ("ids", "positions", "type_ids", "taken")
        tensors = {name: torch.from_numpy(getattr(row, name)).to(self._device) for name in names}
        with self._lock, torch.inference_mode():
            return cast(Rows, self.packed(tensors, self._attention(row, self._device)).float().cpu().numpy())


def _has_attention(model: Any) -> bool:
    parameter = next(model.parameters())
    if parameter.device.type == "cpu":
        return True
    major, _ = torch.cuda.get_device_capability(parameter.device)
    return parameter.dtype in (torch.float16, torch.bfloat16) and major >= 8


@dataclass(frozen=True, slots=True)
class _Run:
    """`count` texts of `length` tokens each, from `start` on."""

    start: int
    count: int
    length: int


def _runs_attention(row: PackedRow, device: torch.device) -> Attention:
    runs, start = [], 0
    for length, group in groupby(row.lengths.tolist()):
        count = len(list(group))
        runs.append(_Run(start, count, length))
        start += count * length
    return partial(_attend_to_runs, runs)


def _attend_to_runs(
    runs: Sequence[_Run], query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    _, heads, tokens, size = query.shape
    result = query.new_empty(1, tokens, heads, size)
    for run in runs:
        end = run.start + run.count * run.length
        q, k, v = (
            tensor[0, :, run.start : end].view(heads, run.count, run.length, size).transpose(0, 1)
            for tensor in (query, key, value)
        )
        attended = scaled_dot_product_attention(q, k, v, scale=scale)  # [count, heads, length, size]
        result[0, run.start : end].view(run.count, run.length, heads, size).copy_(attended.transpose(1, 2))
    return result


def _flash_attention(row: PackedRow, device: torch.device) -> Attention:
    ends = np.concatenate([[0], np.cumsum(row.lengths)]).astype(np.int32)
    return partial(_attend_by_flash, torch.from_numpy(ends).to(device), int(row.lengths.max()))


def _attend_by_flash(
    ends: torch.Tensor, longest: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # [T, heads, size]
    return cast(torch.Tensor, varlen_attn(q, k, v, ends, ends, longest, longest, scale=scale)[None])
