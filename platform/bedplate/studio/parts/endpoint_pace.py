"""How much an endpoint has to do: requests, errors and latency, for as long as somebody looks."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from nicegui import html, ui

from bedplate.endpoint_statistics import Counted, Pace, pace
from bedplate.studio.parts.notices import hint
from bedplate.studio.theme import CHART_COLORS
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

__all__ = ["EndpointPace"]

KEPT_LOOKS = 150


class EndpointPace:
    """Figures of the last moment, their curves since the page came, and the sums since the gateway started."""

    def __init__(self, visit: Visit, endpoint: str) -> None:
        self._connection, self._path = visit.ws.connection, url_path("endpoints", endpoint, "statistics")
        self._last: tuple[float, Counted] | None = None
        self._seen: deque[tuple[float, Pace]] = deque(maxlen=KEPT_LOOKS)
        with html.dl().classes("bp-tiles"):
            self._rate, self._failed = _tile("Requests a second"), _tile("Errors a second")
            self._p50, self._p95 = _tile("Median (p50)"), _tile("p95")
            self._open = _tile("Being answered")
        self._sums = hint("")
        with html.div().classes("bp-two"):
            self._rates = _Curve("Requests a second", ("requests", "errors"))
            self._times = _Curve("Latency in milliseconds", ("p50", "p95"))

    async def look(self) -> None:
        """Ask for the sums, and show what came since the last look."""
        counted = Counted.of_json(await self._connection.get(self._path))
        now = time.monotonic()
        if self._last is not None and now > self._last[0]:
            self._show(now, pace(counted, self._last[1], now - self._last[0]))
        self._last = (now, counted)
        self._open.text = f"{counted.open:,}"
        self._sums.text = _in_words(counted)

    def _show(self, now: float, came: Pace) -> None:
        self._seen.append((now, came))
        self._rate.text, self._failed.text = f"{came.requests_per_second:,.3g}", f"{came.failed_per_second:,.3g}"
        self._p50.text, self._p95.text = _duration(came.p50), _duration(came.p95)
        ago = [round(at - now, 1) for at, _ in self._seen]
        seen = [one for _, one in self._seen]
        self._rates.draw(ago, [one.requests_per_second for one in seen], [one.failed_per_second for one in seen])
        self._times.draw(ago, [_ms(one.p50) for one in seen], [_ms(one.p95) for one in seen])


class _Curve:
    """Two lines over the seconds before now."""

    def __init__(self, title: str, names: tuple[str, str]) -> None:
        with html.div().classes("bp-panel"):
            html.h3(title)
            self._chart = ui.echart(_options(names), renderer="svg").classes("bp-chart bp-low")
            self._chart.props["role"], self._chart.props["aria-label"] = "img", f"{title}, while this page is open"

    def draw(self, seconds: list[float], *values: list[float | None]) -> None:
        for series, line in zip(self._chart.options["series"], values, strict=True):
            series["data"] = [list(point) for point in zip(seconds, line, strict=True)]
        self._chart.update()


def _tile(name: str) -> ui.label:
    with html.div():
        html.dt(name)
        with html.dd():
            return ui.label("–")


def _in_words(counted: Counted) -> str:
    if not counted.requests:
        return "Nobody has asked anything since the gateway started."
    ended = f"{counted.refused:,} refused, {counted.failed:,} failed"
    times = f"half within {_duration(counted.quantile(0.5))}, 95 % within {_duration(counted.quantile(0.95))}"
    what = "1 request" if counted.requests == 1 else f"{counted.requests:,} requests"
    return f"{what} since the gateway started: {ended}; {times}."


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:,.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"


def _options(names: tuple[str, str]) -> dict[str, Any]:
    line = {"type": "line", "symbolSize": 4, "lineStyle": {"width": 2}, "data": []}
    return {
        "animation": False,
        "color": list(CHART_COLORS),
        "grid": {"left": 8, "right": 16, "top": 36, "bottom": 8, "containLabel": True},
        "legend": {"top": 0, "left": 0},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "value", "max": 0, "axisLabel": {"formatter": "{value} s"}},
        "yAxis": {"type": "value", "min": 0},
        "series": [{**line, "name": name} for name in names],
    }
