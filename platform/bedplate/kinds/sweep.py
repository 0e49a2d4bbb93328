"""Search over settings: fine-tunes as trials, on one split of the data; the best one's model is registered.

A sweep has no worker. It submits fine-tunes, at most `parallel` of them open at a time, follows them, and at the end
registers one model. The n-th job that it submits is the n-th trial, always: which settings that has is in the spec, so
nothing depends on when a round is cut short.

    {"kind": "sweep", "model": …, "task": …, "train": …, "output": …, "settings": {"num_train_epochs": 3},
     "search": {"learning_rate": [1e-4, 3e-4], "seed": [1, 2]}, "method": "grid", "parallel": 2}

A further method (`METHODS`) is one that says which combinations are tried; one that decides as results come in does so
in `_settings`, which is asked for each trial when it is submitted and may look at all those before.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from bedplate.compute import GIB, Demand
from bedplate.job_folder import JobFolder, JobReporter
from bedplate.jobs import Job
from bedplate.kinds.base import Context, Kind, Step, check_keys, mapping_of
from bedplate.kinds.finetune import EXAMPLE, TrainingRequest, drop_weights, register
from bedplate.kinds.finetune import KIND as FINETUNE
from bedplate.kinds.requests import names_of
from bedplate_registry.durable import write_json
from bedplate_registry.errors import Conflict, Refused, nearest
from bedplate_registry.models import ModelDraft, Source
from bedplate_registry.names import Name
from bedplate_registry.tasks import get_task
from bedplate_trainers.settings import FinetuneSettings, check_metric, resolve

__all__ = ["KIND", "Trial"]

RESOLVED = ("task", "model", "model_digest", "train", "validation", "test", "columns", "output", "device", "processes")
# Trials that differ in these are judged on other rows, or for other labels: none could be called the best.
SHARED = ("split_seed", "validation_fraction", "test_fraction", "class_names")
UNASKED_TRIALS = 20  # a larger grid must be asked for
MOST_TRIALS = 1000
MOST_COMBINATIONS = 10**9
LOWER_IS_BETTER = ("loss", "perplexity")  # how the names of such metrics end


class SweepRequest(TrainingRequest):
    """Fine-tune with several settings, and keep the best model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "sweep", **EXAMPLE, "search": {"learning_rate": [1e-4, 3e-4], "seed": [1, 2]}}]
        }
    )

    kind: Literal["sweep"]
    search: Annotated[dict[str, list[Any]], Field(description="The values of each setting that is searched over.")]
    method: Annotated[str | None, Field(description="`grid` or `random`.")] = None
    trials: Annotated[int | None, Field(ge=1, le=MOST_TRIALS, description="How many are run, where not all.")] = None
    seed: Annotated[int | None, Field(ge=0, le=2**32 - 1, description="Which ones the method random tries.")] = None
    metric: Annotated[str | None, Field(description="By what trials are compared.")] = None
    parallel: Annotated[int | None, Field(ge=1, le=64, description="So many at a time; 2 unless said.")] = None


REQUIRED, OPTIONAL = names_of(SweepRequest)
TRAINING = set().union(*names_of(TrainingRequest))  # as a fine-tune has them

METHODS: dict[str, Callable[[int, int, int], Sequence[int]]] = {
    # (combinations, trials, seed) -> the numbers of the combinations that are tried, none twice
    "grid": lambda size, trials, seed: range(trials),
    "random": lambda size, trials, seed: random.Random(seed).sample(range(size), trials),
}


