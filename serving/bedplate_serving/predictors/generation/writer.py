"""One text while it is written: tokens become text piece by piece, until a stop string, an end token or the length.

Two things are held back until it is clear what they are: characters whose bytes are not all there yet, and text that
may be the start of a stop string. So what has gone out stands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bedplate_registry.errors import BedplateError
from bedplate_serving.predictors.base import Piece
from bedplate_serving.predictors.generation.generated import FinishReason, Generation
from bedplate_serving.predictors.generation.prompt import EncodedPrompt
from bedplate_serving.predictors.generation.sampling import Chooser, Chosen

__all__ = ["Detokenizer", "StopStrings", "Text"]

CONTEXT_TOKENS = 6  # of the prompt: whether a word begins with a space depends on what stands before it
LONGEST_HELD = 8  # tokens, twice the bytes of the longest character: what is none by then never becomes one
HALF_A_CHARACTER = "\ufffd"


class Detokenizer:
    """The text of tokens that come one by one.

        decode(tokens[start:seen])      what was given out of this window
        decode(tokens[start:])          what there is: the rest is new, if it ends in a whole character

    The window stays short, so a token costs the same at the end of a long text as at its start.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(prompt[-CONTEXT_TOKENS:])
        self._start, self._seen = 0, len(self._tokens)

    def add(self, token: int) -> str:
        self._tokens.append(token)
        given, whole = self._decode(self._tokens[self._start : self._seen]), self._decode(self._tokens[self._start :])
        is_held = len(whole) <= len(given) or whole.endswith(HALF_A_CHARACTER)
        if is_held and len(self._tokens) - self._seen < LONGEST_HELD:
            return ""
        self._start, self._seen = self._seen, len(self._tokens)
        return whole[len(given) :]

    def rest(self) -> str:
        """What was held back, at the end of the text."""
        given, whole = self._decode(self._tokens[self._start : self._seen]), self._decode(self._tokens[self._start :])
        self._start, self._seen = self._seen, len(self._tokens)
        return whole[len(given) :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class StopStrings:
    """Finds the first of several strings in a text that comes in pieces."""

    def __init__(self, strings: Sequence[str], *, keeps: bool) -> None:
        self._strings, self._keeps = tuple(strings), keeps
        self._held = ""
        self.is_found = False

    def add(self, text: str) -> str:
        """What of the text may go out now."""
        if not self._strings:
            return text
        self._held += text
        places = [(place, found) for found in self._strings if (place := self._held.find(found)) >= 0]
        if places:
            place, found = min(places, key=lambda one: (one[0], len(one[1])))
            self.is_found = True
            text, self._held = self._held[: place + (len(found) if self._keeps else 0)], ""
            return text
        keep = max(self._open_end(string) for string in self._strings)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text

    def rest(self) -> str:
        text, self._held = self._held, ""
        return text

    def _open_end(self, string: str) -> int:
        """How much of the held text's end is a beginning of the string."""
        longest = min(len(string) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(string[:size])), 0)


class Text:
    """The text of one prompt. It belongs to the thread of the engine that writes it; `leave` may be called from any."""

    def __init__(
        self, encoded: EncodedPrompt, tokenizer: Any, eos: frozenset[int], special: frozenset[int], device: str
    ):
        self.encoded = encoded
        self.chooser = Chooser(encoded, sorted(eos), device)
        self.pieces: list[Piece] = []
        self.prefill: tuple[Piece, ...] = ()
        self.others: tuple[Generation, ...] = ()
        self.finish_reason: FinishReason | None = None
        self.failure: BedplateError | None = None
        self._is_left = False
        self._tokenizer, self._eos, self._special = tokenizer, eos, special
        self._detokenizer = Detokenizer(tokenizer, encoded.ids)
        self._stops = StopStrings(encoded.stops, keeps=encoded.keeps_stop)
        named = {tokenizer.backend_tokenizer.token_to_id(stop) for stop in encoded.stops}
        self._stop_tokens = special & named  # a text leaves them out, so they are not found in it

    @property
    def is_done(self) -> bool:
        """Nothing more is to be written: it is finished, has failed, or nobody waits for it."""
        return self.finish_reason is not None or self.failure is not None or self._is_left

    @property
    def eos(self) -> frozenset[int]:
        return self._eos

    def fresh(self) -> Text:
        """Another one of the same prompt, with nothing written."""
        return Text(self.encoded, self._tokenizer, self._eos, self._special, "cpu")

    def leave(self) -> None:
        """Nobody waits for it any more."""
        self._is_left = True

    def fail(self, failure: BedplateError) -> None:
        self.failure = failure

    def write(self, chosen: Chosen) -> Piece:
        """The piece of one more token. After the last one `finish_reason` is set."""
        if chosen.logprob is not None and not math.isfinite(chosen.logprob):
            raise BedplateError(
                "The model answered with numbers that are not finite.",
                hint="Its weights are broken.",
                code="non-finite",
            )
        self.chooser.note(chosen.token)
        text = self._text_of(chosen.token)
        piece = Piece(
            text,
            chosen.token,
            chosen.logprob,
            chosen.token in self._special,
            self.finish_reason,
            self._usage() if self.finish_reason else None,
            tuple((token, self.word(token), logprob) for token, logprob in chosen.top),
        )
        self.pieces.append(piece)
        return piece

    def _text_of(self, token: int) -> str:
        """What goes out with it; sets `finish_reason` at the end."""
        is_end, is_stop = token in self._eos, token in self._stop_tokens
        is_last = len(self.pieces) + 1 >= self.encoded.max_new_tokens
        text = "" if is_end or is_stop else self._stops.add(self._detokenizer.add(token))
        found = self._stops.is_found
        if not found and (is_end or is_stop or is_last):
            text += self._stops.add(self._detokenizer.rest()) + self._stops.rest()
            found = self._stops.is_found  # in the characters that were held back
        if is_stop and not is_end and not found:
            text, found = text + (self.word(token) if self.encoded.keeps_stop else ""), True
        if found:
            self.finish_reason = "stop_sequence"
        elif is_end or is_last:
            self.finish_reason = "eos_token" if is_end else "length"
        return text

    def word(self, token: int) -> str:
        """A token by itself, as details show it."""
        return str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False))

    def _usage(self) -> dict[str, int]:
        return {"prompt_tokens": len(self.encoded.ids), "completion_tokens": len(self.pieces) + 1}

    def generation(self) -> Generation:
        """What was written; the text must be finished."""
        assert self.finish_reason is not None
        sampling = self.encoded.sampling
        return Generation(
            "".join(piece.text for piece in self.pieces),
            tuple(self.pieces),
            self.finish_reason,
            len(self.encoded.ids),
            self.encoded.echoed,
            sampling.seed if sampling.draws else None,
            self.prefill,
            self.others,
        )
