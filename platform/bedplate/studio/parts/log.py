"""The log of a worker: its last lines, those that come, and a search among them."""

from __future__ import annotations

from collections import deque
from typing import Any

from nicegui import html, ui

from bedplate.studio.visit import Visit
from bedplate.text_streams import Lines
from bedplate_serving.log_lines import readable

__all__ = ["Log"]

KEPT_LINES = 2000  # on a page; the whole log is a link away
MOST_PARTS = 200  # each look that finds something adds one; then they are joined
SCROLL = "const e = getHtmlElement(%d); if (e) e.scrollTop = e.scrollHeight;"


class Log:
    """A text that grows. `look` asks for what came since the last look, by its byte; nothing is sent twice."""

    def __init__(self, visit: Visit, path: str) -> None:
        """`path`: a route that takes `tail` and `offset`, and says in X-Bedplate-Offset where its answer begins."""
        self._connection, self._path = visit.ws.connection, path
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._feed, self._offset, self._parts = Lines(), -1, 0
        with html.div().classes("bp-filters"):
            self._search = ui.input("Search the log", on_change=self._show_all).props("dense outlined debounce=250")
            self._follow = ui.switch("Follow", value=True)
            html.a("The whole log", href=f"{path}?tail=1000000000", target="_blank")
            self._count = ui.label().classes("bp-hint")
        self._box = html.pre(role="log", tabindex="0", **{"aria-label": "Log"}).classes("bp-log")
        with self._box:
            html.span("Nothing was printed yet.").classes("bp-hint")

    async def look(self) -> None:
        """Read on."""
        where: dict[str, Any] = {"tail": KEPT_LINES} if self._offset < 0 else {"offset": self._offset}
        answer = await self._connection.request("GET", self._path, params=where)
        self._offset = int(answer.headers["X-Bedplate-Offset"]) + len(answer.content)
        if came := [readable(line) for line in self._feed.feed(answer.content)]:
            is_first = not self._lines
            self._lines += came
            if is_first or self._parts > MOST_PARTS:
                self._show_all()
            else:
                self._append(came)

    @property
    def _wanted(self) -> str:
        return str(self._search.value or "").strip().casefold()

    def _append(self, lines: list[str]) -> None:
        shown = [line for line in lines if self._wanted in line.casefold()]
        if shown:
            self._parts += 1
            with self._box:
                html.span("".join(f"{line}\n" for line in shown))
            self._scroll()
        self._tell_count()

    def _show_all(self) -> None:
        self._box.clear()
        self._parts = 0
        self._append(list(self._lines))

    def _tell_count(self) -> None:
        found = sum(self._wanted in line.casefold() for line in self._lines) if self._wanted else len(self._lines)
        have = f"the last {KEPT_LINES:,}" if len(self._lines) == KEPT_LINES else f"{len(self._lines):,}"
        lines = "line" if len(self._lines) == 1 else "lines"
        self._count.text = f"{found:,} of {have} {lines}" if self._wanted else f"{have} {lines}"

    def _scroll(self) -> None:
        if self._follow.value:
            ui.run_javascript(SCROLL % self._box.id)
