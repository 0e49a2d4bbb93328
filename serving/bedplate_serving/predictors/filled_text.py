"""A text with one token replaced by many others in turn, as its tokenizer writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["FilledText"]

NEAR = 8  # tokens on either side: as far as a token changes how others are written, twice the bytes of a character

Decode = Callable[[Sequence[int]], str]


class FilledText:
    """`ids` with another token at `place`. A long text is written once; of each other token only what is near it.

    whole text     head | near | tail        near: NEAR tokens, the one at `place`, NEAR tokens
    """

    def __init__(self, ids: Sequence[int], place: int, decode: Decode) -> None:
        self._ids, self._place, self._decode = ids, place, decode
        self._start, self._end = max(place - NEAR, 0), place + 1 + NEAR
        self._frame: tuple[str, str] | None = None
        if len(ids) > 3 * NEAR:
            self._frame = self._framed(ids[place])

    def having(self, token: int) -> str:
        if self._frame is None:
            return self._decode(self._with(token))
        head, tail = self._frame
        return head + self._near(token) + tail

    def _with(self, token: int) -> list[int]:
        return [*self._ids[: self._place], token, *self._ids[self._place + 1 :]]

    def _near(self, token: int) -> str:
        return self._decode(self._with(token)[self._start : self._end])

    def _framed(self, token: int) -> tuple[str, str] | None:
        """Head and tail; None where they cannot be told. The first token that is written lacks its blank, so that
        one must stand before `place`.
        """
        if self._start and not self._decode(self._ids[self._start : self._place]):
            return None
        whole, near = self._decode(self._with(token)), self._near(token)
        before = len(self._decode(self._ids[: self._start]))
        found = whole.find(near, before)
        if found < 0 or whole[before:found].strip():
            return None
        return whole[:found], whole[found + len(near) :]
