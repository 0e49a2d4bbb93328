"""`bedplate leaderboard`: which models do best at a task on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from bedplate.cli.output import (
    Format,
    FormatOption,
    HomeOption,
    TaskOption,
    UrlOption,
    WrongUse,
    connect,
    say,
    show,
)
from bedplate.cli.report import interval_text

__all__ = ["leaderboard"]

BOARDS = ("task", "data", "part", "metric", "models", "best", "value", "id")
MODELS = ("rank", "model", "value", "interval", "ties best", "base", "created", "evaluation")


def leaderboard(
    task: TaskOption = None,
    data: Annotated[
        str | None, typer.Option("--data", help="A dataset, a file, a SHA-256, or the id of a board.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Sort by this one instead of the task's main metric.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The models that were measured on some data, the best first; without --data the boards there are."""
    if data is not None and task is None:
        raise WrongUse("--data names no board without a task.", hint="Give --task as well.")
    if metric is not None and data is None:
        raise WrongUse("--metric sorts the models of one board.", hint="Give --task and --data as well.")
    found = connect(home, url).evaluations.leaderboard(task, data, metric=metric)
    if format is Format.json:
        show(found, format)
    elif data is None:
        show([_board(board) for board in found], format, columns=BOARDS)
        say(_next_step(found))
    else:
        show([_model(row) for row in found], format, columns=MODELS)


def _board(board: Mapping[str, Any]) -> dict[str, Any]:
    best = board["best"] or {}
    return {
        **{name: board[name] for name in ("task", "metric", "models", "id")},
        "data": board["dataset"] or board["filename"] or board["sha256"],
        "part": _part(board),
        "best": best.get("model"),
        "value": best.get("value"),
    }


def _part(board: Mapping[str, Any]) -> str | None:
    if not board["split"]:
        return None
    seed = "" if board["split_seed"] is None else f", seed {board['split_seed']}"
    return f"{board['split']}, {board['rows']} rows{seed}"


def _model(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "model": f"{row['model']} (a probe)" if row["kind"] == "probe" else row["model"],
        "interval": interval_text(row["interval"]),
        "ties best": "yes" if row["ties_best"] else None,
    }


def _next_step(boards: list[dict[str, Any]]) -> str:
    if not boards:
        return "Nothing was measured yet; begin with: bedplate evaluate REF --task TASK --data DATA"
    return f"See one with: bedplate leaderboard --task {boards[0]['task']} --data {boards[0]['id']}"
