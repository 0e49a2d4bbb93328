"""The report on a tagger: one shape for a fine-tune's test and for an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bedplate_trainers.calibration import calibration
from bedplate_trainers.comparison import difference_of
from bedplate_trainers.confidence import Counted
from bedplate_trainers.examiners.base import report_of
from bedplate_trainers.judged import RowPrediction
from bedplate_trainers.label_counts import averages
from bedplate_trainers.labels import LabelSet
from bedplate_trainers.metrics.token_classification import Predictions, entities, score, score_what_applies
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.shown import WORST_ROWS
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.slices import slices_of
from bedplate_trainers.stored_rows import take
from bedplate_trainers.tagged import TaggedRow, TaggedRows, entity_tags

__all__ = ["Judged", "difference", "make_report"]

TASK = "token-classification"
Array = np.ndarray[Any, Any]
WORST_WORDS = 60  # of a row, from a little before its first wrong word
WORDS_BEFORE = 10
WORD_COLUMNS = 2


@dataclass(frozen=True)
class Judged:
    """A model's tags for rows of words, how sure it was of each, and how long that took.

    It fulfills judged.JudgedRows.
    """

    labels: LabelSet
    rows: TaggedRows
    tags: Sequence[Sequence[str]]
    confidence: Sequence[Sequence[float]] | None  # None: nobody told
    seconds: float
    latency: Mapping[str, float] | None = None

    @cached_property
    def predictions(self) -> Predictions:
        return Predictions(self.for_metrics(self.tags), self.references)

    @property
    def references(self) -> list[list[str]]:
        return self.for_metrics([row.tags for row in self.rows])

    def for_metrics(self, rows: Sequence[Sequence[str]]) -> list[list[str]]:
        """Tags as metrics of entities read them."""
        as_read = dict(zip(self.labels.names, entity_tags(self.labels.names), strict=True))
        return [[as_read.get(tag, tag) for tag in tags] for tags in rows]

    @cached_property
    def counted(self) -> Counted:
        return self.count(self.types)

    @property
    def types(self) -> tuple[str, ...]:
        """Of the entities that were said or are in the references."""
        return self.predictions.counts[0]

    def count(self, types: Sequence[str]) -> Counted:
        """Of each row words that are right, words, and of each type entities said rightly, said wrongly, and missed."""
        place = {type: number for number, type in enumerate(types)}
        counts = np.zeros((len(self.rows), WORD_COLUMNS + 3 * len(types)), dtype=np.int32)
        for row, (said, right) in zip(
            counts, zip(self.predictions.predictions, self.references, strict=True), strict=True
        ):
            row[:WORD_COLUMNS] = sum(a == b for a, b in zip(said, right, strict=True)), len(right)
            mine, theirs = set(entities(said)), set(entities(right))
            for number, found in enumerate((mine & theirs, mine - theirs, theirs - mine)):
                for type, _, _ in found:
                    row[WORD_COLUMNS + number * len(types) + place[type]] += 1
        return Counted.of(counts, _figures, main=4)

    @property
    def numbers(self) -> Iterator[int]:
        return (row.row for row in self.rows)

    @property
    def lengths(self) -> Array:
        return np.fromiter((len(" ".join(row.tokens)) for row in self.rows), dtype=np.int64)

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        """Types of entities are in `classes`."""
        return {}

    @property
    def margin(self) -> float:
        return 0.0

    def part(self, places: Array) -> Judged:
        confidence = None if self.confidence is None else take(self.confidence, places)
        return replace(self, rows=self.rows.take(places), tags=take(self.tags, places), confidence=confidence)

    def sureness(self, place: int) -> Sequence[float]:
        """Of each word of the row at this place; none where nobody told."""
        return () if self.confidence is None else self.confidence[place]

    def scores(self, names: Sequence[str]) -> dict[str, float]:
        return score_what_applies(self.predictions, names)[0]

    def row_predictions(self) -> Iterator[RowPrediction]:
        """The score is the confidence in the word that the model was least sure of; a row is right in all words."""
        for place, (row, said) in enumerate(zip(self.rows, self.tags, strict=True)):
            inputs, sure = {"tokens": list(row.tokens)}, self.sureness(place)
            least = float(min(sure)) if len(sure) else None
            yield RowPrediction(row.row, inputs, list(row.tags), list(said), least, [*said] == [*row.tags])


def make_report(judged: Judged, settings: EvaluateSettings, columns: Columns | None = None) -> dict[str, Any]:
    """The report of one tagger."""
    if settings.metrics:
        metrics, missing = score(judged.predictions, settings.metrics), dict[str, str]()
    else:
        metrics, missing = score_what_applies(judged.predictions)
    return report_of(
        TASK,
        kind="model",
        rows=len(judged.rows),
        seconds=judged.seconds,
        metrics=metrics,
        missing=missing,
        worst=_worst(judged),
        words=sum(len(row.tokens) for row in judged.rows),
        confidence=judged.counted.intervals(settings.confidence_draws, settings.seed, metrics),
        classes=[_class(asdict(one)) for one in judged.predictions.types],
        confusion=_confusion(judged),
        slices=slices_of(judged, settings, columns or {}),
        calibration=_calibration(judged),
        latency=judged.latency,
    )


def difference(mine: Judged, other: Judged, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """How far `mine` is from `other` on the same rows (confidence.Counted.difference), over the types of both."""
    types = tuple(sorted({*mine.types, *other.types}))
    return difference_of(mine, other, TASK, settings, (mine.count(types), other.count(types)))


def _figures(sums: Array) -> Mapping[str, Array]:
    """Accuracy of words, and how entities were found; neither has a value where the references have none."""
    words_right, words = sums[:, :WORD_COLUMNS].T
    hits, wrong, missed = np.split(sums[:, WORD_COLUMNS:], 3, axis=1)
    there = (hits + missed).sum(axis=1)
    found = averages(hits, wrong, missed, hits + wrong + missed > 0)
    found = {name: np.where(there > 0, values, np.nan) for name, values in found.items()}
    main = {f"{name}_score_micro": found[f"{name}_score_micro"] for name in ("f1", "precision", "recall")}
    return {"accuracy": words_right / np.where(words > 0, words, np.nan), **main, **found}


def _class(score: dict[str, Any]) -> dict[str, Any]:
    return {"label": score.pop("type"), **score}


def _calibration(judged: Judged) -> dict[str, Any] | None:
    """Of the entities that were said, each as sure as its least sure word; None without any, or where nobody told."""
    sure, right = list[float](), list[bool]()
    found = judged.predictions
    for place, (said, reference) in enumerate(zip(found.predictions, found.references, strict=True)):
        words, theirs = judged.sureness(place), set(entities(reference))
        for entity in entities(said) if len(words) else ():
            sure.append(min(words[entity[1] : entity[2]]))
            right.append(entity in theirs)
    return calibration(np.array(sure), np.array(right)) if sure else None


def _confusion(judged: Judged) -> dict[str, Any]:
    """Words: rows are right tags, columns what was said."""
    index, count = judged.labels.index, len(judged.labels.names)
    pairs = zip(judged.rows, judged.tags, strict=True)
    cells = [index[a] * count + index[b] for row, said in pairs for a, b in zip(row.tags, said, strict=True)]
    matrix = np.bincount(cells, minlength=count * count).reshape(count, count)
    return {"labels": list(judged.labels.names), "matrix": matrix.tolist()}


def _worst(judged: Judged) -> list[dict[str, Any]]:
    """Rows with the most wrong words; of equally wrong ones those that the model was surer of."""
    found = []
    for place, (row, said) in enumerate(zip(judged.rows, judged.tags, strict=True)):
        sure = judged.sureness(place)
        wrong = [at for at, (a, b) in enumerate(zip(row.tags, said, strict=True)) if a != b]
        if wrong:
            surest = max(sure[at] for at in wrong) if len(sure) else 0.0
            found.append((-len(wrong), -surest, row.row, row, said, wrong[0]))
    found.sort(key=lambda one: one[:3])
    shown = [_wrong_row(row, said, first, -count) for count, _, _, row, said, first in found[:WORST_ROWS]]
    if judged.confidence is None:
        return shown
    return [{**row, "confidence": round(-sure, 6)} for row, (_, sure, *_) in zip(shown, found, strict=False)]


def _wrong_row(row: TaggedRow, said: Sequence[str], first_wrong: int, count: int) -> dict[str, Any]:
    start = max(first_wrong - WORDS_BEFORE, 0) if len(row.tokens) > WORST_WORDS else 0
    shown = slice(start, start + WORST_WORDS)
    return {
        "row": row.row,
        "first_word": start,  # counted from 0: of a long row a part is shown
        "words": len(row.tokens),
        "tokens": list(row.tokens[shown]),
        "tags": list(row.tags[shown]),
        "predicted": list(said[shown]),
        "wrong_words": count,
    }
