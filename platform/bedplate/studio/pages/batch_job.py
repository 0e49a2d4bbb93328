"""One batch job: how far it is, then the rows that it scored, to look at and to download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html

from bedplate.studio.frame import page
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import action, section, title
from bedplate.studio.parts.job_progress import JobProgress
from bedplate.studio.parts.job_words import data_text
from bedplate.studio.parts.live import every
from bedplate.studio.parts.preview import Preview, rounded
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.errors import Refused

LOOK_SECONDS = 1.0


@page("/batch/jobs/{job_id}", "Batch job {job_id}", section="Batch")
async def batch_job(visit: Visit, job_id: str) -> None:
    """It is looked at until it has ended."""
    job = await visit.ws.jobs.get(job_id)
    if job.kind != "batch":
        raise Refused(f"{job_id} is no batch job.", hint=f"See it at {place('jobs', job_id)}.")

    async def look() -> bool:
        await job.refresh()
        progress.show(job.data)
        if job.state == "succeeded":
            rows.clear()
            with rows:
                await _rows(visit, job.data)
        return job.is_final

    spec = job.data["spec"]
    with title(spec["output"], f"Rows of {data_text(spec['input'])}, scored by {spec['model']}."):
        action("The job, with its log", place("jobs", job_id))
        action("Score another file", place("batch", "new", model=spec["model"]))
    progress = JobProgress(job.data)
    rows = html.div()
    with section("What was asked for"), html.div().classes("bp-panel"):
        _spec(spec)
    every(LOOK_SECONDS, look)


def _spec(spec: Mapping[str, Any]) -> None:
    dataset = spec["input"].get("dataset")
    threshold = spec["error_threshold"]
    facts(
        (
            ("Model", (spec["model"], place("models", spec["model"]))),
            ("Task", spec["task"]),
            ("Rows from", (dataset, place("datasets", dataset)) if dataset else data_text(spec["input"])),
            ("Columns", ", ".join(f"{key} from {column}" for key, column in spec["columns"].items())),
            *((name, str(value)) for name, value in spec["parameters"].items()),
            ("Bad rows allowed", "any number, each with its reason" if threshold < 0 else f"{threshold:,}"),
            ("Device", spec["device"]),
        )
    )


async def _rows(visit: Visit, job: Mapping[str, Any]) -> None:
    result, path = job["result"], url_path("jobs", job["id"], "outputs", job["result"]["output"])

    async def fetch(after: int, limit: int) -> dict[str, Any]:
        return await visit.ws.connection.get(f"{path}/preview", limit=limit, after=after)

    bad = f" {result['errors']:,} could not be scored: the reason stands beside each." if result["errors"] else ""
    cut = f" {result['truncated']:,} were longer than the model reads, and cut." if result["truncated"] else ""
    pace = f" It took {result['seconds']:,.1f} s." if result.get("seconds") is not None else ""
    with section("Scored rows", f"{result['rows']:,} rows.{bad}{cut}{pace}"):
        with html.div().classes("bp-actions"):
            html.a(f"Download {result['output']}", href=path, download=result["output"]).classes("bp-button bp-primary")
        first = await fetch(0, 1)
        columns = list(dict.fromkeys(column for row in first["items"] for column in row))
        await Preview(fetch, columns, result["rows"], name="Scored rows", read=rounded).begin()
