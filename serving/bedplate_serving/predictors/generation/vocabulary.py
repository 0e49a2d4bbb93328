"""Single tokens as text and as bytes, for those who ask how likely each one was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["TokenTexts"]

ONE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how vocabularies that fall back to bytes spell them


class TokenTexts:
    """Of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        decoder = tokenizer.backend_tokenizer.decoder
        kinds = {} if decoder is None else json.loads(decoder.__getstate__())
        steps = [kinds, *kinds.get("decoders", ())]
        self._blank = next(filter(None, map(_blank, steps)), None)
        self._spelled = _bytes_by_character() if any(one.get("type") == "ByteLevel" for one in steps) else None

    def text(self, token: int) -> str:
        """A half of a character is a replacement character."""
        return self.bytes(token).decode(errors="replace")

    def bytes(self, token: int) -> bytes:
        """Those of all tokens together are the text's, where it is cut in the middle of a character as well. A number
        that is no token has none: models may have more rows than their vocabulary has tokens.
        """
        spelling: str | None = self._tokenizer.convert_ids_to_tokens(token)
        if spelling is None:
            return b""
        if found := ONE_BYTE.fullmatch(spelling):
            return bytes([int(found[1], 16)])
        if self._spelled is not None and all(character in self._spelled for character in spelling):
            return bytes(self._spelled[character] for character in spelling)
        if self._blank is not None:
            return spelling.replace(self._blank, " ").encode()
        return str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False)).encode()


def _blank(step: Mapping[str, Any]) -> str | None:
    """The character that stands for a blank, where this step of a decoder puts one in its place. (A decoder takes it
    away from a token by itself, as from the first of a text.)
    """
    if step.get("type") == "Metaspace":
        return str(step["replacement"])
    if step.get("type") == "Replace" and step.get("content") == " ":
        pattern: str | None = step["pattern"].get("String")
        return pattern
    return None


def _bytes_by_character() -> dict[str, int]:
    """GPT-2's alphabet: a byte that prints is its own character, the others are those from 256 on, in order."""
    printing = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (byte for byte in range(256) if byte not in printing)
    return {chr(byte): byte for byte in printing} | {chr(256 + place): byte for place, byte in enumerate(others)}
