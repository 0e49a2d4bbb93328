"""The request of a sweep, checked and resolved before anything starts, with every trial that is known by then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bedplate.durations import seconds_of
from bedplate.kinds.base import Context, check_keys, mapping_of
from bedplate.kinds.finetune import EXAMPLE, TrainingRequest
from bedplate.kinds.finetune import KIND as FINETUNE
from bedplate.kinds.requests import names_of
from bedplate.search_space import Range, Space, corners_of, read_search, size_of, space_of
from bedplate.sweep_draws import METHODS, grid_trials, random_trials
from bedplate.sweep_pruning import LEAST_TRIALS, PRUNERS, is_judged_twice
from bedplate_registry.errors import Refused, nearest
from bedplate_registry.tasks import get_task
from bedplate_trainers.settings import FinetuneSettings, check_metric, resolve

__all__ = ["SweepRequest", "prepare"]

RESOLVED = ("task", "model", "model_digest", "train", "validation", "test", "columns", "output", "device", "processes")
UNASKED_TRIALS = 20  # a larger grid must be asked for
MOST_TRIALS = 1000
SEED = 42
LOWER_IS_BETTER = ("loss", "perplexity")  # how the names of such metrics end
DRAWN: dict[str, Any] = {
    "search": {"learning_rate": {"from": 1e-5, "to": 1e-3}, "seed": [1, 2]},
    "method": "tpe",
    "trials": 30,
    "budget": "2h",
    "prune": "median",
}


class SearchedRange(BaseModel):
    """Numbers to draw from, for the methods random and tpe."""

    model_config = ConfigDict(extra="forbid")

    low: Annotated[float, Field(alias="from", description="The lower end, which may be drawn too.")]
    high: Annotated[float, Field(alias="to", description="The upper end, which may be drawn too.")]
    scale: Annotated[
        Literal["linear", "log"] | None, Field(description="log for learning_rate and adam_epsilon, else linear.")
    ] = None
    whole: Annotated[bool | None, Field(description="Only whole numbers.")] = None


class SweepRequest(TrainingRequest):
    """Fine-tune with several settings, and keep the best model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "sweep", **EXAMPLE, "search": {"learning_rate": [1e-4, 3e-4], "seed": [1, 2]}},
                {"kind": "sweep", **EXAMPLE, **DRAWN},
            ]
        }
    )

    kind: Literal["sweep"]
    search: Annotated[
        dict[str, list[Any] | SearchedRange], Field(description="The values of each setting, or their range.")
    ]
    method: Annotated[str | None, Field(description="`grid`, `random` or `tpe`.")] = None
    trials: Annotated[int | None, Field(ge=1, le=MOST_TRIALS, description="How many are run at most.")] = None
    seed: Annotated[int | None, Field(ge=0, le=2**32 - 1, description="Of the draws of random and tpe.")] = None
    metric: Annotated[str | None, Field(description="By what trials are compared.")] = None
    parallel: Annotated[int | None, Field(ge=1, le=64, description="So many at a time; 2 unless said.")] = None
    budget: Annotated[str | float | None, Field(description="How long it may run, as in 90m or 2h, or in seconds.")] = (
        None
    )
    prune: Annotated[str | None, Field(description="`none`, or `median`: hopeless trials are ended early.")] = None


REQUIRED, OPTIONAL = names_of(SweepRequest)
TRAINING = set().union(*names_of(TrainingRequest))  # as a fine-tune has them


@dataclass(frozen=True)
class _Draws:
    """What is tried: how, how many at most, and which of them, as far as that is known."""

    method: str
    seed: int | None
    total: int
    trials: list[dict[str, Any]]


def prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a sweep. Raises Refused, NotFound, Conflict."""
    check_keys("sweep", request, required=REQUIRED, optional=OPTIONAL)
    task = get_task(str(request["task"])).name
    fixed = mapping_of(request, "settings")
    search = read_search(mapping_of(request, "search"), fixed, task)
    if request.get("metric") and "metric_for_best_model" not in {*fixed, *search}:
        fixed["metric_for_best_model"] = request["metric"]  # each trial keeps its best checkpoint by the same figure
    budget_seconds = seconds_of("budget", request["budget"]) if request.get("budget") not in (None, "") else None
    space = space_of(search)
    draws = _draws(request, space, has_budget=budget_seconds is not None)
    tried = draws.trials or list(islice(corners_of(space), MOST_TRIALS))
    training = {name: request[name] for name in TRAINING if name in request}
    first = FINETUNE.prepare(context, {**training, "settings": {**fixed, **tried[0]}})
    resolved = _resolved(context, first, [{**fixed, **trial} for trial in tried])
    metric = _metric(first, resolved, request.get("metric"))
    return {
        **{name: first[name] for name in (*RESOLVED, "rows")},
        "settings": fixed,
        "search": search,
        "method": draws.method,
        "seed": draws.seed,
        "total": draws.total,
        "trials": draws.trials,
        "metric": metric,
        "greater_is_better": not metric.endswith(LOWER_IS_BETTER),
        "parallel": _whole(request, "parallel", 64) or 2,
        "budget_seconds": budget_seconds,
        "prune": _prune(request, draws, resolved),
    }


def _draws(request: Mapping[str, Any], space: Space, *, has_budget: bool) -> _Draws:
    method, trials = str(request.get("method") or "grid"), _whole(request, "trials", MOST_TRIALS)
    seed, size = _whole(request, "seed", 2**32 - 1, least=0), size_of(space)
    if method not in METHODS:
        raise Refused(f"There is no method {method!r}.", hint=nearest(method, METHODS), code="unknown-method")
    ranges = [name for name, each in space.items() if isinstance(each, Range)]
    if method == "grid" and ranges:
        hint = "Take the method random or tpe, or give its values in a list."
        raise Refused(f"{ranges[0]} is a range, and a grid is made of values.", hint=hint, code="no-grid")
    if method == "grid" and seed is not None:
        raise Refused("seed is for the methods random and tpe.", hint="The seed of training is among the settings.")
    if trials is None and not has_budget and (method != "grid" or (size or 0) > UNASKED_TRIALS):
        most = min(size or MOST_TRIALS, MOST_TRIALS)
        hint = f"Say how many to run with trials, at most {most} (--trials on the command line), or give a budget."
        many = "any number of" if size is None else str(size)
        raise Refused(f"search has {many} combinations, and the method is {method}.", hint=hint, code="how-many-trials")
    total = min(trials or MOST_TRIALS, size or MOST_TRIALS)
    if method == "grid":
        return _Draws(method, None, total, grid_trials(space, total))
    seed = SEED if seed is None else seed
    known = random_trials(space, total, seed) if method == "random" else []
    return _Draws(method, seed, len(known) or total, known)


def _resolved(
    context: Context, first: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]
) -> list[FinetuneSettings]:
    """The settings of each trial. Raises Refused where a combination cannot be trained."""
    task, facts = first["task"], context.registry.models.get(first["model"]).facts
    rows, device, processes = (first[name] for name in ("rows", "device", "processes"))
    found = []
    for settings in trials:
        try:
            read = FinetuneSettings.from_mapping(settings, task)
            found.append(resolve(read, facts, rows, device, task=task, processes=processes).settings)
        except Refused as exc:
            raise Refused(f"With {json.dumps(settings)}: {exc.message}", hint=exc.hint, code=exc.code) from exc
    return found


def _metric(first: Mapping[str, Any], resolved: Sequence[FinetuneSettings], metric: object) -> str:
    """The name of what trials are compared by. Raises Refused where they cannot be compared."""
    if first["validation"] == "auto" and resolved[0].validation_fraction == 0:
        raise Refused(
            "validation_fraction is 0, and trials are compared on validation rows.", hint="Give a --validation file."
        )
    names = {each.metric_for_best_model for each in resolved}
    if not metric and len(names) > 1:
        raise Refused("Trials have more than one metric_for_best_model.", hint="Say by which metric they are compared.")
    name = str(metric or names.pop())
    check_metric(name, first["task"], also=("loss",))
    return name


def _prune(request: Mapping[str, Any], draws: _Draws, resolved: Sequence[FinetuneSettings]) -> str:
    rule = str(request.get("prune") or "none")
    if rule not in PRUNERS:
        raise Refused(f"There is no way {rule!r} to prune.", hint=nearest(rule, PRUNERS), code="unknown-pruner")
    if rule != "none" and any(each.eval_strategy == "no" for each in resolved):
        raise Refused(
            "eval_strategy is no, and trials are pruned by what evaluations in training come to.",
            hint="Set eval_strategy to epoch or steps, or prune to none.",
        )
    judged = sum(map(is_judged_twice, resolved))
    count = judged if draws.trials or not judged else draws.total  # of trials still to be drawn the ends are known
    if rule != "none" and min(count, draws.total) < LEAST_TRIALS:
        few, more = f"there are {draws.total} trials", "search over more values"
        if draws.total >= LEAST_TRIALS:
            few, more = f"{count} of the trials are evaluated twice in training", "train for more epochs"
        raise Refused(
            f"prune has no effect: {few}, and it takes {LEAST_TRIALS}.",
            hint=f"Leave prune out, or {more}.",
            code="bad-setting",
        )
    return rule


def _whole(request: Mapping[str, Any], name: str, most: int, *, least: int = 1) -> int | None:
    value = request.get(name)
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Refused(f"{name}={value!r} is not accepted.", hint=f"Give a whole number from {least} to {most}.")
    return value
