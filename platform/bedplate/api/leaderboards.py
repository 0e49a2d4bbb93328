"""/api/v1/leaderboards: which models do best at a task on the same rows, over all evaluations."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, json_answer, page_of
from bedplate.api.problems import codes
from bedplate.workspace import Workspace
from bedplate_registry.leaderboard import Board, Standing, boards, find_board, origin_of, standings
from bedplate_trainers.settings import check_metric

__all__ = ["routes"]

routes = Routes("/api/v1/leaderboards", "evaluations")
TaskName = Annotated[str, Path(description="One of the nine tasks.", examples=["text-classification"])]
DataName = Annotated[
    str,
    Query(
        max_length=300,
        description="A dataset, the SHA-256 of an uploaded file, or the id of a leaderboard.",
        examples=["tickets:1"],
    ),
]
MetricName = Annotated[str | None, Query(max_length=100, description="What to sort by; the task's main metric.")]
FIRST: JsonDict = {
    "place": 1,
    "rank": 1,
    "model": "support-intent:1",
    "kind": "model",
    "value": 0.94,
    "interval": [0.91, 0.96],
    "ties_best": False,
    "metrics": {"accuracy": 0.94, "f1_score_macro": 0.93},
    "base": "sentence-transformers/all-MiniLM-L6-v2:1",
    "state": "active",
    "created": "2026-11-24T08:00:00+00:00",
    "evaluation": "ev-20261124-080000-000000-1a2b3c",
}
ABOUT: JsonDict = {
    "id": "0a1b2c3d4e5f",
    "task": "text-classification",
    "data": "tickets:1",
    "dataset": "tickets:1",
    "sha256": "0" * 64,
    "filename": "tickets.csv",
    "split": None,
    "split_seed": None,
    "rows": 1000,
    "columns": {"sentence1": "text", "label": "intent"},
    "metric": "accuracy",
    "positive_label": None,
    "models": 1,
    "best": FIRST,
    "created": "2026-11-24T08:00:00+00:00",
}


class ModelStanding(Answer):
    """One model on a leaderboard, by its newest report."""

    model_config = ConfigDict(json_schema_extra={"examples": [FIRST]})

    place: Annotated[int, Field(description="From 1, all different.")]
    rank: Annotated[int | None, Field(description="The same for the same figure; null where there is none.")]
    model: str
    kind: Annotated[str, Field(description="model, or probe: a linear model on the features of a base.")]
    value: Annotated[float | None, Field(description="The metric that the board is sorted by.")]
    interval: Annotated[list[float] | None, Field(description="Its 95 % interval, low and high.")]
    ties_best: Annotated[bool, Field(description="Not the first, and its interval overlaps that of the first.")]
    metrics: dict[str, Any]
    base: Annotated[str | None, Field(description="The version that it was fine-tuned from.")]
    state: Annotated[str, Field(description="active, archived or missing.")]
    created: Annotated[str, Field(description="When it was measured.")]
    evaluation: str


class BoardSummary(Answer):
    """What was measured on the same rows, with the best model. `data` names the file, `id` this very board."""

    model_config = ConfigDict(json_schema_extra={"examples": [ABOUT]})

    id: str
    task: str
    data: str
    dataset: str | None
    sha256: str | None
    filename: str | None
    split: Annotated[str | None, Field(description="test: rows that fine-tunes split off their training rows.")]
    split_seed: int | None
    rows: int | None
    columns: dict[str, str]
    metric: Annotated[str, Field(description="What it is sorted by.")]
    positive_label: Annotated[
        str | None, Field(description="Of two labels the one that metrics named *_binary are about.")
    ]
    models: int
    best: ModelStanding | None
    created: Annotated[str, Field(description="When it was last measured.")]


class Leaderboard(BoardSummary):
    """One page of a leaderboard, the best first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**ABOUT, "items": [FIRST], "next": None}]})

    items: list[ModelStanding]
    next: Annotated[str | None, Field(description="Give it as `after` for the page that follows; null on the last.")]


@routes.route("GET", "", "read", response_model=Page[BoardSummary], responses=codes("unknown-task"))
def list_leaderboards(
    workspace: WorkspaceOf,
    task: Annotated[str | None, Query(max_length=100, description="Those of one task.")] = None,
    limit: Limit = MOST_ITEMS,
    after: After = None,
) -> Response:
    """List leaderboards, the one with the newest evaluation first."""
    found = boards(workspace.registry.evaluations, task)
    page, following = page_of(found, lambda board: board.sides[0].evaluation, limit, after, is_descending=True)
    return json_answer({"items": [_summary(workspace, board) for board in page], "next": following})


@routes.route(
    "GET",
    "/{task}",
    "read",
    response_model=Leaderboard,
    responses=codes("unknown-task", "no-leaderboard", "several-leaderboards", "unknown-metric"),
)
def show_leaderboard(
    task: TaskName,
    workspace: WorkspaceOf,
    data: DataName,
    metric: MetricName = None,
    limit: Limit = MOST_ITEMS,
    after: After = None,
) -> Response:
    """Show the models that were measured on some data, the best first."""
    board = find_board(workspace.registry.evaluations, task, data, workspace.registry.datasets)
    if metric is not None:
        check_metric(metric, board.about.task)  # which knows what other programs call it, too
    page, following = page_of(standings(board, metric), lambda each: f"{each.place:07}", limit, after)
    items = [_standing(workspace, each) for each in page]
    about = {**_summary(workspace, board, metric), "items": items, "next": following}
    return json_answer(about)


def _summary(workspace: Workspace, board: Board, metric: str | None = None) -> dict[str, Any]:
    best = standings(board, metric)[0]
    shown = None if best.rank is None else _standing(workspace, best)
    return {**board.to_json(), "metric": metric or board.metric, "best": shown}


def _standing(workspace: Workspace, standing: Standing) -> dict[str, Any]:
    """With what the registry knows of the model."""
    return {**standing.to_json(), **origin_of(workspace.registry.models, standing.side.model)}
