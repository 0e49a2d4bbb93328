"""Rows of a report: its classes, the rows that a model got wrong, and any other list of things with the same names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nicegui import html

from bedplate.report_parts import key_title
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.job_spec import value_text
from bedplate.studio.parts.metric_table import figure_text
from bedplate.studio.parts.tables import Column, table

__all__ = ["class_table", "rows_table", "show_wrong_rows"]

SHOWN_WRONG = 50
NONE = "(none)"  # an empty label or text says so, or it would look like one that is left out
SHORT = {"row", "text", "text_pair", "label", "predicted", "confidence"}
FIRST = ("row",)
LAST = (
    *("label", "precision", "recall", "f1", "support"),
    *("answers", "summary", "target", "tags", "before", "after", "predicted"),
    *("f1_score", "rougeL", "chrf", "wrong_words", "confidence", "n_best"),
)
TAGGED = ("tokens", "tags", "predicted")  # of a row of words: shown in place


def class_table(
    classes: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]] | None = None, of: str = ""
) -> None:
    """Figures of each class, with the F1 of another model beside them where there is one."""
    f1 = {str(one["label"]): one.get("f1") for one in others or ()}
    beside = f"F1 of {of}"
    rows = [{**one, **({beside: f1.get(str(one["label"]))} if f1 else {})} for one in classes]
    own = in_order(name for name in classes[0] if name != "label")
    rows_table(rows, name="Each class", keys=["label", *own, *([beside] if f1 else [])])


def rows_table(rows: Sequence[Mapping[str, Any]], *, name: str, keys: Sequence[str] = ()) -> None:
    """A table of whatever the rows have, or of those keys of theirs."""
    keys = keys or in_order(dict.fromkeys(key for row in rows for key in row))
    columns = [Column(f"c{at}", key_title(key), _kind(rows, key)) for at, key in enumerate(keys)]
    shown = [
        {"id": str(at), **{column.key: _plain(row.get(key)) for column, key in zip(columns, keys, strict=True)}}
        for at, row in enumerate(rows)
    ]
    table(columns, shown, name=name)


def show_wrong_rows(worst: Sequence[Mapping[str, Any]], name: str = "Wrong rows") -> None:
    """Each with what it is, what would have been right and what was said: in a table, where they are short."""
    if all(set(row) <= SHORT for row in worst):
        rows_table(worst, name=name)
        return
    for row in worst[:SHOWN_WRONG]:
        with html.div().classes("bp-panel"):
            html.h3(f"Row {row.get('row', '?')}")
            if "tokens" in row:
                _words(row)
            told = ("row", *(TAGGED if "tokens" in row else ()))
            facts((key_title(name), _fact(row[name])) for name in in_order(row) if name not in told)


def in_order(names: Iterable[str]) -> list[str]:
    """As people read them: which row, what it is, what is right, what was said, and how sure that was."""
    places = {name: place for place, name in enumerate((*FIRST, "", *LAST))}
    return sorted(names, key=lambda name: places.get(name, places[""]))


def _kind(rows: Sequence[Mapping[str, Any]], key: str) -> Any:
    return "number" if all(isinstance(row.get(key), int | float | None) for row in rows) else "text"


def _plain(value: Any) -> Any:
    return value_text(value) or NONE if isinstance(value, Mapping | list | bool) else value


def _words(row: Mapping[str, Any]) -> None:
    """Words with their tags; after a wrong one, what was said of it."""
    said = row.get("predicted") or []
    with html.p().classes("bp-words"):
        for at, (word, tag) in enumerate(zip(row["tokens"], row.get("tags") or [], strict=False)):
            guess = said[at] if at < len(said) else tag
            if guess == tag:
                html.span(f"{word} " if tag == "O" else f"{word} [{tag}] ")
            else:
                html.mark(f"{word} [{tag}, said: {guess}] ")


def _fact(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return "; ".join(", ".join(figure_text(part) for part in one.values()) for one in value)
    return figure_text(value) if isinstance(value, float) else value_text(value) or NONE
