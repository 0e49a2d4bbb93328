"""Runs side by side: which of their settings differ, and what each came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate.report_metrics import in_order
from bedplate_registry.errors import Refused

__all__ = ["MOST_RUNS", "Comparison", "compare_runs"]

MOST_RUNS = 12
TRAINED = ("finetune",)
DATA = ("train", "validation", "test")


@dataclass(frozen=True)
class Comparison:
    """What differs, one line a name: name -> the value of each run, in their order. None: it has none."""

    runs: tuple[str, ...]
    settings: Mapping[str, tuple[Any, ...]]
    metrics: Mapping[str, tuple[float | None, ...]]  # the main ones first
    states: tuple[str, ...]  # of each run: one that failed has no figures

    def to_json(self) -> dict[str, Any]:
        """{"runs", "states", "settings": {name: [values]}, "metrics": {name: [values]}}"""
        settings, metrics = (
            {name: list(found) for name, found in each.items()} for each in (self.settings, self.metrics)
        )
        return {"runs": list(self.runs), "states": list(self.states), "settings": settings, "metrics": metrics}


def compare_runs(jobs: Sequence[Mapping[str, Any]]) -> Comparison:
    """Of fine-tunes, as REST shows jobs. Settings are as they were resolved; those that are alike are left out.

    Raises Refused for jobs that are no fine-tunes, for fewer than two and for more than MOST_RUNS.
    """
    for job in jobs:
        if job["kind"] not in TRAINED:
            raise Refused(
                f"{job['id']} is a job of the kind {job['kind']}, which has no curves to compare.",
                hint="Give fine-tunes: bedplate jobs list --kind finetune",
            )
    if not 2 <= len({job["id"] for job in jobs}) == len(jobs) <= MOST_RUNS:
        raise Refused(
            f"{len(jobs)} runs cannot be compared.", hint=f"Give from 2 to {MOST_RUNS} different ones by their ids."
        )
    asked, came = [_asked(job) for job in jobs], [_came(job) for job in jobs]
    settings = {name: found for name, found in _by_name(asked).items() if any(value != found[0] for value in found)}
    runs, states = (tuple(str(job[name]) for job in jobs) for name in ("id", "state"))
    return Comparison(runs, settings, _in_order(jobs[0]["spec"]["task"], _by_name(came)), states)


def _in_order(task: str, lines: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Metrics as the task lists them, that on validation rows beside that on test rows; what is none of them last."""
    names = in_order({"task": task}, (name.rpartition("/")[2] for name in lines))
    return {name: lines[name] for name in sorted(lines, key=lambda name: names.index(name.rpartition("/")[2]))}


def _by_name(each: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    names = dict.fromkeys(name for values in each for name in values)
    return {name: tuple(values.get(name) for values in each) for name in names}


def _asked(job: Mapping[str, Any]) -> dict[str, Any]:
    """All that a run was asked for, as one list of names."""
    spec = job["spec"]
    data = {part: _data(spec.get(part)) for part in DATA}
    about = {name: spec.get(name) for name in ("model", "task", "device", "processes")}
    return {**about, **data, "columns": spec["columns"], **spec["settings"], **spec["forecast"]["values"]}


def _data(ref: Any) -> Any:
    """A dataset's version; of an uploaded file its digest, since names of files say little."""
    if not isinstance(ref, Mapping):
        return ref
    return ref.get("dataset") or f"{ref['filename']} ({ref['sha256'][:12]})"


def _came(job: Mapping[str, Any]) -> dict[str, float | None]:
    """What it came to, on which rows, as exported runs name it; a run that has not ended has no figures yet."""
    result = job.get("result") or {}
    found = {
        f"{rows}/{name}": value
        for rows, metrics in (("validation", result.get("metrics")), ("test", result.get("test_metrics")))
        for name, value in (metrics or {}).items()
    }
    beside = {name: result[name] for name in ("steps", "best_step", "seconds", "samples_per_second") if name in result}
    return {**found, **beside}
