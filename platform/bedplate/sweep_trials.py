"""The table of a sweep's trials, read off the fine-tunes that it submitted: nothing else is kept of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ENDED_EARLY", "PRUNED", "STOPPED", "Trial", "best_of", "table_of"]

PRUNED, STOPPED = "pruned", "stopped"
# A sweep cancels such a trial, and says why in the error of its job; to be resumed is not for it.
ENDED_EARLY = (PRUNED, STOPPED)


@dataclass(frozen=True)
class Trial:
    """One line of the table."""

    trial: int  # from 1
    job: str
    settings: dict[str, Any]  # those that are searched over
    state: str  # of its job; `pruned` or `stopped` where the sweep cancelled it
    metric: float | None  # what trials are compared by, on the validation rows; of a pruned one the best it came to
    metrics: dict[str, float]
    seconds: float | None
    error: dict[str, Any] | None  # why it failed or was ended early

    @classmethod
    def of(cls, number: int, child: Mapping[str, Any], spec: Mapping[str, Any]) -> Trial:
        """`child` is a job as REST shows it, or its row: id, state, spec, result and error; `spec` is the sweep's."""
        result = (child["result"] if child["state"] == "succeeded" else None) or {}
        metrics, state, error = result.get("metrics") or {}, child["state"], child["error"]
        value = metrics.get(spec["metric"])
        if state == "cancelled" and error and error.get("code") in ENDED_EARLY:
            state, value = error["code"], error.get("metric")
        elif state == "succeeded" and (value is None or not math.isfinite(value)):
            value, error = None, {"code": "no-metric", "message": f"It has no {spec['metric']} on its validation rows."}
        elif state != "failed":
            error = None
        settings = {name: child["spec"]["settings"][name] for name in spec["search"]}
        return cls(number, child["id"], settings, state, value, metrics, result.get("seconds"), error)


def table_of(children: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> list[Trial]:
    """All trials of a sweep; its children are those that it submitted, oldest first."""
    return [Trial.of(number, child, spec) for number, child in enumerate(children, 1)]


def best_of(table: Sequence[Trial], *, greater_is_better: bool) -> Trial | None:
    """The earliest of those with the best metric among those that succeeded."""
    sign = 1 if greater_is_better else -1
    compared = [trial for trial in table if trial.state == "succeeded" and trial.metric is not None]
    return max(compared, key=lambda trial: sign * (trial.metric or 0.0), default=None)
