"""What all text encoders share: one model with a head, its tokenizer, and one pass over a batch of windows.

Nothing here knows a task. Batches run packed where the architecture allows it (packed.py), else padded to the longest
of the batch, never to a maximum.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import transformers

from bedplate_serving.predictors.base import Encoded
from bedplate_serving.predictors.loading import load_model, load_tokenizer, pick_device
from bedplate_serving.predictors.packed import Packing, packing_for
from bedplate_serving.predictors.text import TextItem

__all__ = ["Head", "TextEncoder", "Window"]

Rows = np.ndarray[Any, Any]

CPU_TOKEN_BUDGET = 512  # beyond this a batch gains nothing on a CPU and only makes the next request wait
GPU_TOKEN_BUDGET = 16384
CHARACTERS_PER_TOKEN = 64  # no real text has more; a longer text is cut before it is tokenized (see `_shorten`)
UNLIMITED = 1_000_000  # tokenizers without a limit state one of about 1e30


class Head(NamedTuple):
    """What stands on the encoder, and what is read from it."""

    auto_class: str  # of transformers
    outputs: Literal["pooled", "tokens"]  # one row for each window, or one for each token of it
    read: Callable[[Any], Any]  # the model's output -> [windows, n] where pooled, [windows, tokens, n] where not
    task: str = ""  # that the head is for; without one it is a base, which has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Encoded):
    """Token ids that pass through the model together: a text, or a part of one."""

    ids: Sequence[int]
    type_ids: Sequence[int] | None
    take: Sequence[int] | None = None  # the tokens whose outputs are wanted; None = all of them


class TextEncoder:
    """A model and its tokenizer, and the two steps every task of an encoder takes: `encode` and `run`.

    `labels`, `problem_type`, `mask_token`, `mask_token_id` and `backend_tokenizer` (of the library tokenizers) are there
    for the tasks to read.
    """

    def __init__(self, folder: Path, head: Head, device: str = "auto", threads: int | None = None) -> None:
        self.device = pick_device(device)
        model = load_model(getattr(transformers, head.auto_class), folder, self.device, head=head.task)
        if not head.task and getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        self.model, self._head = model, head
        self.config = model.config
        self.labels = tuple(str(self.config.id2label[index]) for index in range(self.config.num_labels))
        self.tokenizer = load_tokenizer(folder)
        self.backend_tokenizer = self.tokenizer.backend_tokenizer
        self.problem_type: str | None = self.config.problem_type
        self.mask_token: str | None = self.tokenizer.mask_token
        self.mask_token_id: int | None = self.tokenizer.mask_token_id
        self.wants_type_ids = "token_type_ids" in self.tokenizer.model_input_names
        self._first_position = _first_position(model)
        self.context_length = _context_length(model, self.tokenizer.model_max_length, self._first_position)
        self._pad_id = _pad_id(model)
        self._pads_left = self.tokenizer.padding_side == "left"  # XLNet classifies by the last token: a real one
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self.token_budget = CPU_TOKEN_BUDGET if self.device == "cpu" else GPU_TOKEN_BUDGET
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.enable_truncation(self.context_length, strategy="longest_first")
        self._lock = threading.Lock()
        if threads is not None:
            torch.set_num_threads(threads)
        self._packing = self._checked_packing()

    @property
    def is_packed(self) -> bool:
        """Whether batches run as one row without padding (packed.py); the results are the same."""
        return self._packing is not None

    def encode(self, items: Sequence[TextItem]) -> list[Window]:
        """Each text or pair as one window, cut at the context's length."""
        limit = self.context_length * CHARACTERS_PER_TOKEN
        short = [_shorten(item, limit) for item in items]
        encoded = [self._window(e) for e in self._tokenize(short)]
        for index, (kept, given) in enumerate(zip(short, items, strict=True)):
            if kept is not given and not encoded[index].truncated:  # mostly blanks: the cut went too far
                encoded[index] = self._window(self._tokenize([given])[0])
        return encoded

    def _tokenize(self, items: Sequence[TextItem]) -> list[Any]:
        rows = [item.text if item.pair is None else (item.text, item.pair) for item in items]
        return self.backend_tokenizer.encode_batch_fast(rows)  # type: ignore[no-any-return]

    def _window(self, encoding: Any) -> Window:
        ids = encoding.ids
        type_ids = encoding.type_ids if self.wants_type_ids else None
        return Window(length=len(ids), truncated=bool(encoding.overflowing), ids=ids, type_ids=type_ids)

    def run(self, batch: Sequence[Window]) -> list[Rows]:
        """One pass, float32, in the order of the batch: [n] for each window where the head is pooled, else
        [tokens taken, n].
        """
        with self._lock, torch.inference_mode():
            return self._packing.run(batch, self._forward) if self._packing else self._run_padded(batch)

    def _forward(self, **inputs: Any) -> Any:
        return self._head.read(self.model(**inputs))

    def _run_padded(self, batch: Sequence[Window]) -> list[Rows]:
        """Texts of like length together, so that a long one among short ones does not make them all long."""
        order = sorted(range(len(batch)), key=lambda index: batch[index].length)
        rows: list[Any] = [None] * len(batch)
        for group in _alike(order, [batch[index].length for index in order]):
            outputs = self._forward(**self._pad([batch[index] for index in group])).float().cpu().numpy()
            for index, row in zip(group, outputs, strict=True):
                rows[index] = row if self._head.outputs == "pooled" else self._taken(batch[index], row)
        return rows

    def _taken(self, window: Window, row: Rows) -> Rows:
        """Of the padded row of a window, what was asked for."""
        own = row[-window.length :] if self._pads_left else row[: window.length]
        return own if window.take is None else own[list(window.take)]

    def _checked_packing(self) -> Packing | None:
        """The packed pass, if this model has one and it answers as the padded one does."""
        packing = packing_for(self.model, self._first_position, pooled=self._head.outputs == "pooled")
        if packing is None:
            return None
        items = [TextItem("a"), TextItem("where is my order?", "it is late"), TextItem("my card is lost")]
        with torch.inference_mode():
            return packing if packing.is_exact(self._forward, self.encode(items)) else None

    def _pad(self, batch: Sequence[Window]) -> dict[str, torch.Tensor]:
        lengths = [item.length for item in batch]
        longest = max(lengths)
        starts = [longest - length if self._pads_left else 0 for length in lengths]
        mask = _padded([[1] * length for length in lengths], starts, longest, 0)
        arrays = {"input_ids": _padded([item.ids for item in batch], starts, longest, self._pad_id)}
        arrays["attention_mask"] = mask
        if self.wants_type_ids:
            arrays["token_type_ids"] = _padded([item.type_ids or () for item in batch], starts, longest, 0)
        if self._pads_left and self._takes_positions:  # by itself the model would count the padding in front, too
            arrays["position_ids"] = np.maximum(mask.cumsum(1) - 1, 0) + self._first_position
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}


def _padded(rows: Sequence[Sequence[int]], starts: Sequence[int], width: int, fill: int) -> Rows:
    """Rows of one width, each with its values from its start on."""
    array = np.full((len(rows), width), fill, dtype=np.int64)
    for row, (values, start) in enumerate(zip(rows, starts, strict=True)):
        array[row, start : start + len(values)] = values
    return array


def _alike(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Indices sorted by length, split where the longest would be half as long again as the shortest, and 8 more."""
    groups: list[list[int]] = []
    shortest = 0
    for index, length in zip(order, lengths, strict=True):
        if not groups or length > shortest * 1.5 + 8:
            groups.append([])
            shortest = length
        groups[-1].append(index)
    return groups


def _shorten(item: TextItem, limit: int) -> TextItem:
    """A megabyte of text takes seconds to tokenize though only the first page is read: cut it beforehand."""
    if len(item.text) <= limit and (item.pair is None or len(item.pair) <= limit):
        return item
    return TextItem(item.text[:limit], None if item.pair is None else item.pair[:limit])


def _first_position(model: Any) -> int:
    """0, but RoBERTa and its kin count positions from the one after padding."""
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
