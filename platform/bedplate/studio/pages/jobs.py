"""All jobs: what runs, what waits and for what, what has ended. A page of them at a time, kept up to date."""

from __future__ import annotations

from nicegui import html, ui

from bedplate.jobs import LEGAL_MOVES
from bedplate.kinds import KINDS
from bedplate.studio.frame import page
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.job_list import JobList
from bedplate.studio.parts.live import every
from bedplate.studio.parts.notices import hint
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit

LOOK_SECONDS = 2.0
KIND_NAMES = {"": "All kinds", **{name: name for name in sorted(KINDS)}}
STATE_NAMES = {"": "All states", **{name: name for name in LEGAL_MOVES}}
OWNERS = {"": "Everybody's", "mine": "Mine"}
ARCHIVED = {"false": "Not archived", "true": "Archived", "all": "Archived too"}


@page("/jobs", "Jobs", section="Jobs")
async def jobs(
    visit: Visit, kind: str = "", state: str = "", whose: str = "", archived: str = "false", parent: str = ""
) -> None:
    """Filters stand in the address, so that a reload and a bookmark show the same."""
    sees_all = visit.may("operate")
    with title("Jobs", "Everybody's, the newest first." if sees_all else "Yours, the newest first."):
        may_train = "" if visit.may("train") else f"your role, {visit.role}, may not train"
        action("Fine-tune a model", place("finetune"), primary=True, why_not=may_train)

    async def choose() -> None:
        chosen = {"kind": kinds.value, "state": states.value, "archived": which.value, "parent": parent}
        await shown.choose(**chosen, owner=visit.user if owners.value == "mine" else "")

    async def filter_anew() -> None:
        plain = {"kind": kinds.value, "state": states.value, "whose": owners.value, "parent": parent}
        plain["archived"] = "" if which.value == "false" else which.value
        ui.navigate.history.replace(place("jobs", **{name: value or None for name, value in plain.items()}))
        await choose()

    with html.div().classes("bp-filters"):
        kinds = _select("Kind", KIND_NAMES, kind, filter_anew)
        states = _select("State", STATE_NAMES, state, filter_anew)
        owners = _select("Whose", OWNERS, whose, filter_anew)
        owners.visible = sees_all
        which = _select("Archived", ARCHIVED, archived, filter_anew)
    if parent:
        with html.div().classes("bp-row"):
            hint("Only the trials of")
            html.a(parent, href=place("jobs", parent))
            html.a("Show all jobs", href=place("jobs"))
    shown = JobList(visit)
    await choose()

    async def look() -> bool:
        await shown.look()
        return False

    every(LOOK_SECONDS, look)


def _select(label: str, options: dict[str, str], value: str, on_change: object) -> ui.select:
    known = value if value in options else next(iter(options))
    return ui.select(options, value=known, label=label, on_change=on_change).props("dense outlined")  # type: ignore[arg-type]
