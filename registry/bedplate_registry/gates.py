"""Promotion gates: what must have been measured on a version before an alias may mean it.

models/<org>/<name>/gates.jsonl    one line a change: alias, rules (all that hold from then on), by, why, when

A rule is held against evaluation reports, the newest first. Two models are compared on the same file, read in the
same way, only: what a fine-tune measured on rows that it split off by itself says nothing about another model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from .datasets import Datasets
from .errors import Conflict, Refused, nearest
from .evaluations import Evaluations
from .names import Name, check_alias
from .scales import check_bound
from .store import ALIASES, VersionStore, now
from .tasks import TASKS

__all__ = ["Gate", "Gates", "Rule", "Unmet", "parse_rules"]

GATES = "gates.jsonl"
MOST_RULES = 50
LESS_IS_BETTER = ("loss", "perplexity")  # how the names of such metrics end
NOT_ENOUGH = "Choose another version. An admin moves the alias past its gate with --override --why."
OF_ONE_LABEL = "_binary"  # how those end that are about the positive one of two labels


@dataclass(frozen=True)
class Rule:
    """What one metric must be."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    dataset: str | None = None  # name:version; None: on whatever it was measured last
    sha256: str | None = None  # of that dataset: the same bytes under another name are the same data
    not_worse: bool = False  # than the version that holds the alias, on the same file
    columns: Mapping[str, str] | None = None  # key -> column: the file must have been read so; None: in any way

    @property
    def data(self) -> str:
        """What it was to be measured on, in words."""
        read = f" ({', '.join(_maps(self.columns))})" if self.columns else ""
        return f"{self.dataset or 'any data'}{read}"

    def __str__(self) -> str:
        asked = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        asked += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        asked += ["not worse than the present holder's"] if self.not_worse else []
        where = f" on {self.data}" if self.dataset or self.columns else ""
        return f"{self.metric}{where} {' and '.join(asked)}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Gate:
    """The rules of one alias, with who set them, why and when. An alias without rules has none to hold."""

    alias: str
    rules: tuple[Rule, ...] = ()
    by: str | None = None
    why: str | None = None
    when: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "rules": [rule.to_json() for rule in self.rules]}


@dataclass(frozen=True)
class Unmet:
    """A rule that does not hold for a version."""

    rule: Rule
    why: str
    is_unmeasured: bool = False  # a figure is missing; otherwise there is one, and it is not good enough


@dataclass(frozen=True)
class Measured:
    """What a report says of one model."""

    evaluation: str
    model: str
    metrics: Mapping[str, Any]
    sha256: str | None  # of the file it was measured on; None where that was a part of a file
    read: Mapping[str, Any]  # how that was read: columns, class_names; empty in reports from before they said so
    positive: str | None = None  # of two labels the one that metrics named *_binary are about

    def is_for(self, rule: Rule) -> bool:
        """Whether it counts for a rule, by the data alone."""
        columns = self.read.get("columns") or {}
        fits = all(columns.get(key) == column for key, column in (rule.columns or {}).items())
        return fits and rule.sha256 in (None, self.sha256)

    def is_like(self, other: Measured) -> bool:
        """Whether both say the same of one file, as far as they tell."""
        return self.sha256 == other.sha256 and (not self.read or not other.read or self.read == other.read)

    def figure(self, metric: str) -> float | None:
        value = self.metrics.get(metric)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if is_number and value is not None else None


def parse_rules(values: Sequence[Mapping[str, Any]], datasets: Datasets) -> tuple[Rule, ...]:
    """Rules as a caller gives them. Raises Refused, NotFound for a dataset that is not there."""
    if len(values) > MOST_RULES:
        raise Refused(f"{len(values)} rules are given.", hint=f"Give at most {MOST_RULES}.", code="bad-gate")
    rules = tuple(_parse_rule(value, datasets) for value in values)
    if len({(rule.metric, rule.dataset) for rule in rules}) < len(rules):
        raise Refused("Two rules are about one metric on the same data.", hint="Make one of them.", code="bad-gate")
    return rules


