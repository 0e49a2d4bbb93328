"""The metrics of token classification, at the level of entities as seqeval counts them, and token accuracy.

An entity is right where its type and both its ends are. Tags are BIO, IOB, BIOES, BMES or BILOU, with a type (`B-PER`)
or without (`B`); a tag without such a prefix (`PER`) counts as inside, so neighbors of one tag are one entity. An `I-`
without a `B-` begins an entity, as in conlleval. Averages run over the types that rows have or a model said:

    micro     all entities counted together
    macro     the plain mean over types
    weighted  types weigh as many entities as they have in the references

Precision is 0 where nothing was said, recall where there was nothing of that type to find.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused

from .base import Scored, TaskMetrics, Undefined, check_rows, check_texts

__all__ = ["METRICS", "Entity", "Predictions", "TypeScore", "entities", "score", "score_what_applies"]

TASK = "token-classification"
Array = np.ndarray[Any, Any]
Entity = tuple[str, int, int]  # type, first token, token after the last
_PREFIX = re.compile(r"([BIESMLU])(?:-(.*))?", re.DOTALL)
_IN_BIOES = {"M": "I", "L": "E", "U": "S"}


@dataclass(frozen=True)
class TypeScore:
    """How one type of entity was found."""

    type: str
    precision: float
    recall: float
    f1: float
    support: int  # entities of the type in the references


@dataclass(frozen=True)
class Predictions(Scored):
    """The tags that were said, beside the right ones: lists of strings, one a token, in rows of equal length."""

    predictions: Sequence[Sequence[str]]
    references: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        check_rows(self.predictions, self.references)
        check_texts(self.predictions, "predicted tag")
        check_texts(self.references, "tag")
        for number, (said, right) in enumerate(zip(self.predictions, self.references, strict=True), 1):
            if len(said) != len(right):
                raise Refused(
                    f"Row {number} has {len(right)} tags, and {len(said)} were predicted.",
                    hint="Give one tag for each token.",
                    code="bad-rows",
                )

    def __len__(self) -> int:
        return len(self.references)

    @cached_property
    def counts(self) -> tuple[tuple[str, ...], Array]:
        """The types in order of their names, and for each [right, predicted, in the references]."""
        right, said, there = Counter[str](), Counter[str](), Counter[str]()
        for predicted, reference in zip(self.predictions, self.references, strict=True):
            mine, theirs = set(entities(predicted)), set(entities(reference))
            said.update(type for type, _, _ in mine)
            there.update(type for type, _, _ in theirs)
            right.update(type for type, _, _ in mine & theirs)
        types = tuple(sorted(said.keys() | there.keys()))
        return types, np.array([[right[type], said[type], there[type]] for type in types]).reshape(-1, 3)

    @property
    def types(self) -> list[TypeScore]:
        """The table of a report: each type of entity by itself."""
        names, counts = self.counts
        columns = _precision_recall_f1(counts)
        return [
            TypeScore(name, float(p), float(r), float(f), int(row[2]))
            for name, row, p, r, f in zip(names, counts, *columns, strict=True)
        ]


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """The entities of a row, in order."""
    before, type_before, start = "O", "", 0
    for place, tag in enumerate((*tags, "O")):
        prefix, type = _split(tag)
        begins = prefix != "O" and (prefix in "BS" or before in "OES" or type != type_before)
        if before != "O" and (begins or prefix == "O"):
            yield type_before, start, place
        if begins:
            start = place
        before, type_before = prefix, type


@lru_cache(maxsize=4096)
def _split(tag: str) -> tuple[str, str]:
    """A tag's prefix, one of B, I, E, S and O, and its type; `_` where it has none."""
    if tag == "O":
        return "O", ""
    found = _PREFIX.fullmatch(tag)
    if found is None:
        return "I", tag
    return _IN_BIOES.get(found[1], found[1]), found[2] or "_"


def _precision_recall_f1(counts: Array) -> tuple[Array, Array, Array]:
    """Of counts [types, 3]; what nothing can be divided by is 0."""
    right, said, there = counts.T.astype(np.float64)
    precision = np.divide(right, said, out=np.zeros_like(right), where=said > 0)
    recall = np.divide(right, there, out=np.zeros_like(right), where=there > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(right), where=both > 0)
    return precision, recall, f1


def _entity_score(column: int, average: str, predictions: Predictions) -> float:
    _, counts = predictions.counts
    support = counts[:, 2]
    if not support.sum():
        raise Undefined("the references have no entity in any row")
    if average == "micro":
        counts = counts.sum(axis=0, keepdims=True)
    scores = _precision_recall_f1(counts)[column]
    return float(np.average(scores, weights=support if average == "weighted" else None))


def _accuracy(predictions: Predictions) -> float:
    """The share of tokens with the right tag."""
    tokens = sum(map(len, predictions.references))
    if not tokens:
        raise Undefined("there are no tokens in any row")
    pairs = zip(predictions.predictions, predictions.references, strict=True)
    return sum(a == b for said, right in pairs for a, b in zip(said, right, strict=True)) / tokens


_COLUMNS = ("precision_score", "recall_score", "f1_score")
METRICS = TaskMetrics[Predictions](
    TASK,
    {
        "accuracy": _accuracy,
        **{
            f"{name}_{average}": partial(_entity_score, column, average)
            for column, name in enumerate(_COLUMNS)
            for average in ("macro", "micro", "weighted")
        },
    },
)
score = METRICS.score
score_what_applies = METRICS.score_what_applies