@dataclass(frozen=True)
class Trial:
    """One line of a sweep's table."""

    trial: int  # from 1
    job: str
    settings: dict[str, Any]  # those that are searched over
    state: str
    metric: float | None  # what trials are compared by, on the validation rows
    metrics: dict[str, float]
    seconds: float | None
    error: dict[str, Any] | None

    @classmethod
    def of(cls, number: int, child: Job, spec: Mapping[str, Any]) -> Trial:
        result = (child.result if child.state == "succeeded" else None) or {}
        metrics = result.get("metrics") or {}
        value, error = metrics.get(spec["metric"]), child.error if child.state == "failed" else None
        if child.state == "succeeded" and (value is None or not math.isfinite(value)):
            value, error = None, _problem("no-metric", f"It has no {spec['metric']} on its validation rows.")
        settings = {name: child.spec["settings"][name] for name in spec["search"]}
        return cls(number, child.id, settings, child.state, value, metrics, result.get("seconds"), error)


# --- the request


def _prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    check_keys("sweep", request, required=REQUIRED, optional=OPTIONAL)
    task = get_task(str(request["task"])).name
    fixed, search = mapping_of(request, "settings"), _search(request, task)
    if request.get("metric") and "metric_for_best_model" not in {*fixed, *search}:
        fixed["metric_for_best_model"] = request["metric"]  # each trial keeps its best checkpoint by the same figure
    method, seed, combinations = _method(request, search)
    trials = [_combination(search, number) for number in combinations]
    training = {name: request[name] for name in TRAINING if name in request}
    first = FINETUNE.prepare(context, {**training, "settings": {**fixed, **trials[0]}})
    metric = _check_trials(context, first, [{**fixed, **trial} for trial in trials], request.get("metric"))
    return {
        **{name: first[name] for name in (*RESOLVED, "rows")},
        "settings": fixed,
        "search": search,
        "method": method,
        "seed": seed,
        "trials": trials,
        "metric": metric,
        "greater_is_better": not metric.endswith(LOWER_IS_BETTER),
        "parallel": _whole(request, "parallel", 64) or 2,
    }


def _search(request: Mapping[str, Any], task: str) -> dict[str, list[Any]]:
    """The values of each setting that is searched over, each as the settings of a fine-tune read it."""
    search, fixed = mapping_of(request, "search"), mapping_of(request, "settings")
    if not search:
        raise Refused("search names no setting.", hint='Give {"learning_rate": [1e-4, 3e-4]}, for one.')
    found = {}
    for name, values in search.items():
        if name in SHARED:
            raise Refused(f"{name} cannot be searched over: all trials share one split and its labels.")
        if name in fixed:
            raise Refused(f"{name} is both in settings and in search.", hint="Leave it out of one of them.")
        if not isinstance(values, list | tuple) or not values:
            raise Refused(f"search: {name}={values!r} is not a list of values.", hint="Give one or more in a list.")
        read = [FinetuneSettings.each_from_mapping({name: value}, task).to_json(task)[name] for value in values]
        if twice := [value for at, value in enumerate(read) if value in read[:at]]:
            raise Refused(f"search: {name} has {twice[0]!r} twice.", hint="Give each value once.")
        found[name] = read
    return found


def _method(request: Mapping[str, Any], search: Mapping[str, list[Any]]) -> tuple[str, int | None, Sequence[int]]:
    """The method, its seed if it has one, and the numbers of the combinations that it tries."""
    method = str(request.get("method") or "grid")
    if method not in METHODS:
        raise Refused(f"There is no method {method!r}.", hint=nearest(method, METHODS), code="unknown-method")
    size = math.prod(len(values) for values in search.values())
    if size > MOST_COMBINATIONS:
        raise Refused(f"search has {size} combinations, more than {MOST_COMBINATIONS}.", hint="Give fewer values.")
    trials, seed = _whole(request, "trials", MOST_TRIALS), _whole(request, "seed", 2**32 - 1, least=0)
    if method == "grid" and seed is not None:
        raise Refused("seed is for the method random.", hint="The seed of training is among the settings.")
    if trials is None and (method == "random" or size > UNASKED_TRIALS):
        hint = f"Say how many to run with trials, at most {min(size, MOST_TRIALS)} (--trials on the command line)."
        raise Refused(f"search has {size} combinations, and the method is {method}.", hint=hint, code="how-many-trials")
    if method == "random" and seed is None:
        seed = 42
    return method, seed, METHODS[method](size, min(trials or size, size), seed or 0)


