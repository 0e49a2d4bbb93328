"""How far one model is from another on the same rows."""

from __future__ import annotations

from bedplate_registry.tasks import get_task

from .confidence import Counted
from .judged import JudgedRows
from .settings import EvaluateSettings

__all__ = ["difference_of"]


def difference_of(
    mine: JudgedRows,
    other: JudgedRows,
    task: str,
    settings: EvaluateSettings,
    counted: tuple[Counted, Counted] | None = None,
) -> dict[str, dict[str, float]]:
    """Of each metric that both have, of those asked for: as confidence.Counted.difference has it, or `value` alone.

    `counted` is of both, where their own do not go together.
    """
    wanted = settings.metrics or get_task(task).metrics
    first, second = mine.scores(wanted), other.scores(wanted)
    shared = [name for name in first if name in second]
    one, another = counted or (mine.counted, other.counted)
    found = one.difference(another, settings.confidence_draws, settings.seed, shared)
    return {**found, **{name: {"value": first[name] - second[name]} for name in shared if name not in found}}
