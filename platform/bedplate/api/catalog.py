"""/api/v1/catalog: what can be imported, from the list that comes with Bedplate, and from the Hub's own search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Query, Response
from pydantic import ConfigDict, Field

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, json_answer, page_of
from bedplate.api.problems import codes
from bedplate.hub_token import hub_token_for
from bedplate.workspace import Workspace
from bedplate_registry.catalog import CatalogEntry, Wanted, shipped_catalog
from bedplate_registry.hub import Hub
from bedplate_registry.hubsearch import MOST_FOUND, search_hub

__all__ = ["routes"]

routes = Routes("/api/v1/catalog", "catalog")
MOST_TEXT = 300
Words = Annotated[str | None, Query(max_length=MOST_TEXT, description="Words of its id or its purpose.")]
Text = Annotated[str | None, Query(max_length=MOST_TEXT)]
Count = Annotated[int | None, Query(ge=0, lt=1 << 62)]


def _wanted(
    query: Words = None,
    task: Text = None,
    finetunable_for: Text = None,
    license: Text = None,
    language: Text = None,
    min_parameters: Count = None,
    max_parameters: Count = None,
) -> Wanted:
    return Wanted(query or "", task, finetunable_for, license, language, min_parameters, max_parameters)


WantedOf = Annotated[Wanted, Depends(_wanted)]


class CatalogModel(Answer):
    """A model that can be imported by its id."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": "distilbert/distilbert-base-uncased",
                    "task": "fill-mask",
                    "model_type": "distilbert",
                    "license": "Apache-2.0",
                    "parameters": 67000000,
                    "languages": ["en"],
                    "finetunable_tasks": ["text-classification", "token-classification", "question-answering"],
                    "about": "Half the layers of BERT and most of its quality; the first to try on a CPU.",
                    "gated": None,
                    "downloads": None,
                    "here": "distilbert/distilbert-base-uncased:1",
                }
            ]
        }
    )

    model_id: str
    task: Annotated[str | None, Field(description="null: a base, or a tag of the Hub that is none of the nine tasks.")]
    model_type: str | None
    license: str | None
    parameters: Annotated[int | None, Field(description="Approximate in the shipped list.")]
    languages: list[str]
    finetunable_tasks: list[str]
    about: Annotated[str, Field(description="What it is for; empty where only the Hub knows it.")]
    gated: Annotated[bool | None, Field(description="Whether its owner grants access to each reader.")]
    downloads: Annotated[int | None, Field(description="In the last month, as the Hub counts them.")]
    here: Annotated[str | None, Field(description="The version that was imported from it.")]


@routes.route("GET", "", "read", response_model=Page[CatalogModel])
def list_catalog(
    workspace: WorkspaceOf,
    wanted: WantedOf,
    limit: Limit = MOST_ITEMS,
    after: After = None,
) -> Response:
    """List well-known models that can be imported, by id. The list comes with Bedplate; no Hub is asked."""
    page, following = page_of(wanted.among(shipped_catalog()), lambda entry: entry.model_id, limit, after)
    return json_answer({"items": _described(workspace, page), "next": following})


@routes.route(
    "GET",
    "/hub",
    "import",
    response_model=Page[CatalogModel],
    responses=codes("offline", "no-connection", "token", "busy"),
)
def search_the_hub(
    workspace: WorkspaceOf,
    wanted: WantedOf,
    limit: Limit = MOST_FOUND,
    after: Annotated[str | None, Query(max_length=2000, description="`next` of the page before.")] = None,
) -> Response:
    """Search the Hub that this server imports from, most downloaded first. A page may hold fewer than `limit`."""
    settings = workspace.settings
    hub = Hub(settings.hub_url, hub_token_for(settings, settings.hub_url), offline=settings.offline)
    found, following = search_hub(hub, wanted, limit=min(limit, MOST_FOUND), after=after)
    return json_answer({"items": _described(workspace, found), "next": following})


def _described(workspace: Workspace, entries: Sequence[CatalogEntry]) -> list[dict[str, Any]]:
    here = workspace.registry.search.imported(entry.model_id for entry in entries)
    return [{**entry.to_json(), "here": here.get(entry.model_id)} for entry in entries]
