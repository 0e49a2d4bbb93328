"""What a check of data came to, with the rows that it names, and the copy that was repaired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.headings import section
from bedplate.studio.parts.job_findings import show_check
from bedplate.studio.parts.notices import problem
from bedplate.studio.parts.preview import rows_sheet
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.errors import BedplateError

__all__ = ["show_findings"]

MOST_ROWS = 10  # of one finding


def show_findings(visit: Visit, job: Mapping[str, Any]) -> None:
    """Of a data-check job that succeeded, as REST tells of it."""
    result = job["result"]
    fixed = result["fixed"]
    if fixed and fixed["datasets"]:
        with html.div().classes("bp-calmbox"):
            for split, ref in fixed["datasets"].items():
                ui.label(f"A repaired copy was made, of {fixed['rows'][split]:,} rows:")
                html.a(ref, href=place("datasets", ref))
    show_check(result["report"], fixed)
    named = [finding for finding in result["report"]["findings"] if any(finding["rows"].values())]
    if named:
        with section("Rows in question", f"The first {MOST_ROWS} of each finding, as they are in the data."):
            for finding in named:
                _finding(visit, finding, job["spec"]["splits"])


def _finding(visit: Visit, finding: Mapping[str, Any], splits: Mapping[str, Any]) -> None:
    """Its rows are asked for when it is unfolded, once."""

    async def unfold() -> None:
        if seen:
            return
        seen.append(True)
        for split, numbers in finding["rows"].items():
            if ref := splits[split].get("dataset"):
                with body:
                    await _rows(visit, ref, numbers[:MOST_ROWS], f"{finding['code']} in {split}")

    seen: list[bool] = []
    key = f", {finding['key']}" if finding["key"] else ""
    fold = ui.expansion(f"{finding['code']}{key}", on_value_change=unfold).classes("bp-fold")
    with fold:
        body = html.div()


async def _rows(visit: Visit, ref: str, numbers: list[int], name: str) -> None:
    """One by one, for they may lie far apart."""
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        for number in numbers:
            path = url_path("datasets", *ref.split("/"), "preview")
            body = await visit.ws.connection.get(path, limit=1, after=number - 1)
            found += [(number, row) for row in body["items"]]
    except BedplateError as exc:
        problem(exc)
    columns = list(dict.fromkeys(column for _, row in found for column in row))
    if found:
        rows_sheet(columns, found, name=name)
