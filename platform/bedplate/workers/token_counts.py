"""How many tokens texts have for a model, counted by its own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedplate_registry.errors import Refused

__all__ = ["TokenCounts"]


class TokenCounts:
    """A `bedplate_registry.datachecks.Measure`: texts, pairs of texts, or lists of words, with special tokens."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Raises Refused where the model's files hold no tokenizer."""
        self.limit = limit
        self._tokenizer = _load(folder)

    def count(self, inputs: Sequence[Any]) -> list[int]:
        """Of each input."""
        are_words = bool(inputs) and isinstance(inputs[0], list)
        return [len(found) for found in self._tokenizer.encode_batch(list(inputs), is_pretokenized=are_words)]


def _load(folder: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        if (folder / "tokenizer.json").exists():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            from transformers import AutoTokenizer  # slow to load, so only where it must be

            slow = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            tokenizer = slow.backend_tokenizer
    except Exception as exc:  # what a stranger's file makes of these libraries is not foreseen
        raise Refused(
            f"The tokenizer of the model cannot be loaded: {exc}.", hint="Check without model.", code="no-tokenizer"
        ) from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
