"""Lineage both ways: what a version was made from, and what was made from it.

The manifest of a fine-tune names its base, so the files alone tell it; who asks for children has them all looked
through. A base that was deleted is still named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import BedplateError
from .evaluations import Evaluations
from .models import Models, ModelVersion

__all__ = ["Relative", "children", "evaluations_of", "parents"]

MOST_PARENTS = 100  # a chain of fine-tunes of fine-tunes


@dataclass(frozen=True)
class Relative:
    """A version that another one was made from, or that was made from it."""

    ref: str
    relation: str  # fine-tune | adapter: how the younger of the two came about
    state: str  # active, archived, or missing
    task: str | None = None
    created: str | None = None

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def parents(models: Models, version: ModelVersion) -> list[Relative]:
    """What it was made from, the nearest first."""
    found: list[Relative] = []
    younger: ModelVersion | None = version
    while younger is not None and younger.base and len(found) < MOST_PARENTS:
        relation = _relation(younger)
        base, younger = younger.base, _find(models, younger.base)
        found.append(_relative(younger, relation) if younger else Relative(base, relation, "missing"))
    return found


def children(models: Models, version: ModelVersion) -> list[Relative]:
    """What was made from it directly, by name."""
    return [_relative(child, _relation(child)) for child in models.children(version.ref)]


def evaluations_of(evaluations: Evaluations, ref: str) -> list[dict[str, Any]]:
    """What was measured on it, the newest first: id, when, on which data, the figures."""
    return [_shown(report) for report in evaluations.heads(ref)]


def _find(models: Models, ref: str) -> ModelVersion | None:
    try:
        return models.get(ref)
    except BedplateError:
        return None


def _relative(version: ModelVersion, relation: str) -> Relative:
    return Relative(version.ref, relation, version.state, version.task, version.created)


def _relation(version: ModelVersion) -> str:
    return "adapter" if version.adapter_base else "fine-tune"


def _shown(report: Mapping[str, Any]) -> dict[str, Any]:
    data = report.get("data") or {}
    return {
        "id": report["id"],
        "created": report["created"],
        "task": report.get("task"),
        "data": data.get("dataset") or data.get("filename"),
        "split": data.get("split"),
        "metrics": report.get("metrics") or {},
    }
