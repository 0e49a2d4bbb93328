"""The end of a sweep: its best trial's model is registered, or it says why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from bedplate.job_folder import JobFolder
from bedplate.jobs import Job
from bedplate.kinds.base import Context, Step
from bedplate.kinds.finetune import drop_weights, register
from bedplate.row_files import drop_rows, rows_file
from bedplate.sweep_trials import Trial
from bedplate_registry.errors import Conflict
from bedplate_registry.models import ModelDraft, Source
from bedplate_registry.names import Name

__all__ = ["end", "finish"]


def end(job: Job, table: Sequence[Trial], best: Trial | None, attempts: Sequence[int]) -> Step:
    """The last step of a sweep whose trials have all ended; `attempts` is how often each of them was started."""
    if best is not None:
        return Step(
            result={"best": best.trial, "trials": [asdict(trial) for trial in table], "attempts": list(attempts)}
        )
    reason = next((trial for trial in table if trial.state == "failed"), None) or next(
        (trial for trial in table if trial.error is not None), None
    )
    hint = f"See them all with: bedplate jobs list --parent {job.id}; when it is mended: bedplate jobs resume {job.id}"
    if reason is None or reason.error is None:
        told = "Every trial was cancelled: there is none to choose." if table else "Its budget was spent at once."
        return Step(error={"code": "no-trial", "message": told, "hint": hint})
    hint = f"{reason.error.get('hint', '')} {hint}".strip()
    text = f"None of {len(table)} trials came to a result. Trial {reason.trial} ({reason.job}): "
    return Step(error={"code": "no-trial", "message": text + reason.error["message"], "hint": hint})


def finish(context: Context, job_id: str, spec: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Publish the best trial's model (once: its source is the sweep), and let go of what the others would resume from.

    A model that an earlier round published, before it was cut short, tells which trial is the best.
    """
    source = Source("job", job_id)
    published = context.registry.models.find_source(Name.parse(spec["output"]), source, task=spec["task"])
    number = published.lineage["sweep"]["trial"] if published else result["best"]
    best = result["trials"][number - 1]
    attempt = result["attempts"][number - 1]
    trained = _trained(context, best["job"], attempt)
    draft = ModelDraft.from_json(trained["draft"])
    sweep = {"job": job_id, "trial": number, "settings": best["settings"], "trials": len(result["trials"])}
    sweep |= {"metric": spec["metric"], "value": best["metric"]}
    draft = replace(draft, source=source, lineage={**draft.lineage, "sweep": sweep})
    rows = rows_file(context.home.jobs / best["job"], attempt)
    version, evaluation = register(context, job_id, draft, trained["report"], rows)
    for trial in result["trials"]:
        drop_weights(context, trial["job"])
        drop_rows(context.home.jobs / trial["job"])
    report = trained["report"] or {}
    return {
        "model": version.ref,
        "best": {name: best[name] for name in ("trial", "job", "settings", "metric")},
        "metric": spec["metric"],
        "greater_is_better": spec["greater_is_better"],
        "trials": result["trials"],
        "evaluation": evaluation,
        "test_metrics": report.get("metrics"),
        "baselines": report.get("baselines", {}),
    }


def _trained(context: Context, job_id: str, attempt: int) -> dict[str, Any]:
    """What the worker of a trial that succeeded left: the draft of its model, and its test report."""
    try:
        trained = JobFolder(context.home.jobs / job_id).result(attempt)
    except ValueError:
        trained = None
    if trained is None:
        raise Conflict(
            f"The result in the folder of trial {job_id} is gone or cannot be read: its model cannot be registered.",
            hint=f"Put jobs/{job_id} back from a backup, or run the sweep again.",
            code="damaged-folder",
        )
    return trained
