"""Which rows a model has right that another one had wrong, and the other way round."""

from __future__ import annotations

from typing import Any

from .judged import JudgedRows, RowPrediction
from .shown import CUT, shown_text

__all__ = ["changes"]

MOST_EXAMPLES = 50  # of each kind
ROUNDING = 1e-9  # .6 - .5 is less than .1
MOST_ITEMS = 60  # of a list, such as the words of a row


def changes(before: JudgedRows, after: JudgedRows, target: str) -> dict[str, Any]:
    """{"fixed", "broken", "examples"} from one model to another on the same rows; examples are in their order.

    A row is fixed where it was wrong and is right now. Of texts, which are neither, a row is fixed where its score rose
    by the task's margin. `target` is what an example calls the right answer.
    """
    found: dict[str, list[dict[str, Any]]] = {"fixed": [], "broken": []}
    counts = {"fixed": 0, "broken": 0}
    for old, new in zip(before.row_predictions(), after.row_predictions(), strict=True):
        change = _change(old, new, after.margin)
        if not change:
            continue
        counts[change] += 1
        if len(found[change]) < MOST_EXAMPLES:
            found[change].append(_example(old, new, target) | {"change": change})
    return {**counts, "examples": [*found["fixed"], *found["broken"]]}


def _change(old: RowPrediction, new: RowPrediction, margin: float) -> str:
    """`fixed`, `broken` or nothing."""
    if old.right is None or new.right is None:
        moved = (new.score or 0.0) - (old.score or 0.0)
        return ("fixed" if moved > 0 else "broken") if abs(moved) >= margin - ROUNDING else ""
    if old.right == new.right:
        return ""
    return "fixed" if new.right else "broken"


def _example(old: RowPrediction, new: RowPrediction, target: str) -> dict[str, Any]:
    shown = {**new.inputs, target: new.target, "before": old.predicted, "after": new.predicted}
    return {"row": new.row, **{name: _cut(value) for name, value in shown.items()}}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return shown_text(value)
    if not isinstance(value, list | tuple):
        return value
    return [*map(_cut, value[:MOST_ITEMS]), *([CUT] if len(value) > MOST_ITEMS else [])]
