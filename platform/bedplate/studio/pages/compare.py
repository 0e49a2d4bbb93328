"""Runs beside each other: their curves in one chart, the settings in which they differ, and what each came to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from nicegui import html, ui

from bedplate.aio.jobs import Job
from bedplate.comparison import MOST_RUNS, Comparison, compare_runs
from bedplate.studio.frame import page
from bedplate.studio.parts.curves import RunCurves
from bedplate.studio.parts.headings import section, title
from bedplate.studio.parts.job_spec import value_text
from bedplate.studio.parts.job_words import subject_of
from bedplate.studio.parts.metric_table import metric_table
from bedplate.studio.parts.notices import empty, hint, problem
from bedplate.studio.parts.sheets import cell, sheet
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate_registry.errors import BedplateError

OFFERED = 200  # of the newest fine-tunes
PAUSE_SECONDS = 0.25  # between two choices, for the first of them to be shown


@page("/compare", "Compare runs", section="Jobs")
async def compare(visit: Visit, jobs: str = "") -> None:
    """`jobs`: ids with commas between them. They stand in the address, so that a link shows the same."""
    chosen = [name for name in jobs.split(",") if name]
    with title("Compare runs", "What is different about them, how each learned, and what it came to."):
        pass
    offered = await visit.ws.jobs.list(kind="finetune", limit=OFFERED)
    words = {name: name for name in chosen} | {job.id: f"{job.id}: {subject_of(job.data)}" for job in offered}
    if not words:
        empty("There is no fine-tune yet.", action="Start one", href=place("finetune"))
        return

    field = ui.select(words, value=chosen, multiple=True, label=f"Fine-tunes, up to {MOST_RUNS}")
    field.props("outlined dense use-chips").classes("bp-field")
    below = html.div()

    async def show() -> None:
        """Only what stands below the field: its list stays open."""
        chosen = list(field.value)
        draw = await _drawn(visit, chosen)
        if chosen == field.value:  # otherwise somebody has chosen on
            below.clear()
            with below:
                draw()

    async def choose() -> None:
        chosen = list(field.value)
        ui.navigate.history.replace(place("compare", jobs=",".join(chosen) or None))
        await asyncio.sleep(PAUSE_SECONDS)
        if chosen == field.value:
            await show()

    field.on_value_change(choose)
    await show()


async def _drawn(visit: Visit, chosen: Sequence[str]) -> Callable[[], object]:
    """What draws the comparison, or tells why there is none. All that takes time is done before."""
    if len(chosen) < 2:
        return partial(hint, "Choose two or more.")
    try:
        runs = [await visit.ws.jobs.get(name) for name in chosen]
        found = compare_runs([run.data for run in runs])
        return partial(_show, found, runs, [list(await run.metrics()) for run in runs])
    except BedplateError as exc:
        return partial(problem, exc)


def _show(found: Comparison, runs: Sequence[Job], logged: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    names = [_name(run.data) for run in runs]
    with section("What they came to", "validation/… and test/… say on which rows; a dash: it was not measured there."):
        columns = {
            name: {metric: values[at] for metric, values in found.metrics.items()} for at, name in enumerate(names)
        }
        metric_table(columns, name="Metrics")
    with section("In what they differ"):
        if found.settings:
            _settings_table(names, found.settings)
        else:
            hint("In nothing: model, data and settings are the same.")
    with section("Curves"):
        curves = RunCurves()
        for name, lines in zip(names, logged, strict=True):
            curves.add(name, lines)


def _name(job: Mapping[str, Any]) -> str:
    made = str((job.get("result") or {}).get("model") or job["spec"].get("output") or "")
    return f"{job['id']} {made}".strip()


def _settings_table(runs: Sequence[str], settings: Mapping[str, Sequence[Any]]) -> None:
    with sheet(("Setting", *runs), name="Settings that differ"):
        for name, values in settings.items():
            with html.tr():
                html.th(name, scope="row")
                for value in values:
                    cell(value_text(value))
