"""Where in the logits of a context's windows the best answers are (what a score is: see question_answering.py)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bedplate_serving.predictors.encoders.question_windows import QuestionCut
from bedplate_serving.predictors.encoders.windows import Span

__all__ = ["Findings", "find_answers"]

Rows = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """Pieces of a context with the sums of their two logits, the best first; `none` is that of "no answer" (minus
    infinity where the model cannot say it), `total` the logarithm of what all starts times all ends weigh.
    """

    spans: Sequence[tuple[Span, float]]
    none: float
    total: float

    def probability(self, logit: float) -> float:
        return float(np.exp(logit - self.total))


def find_answers(cut: QuestionCut, rows: Sequence[Rows], *, longest: int, keep: int) -> Findings:
    """The `keep` best pieces of at most `longest` tokens. `rows` are the logits of each window, float64, as
    QuestionCutter.windows takes them: [tokens taken, 2].
    """
    logits = [window[len(window) - (part.end - part.start) :] for window, part in zip(rows, cut.parts, strict=True)]
    none = _no_answer(rows, logits)
    total = _total(logits, cut.parts, none)
    return Findings(_best_of_all(cut, logits, longest, keep), float(none.sum()), total)


def _no_answer(rows: Sequence[Rows], logits: Sequence[Rows]) -> Rows:
    """What stands before the context's logits in the window that believes least in it; models without a special token
    never say it.
    """
    said = [window[0] for window, context in zip(rows, logits, strict=True) if len(window) > len(context)]
    return min(said, key=lambda row: float(row.sum())) if said else np.full(2, -np.inf)


def _total(logits: Sequence[Rows], parts: Sequence[Span], none: Rows) -> float:
    """The logarithm of what all starts times all ends weigh. A token in two windows counts once, as its larger."""
    largest = np.full((parts[-1].end + 1, 2), -np.inf)
    largest[-1] = none
    for window, part in zip(logits, parts, strict=True):
        place = slice(part.start, part.end)
        largest[place] = np.maximum(largest[place], window)
    highest = largest.max(axis=0)
    return float((highest + np.log(np.exp(largest - highest).sum(axis=0))).sum())


class Edges(NamedTuple):
    """Of each token, or of each place in a text: where an answer starts that begins there, and where one ends."""

    starts: Rows
    bare_ends: Rows
    ends: Rows  # with the accents that follow


def _best_of_all(cut: QuestionCut, logits: Sequence[Rows], longest: int, keep: int) -> list[tuple[Span, float]]:
    """The pieces of the context with the largest sums of logits, the best first, each once: many spans of tokens are
    one piece when they are aligned to words, and a span may lie in two windows.
    """
    edges = _edges(cut)
    best: dict[Span, float] = {}
    for window, part in zip(logits, cut.parts, strict=True):
        own = Edges(*(edge[part.start : part.end] for edge in edges))
        # The best of all are among the best of their windows.
        for span, logit in _best_spans(window, own, longest, keep):
            best[span] = max(logit, best.get(span, -np.inf))
    return sorted(best.items(), key=lambda one: (-one[1], one[0]))[:keep]


def _best_spans(logits: Rows, edges: Edges, longest: int, keep: int) -> list[tuple[Span, float]]:
    """The `keep` best pieces that begin and end with tokens of one window, at most `longest` of them; each once."""
    longest = min(longest, len(logits))
    if not longest:
        return []
    padded = np.concatenate([logits[:, 1], np.full(longest - 1, -np.inf)])
    sums = (logits[:, 0, None] + np.lib.stride_tricks.sliding_window_view(padded, longest)).ravel()
    for most in (20 * keep + 100, len(sums)):  # nearly always enough, and all, of which few may be left
        order = np.argpartition(-sums, most)[:most] if most < len(sums) else np.arange(len(sums))
        order = order[np.argsort(-sums[order], kind="stable")]
        found = _distinct(order, longest, sums, edges)[:keep]
        if len(found) == keep:
            break
    return found


def _distinct(order: Rows, longest: int, sums: Rows, edges: Edges) -> list[tuple[Span, float]]:
    """The pieces of these places in `sums`, in their order, each once."""
    order = order[sums[order] > -np.inf]  # not beyond the window's end
    first, last = order // longest, order // longest + order % longest
    is_piece = edges.starts[first] < edges.bare_ends[last]  # not blanks alone
    order, starts, ends = order[is_piece], edges.starts[first[is_piece]], edges.ends[last[is_piece]]
    _, unique = np.unique(starts * (int(edges.ends.max()) + 1) + ends, return_index=True)
    chosen = np.sort(unique)
    spans = map(Span, starts[chosen].tolist(), ends[chosen].tolist())
    return list(zip(spans, sums[order[chosen]].tolist(), strict=True))


def _edges(cut: QuestionCut) -> Edges:
    starts, ends = cut.offsets.T
    places = _snipped(cut.context)
    return Edges(places.starts[starts], places.bare_ends[ends], places.ends[ends])


def _snipped(text: str) -> Edges:
    """For each place in the text, its end among them, as windows.snip would have it. (Step by step it would take hours
    through a million blanks that are a token each.)
    """
    places = np.arange(len(text) + 1)
    is_blank = np.array([character.isspace() for character in text], dtype=bool)
    is_accent = np.array([bool(unicodedata.combining(character)) for character in text], dtype=bool)
    starts = np.minimum.accumulate(np.where(np.append(is_blank, False), len(text), places)[::-1])[::-1]
    ends = np.maximum.accumulate(np.where(np.insert(is_blank, 0, False), 0, places))
    behind = np.minimum.accumulate(np.where(np.append(is_accent, False), len(text), places)[::-1])[::-1]
    return Edges(starts, ends, behind[ends])
