"""/api/v1/endpoints/{name}/statistics: what the gateway counted of one endpoint."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from pydantic import ConfigDict, Field

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import Answer, json_answer
from bedplate.api.endpoints import Name
from bedplate.endpoint_statistics import counted_of
from bedplate.endpoints import REAL_TIME
from bedplate.metrics import ask_gateway

__all__ = ["routes"]

routes = Routes("/api/v1/endpoints", "endpoints")


class Statistics(Answer):
    """Sums since the gateway started, but for `open`: two looks tell what came between."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "open": 1,
                    "requests": 1200,
                    "refused": 3,
                    "failed": 0,
                    "p50_seconds": 0.004,
                    "p95_seconds": 0.009,
                    "statuses": {"200": 1197, "422": 3},
                    "within": [[0.005, 900], [0.01, 1199], [None, 1200]],
                }
            ]
        }
    )

    open: Annotated[int, Field(description="Requests that are being answered.")]
    requests: Annotated[int, Field(description="All that were answered.")]
    refused: Annotated[int, Field(description="Of these, with a status of 400 to 499: the caller's fault.")]
    failed: Annotated[int, Field(description="Of these, with a status of 500 or more.")]
    p50_seconds: Annotated[float | None, Field(description="Half of them took at most so long; null of none.")]
    p95_seconds: Annotated[float | None, Field(description="The same of 95 %.")]
    statuses: Annotated[
        dict[str, int], Field(description="How many had each status; 499: the caller left before an answer.")
    ]
    within: Annotated[
        list[list[float | None]],
        Field(description="[seconds, requests that took at most so long]; null: however long."),
    ]


@routes.route("GET", "/{name}/statistics", "read", response_model=Statistics)
def show_statistics(name: Name, workspace: WorkspaceOf) -> Response:
    """Show how many requests an endpoint was sent, how they ended and how long they took."""
    workspace.endpoints.get(name, REAL_TIME)
    text = ask_gateway(workspace.home) or b""  # no gateway yet: it counts from when it starts
    return json_answer(counted_of(text.decode(), name).to_json())
