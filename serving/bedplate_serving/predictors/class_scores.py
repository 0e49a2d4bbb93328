"""From the logits of a classifier's head to labels with scores, whatever was classified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from bedplate_registry.errors import BedplateError

__all__ = ["Function", "LabelScore", "default_function", "finite", "ranked", "scores_of"]

Function = Literal["softmax", "sigmoid", "none"]
Vector = np.ndarray[Any, Any]


class LabelScore(TypedDict):
    label: str
    score: float


def default_function(config: Any) -> Function:
    """From logits to scores as transformers' own pipelines choose."""
    if config.problem_type == "regression":
        return "none"
    many = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "sigmoid" if many else "softmax"


def finite(logits: Vector) -> Vector:
    """The same. Raises BedplateError where the model answered with NaN or infinity."""
    if not np.isfinite(logits).all():
        raise BedplateError(
            "The model answered with numbers that are not finite.", hint="Its weights are broken.", code="non-finite"
        )
    return logits


def scores_of(logits: Vector, function: Function) -> Vector:
    """[labels], or [n, labels], in double precision. Raises as `finite` does."""
    logits = finite(logits).astype(np.float64)
    if function == "softmax":
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return cast(Vector, powers / powers.sum(axis=-1, keepdims=True))
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500))) if function == "sigmoid" else logits


def ranked(labels: Sequence[str], scores: Vector, top_k: int | None) -> list[LabelScore]:
    """The labels with the highest scores, the likeliest first; all of them for None."""
    order = np.argsort(-scores, kind="stable")[:top_k]
    values = scores.tolist()
    return [{"label": labels[index], "score": values[index]} for index in order.tolist()]
