"""Search over settings: fine-tunes as trials, on one split of the data; the best one's model is registered.

A sweep has no worker. It submits fine-tunes, at most `parallel` of them open at a time, follows them, ends those that
are hopeless, and at the end registers one model. The n-th job that it submits is the n-th trial, always. Which settings
that has is in the spec, or follows from the trials so far and the seed; from when on it is in the trial's own job. So
nothing depends on when a round is cut short.

    {"kind": "sweep", "model": …, "task": …, "train": …, "output": …, "settings": {"num_train_epochs": 3},
     "search": {"learning_rate": [1e-4, 3e-4], "seed": [1, 2]}, "method": "grid", "parallel": 2}
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bedplate.compute import Demand
from bedplate.job_folder import JobFolder, JobReporter
from bedplate.jobs import Job
from bedplate.kinds.base import Context, Kind, Step
from bedplate.kinds.finetune import KIND as FINETUNE
from bedplate.kinds.sweep_end import end, finish
from bedplate.kinds.sweep_request import SweepRequest, prepare
from bedplate.search_space import space_of
from bedplate.sweep_draws import draw_by_tpe
from bedplate.sweep_pruning import evaluations_of, why_hopeless
from bedplate.sweep_trials import ENDED_EARLY, STOPPED, Trial, best_of, table_of
from bedplate_registry.durable import write_json

__all__ = ["KIND"]


def _demand(context: Context, spec: Mapping[str, Any]) -> Demand:
    """What each trial needs; the sweep itself holds nothing."""
    return FINETUNE.demand(context, spec)


def _advance(context: Context, job: Job, children: Sequence[Job]) -> Step:
    """Resume what an earlier attempt left, then submit what is missing, as far as `parallel` allows; then end.

    Once the budget is spent no trial begins any more.
    """
    spec, folder = job.spec, _folder(context, job)
    left = _left(folder, job, children)
    is_spent = _is_spent(job)
    again = [] if is_spent else [one.id for one in children if left.get(one.id) == [one.epoch, one.finished]]
    table = table_of([_told(child) for child in children], spec)
    best = best_of(table, greater_is_better=spec["greater_is_better"])
    total = len(children) if is_spent else spec.get("total", len(spec["trials"]))
    done = sum(child.is_final for child in children) - len(again)
    _tell(folder, job, done, total, best)
    if done == total:
        return end(job, table, best, [child.epoch for child in children])
    if is_spent:
        return Step(cancel=_out_of_time(children, has_result=best is not None))
    room = max(0, spec["parallel"] - sum(not child.is_final for child in children))
    resume = again[:room]
    count = min(total - len(children), room - len(resume))
    return Step(
        submit=tuple((FINETUNE.name, request) for request in _new(job, table, count)),
        resume=tuple(resume),
        cancel=_hopeless(context, spec, children) if spec.get("prune", "none") != "none" else (),
    )


def _left(folder: JobFolder, job: Job, children: Sequence[Job]) -> dict[str, Any]:
    """The trials that this attempt found cancelled or failed when it began, by what tells them from later ends.

    It is written down before the first of them is resumed, so that each is resumed once: one that fails again, or that
    somebody cancels by itself while the sweep runs, stays so. One that the sweep ended early stays so as well.
    """
    if job.epoch == 1:
        return {}
    path = folder.path / f"left-{job.epoch}.json"
    if not path.exists():
        ended = (child for child in children if child.is_final and child.state != "succeeded")
        kept = (child for child in ended if (child.error or {}).get("code") not in ENDED_EARLY)
        write_json(path, {child.id: [child.epoch, child.finished] for child in kept})
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _told(child: Job) -> dict[str, Any]:
    """A job's row as the table of trials reads it."""
    return {name: getattr(child, name) for name in ("id", "state", "spec", "result", "error")}


def _folder(context: Context, job: Job) -> JobFolder:
    folder = JobFolder(context.home.jobs / job.id)
    if not (folder.path / "spec.json").exists():
        folder.create(job.spec)
    return folder


def _tell(folder: JobFolder, job: Job, done: int, total: int, best: Trial | None) -> None:
    """Progress and a line in the log, whenever a trial has ended."""
    last = folder.last_progress(job.epoch)
    if last is not None and last["done"] == done:
        return
    message = f"best so far: trial {best.trial}, {job.spec['metric']} {best.metric:.4g}" if best else ""
    JobReporter(folder, job.epoch).progress("trials", done, total, "trials", message)
    with suppress(OSError):
        folder.note(f"{done} of {total} trials have ended" + (f"; {message}" if message else ""), "info")


# --- new trials


def _new(job: Job, table: Sequence[Trial], count: int) -> list[dict[str, Any]]:
    """The fine-tunes of the next trials."""
    if count <= 0:
        return []
    spec, number = job.spec, len(table)
    if spec["trials"]:
        drawn = spec["trials"][number : number + count]
    else:
        told = {"seed": spec["seed"], "total": spec["total"], "greater_is_better": spec["greater_is_better"]}
        drawn = draw_by_tpe(space_of(spec["search"]), table, count, **told)
    return [_request(job, at, settings) for at, settings in enumerate(drawn, number + 1)]


def _request(job: Job, number: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fine-tune of one trial, with what the sweep's own request said of the machine."""
    spec = job.spec
    return {
        **{name: spec[name] for name in ("model", "task", "columns", "output", "device", "processes")},
        **{part: _data(spec[part]) for part in ("train", "validation", "test")},
        "settings": {**spec["settings"], **settings},
        "trial": {"sweep": job.id, "number": number, "rows": spec["rows"]},
        "needs": {**spec.get("needs", {}), "preemptible": job.preemptible},
    }


def _data(ref: Any) -> Any:
    """A resolved data reference as a request names it: that very version, or the bytes by their digest."""
    if not isinstance(ref, Mapping):
        return ref
    return ref["dataset"] or {"upload": ref["sha256"], "filename": ref["filename"]}


# --- trials that are ended early


def _hopeless(context: Context, spec: Mapping[str, Any], children: Sequence[Job]) -> tuple[tuple[str, Any], ...]:
    """Those that run and are to be pruned, each with why."""
    seen = {child.id: evaluations_of(context.home.jobs / child.id, spec["metric"]) for child in children}
    found = []
    for child in children:
        if child.state == "running" and not child.cancel:
            others = [each for id, each in seen.items() if id != child.id]
            better = spec["greater_is_better"]
            if why := why_hopeless(seen[child.id], others, spec["metric"], greater_is_better=better):
                found.append((child.id, why))
    return tuple(found)


def _is_spent(job: Job) -> bool:
    """Whether the budget is: the time since the sweep was started, or was resumed."""
    budget_seconds = job.spec.get("budget_seconds")
    return budget_seconds is not None and job.leased is not None and time.time() - job.leased > budget_seconds


def _out_of_time(children: Sequence[Job], *, has_result: bool) -> tuple[tuple[str, Any], ...]:
    """Those that are stopped for the budget. While no trial has succeeded those that run go on, for one to be the best.

    Those that wait in line would begin only now.
    """
    why = {"code": STOPPED, "message": "The sweep's budget was spent before it ended.", "hint": "Give a larger budget."}
    unended = (child for child in children if not child.is_final and not child.cancel)
    return tuple((child.id, why) for child in unended if has_result or child.state == "queued")


KIND = Kind(
    "sweep",
    request=SweepRequest,
    scope="train",
    prepare=prepare,
    demand=_demand,
    advance=_advance,
    finish=finish,
    preemptible=True,  # its trials are
)