def _combination(search: Mapping[str, list[Any]], number: int) -> dict[str, Any]:
    """The combination of that number, where the last setting changes first."""
    chosen = {}
    for name in reversed(list(search)):
        number, at = divmod(number, len(search[name]))
        chosen[name] = search[name][at]
    return {name: chosen[name] for name in search}


def _check_trials(context: Context, first: Mapping[str, Any], trials: list[dict[str, Any]], metric: object) -> str:
    """The name of what trials are compared by. Raises Refused where a combination cannot be trained or compared."""
    task, facts = first["task"], context.registry.models.get(first["model"]).facts
    names = set()
    for settings in trials:
        try:
            read = FinetuneSettings.from_mapping(settings, task)
            rows, device, processes = (first[name] for name in ("rows", "device", "processes"))
            resolved = resolve(read, facts, rows, device, task=task, processes=processes).settings
        except Refused as exc:
            raise Refused(f"With {json.dumps(settings)}: {exc.message}", hint=exc.hint, code=exc.code) from exc
        names.add(resolved.metric_for_best_model)
    if first["validation"] == "auto" and resolved.validation_fraction == 0:
        raise Refused(
            "validation_fraction is 0, and trials are compared on validation rows.", hint="Give a --validation file."
        )
    if not metric and len(names) > 1:
        raise Refused("Trials have more than one metric_for_best_model.", hint="Say by which metric they are compared.")
    name = str(metric or names.pop())
    check_metric(name, task, also=("loss",))
    return name


def _whole(request: Mapping[str, Any], name: str, most: int, *, least: int = 1) -> int | None:
    value = request.get(name)
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Refused(f"{name}={value!r} is not accepted.", hint=f"Give a whole number from {least} to {most}.")
    return value


def _demand(context: Context, spec: Mapping[str, Any]) -> Demand:
    """What each trial needs; the sweep itself holds nothing."""
    return FINETUNE.demand(context, spec)


# --- its rounds


def _advance(context: Context, job: Job, children: Sequence[Job]) -> Step:
    """Resume what an earlier attempt left, then submit what is missing, as far as `parallel` allows; then end."""
    spec, folder = job.spec, _folder(context, job)
    left = _left(folder, job, children)
    again = [child.id for child in children if left.get(child.id) == [child.epoch, child.finished]]
    table = [Trial.of(number, child, spec) for number, child in enumerate(children, 1)]
    total, best = len(spec["trials"]), _best(table, spec)
    done = sum(child.is_final for child in children) - len(again)
    _tell(folder, job, done, total, best)
    if done == total:
        return _end(job, table, best, [child.epoch for child in children])
    room = max(0, spec["parallel"] - sum(not child.is_final for child in children))
    resume = again[:room]
    new = range(len(children), min(total, len(children) + room - len(resume)))
    return Step(submit=tuple((FINETUNE.name, _request(job, number, children)) for number in new), resume=tuple(resume))


def _left(folder: JobFolder, job: Job, children: Sequence[Job]) -> dict[str, Any]:
    """The trials that this attempt found cancelled or failed when it began, by what tells them from later ends.

    It is written down before the first of them is resumed, so that each is resumed once: one that fails again, or that
    somebody cancels by itself while the sweep runs, stays so.
    """
    if job.epoch == 1:
        return {}
    path = folder.path / f"left-{job.epoch}.json"
    if not path.exists():
        ended = (child for child in children if child.is_final and child.state != "succeeded")
        write_json(path, {child.id: [child.epoch, child.finished] for child in ended})
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _request(job: Job, number: int, children: Sequence[Job]) -> dict[str, Any]:
    """The fine-tune of one trial, with what the sweep's own request said of the machine."""
    spec, demand = job.spec, job.demand
    needs: dict[str, Any] = {"preemptible": job.preemptible}
    if demand.cores:
        needs["cores"] = demand.cores
    if demand.memory_bytes:
        needs["memory_gb"] = demand.memory_bytes / GIB
    if demand.gpu_memory_bytes:
        needs["gpu_memory_gb"] = demand.gpu_memory_bytes / GIB
    return {
        **{name: spec[name] for name in ("model", "task", "columns", "output", "device", "processes")},
        **{part: _data(spec[part]) for part in ("train", "validation", "test")},
        "settings": {**spec["settings"], **_settings(spec, number, children)},
        "trial": {"sweep": job.id, "number": number + 1, "rows": spec["rows"]},
        "needs": needs,
    }


