"""A plain table made row by row, for what a table of values cannot hold: buttons in rows, cells that unfold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nicegui import html, ui

__all__ = ["cell", "sheet"]

SHOWN_CHARACTERS = 200  # of a cell, before it is unfolded
MOST_CHARACTERS = 20_000  # of a cell that was unfolded: what is longer is no reading


@contextmanager
def sheet(headings: Sequence[str], *, name: str) -> Iterator[None]:
    """A table called `name`; what is made inside are its rows. One that is too wide is scrolled in its own place."""
    with (
        html.div(role="region", tabindex="0", **{"aria-label": name}).classes("bp-scroll bp-sheet"),
        html.table(),
    ):
        with html.thead(), html.tr():
            for heading in headings:
                html.th(heading, scope="col")
        with html.tbody():
            yield


def cell(text: str) -> None:
    """A cell of text; a long one begins folded."""
    with html.td():
        if len(text) <= SHOWN_CHARACTERS:
            html.span(text)
            return
        with html.details():
            html.summary(f"{text[:SHOWN_CHARACTERS]}…")
            ui.label(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}… ({len(text):,} characters)"
