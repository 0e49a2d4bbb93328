"""What a check found: findings with row numbers, and plain statistics of each split. Bounded."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .codes import CODES, ERROR, SEVERITIES

__all__ = ["Collector", "Finding", "Report", "SplitFacts", "shown"]

SHOWN_ROWS = 20  # of each split
SHOWN_DETAILS = 5
SHOWN_LABELS = 100
MOST_LABELS = 10_000  # that are counted; beyond, the column holds no labels
DETAIL_CHARACTERS = 200


@dataclass(frozen=True)
class Finding:
    """One thing that is so in some rows."""

    code: str
    severity: str  # error | warning | note
    key: str | None  # the task's key it concerns
    count: int  # rows; labels, where it is about labels
    rows: dict[str, list[int]]  # the first ones by split, counted from 1 without the header
    message: str
    details: list[str]  # of the first rows
    remedy: str
    fixable: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Report:
    """All that a check says of some data."""

    task: str
    columns: dict[str, str]
    splits: dict[str, dict[str, Any]]
    findings: tuple[Finding, ...]

    @property
    def is_good(self) -> bool:
        """Whether nothing in it is an error."""
        return all(finding.severity != ERROR for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        findings = [finding.to_json() for finding in self.findings]
        return {**asdict(self), "findings": findings, "is_good": self.is_good}


class Collector:
    """Findings while they come in: counts, the first rows and the first details of each."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str | None]] = Counter()
        self._rows: dict[tuple[str, str | None], dict[str, list[int]]] = {}
        self._details: dict[tuple[str, str | None], list[str]] = {}
        self._messages: dict[tuple[str, str | None], str] = {}

    def add(self, code: str, key: str | None, split: str, row: int | None, detail: str = "") -> None:
        """A row in which something is so; `row` is None where it is so of the whole split."""
        at = (code, key)
        self._counts[at] += 1
        rows = self._rows.setdefault(at, {}).setdefault(split, [])
        if row is not None and len(rows) < SHOWN_ROWS:
            rows.append(row)
        details = self._details.setdefault(at, [])
        if detail and len(details) < SHOWN_DETAILS:
            where = split if row is None else f"{split} row {row}"
            details.append(shown(f"{where}: {detail}"))

    def say(self, code: str, key: str | None, message: str) -> None:
        """Another sentence than that of the code, which has figures in it."""
        self._messages[code, key] = message

    def findings(self) -> tuple[Finding, ...]:
        """The worst first, and of one severity in the order of the codes."""
        order = list(CODES)
        places = sorted(
            self._counts, key=lambda at: (SEVERITIES.index(CODES[at[0]].severity), order.index(at[0]), at[1] or "")
        )
        return tuple(self._finding(code, key) for code, key in places)

    def _finding(self, code: str, key: str | None) -> Finding:
        about = CODES[code]
        return Finding(
            code,
            about.severity,
            key,
            self._counts[code, key],
            self._rows[code, key],
            self._messages.get((code, key), about.sentence),
            self._details[code, key],
            about.remedy,
            about.fixable,
        )


@dataclass
class SplitFacts:
    """Plain figures of one split, gathered row by row: lengths are characters, or items of a list."""

    rows: int = 0
    lengths: dict[str, array[int]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    first_rows: dict[str, int] = field(default_factory=dict)  # of each label
    has_too_many_labels: bool = False
    images: Path | None = None  # the folder of its images

    def measure(self, key: str, values: Iterable[str | list[Any]]) -> None:
        self.lengths.setdefault(key, array("I")).extend(map(len, values))

    def count_labels(self, names: Iterable[str], row: int) -> None:
        for name in names:
            if name in self.labels or len(self.labels) < MOST_LABELS:
                self.labels[name] += 1
                self.first_rows.setdefault(name, row)
            else:
                self.has_too_many_labels = True

    def to_json(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"rows": self.rows}
        facts["lengths"] = {key: _spread(values) for key, values in self.lengths.items() if values}
        if self.labels:
            facts["labels"] = {shown(name): count for name, count in self.labels.most_common(SHOWN_LABELS)}
            facts["label_count"] = len(self.labels)
        return facts


def shown(text: str) -> str:
    """Cut, and with what UTF-8 cannot spell as escapes: it goes out as JSON."""
    return text[:DETAIL_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def _spread(lengths: array[int]) -> dict[str, float]:
    ordered = sorted(lengths)
    last = len(ordered) - 1
    return {
        "min": ordered[0],
        "mean": round(sum(ordered) / len(ordered), 1),
        "median": ordered[last // 2],
        "p95": ordered[last * 95 // 100],
        "max": ordered[last],
    }
