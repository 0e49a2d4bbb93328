"""The trials of a sweep: a line each through the settings that were searched over to what it came to, and a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.headings import section
from bedplate.studio.parts.job_spec import value_text
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.tables import Column, table
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.sweep_trials import ENDED_EARLY, Trial, best_of, table_of

__all__ = ["Trials", "parallel_options"]

MANY = 100  # trials; more are asked for when one more of them has ended, and not at every look
MOST = 1000  # as many as a sweep has
WORST, BEST = (196, 104, 47), (42, 127, 121)  # of the colors of charts, told apart by the color-blind too
NO_FIGURE = "#8a8f8d"
FACTOR = 50  # between the ends of values from where on they are shown by factors
THIN = {name: {"lineStyle": {"width": 1.2}} for name in ("axisLine", "axisTick")}  # 1 would be left to the page
COLUMNS = (
    Column("trial", "Trial", "number", link="url"),
    Column("state", "State", "state"),
    Column("tried", "Settings"),
    Column("metric", "Metric", "number"),
    Column("seconds", "Seconds", "number"),
    Column("why", "Remark"),
)


class Trials:
    """A section of a sweep's page. `look` takes the sweep as it is now."""

    def __init__(self, visit: Visit) -> None:
        self._visit, self._place = visit, html.div()
        self._shown: list[Trial] = []
        self._done: object = None

    async def look(self, sweep: Mapping[str, Any]) -> None:
        """Show its trials as they are, those of a sweep that runs too."""
        done = (sweep["state"], sweep["attempt"], (sweep.get("progress") or {}).get("done"))
        if done == self._done and (sweep["is_final"] or len(self._shown) > MANY):
            return
        self._done = done
        found = await self._visit.ws.jobs.list(parent=sweep["id"], archived=None, limit=MOST)
        trials = table_of([job.data for job in reversed(found)], sweep["spec"])
        if trials and trials != self._shown:
            self._shown = trials
            self._place.clear()
            with self._place:
                _show(trials, sweep["spec"])


def _show(trials: Sequence[Trial], spec: Mapping[str, Any]) -> None:
    greater, metric = bool(spec["greater_is_better"]), str(spec["metric"])
    best = best_of(trials, greater_is_better=greater)
    rows = [
        {
            **asdict(trial),
            "id": str(trial.trial),
            "url": place("jobs", trial.job),
            "tried": value_text(trial.settings),
            "why": (trial.error or {}).get("message", "the best" if trial == best else ""),
        }
        for trial in trials
    ]
    with section("Trials", name="trials"):
        side = "highest" if greater else "lowest"
        hint(f"Compared by {metric} on the validation rows: the {side} is the best.")
        with html.div().classes("bp-panel"):
            _draw(trials, best, spec)
        table(COLUMNS, rows, name="Trials")


def _draw(trials: Sequence[Trial], best: Trial | None, spec: Mapping[str, Any]) -> None:
    chart = ui.echart(parallel_options(trials, best, spec), renderer="svg").classes("bp-chart")
    # The words of an axis lie on the lines: a rim in the color of the ground parts them. Lines have their own strokes.
    chart.style("stroke: var(--paper); stroke-width: 4px; paint-order: stroke")
    chart.props["role"] = "img"
    names = ", ".join([*spec["search"], spec["metric"]])
    told = f"; the best is trial {best.trial} with {best.metric:.4g}" if best else ""
    chart.props["aria-label"] = f"{len(trials)} trials as lines through {names}{told}. The table below has the same."
    hint(
        "A line is a trial, orange where its metric is the worst and green where it is the best; the thick one is the"
        " best. Dashed: pruned, stopped, cancelled or failed; gray: it has no metric yet."
    )


def parallel_options(trials: Sequence[Trial], best: Trial | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The chart of ECharts: an axis for each setting, and one for the metric, whose better end is above."""
    columns = {name: [trial.settings[name] for trial in trials] for name in spec["search"]}
    axes = [_axis(name, values, spec["search"][name]) for name, values in columns.items()]
    figures = [trial.metric for trial in trials if trial.metric is not None]
    metric: dict[str, Any] = {"type": "value", "scale": True, "name": spec["metric"]}
    if not spec["greater_is_better"]:
        metric |= {"inverse": True, "nameLocation": "start"}  # which is above then: below it would be cut off
    ends = (min(figures), max(figures)) if figures else (0.0, 0.0)
    worst, top = ends if spec["greater_is_better"] else ends[::-1]
    order = sorted(trials, key=lambda trial: trial == best)  # the best one above the others
    return {
        "animation": False,
        "parallel": {"left": 56, "right": 64, "top": 40, "bottom": 16},
        "parallelAxis": [{"dim": at, **THIN, **axis} for at, axis in enumerate([*axes, metric])],
        "series": [_series(trial, columns, trial == best, _share(trial.metric, worst, top)) for trial in order],
    }


def _axis(name: str, values: Sequence[Any], searched: Any) -> dict[str, Any]:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return {"type": "category", "name": name, "data": list(dict.fromkeys(value_text(value) for value in values))}
    low, high = min(values), max(values)
    if isinstance(searched, Mapping):
        by_factors = searched["scale"] == "log"
        low, high = searched["from"], searched["to"]
        return {"type": "log" if by_factors else "value", "name": name, "min": low, "max": high}
    if low > 0 and high / low >= FACTOR:
        return {"type": "log", "name": name, "min": low, "max": high}
    return {"type": "value", "name": name, "scale": True}


def _series(trial: Trial, columns: Mapping[str, Sequence[Any]], is_best: bool, share: float | None) -> dict[str, Any]:
    """One line. Values of an axis of words are told as the words that it has."""
    numbers = {name for name, values in columns.items() if all(type(value) in (int, float) for value in values)}
    at = [trial.settings[name] if name in numbers else value_text(trial.settings[name]) for name in columns]
    unended = (*ENDED_EARLY, "failed", "cancelled")
    line = {"width": 4 if is_best else 1.5, "opacity": 1 if is_best else 0.8, "color": _color(share)}
    return {
        "type": "parallel",
        "name": f"trial {trial.trial}",
        "lineStyle": {**line, "type": "dashed" if trial.state in unended else "solid"},
        "data": [[*at, "-" if trial.metric is None else trial.metric]],
    }


def _share(value: float | None, worst: float, best: float) -> float | None:
    """How far a figure is on the way from the worst to the best, from 0 to 1."""
    if value is None or not math.isfinite(value):
        return None
    return 1.0 if best == worst else (value - worst) / (best - worst)


def _color(share: float | None) -> str:
    if share is None:
        return NO_FIGURE
    mixed = [round(low + share * (high - low)) for low, high in zip(WORST, BEST, strict=True)]
    return f"rgb({mixed[0]}, {mixed[1]}, {mixed[2]})"
