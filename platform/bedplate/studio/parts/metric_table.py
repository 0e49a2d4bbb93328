"""Metrics by name, one column for each model or set of rows that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import html

from bedplate.report_html import figure_text

__all__ = ["figure_text", "metric_table"]


def metric_table(
    columns: Mapping[str, Mapping[str, Any]],
    *,
    name: str,
    intervals: Mapping[str, Mapping[str, Sequence[float] | None]] | None = None,
    names: Sequence[str] = (),
    of: str = "Metric",
) -> None:
    """`columns`: title -> metrics. `intervals`: title -> metric -> [low, high], set in small letters beside it.

    `names` are the lines in their order, `of` says what they are.
    """
    names = names or [*dict.fromkeys(metric for metrics in columns.values() for metric in metrics)]
    with (
        html.div(tabindex="0", role="region", **{"aria-label": name}).classes("bp-scroll"),
        html.table().classes("bp-plain"),
    ):
        with html.thead(), html.tr():
            html.th(of, scope="col")
            for title in columns:
                html.th(title, scope="col")
        with html.tbody():
            for metric in names:
                with html.tr():
                    html.th(metric, scope="row")
                    for title, metrics in columns.items():
                        _cell(metrics.get(metric), ((intervals or {}).get(title) or {}).get(metric))


def _cell(value: Any, interval: Sequence[float] | None) -> None:
    with html.td():
        html.span(figure_text(value))
        if interval and len(interval) == 2:
            html.span(f"{figure_text(interval[0])} to {figure_text(interval[1])}").classes("bp-tiny")
