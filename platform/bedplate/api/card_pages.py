"""/cards: the card of a version as a page, for a frame that nothing gets out of."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from fastapi.responses import Response

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.models import Name, Org, get_version
from bedplate.card_page import CARD_POLICY, card_page
from bedplate.model_card import card_of
from bedplate.workspace import Workspace
from bedplate_registry.cards import card_body
from bedplate_registry.errors import BedplateError
from bedplate_registry.markdown import MAX_CHARACTERS, clean_markdown, plain
from bedplate_registry.models import ModelVersion

__all__ = ["routes"]

routes = Routes("/cards", "pages")
NONE = "*Its author wrote no card.*"
HEADERS = {
    "Content-Security-Policy": CARD_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@routes.route("GET", "/{org}/{name}", "read", include_in_schema=False)
def show_card_page(
    org: Org,
    name: Name,
    workspace: WorkspaceOf,
    whole: Annotated[bool, Query(description="With the facts, samples and figures above it.")] = False,
) -> Response:
    """What a version's author says of it; `whole`: all that `bedplate models card` shows."""
    version = get_version(workspace, org, name)
    text = card_of(workspace, version) if whole else _of_author(workspace, version) or NONE
    return Response(card_page(version.ref, text), headers=HEADERS, media_type="text/html")


def _of_author(workspace: Workspace, version: ModelVersion) -> str:
    try:
        own = card_body(workspace.registry.models.card(version))
    except BedplateError as exc:  # its file is damaged: the page around the frame goes on
        return plain(exc.message)
    return clean_markdown(own[: MAX_CHARACTERS + 1], heading_shift=1)
