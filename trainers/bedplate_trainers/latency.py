"""How long one row takes by itself, as it does where a model answers single requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["time_single"]

MOST_SECONDS = 2.0  # a model that writes for seconds is timed on fewer rows


def time_single(rows: Sequence[Any], score: Callable[[list[Any]], object], most: int) -> dict[str, float] | None:
    """{"rows", "p50_ms", "p95_ms"} of up to `most` rows from all parts of the data; None where that is 0."""
    if not most:
        return None
    chosen = rows[:: -(-len(rows) // most)]
    score([chosen[0]])  # the first row of a shape may wait for what is only done once
    taken, start = list[float](), time.perf_counter()
    for row in chosen:
        before = time.perf_counter()
        score([row])
        taken.append(1000 * (time.perf_counter() - before))
        if time.perf_counter() - start > MOST_SECONDS:
            break
    middle, high = np.percentile(taken, (50, 95))
    return {"rows": len(taken), "p50_ms": round(float(middle), 3), "p95_ms": round(float(high), 3)}
