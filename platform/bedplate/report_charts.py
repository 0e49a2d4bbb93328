"""The charts of a report, as SVG: curves, calibration, an interval. Studio shows the same ones.

Their colors are the variables of the page that they stand in (--accent, --soft, --line).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate.report_html import Html, element, figure_text

__all__ = ["calibration_chart", "interval_bar", "precision_recall_chart", "roc_chart"]

COLORS = ("#2a7f79", "#c4682f", "#5a6fb0", "#a14a76", "#7a8b2d", "#8a6d3b")
DASHES = (None, "6 3", "2 2", "8 3 2 3")  # of the lines after the first six, the next six …
SIDE, LEFT, BOTTOM, TOP = 300.0, 46.0, 40.0, 10.0  # of the square that is drawn in, and what is around it
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Line:
    """One curve, its points from 0 to 1 both ways, and its area."""

    label: str
    points: tuple[tuple[float, float], ...]
    area: float | None


def precision_recall_chart(curves: Sequence[Mapping[str, Any]]) -> Html:
    """Precision over recall for each label, with its average precision."""
    lines = [_line(curve, "recall", "precision", "average_precision") for curve in curves]
    return _lines(lines, "Precision over recall", "Recall", "Precision", "average precision")


def roc_chart(curves: Sequence[Mapping[str, Any]]) -> Html:
    """True positives over false ones for each label, with the area; the diagonal is what guessing gives."""
    lines = [_line(curve, "false_positive_rate", "true_positive_rate", "area") for curve in curves]
    return _lines(lines, "ROC curve", "False positive rate", "True positive rate", "area", diagonal=True)


def calibration_chart(bins: Sequence[Mapping[str, Any]]) -> Html:
    """How often a model was right where it was so sure: bars on the diagonal are those of one that knows itself."""
    bars = []
    for one in bins:
        low, high, accuracy = (_share(one.get(name)) for name in ("low", "high", "accuracy"))
        if None not in (low, high, accuracy) and one.get("rows"):
            bars.append(_bar(low or 0.0, high or 0.0, accuracy or 0.0, f"{one['rows']:,} rows, {accuracy:.1%} right"))
    inside = [*_frame("Confidence", "Rightly answered"), *bars, _diagonal()]
    return element("figure", _svg(inside, "How often it was right, by confidence"), style="margin:0")


def interval_bar(value: Any, interval: Sequence[float], whole: float, other: Any = None) -> Html:
    """A figure with its interval on a scale from 0 to `whole`, and another model's figure as a hollow dot."""
    width, middle = 320.0, 8.0

    def x(figure: float) -> str:
        return f"{4 + (width - 8) * min(max(figure / whole, 0.0), 1.0):.1f}"

    low, high = interval
    parts = [
        element("line", x1=4, x2=width - 4, y1=middle, y2=middle, style="stroke:var(--line)", stroke_width=2),
        element("line", x1=x(low), x2=x(high), y1=middle, y2=middle, style="stroke:var(--accent)", stroke_width=6),
        element("circle", cx=x(value), cy=middle, r=3, style="fill:var(--ink)"),
    ]
    if _share(other, whole) is not None:
        hollow = "fill:none;stroke:var(--bad);stroke-width:2"
        parts.append(element("circle", cx=x(other), cy=middle, r=4, style=hollow))
    name = f"{figure_text(value)}, between {figure_text(low)} and {figure_text(high)}"
    box = f"0 0 {width:g} {2 * middle:g}"
    return element(
        "svg", *parts, viewBox=box, role="img", aria_label=name, style="display:block;width:100%;max-width:20rem"
    )


def _line(curve: Mapping[str, Any], across: str, up: str, area: str) -> Line:
    pairs = zip(curve.get(across) or (), curve.get(up) or (), strict=False)
    points = tuple((x, y) for one, other in pairs if None not in (x := _share(one), y := _share(other)))
    return Line(str(curve.get("label", "")), points, _share(curve.get(area)))  # type: ignore[arg-type]


