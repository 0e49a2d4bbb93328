"""`bedplate sweep …`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bedplate.cli.output import (
    DetachOption,
    Format,
    FormatOption,
    GpusOption,
    HomeOption,
    NeedOption,
    PriorityOption,
    SetOption,
    UrlOption,
    WrongUse,
    connect,
    follow,
    on_gpus,
    pairs,
    parse_needs,
    parse_settings,
    parse_values,
    say,
    show,
)

__all__ = ["searched", "show_result", "sweep"]

PLANNED = (
    *("model", "task", "rows", "columns", "settings", "output", "device", "processes", "metric", "parallel"),
    *("method", "search", "total", "budget_seconds", "prune"),
)
RANGE = ".."


def sweep(
    model: Annotated[str, typer.Argument(metavar="REF", help="org/name, org/name:3 or org/name@alias.")],
    task: Annotated[str, typer.Option("--task", help="The task to learn.")],
    train: Annotated[str, typer.Option("--train", help="A file or dataset.")],
    output: Annotated[str, typer.Option("--output", help="The name to register the best model under.")],
    search: Annotated[
        list[str],
        typer.Option("--search", help="setting=value,value,… or setting=from..to[:log][:whole], once for each."),
    ],
    validation: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    test: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    map: Annotated[list[str] | None, typer.Option("--map", help="key=column, once for each key of the task.")] = None,
    set: SetOption = None,
    method: Annotated[str, typer.Option(help="grid: every combination; random; tpe: learns from trials.")] = "grid",
    trials: Annotated[int | None, typer.Option(help="Trials at most; the whole grid, up to 20.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draws of random and tpe.")] = None,
    budget: Annotated[str | None, typer.Option(help="How long it may run: 30m, 2h, 1d.")] = None,
    prune: Annotated[str | None, typer.Option(help="median: end hopeless trials early; none.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Trials at the same time: 2 unless given.")] = None,
    metric: Annotated[str | None, typer.Option(help="What trials are compared by, on validation rows.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    processes: Annotated[int | None, typer.Option("--processes", help="Processes of each trial.")] = None,
    gpus: GpusOption = None,
    priority: PriorityOption = None,
    need: NeedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve and check, start nothing.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Fine-tune over combinations of settings and register the best model, chosen on validation rows."""
    from bedplate_trainers.settings import FinetuneSettings

    given: dict[str, Any] = {"validation": validation, "test": test, "method": method, "trials": trials, "seed": seed}
    given |= {"budget": budget, "prune": prune, "parallel": parallel, "metric": metric, "priority": priority}
    given |= {"needs": parse_needs(need), **on_gpus(gpus, processes, device)}
    request = {name: value for name, value in given.items() if value is not None}
    request |= {"task": task, "train": train, "output": output, "search": searched(search)}
    request |= {
        "columns": pairs(map or (), "--map"),
        "settings": parse_settings(set, FinetuneSettings),
    }
    ws = connect(home, url)
    if dry_run:
        _show_plan(ws.plan_sweep(model, **request), format)
        return
    job = follow(ws.sweep(model, **request), detach=detach, format=format)
    if not detach:
        show_result(job.result, format)


def searched(given: list[str]) -> dict[str, Any]:
    """`--search name=value,value` as lists of values, and `name=from..to:log` as ranges. Raises WrongUse."""
    found = pairs(given, "--search")
    if len(found) < len(given):
        raise WrongUse("--search names one setting twice.", hint="Write all its values in one: name=value,value.")
    return {name: _range(name, text) if RANGE in text else _list(name, text) for name, text in found.items()}


def _list(name: str, text: str) -> list[Any]:
    return [parse_values({name: value})[name] for value in text.split(",")]


def _range(name: str, text: str) -> dict[str, Any]:
    """The server says whether the setting takes it."""
    ends, *words = text.split(":")
    low, _, high = ends.partition(RANGE)
    found = parse_values({"from": low, "to": high})
    for word in words:
        if word not in ("linear", "log", "whole"):
            hint = f"Write it as {name}={ends}, perhaps with :log, :linear or :whole behind it."
            raise WrongUse(f"--search {name}: {word!r} says nothing of a range.", hint=hint)
        found |= {"whole": True} if word == "whole" else {"scale": word}
    return found


def _show_plan(plan: dict[str, Any], format: Format) -> None:
    if format is Format.json:
        show(plan, format)
        return
    show({name: plan[name] for name in PLANNED}, format)
    if not plan["trials"]:
        say("Each trial is drawn when it is to begin, from those that have ended by then.")
        return
    print()
    trials = [{"trial": number, **settings} for number, settings in enumerate(plan["trials"], 1)]
    show(trials, format, columns=tuple(trials[0]))


def show_result(result: dict[str, Any], format: Format) -> None:
    """What a sweep came to: all of it as JSON; or its trials, the best of them, and where its report is."""
    if format is Format.json:
        show(result, format)
        return
    metric, best = result["metric"], result["best"]
    rows = [
        {**trial, **trial["settings"], metric: trial["metric"], "why": (trial["error"] or {}).get("message", "")}
        for trial in result["trials"]
    ]
    show(rows, format, columns=("trial", "job", "state", *best["settings"], metric, "seconds", "why"))
    say(f"Trial {best['trial']} is the best by {metric} and was registered as {result['model']}.")
    if result["test_metrics"]:
        value = result["test_metrics"].get(metric)
        say(f"Its test {metric}: " + ("not computed" if value is None else f"{value:.4g}"))
    if result["evaluation"]:
        say(f"See it: bedplate evaluations show {result['evaluation']}")