def _settings(spec: Mapping[str, Any], number: int, children: Sequence[Job]) -> dict[str, Any]:
    """What is tried in a trial, counted from 0; `children` are those that earlier rounds submitted."""
    chosen: dict[str, Any] = spec["trials"][number]
    return chosen


def _data(ref: Any) -> Any:
    """A resolved data reference as a request names it: that very version, or the bytes by their digest."""
    if not isinstance(ref, Mapping):
        return ref
    return ref["dataset"] or {"upload": ref["sha256"], "filename": ref["filename"]}


def _best(table: Sequence[Trial], spec: Mapping[str, Any]) -> Trial | None:
    """The earliest of those with the best metric."""
    sign = 1 if spec["greater_is_better"] else -1
    compared = [trial for trial in table if trial.metric is not None]
    return max(compared, key=lambda trial: sign * (trial.metric or 0.0), default=None)


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
        folder.note(f"{done} of {total} trials have ended" + (f"; {message}" if message else ""))


# --- its end


def _end(job: Job, table: Sequence[Trial], best: Trial | None, attempts: Sequence[int]) -> Step:
    if best is not None:
        return Step(
            result={"best": best.trial, "trials": [asdict(trial) for trial in table], "attempts": list(attempts)}
        )
    reason = next((trial for trial in table if trial.error is not None), None)
    hint = f"See them all with: bedplate jobs list --parent {job.id}; when it is mended: bedplate jobs resume {job.id}"
    if reason is None or reason.error is None:
        return Step(error=_problem("no-trial", "Every trial was cancelled: there is none to choose.", hint))
    hint = f"{reason.error.get('hint', '')} {hint}".strip()
    text = f"None of {len(table)} trials came to a result. Trial {reason.trial} ({reason.job}): "
    return Step(error=_problem("no-trial", text + reason.error["message"], hint))


def _problem(code: str, message: str, hint: str = "") -> dict[str, str]:
    return {"code": code, "message": message, "hint": hint}


def _finish(context: Context, job_id: str, spec: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Publish the best trial's model (once: its source is the sweep), and let go of what the others would resume from.

    A model that an earlier round published, before it was cut short, tells which trial is the best.
    """
    source = Source("job", job_id)
    published = context.registry.models.find_source(Name.parse(spec["output"]), source, task=spec["task"])
    number = published.lineage["sweep"]["trial"] if published else result["best"]
    best = result["trials"][number - 1]
    trained = _trained(context, best["job"], result["attempts"][number - 1])
    draft = ModelDraft.from_json(trained["draft"])
    sweep = {"job": job_id, "trial": number, "settings": best["settings"], "trials": len(result["trials"])}
    sweep |= {"metric": spec["metric"], "value": best["metric"]}
    draft = replace(draft, source=source, lineage={**draft.lineage, "sweep": sweep})
    version, evaluation = register(context, job_id, draft, trained["report"])
    for trial in result["trials"]:
        drop_weights(context, trial["job"])
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


KIND = Kind(
    "sweep",
    request=SweepRequest,
    scope="train",
    prepare=_prepare,
    demand=_demand,
    advance=_advance,
    finish=_finish,
    preemptible=True,  # its trials are
)
