"""The main metrics of a report: a tile each, with the interval as figures and as a bar."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import html, ui

from bedplate.report_charts import interval_bar
from bedplate.report_html import figure_text
from bedplate.report_metrics import Tile

__all__ = ["show_tiles"]


def show_tiles(tiles: Sequence[Tile]) -> None:
    """Nothing where there are none."""
    if not tiles:
        return
    with html.dl().classes("bp-tiles bp-figures"):
        for tile in tiles:
            with html.div():
                html.dt(tile.metric)
                html.dd(figure_text(tile.value))
                _beside(tile)


def _beside(tile: Tile) -> None:
    if tile.interval:
        html.dd(f"{figure_text(tile.interval[0])} to {figure_text(tile.interval[1])}").classes("bp-tiny")
        if tile.whole:
            with html.dd():
                ui.html(interval_bar(tile.value, tile.interval, tile.whole, tile.other), sanitize=False)
    if tile.other is not None:
        html.dd(f"against {figure_text(tile.other)}").classes("bp-tiny")
