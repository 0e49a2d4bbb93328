"""Which tokenizer a metric reads texts with: the usual one, or one for the script that the texts are in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import chain, islice

from .base import Lists

__all__ = ["tokenizer_for"]

USUAL = {"summarization": "rouge_stemmer", "translation": "13a"}
LETTERS_READ = 100_000
# Scripts that put no blanks between words, by how Unicode's names of their letters begin.
BY_LETTER = ("HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
CHINESE = ("CJK",)


def tokenizer_for(task: str, references: Lists) -> str:
    """zh or char where words are not told apart by blanks; for ROUGE, intl for letters other than Latin ones."""
    texts = chain.from_iterable([row] if isinstance(row, str) else row for row in references)
    letters = list(islice(filter(str.isalpha, chain.from_iterable(texts)), LETTERS_READ))
    foreign = [unicodedata.name(letter, "") for letter in letters if not letter.isascii()]
    if any(name.startswith(BY_LETTER) for name in foreign) and 2 * _count(foreign, BY_LETTER + CHINESE) > len(letters):
        return "char"
    if 2 * _count(foreign, CHINESE) > len(letters):
        return "zh"
    if task == "summarization" and 2 * (len(foreign) - _count(foreign, ("LATIN",))) > len(letters):
        return "intl"
    return USUAL[task]


def _count(names: Iterable[str], beginnings: tuple[str, ...]) -> int:
    return sum(name.startswith(beginnings) for name in names)
