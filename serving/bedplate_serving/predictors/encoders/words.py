"""Texts that come as words: each word gets at least one token, so that none goes without an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["WordTokenizer", "WordTokens"]

UNKNOWN = ("[UNK]", "<unk>")


class WordTokens(NamedTuple):
    """The tokens of a list of words, without special ones."""

    ids: Sequence[int]
    word_ids: Sequence[int]  # of each token, the word that it is of

    @property
    def first_places(self) -> list[int]:
        """Of each word its first token."""
        return [place for place, word in enumerate(self.word_ids) if not place or word != self.word_ids[place - 1]]


class WordTokenizer:
    """Divides words into tokens. One in which the tokenizer sees nothing, such as a control character or an empty
    string, is read as a word that it does not know.

    `tokenizer` is of the library tokenizers, and cuts nothing off. The same class reads the words that are trained on.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._is_spaced = _wants_spaces(tokenizer)
        self._unknown = _unknown_id(tokenizer)

    def __call__(self, rows: Sequence[Sequence[str]]) -> list[WordTokens]:
        given = [self._spaced(words) for words in rows]
        encodings = self._tokenizer.encode_batch(given, is_pretokenized=True, add_special_tokens=False)
        return [self._complete(one, len(words)) for one, words in zip(encodings, rows, strict=True)]

    def _spaced(self, words: Sequence[str]) -> list[str]:
        return [f" {word}" if place and self._is_spaced else word for place, word in enumerate(words)]

    def _complete(self, encoding: Any, count: int) -> WordTokens:
        found = WordTokens(encoding.ids, encoding.word_ids)
        if len(set(found.word_ids)) == count:
            return found
        tokens: list[list[int]] = [[] for _ in range(count)]
        for token, word in zip(found.ids, found.word_ids, strict=True):
            tokens[word].append(token)
        filled = [(token, word) for word, own in enumerate(tokens) for token in own or [self._unknown]]
        return WordTokens([token for token, _ in filled], [word for _, word in filled])


def _wants_spaces(tokenizer: Any) -> bool:
    """Whether the tokenizer tells a new word by the blank in front of it, and adds none by itself to given words."""
    text = tokenizer.encode("a b", add_special_tokens=False).ids
    bare = tokenizer.encode(["a", "b"], is_pretokenized=True, add_special_tokens=False).ids
    spaced = tokenizer.encode(["a", " b"], is_pretokenized=True, add_special_tokens=False).ids
    return bool(bare != text and spaced == text)


def _unknown_id(tokenizer: Any) -> int:
    """Of the token for what is unknown; the first of all in a vocabulary of bytes, which knows everything."""
    names = (getattr(tokenizer.model, "unk_token", None), *UNKNOWN)
    ids = (tokenizer.token_to_id(name) for name in names if name)
    return next((found for found in ids if found is not None), 0)
