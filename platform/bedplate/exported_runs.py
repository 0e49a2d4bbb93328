"""Runs as other tools keep experiments: what a fine-tune or a sweep was asked for, what it logged, what it came to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate.sweep_trials import Trial
from bedplate_registry.errors import Refused

__all__ = ["EXPORTED_KINDS", "Point", "Run", "runs_of", "text_of"]

EXPORTED_KINDS = ("finetune", "sweep")
DATA = ("train", "validation", "test")
BESIDE = ("step", "attempt", "epoch", "time")  # what a line says of itself
ABOUT_SEARCH = ("search", "method", "seed", "total", "metric", "parallel", "budget_seconds", "prune")
Scalar = bool | int | float | str


@dataclass(frozen=True)
class Point:
    """One figure of one step."""

    name: str
    step: int
    value: float


@dataclass(frozen=True)
class Run:
    """One run. Its times are seconds since 1970."""

    job: str
    parent: str | None  # the job of its sweep
    name: str
    experiment: str  # the name of the model that it makes: runs for the same one are compared
    state: str
    params: Mapping[str, Scalar]
    tags: Mapping[str, str]
    points: Sequence[Point]
    started: float
    finished: float | None


def runs_of(
    job: Mapping[str, Any], logged: Iterable[Mapping[str, Any]], trials: Sequence[tuple[Mapping[str, Any], Any]] = ()
) -> list[Run]:
    """A job, as REST shows it, with the lines of its metrics; and of a sweep each trial with its own, oldest first.

    Raises Refused for a job of another kind.
    """
    if job["kind"] not in EXPORTED_KINDS:
        raise Refused(
            f"{job['id']} is a job of the kind {job['kind']}, which is no experiment.",
            hint="Give a fine-tune or a sweep: bedplate jobs list --kind finetune",
        )
    if job["kind"] == "finetune":
        return [_run(job, _points(job, logged), {})]
    found = [_run(job, _points_of_best(job), _tags_of_best(job))]
    for number, (child, lines) in enumerate(trials, 1):
        told = Trial.of(number, child, job["spec"])
        tags = {"trial": str(number), "state": told.state}
        if told.error:
            tags["reason"] = told.error["message"]
        found.append(_run(child, _points(child, lines), tags))
    return found


def text_of(value: Scalar) -> str:
    """A value of `params` as a text, where a tool keeps nothing else."""
    return value if isinstance(value, str) else json.dumps(value)


def _run(job: Mapping[str, Any], points: Iterator[Point], tags: Mapping[str, str]) -> Run:
    spec = job["spec"]
    return Run(
        job=job["id"],
        parent=job.get("parent"),
        name=f"trial {tags['trial']}" if "trial" in tags else job["id"],
        experiment=spec["output"],
        state=job["state"],
        params=_params(spec),
        tags={**_tags(job), **{f"bedplate.{name}": text for name, text in tags.items()}},
        points=list(points),
        started=job["started"] or job["created"],
        finished=job["finished"],
    )


def _params(spec: Mapping[str, Any]) -> dict[str, Scalar]:
    """The settings as they were resolved, and what else a run was asked for."""
    settings = (spec.get("forecast") or {}).get("values") or spec["settings"]
    asked = {name: spec[name] for name in ("model", "task", "device", "processes")}
    search = {name: spec[name] for name in ABOUT_SEARCH if spec.get(name) is not None}
    return {name: _scalar(value) for name, value in {**asked, **settings, **search}.items() if value is not None}


def _scalar(value: Any) -> Scalar:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _tags(job: Mapping[str, Any]) -> dict[str, str]:
    """What tells where a run comes from: its job, its model and data with their digests, what it registered."""
    spec, result = job["spec"], job.get("result") or {}
    found = {"job": job["id"], "kind": job["kind"], "owner": job["owner"], "model": spec["model"]}
    found |= {"model_digest": spec["model_digest"], "columns": json.dumps(spec["columns"])}
    for part in DATA:
        ref = spec.get(part)
        if isinstance(ref, Mapping):
            found |= {part: ref.get("dataset") or ref["filename"], f"{part}_sha256": ref["sha256"]}
    if result.get("model"):
        found["registered"] = result["model"]
    if job["state"] == "failed" and job.get("error"):
        found["reason"] = job["error"]["message"]
    return {f"bedplate.{name}": str(value) for name, value in found.items()}


def _points(job: Mapping[str, Any], logged: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    """What it logged, each figure of a step once, and what it came to, at its last step."""
    by_step = {
        (name, line["step"]): value
        for line in logged
        if isinstance(line.get("step"), int)
        for name, value in line.items()
        if name not in BESIDE
    }
    yield from (Point(name, step, value) for (name, step), value in by_step.items() if _is_number(value))
    result = job.get("result") or {}
    for rows, metrics in (("validation", result.get("metrics")), ("test", result.get("test_metrics"))):
        for name, value in (metrics or {}).items():
            if _is_number(value):
                yield Point(f"{rows}/{name}", int(result.get("steps") or 0), value)


def _points_of_best(job: Mapping[str, Any]) -> Iterator[Point]:
    """Of a sweep: its best trial's figure, and the test of the model that it registered."""
    result = job.get("result") or {}
    if best := result.get("best"):
        yield Point(f"validation/{result['metric']}", 0, best["metric"])
    for name, value in (result.get("test_metrics") or {}).items():
        if _is_number(value):
            yield Point(f"test/{name}", 0, value)


def _tags_of_best(job: Mapping[str, Any]) -> dict[str, str]:
    best = (job.get("result") or {}).get("best")
    return {"best_trial": str(best["trial"]), "best_job": best["job"]} if best else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
