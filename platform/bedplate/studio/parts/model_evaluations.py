"""What was measured on a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bedplate.aio.models import Model
from bedplate.report_metrics import in_order
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.metric_table import figure_text
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.paged_table import turned_table
from bedplate.studio.parts.tables import Column
from bedplate.studio.paths import place

__all__ = ["evaluations", "figures_text", "main_figure"]

COLUMNS = (
    Column("created", "When", "time", link="url", sortable=False),
    Column("data", "Data", sortable=False),
    Column("split", "Part", sortable=False),
    Column("figures", "Main metrics", sortable=False),
    Column("id", "Evaluation", sortable=False),
)
MOST_FIGURES = 4


async def evaluations(model: Model) -> None:
    """The newest first."""
    with section("Evaluations"):
        rows = [_row(each) for each in (await model.lineage())["evaluations"]]
        if rows:
            await turned_table(COLUMNS, rows, name="Evaluations")
        else:
            empty("None yet.", action="Evaluate it", href=place("evaluate", model=model.ref))


def main_figure(report: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first of its main metrics in words, and where the report is; None where it holds no figure."""
    figure = next(iter(_figures(report)), "")
    of_data = f" on {report['data']}" if report["data"] else ""
    return (f"{figure}{of_data}", place("evaluations", str(report["id"]))) if figure else None


def figures_text(report: Mapping[str, Any]) -> str:
    """A few of its metrics, the main ones first."""
    return ", ".join([*_figures(report)][:MOST_FIGURES])


def _figures(report: Mapping[str, Any]) -> Iterable[str]:
    """The main ones before all others."""
    metrics = report["metrics"] if isinstance(report["metrics"], dict) else {}
    for name in in_order(report, metrics):
        if isinstance(metrics[name], int | float):
            yield f"{name} {figure_text(metrics[name])}"


def _row(report: Mapping[str, Any]) -> dict[str, Any]:
    return {**report, "figures": figures_text(report), "url": place("evaluations", str(report["id"]))}
