"""The first page: what is here, what runs, and where to begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html

from bedplate.studio.frame import page
from bedplate.studio.parts.headings import action, section, title
from bedplate.studio.parts.job_words import how_far, subject_of
from bedplate.studio.parts.live import every
from bedplate.studio.parts.model_evaluations import figures_text
from bedplate.studio.parts.model_words import not_allowed
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.paged_table import PagedTable
from bedplate.studio.parts.tables import Column, table
from bedplate.studio.parts.turner import Page
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

COUNTED = {"Models": "models", "Datasets": "datasets", "Endpoints": "endpoints"}
MOST_COUNTED = 200  # of each: a first page is not worth more
MOST_RUNNING, NEWEST = 10, 5
BETWEEN_SECONDS = 3.0
# What is begun, its wizard, the permission, and what comes of it.
BEGINNINGS = (
    (
        "Import",
        "import",
        "import",
        "A model from the Hub, checked and kept as a version. For one in a folder there is a command.",
    ),
    ("Fine-tune", "finetune", "train", "A model learns your own rows; what comes of it is a new model."),
    ("Evaluate", "evaluate", "train", "How good a model is on rows that it has not seen, alone or against another."),
    ("Deploy", "deploy", "operate", "An endpoint that answers requests, or one that scores files."),
)
JOBS = (
    Column("id", "Job", link="url", sortable=False),
    Column("kind", "Kind", sortable=False),
    Column("state", "State", "state", sortable=False),
    Column("about", "About", sortable=False),
    Column("now", "Progress or reason", sortable=False),
)
REPORTS = (
    Column("created", "When", "time", link="url", sortable=False),
    Column("model", "Model", link="of_model", sortable=False),
    Column("figures", "Main metrics", sortable=False),
)


@page("/", "Home", section="")
async def home(visit: Visit) -> None:
    """Whoever comes in."""
    with title("Bedplate", f"Signed in as {visit.user} ({visit.role})."):
        pass
    with html.dl().classes("bp-tiles"):
        for name, where in COUNTED.items():
            with html.div():
                html.dt(name)
                with html.dd():
                    html.a(await _count(visit, where), href=place(where))
    with section("Where to begin"), html.div().classes("bp-cards bp-begin"):
        for name, where, permission, about in BEGINNINGS:
            with html.article().classes("bp-card"):
                html.h3(name)
                html.p(about).classes("bp-card-about")
                with html.div().classes("bp-card-foot"):
                    action(f"{name}…", place(where), why_not=not_allowed(visit, permission))
    with section("Running and waiting"):
        await _jobs(visit)
    with section("Newest evaluations"):
        await _evaluations(visit)


async def _count(visit: Visit, where: str) -> str:
    found = await visit.ws.connection.get(url_path(where), limit=MOST_COUNTED)
    return f"{len(found['items']):,}{'' if found.get('next') is None else ' and more'}"


async def _jobs(visit: Visit) -> None:
    """The first few, as they are now for as long as the page is open."""

    async def fetch(_: str | None) -> Page:
        found: list[Any] = []
        for state in ("running", "queued"):
            found += (await visit.ws.connection.get(url_path("jobs"), state=state, limit=MOST_RUNNING))["items"]
        return {"items": found[:MOST_RUNNING], "next": None}

    async def look() -> bool:
        await shown.look()
        return False

    shown = PagedTable(JOBS, name="Running and waiting", fetch=fetch, row=_job, nothing=_nothing)
    await shown.begin()
    with html.p():
        html.a("All jobs", href=place("jobs"))
    every(BETWEEN_SECONDS, look)


def _nothing() -> None:
    hint("Nothing runs or waits.")


def _job(job: Mapping[str, Any]) -> dict[str, Any]:
    about = {name: job[name] for name in ("id", "kind", "state")}
    return {**about, "url": place("jobs", str(job["id"])), "about": subject_of(job), "now": how_far(job)}


async def _evaluations(visit: Visit) -> None:
    found = (await visit.ws.connection.get(url_path("evaluations"), limit=NEWEST))["items"]
    if not found:
        hint("None yet.")
        return
    table(REPORTS, [_report(report) for report in found], name="Newest evaluations", page_rows=0)
    with html.p():
        html.a("All evaluations", href=place("evaluations"))


def _report(report: dict[str, Any]) -> dict[str, Any]:
    id_, model = str(report["id"]), str(report["model"])
    links = {"url": place("evaluations", id_), "of_model": place("models", model)}
    return {**links, "id": id_, "model": model, "created": report["created"], "figures": figures_text(report)}
