"""Generated texts beside the right ones: what summarization, translation and text generation are measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bedplate_registry.errors import Refused

from .base import Lists, alternatives, check_rows, check_texts

__all__ = ["TOKENIZERS", "check_generated", "sacrebleu_tokenizer"]

# Those of sacrebleu that need nothing more: no dictionary of Japanese or Korean, no download.
TOKENIZERS = ("13a", "intl", "zh", "char", "none")


def check_generated(predictions: Iterable[str], references: Lists) -> list[tuple[str, ...]]:
    """The right texts of each row, one or more. Refused by row where one has none, or something is no text."""
    predictions = list(predictions)
    check_rows(predictions, references)
    check_texts(([text] for text in predictions), "prediction")
    rows = alternatives(references)
    for number, row in enumerate(rows, 1):
        if not row:
            raise Refused(f"Row {number} has no reference.", hint="Give a right text for each row.", code="bad-rows")
    return rows


def sacrebleu_tokenizer(name: str) -> Callable[[str], str]:
    """A tokenizer of sacrebleu: text to tokens with blanks between them."""
    from sacrebleu.metrics import BLEU

    tokenizer: Any = BLEU(tokenize=name).tokenizer
    return lambda text: str(tokenizer(text.rstrip()))
