"""What a report tells beside its figures: slices, what changed against another model, curves, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import html, ui

from bedplate.report_charts import calibration_chart, precision_recall_chart, roc_chart
from bedplate.report_html import Html
from bedplate.report_parts import SLICED, changes_text
from bedplate.studio.parts.metric_table import figure_text, metric_table
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.report_rows import rows_table

__all__ = ["show_calibration", "show_changed", "show_curves", "show_slices"]

CHANGES = {"fixed": "Fixed", "broken": "Broken"}
BINS = ("low", "high", "rows", "confidence", "accuracy")
CHARTS: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], Html]] = {
    "precision_recall": precision_recall_chart,
    "roc": roc_chart,
}


def show_changed(changed: Mapping[str, Any]) -> None:
    """How many rows were fixed and broken, and a table of examples of each."""
    hint(changes_text(changed))
    for kind, heading in CHANGES.items():
        rows = [
            {name: value for name, value in row.items() if name != "change"}
            for row in changed["examples"]
            if row.get("change") == kind
        ]
        if rows:
            more = f" ({len(rows)} of {changed[kind]:,})" if changed.get(kind, 0) > len(rows) else ""
            html.h3(f"{heading}{more}").classes("bp-below")
            rows_table(rows, name=heading)


def show_slices(slices: Sequence[Mapping[str, Any]]) -> None:
    """A table for each thing that rows were sliced by: a column for each part, with how many rows it has."""
    for by in dict.fromkeys(str(one.get("by")) for one in slices):
        heading = SLICED.get(by, f"By {by}")
        group = [one for one in slices if str(one.get("by")) == by]
        html.h3(heading).classes("bp-below")
        names = list(dict.fromkeys(name for one in group for name in one.get("metrics") or {}))
        metric_table(
            {name: {_slice(one): (one.get("metrics") or {}).get(name) for one in group} for name in names},
            name=heading,
            intervals={name: {_slice(one): (one.get("confidence") or {}).get(name) for one in group} for name in names},
            of="Slice",
        )


def show_curves(curves: Mapping[str, Any]) -> None:
    """Precision over recall, and ROC, of each label."""
    with html.div().classes("bp-two"):
        for name, chart in CHARTS.items():
            if curves.get(name):
                _show(chart(curves[name]))


def show_calibration(calibration: Mapping[str, Any]) -> None:
    """How often the model was right where it was so sure."""
    error = figure_text(calibration.get("expected_calibration_error"))
    hint(f"Expected calibration error: {error}. Below the diagonal it is too sure.")
    with html.div().classes("bp-two"):
        _show(calibration_chart(calibration["bins"]))
        rows_table(calibration["bins"], name="Calibration", keys=BINS)


def _show(chart: Html) -> None:
    with html.div().classes("bp-panel"):
        ui.html(chart, sanitize=False)  # made of escaped elements alone, in which nothing runs


def _slice(one: Mapping[str, Any]) -> str:
    return f"{one.get('value')} ({one.get('rows'):,} rows)"