class Gates:
    """The gates of the names in a store."""

    def __init__(self, store: VersionStore, evaluations: Evaluations) -> None:
        self._store, self._evaluations = store, evaluations

    def all(self, name: Name) -> list[Gate]:
        """Those that have rules, by alias."""
        last = {line["alias"]: line for line in self._store.lines(name, GATES)}
        gates = [_gate(last[alias]) for alias in sorted(last)]
        return [gate for gate in gates if gate.rules]

    def get(self, name: Name, alias: str) -> Gate:
        return next((gate for gate in self.all(name) if gate.alias == alias), Gate(check_alias(alias)))

    def set(self, name: Name, alias: str, rules: Sequence[Rule], *, by: str, why: str = "") -> Gate:
        """From now on these are the rules of an alias; none of them: it has no gate. The caller holds the lock."""
        gate = Gate(check_alias(alias), tuple(rules), by, why, now())
        self._store.append(name, GATES, gate.to_json())
        return gate

    def unmet(self, name: Name, alias: str, version: int) -> list[Unmet]:
        """The rules that do not hold for a version."""
        rules = self.get(name, alias).rules
        if not rules:
            return []
        measured = [*_measured(self._evaluations.heads())]
        holder = self._holder(name, alias)
        found = (_held_against(rule, f"{name}:{version}", holder, measured) for rule in rules)
        return [problem for problem in found if problem is not None]

    def refusal(self, name: Name, alias: str, version: int, unmet: Sequence[Unmet]) -> Conflict:
        """Why the alias does not move, and how to measure what was not measured yet."""
        unmeasured = [each.rule for each in unmet if each.is_unmeasured]
        return Conflict(
            f"'{name}:{version}' does not pass the gate of {alias!r}: {'; '.join(each.why for each in unmet)}.",
            hint=self._how_to_measure(name, alias, version, unmeasured) if unmeasured else NOT_ENOUGH,
            code="gate-not-met",
        )

    def _how_to_measure(self, name: Name, alias: str, version: int, rules: Sequence[Rule]) -> str:
        data = next((rule.dataset for rule in rules if rule.dataset), "DATASET")
        maps = next((_maps(rule.columns) for rule in rules if rule.columns), ["KEY=COLUMN"])
        holder = self._holder(name, alias)
        is_compared = holder is not None and any(rule.not_worse for rule in rules)
        against = f" --against {holder}" if is_compared and holder != f"{name}:{version}" else ""
        task = f"Measure it: bedplate evaluate {name}:{version} --task TASK --data {data}{against} --map "
        return task + " --map ".join(maps)

    def _holder(self, name: Name, alias: str) -> str | None:
        """The version that the alias means, or meant when it was taken away: taking it away opens no gate."""
        lines = [line for line in self._store.lines(name, ALIASES) if line["alias"] == alias and line["version"]]
        return f"{name}:{lines[-1]['version']}" if lines else None


def _held_against(rule: Rule, ref: str, holder: str | None, measured: Sequence[Measured]) -> Unmet | None:
    """What is wrong, or None where the rule holds."""
    mine = _newest(measured, ref, rule.metric, lambda each: each.is_for(rule))
    if mine is None:
        return Unmet(rule, f"{rule.metric} was not measured on {rule.data}", is_unmeasured=True)
    figure = mine.figure(rule.metric)
    assert figure is not None
    shown = f"{rule.metric} is {figure:.6g} (evaluation {mine.evaluation})"
    if rule.at_least is not None and figure < rule.at_least:
        return Unmet(rule, f"{shown}, and the gate asks for at least {rule.at_least:g}")
    if rule.at_most is not None and figure > rule.at_most:
        return Unmet(rule, f"{shown}, and the gate asks for at most {rule.at_most:g}")
    if not rule.not_worse or holder in (None, ref):
        return None
    return _compared(rule, ref, str(holder), measured)


