"""The metrics of a report as people read them: which come first, how sure they are, what a difference means.

The HTML page, Studio and the command line take it from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.gates import LESS_IS_BETTER
from bedplate_registry.tasks import TASKS

__all__ = ["P_VALUE", "Tile", "about_intervals", "in_order", "interval_of", "not_computed", "p_values", "tiles"]

MOST_TILES = 4
CLASSIFIED = ("accuracy", "f1_score_macro", "AUC_macro", "matthews_correlation")
# What a task is judged by, where there is room for a few. The first one sorts its leaderboards.
MAIN: Mapping[str, Sequence[str]] = {
    "text-classification": CLASSIFIED,
    "token-classification": ("f1_score_micro", "precision_score_micro", "recall_score_micro", "f1_score_macro"),
    "question-answering": ("f1_score", "exact_match"),
    "summarization": ("rougeL", "rouge1", "rouge2"),
    "translation": ("bleu", "chrf"),
    "fill-mask": ("top1_accuracy", "mrr", "pseudo_perplexity"),
    "text-generation": ("perplexity", "rougeL", "bleu"),
    "image-classification": CLASSIFIED,
}
P_VALUE = "p: the probability of a difference this large if both were equally good."
JACKKNIFED = ("AUC", "average_precision", "log_loss")


@dataclass(frozen=True)
class Tile:
    """One main metric of a report."""

    metric: str
    value: Any
    interval: tuple[float, float] | None
    other: Any  # the figure of the model that it was held against

    @property
    def whole(self) -> float | None:
        """The end of the scale from 0 on which its interval can be drawn; None where there is none."""
        if self.interval is None or not isinstance(self.value, int | float):
            return None
        most = max(self.value, *self.interval)
        return None if most > 100 or self.metric.endswith(LESS_IS_BETTER) else 1.0 if most <= 1 else 100.0


def tiles(report: Mapping[str, Any]) -> list[Tile]:
    """The main metrics: those that have an interval, or else the first ones."""
    metrics, confidence = report.get("metrics") or {}, report.get("confidence") or {}
    against = (report.get("against") or {}).get("metrics") or {}
    names = in_order(report, (name for name in metrics if name in confidence)) or in_order(report, metrics)
    return [
        Tile(name, metrics[name], interval_of(confidence.get(name)), against.get(name)) for name in names[:MOST_TILES]
    ]


def in_order(report: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Each once: the main metrics first, then as the task lists them."""
    task = str(report.get("task"))
    known = [*MAIN.get(task, ()), *(TASKS[task].metrics if task in TASKS else ())]
    places = {name: place for place, name in reversed([*enumerate(known)])}
    return sorted(dict.fromkeys(names), key=lambda name: places.get(name, len(known)))


def interval_of(ends: Any) -> tuple[float, float] | None:
    """[low, high] as a report has it; None for anything else."""
    is_one = isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends)
    return (ends[0], ends[1]) if is_one else None


def about_intervals(report: Mapping[str, Any]) -> str:
    """How its intervals were made; nothing where it has none."""
    names = report.get("confidence") or {}
    is_ranked = any(name.startswith(JACKKNIFED) for name in names)
    ranked = " of AUC, average precision and log_loss by the infinitesimal jackknife;" if is_ranked else ""
    about = (
        f"In small letters: the 95 % interval, of shares of rows by Wilson;{ranked} of all else by bootstrap over rows."
    )
    return about if names else ""


def p_values(report: Mapping[str, Any]) -> dict[str, str]:
    """Of the differences that were tested: how likely one this large is if both models are equally good."""
    chances = {name: one.get("p_value") for name, one in (report.get("difference") or {}).items()}
    tested = in_order(report, (name for name, chance in chances.items() if isinstance(chance, int | float)))
    return {name: f"{chances[name]:.3g}" for name in tested}


def not_computed(report: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each reason that metrics were not computed for."""
    reasons: dict[str, list[str]] = {}
    for name, why in (report.get("not_computed") or {}).items():
        reasons.setdefault(str(why), []).append(name)
    for why, names in reasons.items():
        yield f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} not computed: {why}"
