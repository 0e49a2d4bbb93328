"""What was taken for what: a matrix where there are few labels, the commonest confusions where there are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import html

from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.tables import Column, table

__all__ = ["show_confusion"]

MOST_LABELS = 24  # of a matrix that can still be read
MOST_PAIRS = 200
PAIRS = (Column("right", "Right label"), Column("said", "What was said"), Column("rows", "Rows", "number"))
EACH = (
    Column("label", "Label"),
    Column("hits", "Rightly said", "number"),
    Column("wrong", "Wrongly said", "number"),
    Column("missed", "Missed", "number"),
    Column("rest", "Rightly not said", "number"),
)


def show_confusion(confusion: Mapping[str, Any]) -> None:
    """As reports have it: `labels` and a `matrix` of right labels by said ones, or `per_label` [[tn, fp], [fn, tp]]."""
    labels, matrix = [str(label) for label in confusion["labels"]], confusion.get("matrix") or []
    if confusion.get("per_label"):
        _show_each(labels, confusion["per_label"])
    elif len(labels) <= MOST_LABELS:
        _show_matrix(labels, matrix)
    else:
        _show_pairs(labels, matrix)


def _show_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    hint("Rows are right labels, columns what was said; the darker, the larger the share of its row.")
    with (
        html.div(tabindex="0", role="region", **{"aria-label": "Confusion matrix"}).classes("bp-scroll"),
        html.table().classes("bp-plain bp-confusion"),
    ):
        with html.thead(), html.tr():
            html.th("Right label", scope="col")
            for label in labels:
                html.th(label, scope="col")
        with html.tbody():
            for right, counts in zip(labels, matrix, strict=True):
                with html.tr():
                    html.th(right, scope="row")
                    for said, count in zip(labels, counts, strict=True):
                        share = 60 * count / max(sum(counts), 1)
                        tone = "--good" if said == right else "--bad"
                        cell = html.td(f"{count:,}")
                        cell.style(f"background: color-mix(in srgb, var({tone}) {share:.0f}%, transparent)")


def _show_pairs(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    hint(f"{len(labels)} labels are too many for a matrix: what was taken for what, the commonest first.")
    pairs = [
        (count, right, said)
        for right, counts in enumerate(matrix)
        for said, count in enumerate(counts)
        if count and right != said
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [
        {"id": f"{right}-{said}", "right": labels[right], "said": labels[said], "rows": count}
        for count, right, said in pairs[:MOST_PAIRS]
    ]
    table(PAIRS, rows, name="Confusions")


def _show_each(labels: Sequence[str], per_label: Sequence[Sequence[Sequence[int]]]) -> None:
    rows = [
        {"id": label, "label": label, "hits": hits, "wrong": wrong, "missed": missed, "rest": rest}
        for label, ((rest, wrong), (missed, hits)) in zip(labels, per_label, strict=True)
    ]
    table(EACH, rows, name="Confusions of each label")
