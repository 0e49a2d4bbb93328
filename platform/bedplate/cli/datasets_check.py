"""`bedplate datasets check`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bedplate.cli.output import (
    DetachOption,
    Format,
    FormatOption,
    HomeOption,
    NeedOption,
    PriorityOption,
    UrlOption,
    WrongUse,
    connect,
    follow,
    pairs,
    parse_needs,
    say,
    show,
)

__all__ = ["check"]

FINDINGS = ("severity", "code", "key", "count", "rows", "finding")
CHANGES = ("action", "code", "key", "count", "rows")
SHOWN_ROWS = 5


def check(
    data: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help="A dataset or a file.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="The task that the data is for.")] = None,
    map: Annotated[list[str] | None, typer.Option("--map", help="key=column, once for each key of the task.")] = None,
    train: Annotated[str | None, typer.Option("--train", help="Splits, in place of NAME|FILE.")] = None,
    validation: Annotated[str | None, typer.Option("--validation", help="A file or dataset.")] = None,
    test: Annotated[str | None, typer.Option("--test", help="A file or dataset.")] = None,
    class_names: Annotated[str | None, typer.Option(help="The names of labels 0, 1, 2, with commas.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Count the rows that this model would cut.")] = None,
    max_seq_length: Annotated[int | None, typer.Option(help="The tokens that are to be read.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write what can be repaired without a doubt.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="What the repaired copy of a file is called.")] = None,
    priority: PriorityOption = None,
    need: NeedOption = None,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """What is wrong with data for a task, by row number. Exit code 1 where training would fail or learn nonsense.

    --fix writes a new version of a dataset, and of a file a dataset that --name names. Row numbers count from 1,
    without the header.
    """
    if task is None:
        raise WrongUse("datasets check needs a task.", hint="Add --task, such as --task text-classification.")
    if (data is None) == (train is None and validation is None and test is None):
        raise WrongUse(
            "Give either NAME|FILE or --train, --validation, --test.", hint="See: bedplate datasets check --help"
        )
    options: dict[str, Any] = {"class_names": class_names.split(",") if class_names else None, "model": model}
    options |= {"max_seq_length": max_seq_length, "fix": fix or None, "name": name}
    options |= {"priority": priority, "needs": parse_needs(need), "columns": pairs(map or (), "--map")}
    datasets = connect(home, url).datasets
    job = datasets.check(data, task=task, train=train, validation=validation, test=test, **options)
    follow(job, detach=detach, format=format)
    if detach:
        return
    result, fixed = job.result, job.result["fixed"]
    if format is Format.json:
        show(result, format)
    else:
        is_fixable = _print(result["report"])
        if fixed is not None:
            _print_fixed(fixed)
        elif is_fixable:
            say("Repair what can be repaired without a doubt with: --fix")
    raise typer.Exit(0 if (fixed or result)["report"]["is_good"] else 1)


def _print(report: dict[str, Any]) -> bool:
    """Whether some of it could be repaired."""
    found = report["findings"]
    if found:
        rows = [{**each, "rows": _rows(each["rows"]), "finding": each["message"]} for each in found]
        show(rows, Format.table, columns=FINDINGS)
    for each in found:
        for detail in each["details"][:1]:
            say(f"{each['code']}: {detail}")
    counted = ", ".join(_many(found, severity) for severity in ("error", "warning", "note"))
    total = sum(split["rows"] for split in report["splits"].values())
    say(f"{total} row{'' if total == 1 else 's'}: {counted}.")
    return any(each["fixable"] for each in found)


def _many(found: list[dict[str, Any]], severity: str) -> str:
    number = sum(each["severity"] == severity for each in found)
    return f"{number} {severity}{'' if number == 1 else 's'}"


def _rows(rows: dict[str, list[int]]) -> str:
    """The first of them by split: `train 3, 8, 12 …`."""
    shown = []
    for split, numbers in rows.items():
        more = " …" if len(numbers) > SHOWN_ROWS else ""
        shown.append(f"{split} {', '.join(map(str, numbers[:SHOWN_ROWS]))}{more}".strip())
    return "; ".join(shown)


def _print_fixed(fixed: dict[str, Any]) -> None:
    if fixed["changes"]:
        print()
        rows = [{**each, "rows": _rows({each["split"]: each["rows"]})} for each in fixed["changes"]]
        show(rows, Format.table, columns=CHANGES)
    for split, reason in fixed["left_out"].items():
        say(f"{split} is not repaired. {reason}")
    for split, ref in fixed["datasets"].items():
        say(f"{split}: {fixed['rows'][split]} rows are {ref}")
    left = fixed["report"]["findings"]
    shown = ", ".join(f"{each['count']} {each['code']}" for each in left)
    say(f"Left: {shown or 'nothing'}.")
