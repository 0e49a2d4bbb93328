"""Tokenized rows, kept as flat arrays of integers (a list of Python integers would take ten times the memory), and the
batches made of them: padded to the longest row of the batch, never to a maximum, on the tokenizer's side (XLNet reads
its answer off the last token, so it must not be padding)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter

from .data import Example

__all__ = ["EncodedRows", "Keep", "Tokens", "encode_texts", "library_tokenizer", "made_anew", "same"]

CHUNK_ROWS = 1000
Batch = dict[str, torch.Tensor]
Vector = np.ndarray[Any, Any]
Tokens = Mapping[str, Sequence[Vector]]  # lists of integers by their names, such as input_ids: one for each row
# Of rows, and all else that their tokens depend on: gives what was kept of them, or what the function makes.
Keep = Callable[[Sequence[object], Sequence[object], Callable[[], Tokens]], Tokens]


def made_anew(rows: Sequence[object], about: Sequence[object], make: Callable[[], Tokens]) -> Tokens:
    """A Keep that keeps nothing."""
    return make()


class EncodedRows:
    """Rows as the model takes them, with their targets. A loader asks for a whole batch at once.

    `columns` have a value for each token, padded by `pads`; `targets` have one for each row, by their names in a batch.
    `numbers` are those of the rows in their file, where several of these are of one.
    """

    def __init__(
        self,
        columns: Tokens,
        targets: Mapping[str, Vector],
        pads: dict[str, int],
        multiple: int = 1,
        *,
        pads_left: bool = False,
        numbers: Sequence[int] = (),
    ) -> None:
        self.numbers = numbers
        self.lengths = np.fromiter((len(row) for row in columns["input_ids"]), dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._flat = {name: np.concatenate(rows) for name, rows in columns.items()}
        self.targets = {name: torch.from_numpy(values) for name, values in targets.items()}
        self._pads, self._multiple, self.pads_left = pads, multiple, pads_left

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        longest = int(self.lengths[list(rows)].max())
        longest += -longest % self._multiple
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        padded = {name: np.full(mask.shape, self._pads[name], dtype=np.int64) for name in self._flat}
        for place, row in enumerate(rows):
            start, end = self._starts[row], self._starts[row + 1]
            first = longest - (end - start) if self.pads_left else 0
            taken = slice(first, first + end - start)
            mask[place, taken] = 1
            for name, flat in self._flat.items():
                padded[name][place, taken] = flat[start:end]
        batch = {name: torch.from_numpy(values) for name, values in (padded | {"attention_mask": mask}).items()}
        places = torch.as_tensor(rows)
        return batch | {name: values[places] for name, values in self.targets.items()}


def encode_texts(
    tokenizer: Any,
    examples: Sequence[Example],
    targets: Vector,
    limit: int,
    reporter: Reporter,
    multiple: int = 1,
    keep: Keep = made_anew,
) -> EncodedRows:
    """Tokenizes once, without padding; texts beyond `limit` tokens are cut, of a pair the longer one first."""
    columns = keep(examples, ("texts", limit), partial(_columns, tokenizer, examples, limit, reporter))
    pads = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    return EncodedRows(columns, {"labels": targets}, pads, multiple, pads_left=tokenizer.padding_side == "left")


def _columns(tokenizer: Any, examples: Sequence[Example], limit: int, reporter: Reporter) -> Tokens:
    columns: dict[str, list[Vector]] = {}
    for at in range(0, len(examples), CHUNK_ROWS):
        chunk = examples[at : at + CHUNK_ROWS]
        for name, rows in _tokenize(tokenizer, chunk, limit).items():
            columns.setdefault(name, []).extend(np.asarray(row, dtype=np.int32) for row in rows)
        reporter.progress("tokenize", at + len(chunk), len(examples), "rows")
    return columns


def _tokenize(tokenizer: Any, examples: Sequence[Example], limit: int) -> dict[str, list[list[int]]]:
    texts, pairs = [row.text for row in examples], [row.pair for row in examples]
    encoded = tokenizer(
        texts,
        pairs if pairs[0] is not None else None,
        truncation=True,
        max_length=limit,
        padding=False,
        return_attention_mask=False,
    )
    return {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}


def library_tokenizer(tokenizer: Any) -> Any:
    """The `tokenizers` one inside of a tokenizer of transformers, as a copy that cuts and pads nothing: it tells where
    in a text each token is. Raises Refused: no-fast-tokenizer.
    """
    from tokenizers import Tokenizer

    if not getattr(tokenizer, "is_fast", False):
        raise Refused(
            "The model's tokenizer cannot tell which token is of which word.",
            hint="Choose a model with a tokenizer.json.",
            code="no-fast-tokenizer",
        )
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def same(batch: Batch) -> Batch:
    """A loader's collate function for rows that come as a batch."""
    return batch
