"""A plain table made row by row, for what a table of values cannot hold: buttons in rows, cells that unfold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nicegui import html, ui

__all__ = ["MOST_CHARACTERS", "SHOWN_CHARACTERS", "cell", "sheet"]

SHOWN_CHARACTERS = 200  # of a cell, before it is unfolded
MOST_CHARACTERS = 2000  # of a cell that was unfolded: what is longer is no reading


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


def cell(text: str, *, most: int = MOST_CHARACTERS) -> None:
    """A cell of text, cut after `most` characters; a long one begins folded."""
    with html.td():
        if len(text) <= SHOWN_CHARACTERS or most <= SHOWN_CHARACTERS:
            html.span(_cut(text, most))
            return
        with html.details():
            html.summary(f"{text[:SHOWN_CHARACTERS]}…")
            ui.label(_cut(text, most))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
