"""/api/v1/evaluations: what was measured, on which model and which data."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, json_answer, page_of
from bedplate.api.etags import IfNoneMatch, tagged
from bedplate.api.problems import codes
from bedplate.report_page import REPORT_POLICY, report_page
from bedplate.workspace import Workspace
from bedplate_registry.evaluation_rows import RowFilter, page_of_rows
from bedplate_registry.tasks import get_task

__all__ = ["routes"]

routes = Routes("/api/v1/evaluations", "evaluations")
MOST_NUMBER = 2**53
EXAMPLE_ID = "ev-20261124-080000-000000-1a2b3c"
EXAMPLE_ROW: JsonDict = {"row": 17, "sentence1": "my card", "target": "card", "predicted": "login", "score": 0.7}
BYTES = {"schema": {"type": "string", "format": "binary"}}
EvaluationId = Annotated[str, Path(description="The id of an evaluation.", examples=[EXAMPLE_ID])]
PAGE_HEADERS = {
    "Content-Security-Policy": f"{REPORT_POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


class Evaluation(Answer):
    """A report, or in a list its head. What a report holds besides is by task: classes, baselines, the comparison."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_ID,
                    "created": "2026-11-24T08:00:00+00:00",
                    "model": "support-intent:1",
                    "task": "text-classification",
                    "metrics": {"accuracy": 0.94, "f1_score_macro": 0.93},
                }
            ]
        },
    )

    id: str
    created: str
    model: str
    metrics: dict[str, Any]


class EvaluatedRow(Answer):
    """What a model said of one row. The inputs are by the keys of the task."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [EXAMPLE_ROW]})

    row: Annotated[int, Field(description="Its number in the data, from 1.")]
    target: Any = None
    predicted: Any = None
    score: float | None = None
    right: bool | None = None


@routes.route("GET", "", "read", response_model=Page[Evaluation], responses=codes("unknown-task", "not-found"))
def list_evaluations(
    workspace: WorkspaceOf,
    model: Annotated[
        str | None, Query(max_length=300, description="support-intent:1, or all versions: support-intent.")
    ] = None,
    task: Annotated[str | None, Query(max_length=100, description="A task, as in text-classification.")] = None,
    limit: Limit = MOST_ITEMS,
    after: After = None,
) -> Response:
    """List the heads of evaluations, the newest first: model, data, figures and their intervals."""
    found = _heads(workspace, model, None if task is None else get_task(task).name)
    page, following = page_of(found, lambda report: str(report["id"]), limit, after, is_descending=True)
    return json_answer({"items": page, "next": following})


def _heads(workspace: Workspace, model: str | None, task: str | None) -> list[dict[str, Any]]:
    """Reports outlive their models, and some are of what is in no registry. What has none is looked up: it may be named
    by an alias. Raises NotFound.
    """
    evaluations, models = workspace.registry.evaluations, workspace.registry.models
    if model is not None and not evaluations.heads(model):
        model = models.get(model).ref
    return evaluations.heads(model, task)


@routes.route("GET", "/{evaluation_id}", "read", response_model=Evaluation)
def show_evaluation(evaluation_id: EvaluationId, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show an evaluation."""
    return tagged(workspace.registry.evaluations.get(evaluation_id), if_none_match)


@routes.route(
    "GET",
    "/{evaluation_id}/predictions",
    "read",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/vnd.apache.parquet": BYTES}},
        206: {
            "content": {"application/vnd.apache.parquet": BYTES},
            "description": "The range that was asked for.",
        },
        **codes("no-predictions"),
    },
)
def download_predictions(evaluation_id: EvaluationId, workspace: WorkspaceOf) -> FileResponse:
    """Download what the model said of each row, as Parquet, or a range of that."""
    return FileResponse(
        workspace.registry.evaluations.predictions(evaluation_id),
        filename=f"{evaluation_id}.parquet",
        media_type="application/vnd.apache.parquet",
        headers={"X-Content-Type-Options": "nosniff"},
    )


@routes.route(
    "GET",
    "/{evaluation_id}/rows",
    "read",
    response_model=Page[EvaluatedRow],
    responses=codes("no-predictions", "bad-report"),
)
def list_evaluated_rows(
    evaluation_id: EvaluationId,
    workspace: WorkspaceOf,
    right: Annotated[bool | None, Query(description="Whether the model was right.")] = None,
    target: Annotated[str | None, Query(max_length=1000, description="What is right, or one of that.")] = None,
    predicted: Annotated[str | None, Query(max_length=1000, description="What the model said, or one of that.")] = None,
    contains: Annotated[str | None, Query(max_length=1000, description="In any text of the row.")] = None,
    score_below: Annotated[float | None, Query(description="The score is less than that.", allow_inf_nan=False)] = None,
    limit: Limit = MOST_ITEMS,
    after: Annotated[int, Query(ge=0, le=MOST_NUMBER, description="`next` of the page before.")] = 0,
) -> Response:
    """List the rows of an evaluation, those that are chosen, in the order of the data.

    A page ends early where its rows are long, or where few of very many are found: `next` goes on.
    """
    path = workspace.registry.evaluations.predictions(evaluation_id)
    wanted = RowFilter(right, target, predicted, contains or None, score_below)
    rows, following = page_of_rows(path, wanted, limit, after)
    return json_answer({"items": rows, "next": None if following is None else str(following)})


@routes.route("GET", "/{evaluation_id}/page", "read", response_class=HTMLResponse)
def show_evaluation_page(evaluation_id: EvaluationId, workspace: WorkspaceOf) -> Response:
    """Show an evaluation as one HTML file with charts, which asks for nothing else and can be kept."""
    page = report_page(workspace.registry.evaluations.get(evaluation_id))
    return HTMLResponse(
        page, headers={**PAGE_HEADERS, "Content-Disposition": f'inline; filename="{evaluation_id}.html"'}
    )
