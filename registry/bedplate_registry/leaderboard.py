"""Leaderboards: which model does best at a task on the same rows, by all evaluation reports of a registry.

A board is of one task and one file, by its digest: the same bytes under another name are the same data. What was read
by other columns, or was a part that a fine-tune split off, is on a board of its own. Both sides of a report count, the
model and what it was held against; of each model the newest report that has the metric. Metrics named *_binary are
about one of two labels: a board has those about the one that its newest report names.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from .datasets import Datasets
from .errors import BedplateError, NotFound, Refused, nearest
from .evaluations import Evaluations
from .gates import LESS_IS_BETTER, OF_ONE_LABEL
from .models import Models
from .tasks import get_task

__all__ = ["MAIN_METRICS", "Board", "Rows", "Side", "Standing", "boards", "find_board", "origin_of", "standings"]

# What a board is sorted by: for tagged words that of entities, since most words are in none.
MAIN_METRICS: Mapping[str, str] = {
    "text-classification": "accuracy",
    "token-classification": "f1_score_micro",
    "question-answering": "f1_score",
    "summarization": "rougeL",
    "translation": "bleu",
    "fill-mask": "top1_accuracy",
    "text-generation": "perplexity",
    "image-classification": "accuracy",
}


@dataclass(frozen=True)
class Rows:
    """What was measured on: a file, read in a way, or a part of it."""

    task: str
    dataset: str | None  # name:version
    sha256: str | None
    filename: str | None
    split: str | None  # `test`: a part that a fine-tune split off its training rows
    split_seed: int | None  # what drew that part, where the report says so
    rows: int | None
    columns: Mapping[str, str]  # key -> column

    @property
    def data(self) -> str:
        """What names the file: the dataset, or its digest."""
        return self.dataset or str(self.sha256)

    @cached_property
    def board(self) -> str:
        """The id of the board: twelve hex digits, the same for rows that can be compared."""
        part = [self.split, self.split_seed, self.rows] if self.split else None  # of another size it is another part
        key = [self.task, self.sha256 or self.dataset, part, sorted(self.columns.items())]
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        drawn = "" if self.split_seed is None else f" with seed {self.split_seed}"
        part = f"{self.rows} rows split off{drawn}" if self.split else "the whole file"
        return ", ".join([part, *(f"{key}={column}" for key, column in self.columns.items())])


@dataclass(frozen=True)
class Side:
    """What one side of a report says of one model."""

    evaluation: str
    created: str
    model: str
    kind: str  # model, or probe: a linear model on the features of a base
    metrics: Mapping[str, Any]
    confidence: Mapping[str, Any]
    positive_label: str | None = None  # of two labels the one that metrics named *_binary are about

    def figure(self, metric: str) -> float | None:
        return _number(self.metrics.get(metric))

    def interval(self, metric: str) -> list[float] | None:
        """[low, high] with 95 % confidence, where the report has it and the figure that it is of."""
        ends = self.confidence.get(metric) if self.figure(metric) is not None else None
        low, high = map(_number, ends) if isinstance(ends, list) and len(ends) == 2 else (None, None)
        return None if low is None or high is None else [low, high]


@dataclass(frozen=True)
class Board:
    """All that was measured on the same rows."""

    about: Rows  # as the newest report has them
    names: frozenset[str]  # all that name the data: datasets of these bytes, their digest
    sides: tuple[Side, ...]  # of all reports, the newest first
    positive_label: str | None = None  # that of the newest report; metrics named *_binary of another one are left out

    @property
    def id(self) -> str:
        return self.about.board

    @property
    def called(self) -> frozenset[str]:
        """What people call the data: its datasets, or where it is in none its file, with the id of the board."""
        return self.names - {str(self.about.sha256)} or frozenset({f"{self.about.filename or 'a file'} ({self.id})"})

    @property
    def metric(self) -> str:
        """What it is sorted by, unless one asks for another."""
        return MAIN_METRICS[self.about.task]

    def newest(self, metric: str) -> list[Side]:
        """One for each model: its newest report that has the metric, or its newest one."""
        found: dict[str, Side] = {}
        for side in sorted(self.sides, key=lambda side: side.figure(metric) is None):  # a report may have few metrics
            found.setdefault(side.model, side)
        return [*found.values()]

    def to_json(self) -> dict[str, Any]:
        """All but the standings."""
        return {
            "id": self.id,
            "data": self.about.data,
            **asdict(self.about),
            "metric": self.metric,
            "positive_label": self.positive_label,
            "models": len({side.model for side in self.sides}),
            "created": self.sides[0].created,
        }


@dataclass(frozen=True)
class Standing:
    """One model's place on a board."""

    place: int  # from 1, all different
    rank: int | None  # the same for the same figure; None where there is no figure
    value: float | None
    interval: list[float] | None
    ties_best: bool  # its interval overlaps that of the first: these rows do not tell the two apart
    side: Side

    def to_json(self) -> dict[str, Any]:
        side = self.side
        return {
            **{name: getattr(self, name) for name in ("place", "rank", "value", "interval", "ties_best")},
            **{name: getattr(side, name) for name in ("model", "kind", "created", "evaluation")},
            "metrics": dict(side.metrics),
        }


