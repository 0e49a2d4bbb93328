"""What a data check found: each finding with its rows, what to do about it, and what was repaired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.headings import section
from bedplate.studio.parts.job_spec import value_text
from bedplate.studio.parts.notices import hint

__all__ = ["show_check"]

SHOWN_LABELS = 30
TONES = {"error": "bad", "warning": "busy"}


def show_check(report: Mapping[str, Any], fixed: Mapping[str, Any] | None = None) -> None:
    """The sections of a report as the job gives it; `fixed` where copies were repaired."""
    with section("Findings", name="findings"):
        if report["is_good"]:
            hint("Nothing here keeps a training from running." if report["findings"] else "Nothing was found.")
        for finding in report["findings"]:
            _finding(finding)
    if fixed:
        with section("Repairs", name="repairs"):
            _repairs(fixed)
    with section("The data", name="splits"), html.div().classes("bp-two"):
        for split, about in report["splits"].items():
            _split(split, about)


def _finding(finding: Mapping[str, Any]) -> None:
    severity = str(finding["severity"])
    with html.div().classes("bp-panel"):
        with html.div().classes("bp-row"):
            html.span(severity).classes(f"bp-state bp-{TONES.get(severity, 'calm')}")
            ui.label(f"{finding['message']}").classes("bp-strong")
            hint(f"{finding['count']:,} in all" + (f", column {finding['key']}" if finding.get("key") else ""))
        for split, rows in finding["rows"].items():
            if rows:
                more = " …" if finding["count"] > len(rows) else ""
                ui.label(f"{split}: {'row' if len(rows) == 1 else 'rows'} {', '.join(map(str, rows))}{more}")
        for detail in finding["details"]:
            ui.label(detail).classes("bp-code")
        hint(f"{finding['remedy']}{' Can be repaired by itself (fix).' if finding.get('fixable') else ''}")


def _repairs(fixed: Mapping[str, Any]) -> None:
    with html.ul():
        for change in fixed.get("changes", ()):
            html.li(value_text({name: value for name, value in change.items() if value not in (None, "", [])}))
        for split, why in (fixed.get("left_out") or {}).items():
            html.li(f"{split} was left out: {why}")


def _split(split: str, about: Mapping[str, Any]) -> None:
    with html.div().classes("bp-panel"):
        html.h3(f"{split}: {about['rows']:,} rows")
        for key, spread in (about.get("lengths") or {}).items():
            ui.label(f"Length of {key}: {spread['min']} to {spread['max']}, median {spread['median']}")
        if labels := about.get("labels"):
            most, shown = max(labels.values()), list(labels.items())[:SHOWN_LABELS]
            for label, count in shown:
                _bar(label, count, most)
            if about.get("label_count", 0) > len(shown):
                hint(f"and {about['label_count'] - len(shown):,} more labels")


def _bar(label: str, count: int, most: int) -> None:
    with html.div().classes("bp-bar-line"):
        ui.label(label)
        with html.div().classes("bp-bar-track"):
            html.div().classes("bp-bar-fill").style(f"width: {100 * count / most:.1f}%")
        ui.label(f"{count:,}")
