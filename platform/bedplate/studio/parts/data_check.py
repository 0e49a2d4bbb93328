"""The check of a dataset for a task: what is asked for, how far it is, what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import html, ui

from bedplate.aio.datasets import Dataset
from bedplate.studio.parts.findings import show_findings
from bedplate.studio.parts.headings import action
from bedplate.studio.parts.job_progress import JobProgress
from bedplate.studio.parts.live import every
from bedplate.studio.parts.mapping import check_columns, columns_of, guess, mapping
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate_registry.errors import Refused
from bedplate_registry.tasks import TASKS

__all__ = ["DataCheck"]

LOOK_SECONDS = 1.0
CHECKED = {task.name: task.title for task in TASKS.values() if task.metrics}  # there is nothing to compare others with


class DataCheck:
    """A form, and below it the job that came of it. Its id stands in the page's address, so that a reload shows it."""

    def __init__(self, visit: Visit, dataset: Dataset) -> None:
        self._visit, self._dataset = visit, dataset
        self._task = likely_task(dataset.columns)
        self._columns: dict[str, Any] = {}
        with html.div().classes("bp-panel bp-form"):
            task = ui.select(CHECKED, value=self._task, label="Task").props("outlined dense")
            task.on_value_change(lambda event: self._choose(str(event.value)))
            self._mapping = html.div()
            self._names = ui.input("Class names, where labels are the numbers 0, 1, 2 …: with commas")
            self._names.props("outlined dense")
            self._fix = ui.checkbox("Repair what can be repaired without a doubt, as a new version")
            why_not = "" if visit.may("train") or visit.may("batch") else f"the role {visit.role} may not"
            with html.div().classes("bp-actions"):
                action("Check the data", self._submit, primary=True, why_not=why_not)
        self._shown = html.div()
        self._choose(self._task)

    def watch(self, job_id: str) -> None:
        """Show a check: how far it is, and in the end what it found."""
        self._shown.clear()
        with self._shown:
            progress = html.div()
            found = html.div(**{"aria-live": "polite"})
            job_panel: list[JobProgress] = []

            async def look() -> bool:
                job = await self._visit.ws.jobs.get(job_id)
                if job.kind != "data-check":
                    raise Refused(f"{job_id} is no data check.", hint=f"See it at {place('jobs', job_id)}.")
                if not job_panel:
                    with progress:
                        html.a(job_id, href=place("jobs", job_id))
                        job_panel.append(JobProgress(job.data))
                job_panel[0].show(job.data)
                if job.state == "succeeded":
                    found.clear()
                    with found:
                        show_findings(self._visit, job.data)
                return job.is_final

            every(LOOK_SECONDS, look)

    def _choose(self, task: str) -> None:
        self._task, self._columns = task, {}
        self._mapping.clear()
        with self._mapping:
            mapping(task, self._dataset.columns, self._columns)

    async def _submit(self) -> None:
        check_columns(self._task, self._columns)
        names = [name.strip() for name in str(self._names.value or "").split(",") if name.strip()]
        body = {
            "task": self._task,
            "data": self._dataset.ref,
            "columns": columns_of(self._task, self._columns) or None,
            "class_names": names or None,
            "fix": True if self._fix.value else None,
        }
        job = await self._visit.ws.submit("data-check", body)
        ui.navigate.history.replace(place("datasets", self._dataset.ref, check=job.id))
        self.watch(job.id)


def likely_task(columns: Sequence[str]) -> str:
    """The first task all of whose columns are there by name."""
    for name in CHECKED:
        found = guess(name, columns)
        if all(key.name in found for key in TASKS[name].keys if key.required):
            return name
    return next(iter(CHECKED))
