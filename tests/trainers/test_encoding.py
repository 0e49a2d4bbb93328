"""Tokenized rows and the batches made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bedplate_registry.progress import SILENT
from bedplate_trainers.data import Example
from bedplate_trainers.encoding import encode_texts
from bedplate_trainers.pretrained import load_tokenizer

TEXTS = ("refund please", "why", "my login was not good and the phone was slow")


@pytest.mark.parametrize("pair", [None, "thanks"])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("side", ["right", "left"])
def test_batches_are_padded_as_the_tokenizer_pads(base_dir: Path, side: str, multiple: int, pair: str | None) -> None:
    tokenizer = load_tokenizer(base_dir)
    tokenizer.padding_side = side
    rows = [Example(number, text, pair, ("a",)) for number, text in enumerate(TEXTS, 1)]
    encoded = encode_texts(tokenizer, rows, np.array([0, 1, 2]), 16, SILENT, multiple)
    batch = encoded.__getitems__([2, 0, 1])
    assert batch.pop("labels").tolist() == [2, 0, 1]
    expected = tokenizer(
        [TEXTS[place] for place in (2, 0, 1)],
        [pair] * 3 if pair else None,
        padding=True,
        pad_to_multiple_of=multiple,
        return_tensors="pt",
    )
    assert set(batch) == set(expected)
    assert all(torch.equal(batch[name], expected[name]) for name in batch)
