"""A report on the terminal: a line for each metric, and what else is to be known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedplate.cli.output import Format, say, show

if TYPE_CHECKING:
    from bedplate.client import Report

__all__ = ["PageOption", "PredictionsOption", "check_files", "interval_text", "show_report", "write_files"]

MOST_SLICES = 20
PageOption = Annotated[Path | None, typer.Option("--page", help="A file for the report as one HTML page.")]
PredictionsOption = Annotated[
    Path | None, typer.Option("--predictions", help="A file for what the model says of each row, as Parquet.")
]


def check_files(page: Path | None, predictions: Path | None) -> None:
    """Before anything runs. Raises as `writable` does."""
    from bedplate.caller import page_target, parquet_target

    if page is not None:
        page_target(page)
    if predictions is not None:
        parquet_target(predictions)


def write_files(report: Report, page: Path | None, predictions: Path | None) -> None:
    """Each where it was asked for, and which it is."""
    if page is not None:
        say(f"Its page: {report.page(page)}")
    if predictions is not None:
        say(f"What it says of each row: {report.predictions(predictions)}")


def show_report(report: Mapping[str, Any], format: Format) -> None:
    """All of it as JSON; or its metrics as a table, and the rest in words."""
    if format is Format.json:
        show(report, format)
        return
    rows = _rows(report)
    show(rows, format, columns=_columns(rows))
    if slices := _slices(report):
        say("")
        show(slices[:MOST_SLICES], format, columns=_columns(slices))
        if len(slices) > MOST_SLICES:
            say(f"And {len(slices) - MOST_SLICES:,} more slices.")
    for line in _said(report):
        say(line)


def interval_text(ends: Any) -> str | None:
    """[low, high] in words; None where it is none."""
    return f"{ends[0]:.4g} to {ends[1]:.4g}" if ends else None


def _rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line a metric, the main ones first; what a report has of none of them is in none of the lines."""
    from bedplate.report_metrics import in_order

    against, difference = (report.get("against") or {}).get("metrics") or {}, report.get("difference") or {}
    found = []
    for name in in_order(report, report["metrics"]):
        apart = difference.get(name) or {}
        row = {"metric": name, report["kind"]: report["metrics"][name]}
        row["interval"] = interval_text((report.get("confidence") or {}).get(name))
        row |= {"against": against.get(name), "difference": apart.get("value")}
        row["its interval"] = interval_text([apart["low"], apart["high"]]) if "low" in apart else None
        row["p"] = apart.get("p_value")
        row |= {side: values.get(name) for side, values in (report.get("baselines") or {}).items()}
        found.append(row)
    return found


def _slices(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By the columns that somebody asked for, the main metrics of each value."""
    asked = (report.get("settings") or {}).get("slices") or ()
    names = {*asked, *(f"data.{name}" for name in asked)}
    return [
        {"by": one["by"], "value": one["value"], "rows": one["rows"], **one["metrics"]}
        for one in report.get("slices") or ()
        if one["by"] in names
    ]


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those that any of them has a value in."""
    return [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if any(row.get(name) is not None for row in rows)
    ]


def _said(report: Mapping[str, Any]) -> Iterator[str]:
    from bedplate.report_metrics import P_VALUE

    changed = report.get("changed")
    if changed:
        other = (report.get("against") or {}).get("model") or "the other one"
        yield f"Against {other}: {changed.get('fixed', 0):,} rows fixed, {changed.get('broken', 0):,} broken."
    if report.get("difference"):
        yield P_VALUE
    reasons: dict[str, list[str]] = {}
    for name, why in (report.get("not_computed") or {}).items():
        reasons.setdefault(str(why), []).append(name)
    yield from (f"Not computed: {', '.join(names)}. {why}" for why, names in reasons.items())
    yield from (f"Noted: {note}" for note in report.get("notes") or ())
    yield f"The whole report: bedplate evaluations show {report['id']} --page report.html"
