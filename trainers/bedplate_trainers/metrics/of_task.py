"""Which module has the metrics of a task, and where the task's `evaluate` module lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import get_task

__all__ = ["MetricsModule", "metrics_of", "module_path", "signatures_of"]

_MODULES = {
    "text-classification": "classification",
    "image-classification": "classification",
    "token-classification": "token_classification",
    "question-answering": "question_answering",
    "summarization": "summarization",
    "translation": "translation",
    "fill-mask": "fill_mask",
    "text-generation": "text_generation",
}
_FOLDER = Path(__file__).resolve().parent / "modules"


class MetricsModule(Protocol):
    """What each module of metrics has; `Predictions` are those of its own task."""

    @property
    def Predictions(self) -> Callable[..., Any]: ...

    def score(self, predictions: Any, names: Iterable[str]) -> dict[str, float]: ...

    def score_what_applies(self, predictions: Any) -> tuple[dict[str, float], dict[str, str]]: ...


def metrics_of(task: str) -> MetricsModule:
    """The module with the metrics of a task; Refused where there is no such task or it has no metrics."""
    name = _MODULES.get(get_task(task).name)
    if name is None:
        raise Refused(f"{task} has no metrics.", hint=f"These have: {', '.join(sorted(_MODULES))}.", code="metric")
    return cast(MetricsModule, import_module(f".{name}", __package__))


def signatures_of(task: str, predictions: Any) -> dict[str, str]:
    """How the metrics were computed where names alone do not say it (BLEU, ROUGE), for a report."""
    signatures = getattr(metrics_of(task), "signatures", None)
    return dict(signatures(predictions)) if signatures else {}


def module_path(task: str) -> str:
    """The folder that `evaluate.load` takes for a task; Refused where it has no `evaluate` module."""
    folder = _FOLDER / f"bedplate_{get_task(task).name.replace('-', '_')}"
    if not folder.is_dir():
        known = sorted(path.name.removeprefix("bedplate_").replace("_", "-") for path in _FOLDER.glob("bedplate_*"))
        raise Refused(f"{task} has no evaluate module.", hint=f"These have: {', '.join(known)}.", code="metric")
    return str(folder)