def _lines(lines: Sequence[Line], name: str, across: str, up: str, area: str, *, diagonal: bool = False) -> Html:
    inside = [*_frame(across, up), *([_diagonal()] if diagonal else [])]
    inside += [_drawn(line, *_look(at)) for at, line in enumerate(lines) if line.points]
    return element("figure", element("h3", name), _svg(inside, name), _legend(lines, area), style="margin:0")


def _drawn(line: Line, color: str, dash: str | None) -> Html:
    way = " ".join(f"{'L' if at else 'M'}{_x(x):.1f} {_y(y):.1f}" for at, (x, y) in enumerate(line.points))
    title = element("title", line.label)
    return element("g", title, element("path", d=way, fill="none", stroke=color, stroke_width=2, stroke_dasharray=dash))


def _legend(lines: Sequence[Line], area: str) -> Html:
    def entry(at: int, line: Line) -> Html:
        color, dash = _look(at)
        stroke = element("line", x1=0, x2=24, y1=5, y2=5, stroke=color, stroke_width=3, stroke_dasharray=dash)
        swatch = element("svg", stroke, viewBox="0 0 24 10", width=24, height=10, aria_hidden="true")
        return element("li", swatch, f" {line.label}", *([f": {line.area:.4f}"] if line.area is not None else []))

    entries = (entry(at, line) for at, line in enumerate(lines))
    style = "list-style:none;margin:0;padding:0;font-size:.85rem;overflow-wrap:anywhere"
    return element("figcaption", element("div", f"Label: {area}"), element("ul", *entries, style=style))


def _look(at: int) -> tuple[str, str | None]:
    return COLORS[at % len(COLORS)], DASHES[at // len(COLORS) % len(DASHES)]


def _bar(low: float, high: float, accuracy: float, title: str) -> Html:
    left, top = _x(low) + 1, _y(accuracy)
    box = element(
        "rect",
        x=f"{left:.1f}",
        y=f"{top:.1f}",
        width=f"{max(_x(high) - left - 1, 1):.1f}",
        height=f"{_y(0) - top:.1f}",
        style="fill:var(--accent)",
        fill_opacity=0.7,
    )
    return element("g", element("title", title), box)


def _frame(across: str, up: str) -> list[Html]:
    """Grid, ticks, and the names of the two axes."""
    parts = []
    for tick in TICKS:
        x, y = f"{_x(tick):.1f}", f"{_y(tick):.1f}"
        parts.append(element("line", x1=x, x2=x, y1=f"{_y(0):.1f}", y2=f"{_y(1):.1f}", style="stroke:var(--line)"))
        parts.append(element("line", x1=f"{_x(0):.1f}", x2=f"{_x(1):.1f}", y1=y, y2=y, style="stroke:var(--line)"))
        parts.append(_text(f"{tick:g}", _x(tick), _y(0) + 14, "middle"))
        parts.append(_text(f"{tick:g}", _x(0) - 5, _y(tick) + 4, "end"))
    parts.append(_text(across, _x(0.5), _y(0) + 32, "middle"))
    turned = f"rotate(-90 12 {_y(0.5):.1f})"
    parts.append(_text(up, 12, _y(0.5), "middle", transform=turned))
    return parts


def _diagonal() -> Html:
    ends = {"x1": _x(0), "y1": _y(0), "x2": _x(1), "y2": _y(1)}
    return element("line", **ends, style="stroke:var(--soft)", stroke_dasharray="4 4")


def _text(text: str, x: float, y: float, anchor: str, **more: Any) -> Html:
    return element(
        "text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, font_size=11, style="fill:var(--soft)", **more
    )


def _svg(parts: Sequence[Html], name: str) -> Html:
    box = f"0 0 {LEFT + SIDE + TOP:g} {TOP + SIDE + BOTTOM:g}"
    style = "display:block;width:100%;max-width:24rem"
    return element("svg", *parts, viewBox=box, role="img", aria_label=name, style=style)


def _x(share: float) -> float:
    return LEFT + SIDE * share


def _y(share: float) -> float:
    return TOP + SIDE * (1 - share)


def _share(value: Any, whole: float = 1.0) -> float | None:
    """A number from 0 to `whole`; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and 0 <= value <= whole else None
