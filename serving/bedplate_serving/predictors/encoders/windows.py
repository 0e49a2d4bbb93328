"""Texts of any length, for tasks that answer about single tokens: cut into windows that overlap and read one by one.

    text      t0 t1 t2 t3 t4 t5 t6 t7                  its tokens, 5 at a time, 2 of them again in the next window
    window    [CLS] t0 t1 t2 t3 t4 [SEP]
    window             [CLS] t3 t4 t5 t6 t7 [SEP]

In a pair the first text (a question) stands in front of each window of the second. What a tokenizer puts around and
between texts is its `Frame`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.base import Encoded, ItemError, cut
from bedplate_serving.predictors.class_scores import finite
from bedplate_serving.predictors.encoders.encoder import Head, TextEncoder, Window
from bedplate_serving.predictors.text import check_text

__all__ = ["Frame", "Span", "WindowedEncoder", "Windows", "check_long_text", "ranges", "shares", "snip"]

Rows = np.ndarray[Any, Any]

MIN_ROOM = 4  # tokens of a text in a window: a pair needs two for either
MAX_CHARACTERS = 1_000_000  # of one text: all of it is read, while others wait
MAX_WINDOWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows(Encoded):
    """One item as the windows it is read in; `length` is the sum of theirs."""

    windows: Sequence[Window]


class Span(NamedTuple):
    """A piece of a text: `text[start:end]`, in Unicode code points."""

    start: int
    end: int


class WindowedEncoder:
    """A TextEncoder whose texts are tokenized whole and read in windows: see `tokenize`, `frame` and `run`.

    `texts` is how many an item has: 1, or 2 for a pair. Raises Refused: bad-config, where a window has no room.
    """

    def __init__(
        self,
        folder: Path,
        head: Head,
        device: str = "auto",
        threads: int | None = None,
        derived: Path | None = None,
        *,
        texts: int = 1,
    ) -> None:
        self.encoder = TextEncoder(folder, head, device, threads, derived)
        self.tokenizer = self.encoder.backend_tokenizer
        self.tokenizer.no_truncation()  # the windows hold all of a text
        self.frame = Frame(self.tokenizer, texts, wants_type_ids=self.encoder.wants_type_ids)
        room = self.encoder.context_length - self.frame.size
        if room < MIN_ROOM:
            raise Refused(
                f"The model reads {self.encoder.context_length} tokens at a time, {self.frame.size} of them special "
                f"ones; a text needs at least {MIN_ROOM}.",
                hint="Correct model_max_length in tokenizer_config.json.",
                code="bad-config",
            )

    def tokenize(self, texts: Sequence[str]) -> list[Any]:
        """Encodings (of the library tokenizers) without special tokens."""
        return self.tokenizer.encode_batch(texts, add_special_tokens=False)  # type: ignore[no-any-return]

    def run(self, batch: Sequence[Windows]) -> list[list[Rows]]:
        """The outputs of every window of every item, [tokens taken, n] each. Raises BedplateError: non-finite."""
        windows = [window for item in batch for window in item.windows]
        outputs = iter(self._outputs(windows))
        return [[next(outputs) for _ in item.windows] for item in batch]

    def _outputs(self, windows: Sequence[Window]) -> list[Rows]:
        order = sorted(range(len(windows)), key=lambda index: windows[index].length)
        results: list[Any] = [None] * len(windows)
        for start, end in cut([windows[index].length for index in order], self.encoder.token_budget):
            places = order[start:end]
            for place, rows in zip(places, self.encoder.run([windows[index] for index in places]), strict=True):
                results[place] = finite(rows)
        return results


class Frame:
    """The special tokens around one text, or around and between two, learned from what the tokenizer does."""

    def __init__(self, tokenizer: Any, texts: int = 1, *, wants_type_ids: bool = True) -> None:
        probe = tokenizer.encode(*("a", "b")[:texts])
        tokens = zip(probe.sequence_ids, probe.type_ids, probe.ids, strict=True)
        self._parts = [  # (which text, or None for special tokens; type id; the special tokens)
            (text, type_id, [] if text is not None else [token for _, _, token in group])
            for (text, type_id), group in groupby(tokens, key=lambda token: token[:2])
        ]
        self._wants_type_ids = wants_type_ids
        self.opens = self._parts[0][0] is None  # whether a special token stands first, or last
        self.closes = self._parts[-1][0] is None
        self.size = sum(len(special) for _, _, special in self._parts)
        last = [text for text, _, _ in self._parts].index(texts - 1)
        self.lead = sum(len(special) for _, _, special in self._parts[:last])  # those in front of the last text

    def window(self, *texts: Sequence[int], take: Sequence[int] | None = None) -> Window:
        """The window of these token ids. Raises ItemError where there are none, not even special ones."""
        ids: list[int] = []
        type_ids: list[int] = []
        for text, type_id, special in self._parts:
            part = special if text is None else texts[text]
            ids.extend(part)
            type_ids.extend([type_id] * len(part))
        return Window(length=len(ids), ids=ids, type_ids=type_ids if self._wants_type_ids else None, take=take)


def check_long_text(text: Any, key: str) -> str:
    """As check_text, of a text that is read whole, and so has a limit. Raises ItemError."""
    checked = check_text(text, key)
    if len(checked) > MAX_CHARACTERS:
        raise ItemError(f"{key} has {len(checked):,} characters; it may have {MAX_CHARACTERS:,}")
    return checked


def ranges(count: int, room: int, overlap: int) -> list[Span]:
    """Windows of `room` over `count` tokens, each starting `overlap` (less than room) before the end of the last.
    Raises ItemError where they are more than 2,000.
    """
    if not room > overlap >= 0:  # it would never come to the end
        raise ValueError(f"windows of {room} tokens cannot share {overlap}")
    windows = 1 + max(0, -((room - count) // (room - overlap)))
    if windows > MAX_WINDOWS:
        raise ItemError(f"has {count:,} tokens, which are {windows:,} windows; at most {MAX_WINDOWS:,} are read")
    spans = [Span(0, min(room, count))]
    while spans[-1].end < count:
        start = spans[-1].end - overlap
        spans.append(Span(start, min(start + room, count)))
    return spans


def shares(windows: Sequence[Span]) -> Iterator[Span]:
    """Each token once, of the window where it has more text around it: an overlap is parted in its middle."""
    middles = [(later.start + earlier.end) // 2 for earlier, later in pairwise(windows)]
    return map(Span, [windows[0].start, *middles], [*middles, windows[-1].end])


def snip(text: str, start: int, end: int) -> Span:
    """The span without blanks at its ends (some tokenizers count a word's space to it) and with the accents that
    follow its last letter (some drop them).
    """
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    while start < end < len(text) and unicodedata.combining(text[end]):
        end += 1
    return Span(start, end)
