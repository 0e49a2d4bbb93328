"""The figures that a training logs, as curves: all of its history at first, and then only the points that come."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.notices import hint
from bedplate.studio.theme import CHART_COLORS

__all__ = ["Curves", "RunCurves"]

MOST_POINTS = 4000  # of one curve when a page comes; a longer one is drawn by every second, third … of its points
BESIDE = ("step", "attempt", "epoch", "time")  # what a line says of itself
# Adds points to what the browser has drawn already. The chart may still be on its way, or have come with some of them:
# each goes to its own place.
ADD = """(function add(tries) {
  const chart = getElement(%d)?.chart;
  if (!chart) { if (tries) setTimeout(() => add(tries - 1), 100); return; }
  const came = %s, places = %s;
  const grown = (one, at) => ({data: one.data.slice(0, places[at]).concat(came[at])});
  chart.setOption({series: chart.getOption().series.map(grown)});
})(100)"""

Point = tuple[float, float]


class Curves:
    """One chart for each group of figures. `add` takes lines of metrics, each once, in their order."""

    def __init__(self) -> None:
        self._place = html.div().classes("bp-two")
        self._charts: dict[str, _Chart] = {}

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Draw these too."""
        came: dict[str, dict[str, list[Point]]] = {}
        for line in lines:
            for name, value in _figures(line):
                came.setdefault(group_of(name), {}).setdefault(name, []).append((line["step"], value))
        for group, series in came.items():
            if group not in self._charts:
                with self._place:
                    self._charts[group] = _Chart(group)
            self._charts[group].add(series)

    def clear(self) -> None:
        """Begin anew: another attempt may have taken steps again."""
        self._place.clear()
        self._charts.clear()


class RunCurves:
    """One chart for each figure, with a curve for each run."""

    def __init__(self) -> None:
        self._place = html.div().classes("bp-two")
        self._charts: dict[str, _Chart] = {}

    def add(self, run: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """The figures of one more run, whole. Of a step that two attempts took the later one counts."""
        points: dict[str, dict[float, float]] = {}
        for line in lines:
            for name, value in _figures(line):
                points.setdefault(name, {})[line["step"]] = value
        for name, by_step in points.items():
            if name not in self._charts:
                with self._place:
                    self._charts[name] = _Chart(name.replace("_", " "))
            self._charts[name].add({run: sorted(by_step.items())})


def _figures(line: Mapping[str, Any]) -> list[tuple[str, float]]:
    if not _is_number(line.get("step")):
        return []
    return [(name, value) for name, value in line.items() if name not in BESIDE and _is_number(value)]


class _Chart:
    """A few curves over the steps, with their last values in words below."""

    def __init__(self, title: str) -> None:
        self._points: dict[str, list[Point]] = {}
        with html.div().classes("bp-panel"):
            html.h3(title)
            self._chart = ui.echart(_options(), renderer="svg").classes("bp-chart")
            self._chart.props["role"], self._chart.props["aria-label"] = "img", f"{title} by step"
            self._last = hint("")

    def add(self, came: Mapping[str, list[Point]]) -> None:
        is_new = not came.keys() <= self._points.keys()
        for name, points in came.items():
            self._points.setdefault(name, []).extend(points)
        if is_new:  # whole curves
            self._chart.options["series"] = [_series(name, thinned(points)) for name, points in self._points.items()]
            self._chart.update()
        else:
            self._send(came)
        self._last.text = " · ".join(f"{name} {points[-1][1]:.4g}" for name, points in self._points.items())

    def _send(self, came: Mapping[str, list[Point]]) -> None:
        """The new points alone; what the server keeps of the chart grows with it, for whenever it is sent whole."""
        each = [came.get(name, []) for name in self._points]
        places = [len(one["data"]) for one in self._chart.options["series"]]
        for one, points in zip(self._chart.options["series"], each, strict=True):
            one["data"].extend(points)
        ui.run_javascript(ADD % (self._chart.id, json.dumps(each), json.dumps(places)))


def group_of(name: str) -> str:
    """The chart that a figure belongs to, by its name."""
    if name.endswith("loss"):
        return "Loss"
    if name == "learning_rate":
        return "Learning rate"
    if "per_second" in name:
        return "Throughput"
    if "memory" in name:
        return "Memory"
    return "Metrics" if name.startswith("eval_") else name.replace("_", " ").capitalize()


def thinned(points: list[Point]) -> list[Point]:
    """At most about MOST_POINTS of them, evenly, with the last."""
    every = -(-len(points) // MOST_POINTS)
    return points if every <= 1 else [*points[:-1:every], points[-1]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _series(name: str, points: list[Point]) -> dict[str, Any]:
    return {
        "type": "line",
        "name": name,
        "data": list(points),
        "showSymbol": len(points) < 30,
        "symbolSize": 5,
        "lineStyle": {"width": 2},
    }


def _options() -> dict[str, Any]:
    return {
        "animation": False,
        "color": list(CHART_COLORS),
        "grid": {"left": 8, "right": 16, "top": 36, "bottom": 8, "containLabel": True},
        "legend": {"type": "scroll", "top": 0, "left": 0},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "value", "minInterval": 1, "max": "dataMax"},
        "yAxis": {"type": "value", "scale": True},
        "series": [],
    }