def _compared(rule: Rule, ref: str, holder: str, measured: Sequence[Measured]) -> Unmet | None:
    """The newest figures of both on one file: that of the rule, or the one that both were measured on last."""
    for mine in measured:
        figure = mine.figure(rule.metric)
        if mine.model != ref or figure is None or mine.sha256 is None or not mine.is_for(rule):
            continue
        other = _newest(measured, holder, rule.metric, partial(_is_comparable, mine, rule.metric))
        if other is None:
            continue
        theirs = other.figure(rule.metric)
        assert theirs is not None
        if (figure > theirs) if rule.metric.endswith(LESS_IS_BETTER) else (figure < theirs):
            shown = f"{rule.metric} is {figure:.6g}, worse than the {theirs:.6g} of {holder} (on the same data)"
            return Unmet(rule, shown)
        return None
    missing = f"{rule.metric} of {ref} and of {holder} was not measured on one file, read in the same way"
    return Unmet(rule, missing, is_unmeasured=True)


def _is_comparable(mine: Measured, metric: str, other: Measured) -> bool:
    return mine.is_like(other) and (not metric.endswith(OF_ONE_LABEL) or mine.positive == other.positive)


def _newest(measured: Sequence[Measured], model: str, metric: str, fits: Callable[[Measured], bool]) -> Measured | None:
    """The newest figure of a model among those that fit."""
    for each in measured:
        if each.model == model and fits(each) and each.figure(metric) is not None:
            return each
    return None


def _measured(reports: Sequence[Mapping[str, Any]]) -> Iterator[Measured]:
    """Both sides of each report. A probe measures what could be made of a base, and not what the base answers."""
    for report in reports:
        data = report.get("data") or {}
        sha256 = None if data.get("split") else data.get("sha256")
        read = {key: data[key] for key in ("columns", "class_names") if data.get(key)}
        for side in (report, report.get("against") or {}):
            if side.get("model") and side.get("kind") != "probe":
                metrics = side.get("metrics") or {}
                yield Measured(report["id"], side["model"], metrics, sha256, read, side.get("positive_label"))


def _parse_rule(value: Mapping[str, Any], datasets: Datasets) -> Rule:
    metric = str(value.get("metric", ""))
    known = {name for task in TASKS.values() for name in task.metrics}
    if metric not in known:
        raise Refused(f"There is no metric {metric[:80]!r}.", hint=nearest(metric[:80], known), code="unknown-metric")
    columns = value.get("columns") or None
    keys = {key.name for task in TASKS.values() if metric in task.metrics for key in task.keys}
    for key in columns or ():
        if key.partition(".")[0] not in keys:
            raise Refused(
                f"No task with {metric} has a column key {key[:80]!r}.",
                hint=nearest(key[:80], keys),
                code="unknown-column-key",
            )
    data = datasets.get(value["dataset"]) if value.get("dataset") else None
    rule = Rule(
        metric,
        value.get("at_least"),
        value.get("at_most"),
        data.ref if data else None,
        data.sha256 if data else None,
        bool(value.get("not_worse")),
        columns,
    )
    _check_bounds(rule)
    return rule


def _check_bounds(rule: Rule) -> None:
    """Raises Refused for a rule that asks for nothing, or for what no figure can be."""
    bounds = [bound for bound in (rule.at_least, rule.at_most) if bound is not None]
    if not all(math.isfinite(bound) for bound in bounds) or not (bounds or rule.not_worse):
        raise Refused(
            f"The rule about {rule.metric} asks for nothing.",
            hint="Ask for at least or at most a number, or for not worse than the present holder's.",
            code="bad-gate",
        )
    for bound in bounds:
        check_bound(rule.metric, bound)
    if bounds != sorted(bounds):
        raise Refused(
            f"No {rule.metric} is at least {rule.at_least:g} and at most {rule.at_most:g}.",
            hint="Swap the two, or leave one of them out.",
            code="bad-gate",
        )


def _maps(columns: Mapping[str, str] | None) -> list[str]:
    """As --map takes them."""
    return [f"{key}={column}" for key, column in (columns or {}).items()]


def _gate(line: Mapping[str, Any]) -> Gate:
    rules = tuple(Rule(**rule) for rule in line["rules"])
    return Gate(**{**line, "rules": rules})
