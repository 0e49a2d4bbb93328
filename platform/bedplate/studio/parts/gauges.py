"""How full something is, as a bar with words: cores, memory, a graphics card."""

from __future__ import annotations

from nicegui import html, ui

__all__ = ["Gauge"]


class Gauge:
    """A bar called `name`, brought up to date in place."""

    def __init__(self, name: str) -> None:
        with html.div().classes("bp-gauge"):
            with html.div().classes("bp-gauge-words"):
                ui.label(name).classes("bp-strong")
                self._words = ui.label()
            self._track = html.div(role="meter", **{"aria-label": name, "aria-valuemin": "0", "aria-valuemax": "100"})
            with self._track.classes("bp-bar-track"):
                self._fill = html.div().classes("bp-bar-fill")
            self._about = ui.label().classes("bp-hint")

    def show(self, used: float, total: float, words: str, about: str = "") -> None:
        """`used` of `total` fills the bar; `words` say it, and `about` whatever else there is to say."""
        percent = round(100 * used / total, 1) if total else 0.0
        self._words.text, self._about.text = words, about
        self._fill.style(f"width: {min(100.0, max(0.0, percent))}%")
        self._track.props["aria-valuenow"] = f"{percent:g}"
        self._track.props["aria-valuetext"] = words
        self._track.update()
