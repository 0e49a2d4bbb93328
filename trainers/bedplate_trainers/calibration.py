"""Whether a model is right as often as it says."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["calibration"]

Array = np.ndarray[Any, Any]
BINS = 10


def calibration(confidence: Array, right: Array) -> dict[str, Any]:
    """Of confidences from 0 to 1 and what was right, [n] each: bins of equal width, those without any left out.

    The expected calibration error is the mean over all of how far a bin's confidence is from its accuracy.
    """
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # bins hold their upper end
    rows = np.bincount(place, minlength=BINS)
    sure, hits = (np.bincount(place, weights=values, minlength=BINS) for values in (confidence, right))
    bins = [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "rows": int(rows[number]),
            "confidence": float(sure[number] / rows[number]),
            "accuracy": float(hits[number] / rows[number]),
        }
        for number in np.flatnonzero(rows).tolist()
    ]
    return {"bins": bins, "expected_calibration_error": float(np.abs(sure - hits).sum() / max(len(confidence), 1))}
