"""A report's metrics on parts of the rows: by the length of the input, by what the task tells apart, by any column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .judged import JudgedRows
from .settings import EvaluateSettings
from .slice_columns import Columns, free_names, unlike

__all__ = ["OTHERS", "slices_of"]

Array = np.ndarray[Any, Any]
MOST_VALUES = 50  # of a column
OTHERS = "(others)"


def slices_of(judged: JudgedRows, settings: EvaluateSettings, columns: Columns) -> list[dict[str, Any]]:
    """For each slice {"by", "value", "rows", "metrics", "confidence"}; below ten rows there are no intervals.

    Metrics are those asked for, or the main ones of those that have intervals. What has no value on a slice is left out
    there.
    """
    names = settings.metrics or judged.counted.names[: judged.counted.main]
    places = np.fromiter(judged.numbers, dtype=np.int64) - 1 if columns else ()
    slices = {"length": _by_length(judged.lengths)} if len(judged.lengths) else dict[str, dict[str, Array]]()
    slices |= {by: _by_value(values) for by, values in judged.groups.items()}
    slices |= {
        by: _by_value([columns[name][place] for place in places])
        for name, by in free_names(columns, tuple(slices)).items()
    }
    return [
        {"by": by, "value": value, "rows": len(places), **_measured(judged, places, names, settings)}
        for by, parts in slices.items()
        for value, places in parts.items()
    ]


def _measured(judged: JudgedRows, places: Array, names: Sequence[str], settings: EvaluateSettings) -> dict[str, Any]:
    """What is made of counts has been counted already; only the rest needs the rows again."""
    counted = judged.counted.part(places)
    rest = [name for name in names if name not in counted.names]
    values = {**counted.values, **(judged.part(places).scores(rest) if rest else {})}
    ends = counted.intervals(settings.confidence_draws, settings.seed)
    known = [name for name in names if name in values]
    return {
        "metrics": {name: values[name] for name in known},
        "confidence": {name: ends[name] for name in known if name in ends},
    }


def _by_length(lengths: Array) -> dict[str, Array]:
    """Quartiles, each named by its shortest and longest: 1 to 40. Equal lengths stay together."""
    ends = np.unique(np.quantile(lengths, (0.25, 0.5, 0.75), method="inverted_cdf"))
    quarter = np.searchsorted(ends, lengths)
    parts = [np.flatnonzero(quarter == number) for number in np.unique(quarter)]
    return {_range(int(lengths[part].min()), int(lengths[part].max())): part for part in parts}


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _by_value(values: Sequence[str]) -> dict[str, Array]:
    """The places of each value, of the most frequent one first; beyond so many values those of the rest together."""
    names, places = np.unique(np.array(values, dtype=object), return_inverse=True)
    order = np.argsort(-np.bincount(places), kind="stable")
    parts = {str(names[number]): np.flatnonzero(places == number) for number in order[:MOST_VALUES]}
    rest = np.flatnonzero(np.isin(places, order[MOST_VALUES:]))
    return {**parts, unlike(OTHERS, parts): rest} if len(rest) else parts
