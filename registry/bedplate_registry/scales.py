"""On which scale a metric is: the least and the greatest figure, so that nobody asks for one that it never has."""

from __future__ import annotations

import math

from .errors import Refused

__all__ = ["check_bound", "scale_of"]

PERCENT = ("exact_match", "f1_score", "bleu", "chrf")  # as SQuAD and sacreBLEU give them
OPEN = ("log_loss", "perplexity")  # how the names of those end that have no greatest figure
SIGNED = "matthews_correlation"


def scale_of(metric: str) -> tuple[float, float]:
    """The least and the greatest figure that a metric can have: most are between 0 and 1."""
    if metric == SIGNED:
        return -1, 1
    if metric.endswith(OPEN):
        return 0, math.inf
    return (0, 100) if metric.removeprefix("has_answer_").removeprefix("no_answer_") in PERCENT else (0, 1)


def check_bound(metric: str, bound: float) -> None:
    """Raises Refused for a number that the metric is never near to: 90 for an accuracy of 0.9."""
    low, high = scale_of(metric)
    if low <= bound <= high:
        return
    between = f"between {low:g} and {high:g}" if math.isfinite(high) else f"{low:g} or more"
    is_percent = high == 1 and 1 < bound <= 100
    raise Refused(
        f"{metric} is {between}, and the rule asks for {bound:g}.",
        hint=f"Did you mean {bound / 100:g}?" if is_percent else f"Give a number that is {between}.",
        code="bad-gate",
    )