def boards(evaluations: Evaluations, task: str | None = None) -> list[Board]:
    """All boards, or those of a task, the one with the newest report first. Damaged reports are left out."""
    task = None if task is None else get_task(task).name
    found: dict[str, list[tuple[Rows, tuple[Side, ...]]]] = {}
    for about, sides in _reports(evaluations):
        if task in (None, about.task):
            found.setdefault(about.board, []).append((about, sides))
    return [_board(reports) for reports in found.values()]


def find_board(evaluations: Evaluations, task: str, data: str, datasets: Datasets | None = None) -> Board:
    """The board of some data: `name:version`, a digest, or the id of a board; with `datasets` also a name alone.

    That of the whole file comes before those of parts that were split off. Raises NotFound; Refused, which names their
    ids, where several are left.
    """
    of_task = boards(evaluations, task)
    names = _known_as(datasets, data)
    found = [board for board in of_task if data == board.id] or [board for board in of_task if names & board.names]
    found = [board for board in found if board.about.split is None] or found
    if not found:
        known = ", ".join(sorted({name for board in of_task for name in board.called})) or "nothing yet"
        hint = f"It was on: {known}. Measure with: bedplate evaluate REF --task {task} --data DATA"
        raise NotFound(f"No model was measured for {task} on {data[:80]!r}.", hint=hint, code="no-leaderboard")
    if len(found) > 1:
        each = "; ".join(f"{board.id} ({board.about})" for board in found)
        hint = "Give the id of one of them as the data."
        raise Refused(f"{data[:80]!r} has several leaderboards: {each}.", hint=hint, code="several-leaderboards")
    return found[0]


def _known_as(datasets: Datasets | None, data: str) -> set[str]:
    """What else names it, by the datasets there are: a name alone means the newest version, as it does anywhere."""
    try:
        found = datasets.get(data) if datasets is not None else None
    except BedplateError:  # an id, a digest, or a dataset that is gone: what was measured on it stands all the same
        found = None
    return {data} if found is None else {data, found.ref, found.sha256}


def standings(board: Board, metric: str | None = None) -> list[Standing]:
    """All models, the best by a metric of the task first, those without a figure last. Raises Refused."""
    metric, known = metric or board.metric, get_task(board.about.task).metrics
    if metric not in known:
        hint = nearest(metric[:80], known)
        raise Refused(f"{board.about.task} has no metric {metric[:80]!r}.", hint=hint, code="unknown-metric")
    ranked = sorted(board.newest(metric), key=lambda side: _order(side, metric))
    best, found = ranked[0].interval(metric), list[Standing]()
    for place, side in enumerate(ranked, 1):
        value, interval = side.figure(metric), side.interval(metric)
        rank = found[-1].rank if found and found[-1].value == value else place
        ties = place > 1 and _overlap(interval, best)
        found.append(Standing(place, None if value is None else rank, value, interval, ties, side))
    return found


def origin_of(models: Models, ref: str) -> dict[str, str | None]:
    """What a version was made from (`base`), and its `state`: active, archived or missing."""
    try:
        version = models.get(ref)
    except BedplateError:  # deleted, or its manifest is damaged: its figures stand all the same
        return {"base": None, "state": "missing"}
    return {"base": version.base, "state": version.state}


def _reports(evaluations: Evaluations) -> Iterator[tuple[Rows, tuple[Side, ...]]]:
    """What boards need of each report that has a task, and data with a name; the newest first."""
    for report in evaluations.heads():
        task, data = report.get("task"), _mapping(report.get("data"))
        if task in MAIN_METRICS and (data.get("sha256") or data.get("dataset")):
            named = {name: data.get(name) for name in ("dataset", "sha256", "filename", "split", "split_seed", "rows")}
            about = Rows(task=str(task), columns=_mapping(data.get("columns")), **named)
            sides = (report, _mapping(report.get("against")))
            yield about, tuple(_side(report, side) for side in sides if side.get("model"))


def _side(report: Mapping[str, Any], side: Mapping[str, Any]) -> Side:
    return Side(
        str(report["id"]),
        str(report["created"]),
        str(side["model"]),
        str(side.get("kind") or "model"),
        _mapping(side.get("metrics")),
        _mapping(side.get("confidence")),
        side.get("positive_label"),
    )


def _board(reports: Sequence[tuple[Rows, tuple[Side, ...]]]) -> Board:
    names = {name for about, _ in reports for name in (about.dataset, about.sha256) if name}
    sides = [side for _, of_report in reports for side in of_report]
    positive = next((side.positive_label for side in sides if side.positive_label), None)
    return Board(reports[0][0], frozenset(names), tuple(_about(positive, side) for side in sides), positive)


def _about(positive: str | None, side: Side) -> Side:
    """Without what is about another label: F1 of `spam` is no better or worse than F1 of `ham`."""
    if side.positive_label == positive:
        return side
    return replace(side, metrics={name: one for name, one in side.metrics.items() if not name.endswith(OF_ONE_LABEL)})


def _order(side: Side, metric: str) -> tuple[bool, float, str]:
    """The best first; of equal ones by name."""
    value = side.figure(metric)
    if value is None:
        return True, 0.0, side.model
    return False, value if metric.endswith(LESS_IS_BETTER) else -value, side.model


def _overlap(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    return bool(one and other and one[0] <= other[1] and other[0] <= one[1])


def _mapping(value: Any) -> Mapping[str, Any]:
    """An object of a report; an empty one in place of what is none, so that one odd report hides no board."""
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None
