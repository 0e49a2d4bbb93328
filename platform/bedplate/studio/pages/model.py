"""One version of a model: what it is, how to use it, its versions, its family and its files."""

from __future__ import annotations

from nicegui import context, html

from bedplate.aio.models import Model
from bedplate.studio.frame import page
from bedplate.studio.parts.filters import TASK_NAMES
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.model_actions import delete_action, model_actions, use_actions
from bedplate.studio.parts.model_deployments import deployments
from bedplate.studio.parts.model_evaluations import evaluations
from bedplate.studio.parts.model_files import files
from bedplate.studio.parts.model_lineage import lineage
from bedplate.studio.parts.model_overview import overview
from bedplate.studio.parts.model_tabs import tabs
from bedplate.studio.parts.model_use import use
from bedplate.studio.parts.model_versions import versions
from bedplate.studio.parts.model_words import aliases_of, no_import
from bedplate.studio.parts.notices import problem
from bedplate.studio.parts.states import state
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate_registry.errors import NotFound, Refused

__all__ = ["model"]

DAMAGED = "bad-manifest"


@page("/models/{ref:path}", "{ref}", section="Models")
async def model(visit: Visit, ref: str) -> None:
    """By `org/name`, `org/name:3` or `org/name@alias`."""
    try:
        found = await visit.ws.models.get(ref)
    except (NotFound, Refused) as exc:
        _not_shown(visit, ref, exc)
        return
    with title(found.ref, _about(found)):
        use_actions(visit, found)
    await _standing(visit, found)
    await tabs(
        ("models", found.ref),
        {
            "overview": ("Overview", lambda: overview(visit, found)),
            "use": ("Use it", lambda: use(visit, found)),
            "versions": ("Versions and aliases", lambda: versions(visit, found)),
            "evaluations": ("Evaluations", lambda: evaluations(found)),
            "deployments": ("Deployments", lambda: deployments(visit, found)),
            "lineage": ("Lineage", lambda: lineage(found)),
            "files": ("Files", lambda: files(visit, found)),
        },
    )
    with html.div().classes("bp-actions bp-last"):
        model_actions(visit, found)


def _about(found: Model) -> str:
    does = TASK_NAMES.get(found.task or "", found.task) or "A base, to be fine-tuned"
    return f"{does} · {found.data['license_spdx'] or 'no license is named'}"


async def _standing(visit: Visit, found: Model) -> None:
    """Its state, the aliases that mean it, and where a newer version is."""
    newest = await _newest(visit, found.data["name"])
    with html.div().classes("bp-row bp-standing"):
        state(found.state)
        for alias in aliases_of(found.data):
            html.span(f"@{alias}").classes("bp-state bp-calm")
        if newest is not None and newest.data["version"] > found.data["version"]:
            html.span("The newest version is")
            html.a(newest.ref, href=place("models", newest.ref))


async def _newest(visit: Visit, name: str) -> Model | None:
    """None where all are archived, or the newest one is damaged."""
    try:
        return await visit.ws.models.get(name)
    except (NotFound, Refused):
        return None


def _not_shown(visit: Visit, ref: str, error: NotFound | Refused) -> None:
    """One that is not here, or whose manifest cannot be read: what is wrong, and what can be done about it."""
    with title(ref):
        if error.code == DAMAGED:
            delete_action(visit, ref)
    problem(error)
    with html.div().classes("bp-actions"):
        action("All models", place("models"))
        if isinstance(error, NotFound):
            context.client.status_code = 404
            name = ref.partition("@")[0].partition(":")[0]
            action("Import it", place("import", model_id=name), why_not=no_import(visit))
