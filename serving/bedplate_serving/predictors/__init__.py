"""Predictors: a model folder in, answers out. The same code serves, scores files and evaluates.

A task `some-task` lives in the file `some_task.py` beside this one, with a function `load(folder, *, device, threads,
derived)` that returns a base.Predictor. Nothing else has to be told of it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import TASKS
from bedplate_serving.predictors.base import BadItems, Encoded, ItemError, Predictor
from bedplate_serving.predictors.refusing import refusing

if TYPE_CHECKING:
    from bedplate_serving.predictors.features import FeatureExtractor
    from bedplate_serving.predictors.text_classification import TextClassifier

__all__ = ["BadItems", "Encoded", "ItemError", "Predictor", "can_serve", "load_predictor"]


@overload
def load_predictor(
    folder: Path, task: None, *, device: str = ..., threads: int | None = ..., derived: Path | None = ...
) -> FeatureExtractor: ...
@overload
def load_predictor(
    folder: Path,
    task: Literal["text-classification"],
    *,
    device: str = ...,
    threads: int | None = ...,
    derived: Path | None = ...,
) -> TextClassifier: ...
@overload
def load_predictor(
    folder: Path, task: str, *, device: str = ..., threads: int | None = ..., derived: Path | None = ...
) -> Predictor: ...


def load_predictor(
    folder: Path,
    task: str | None,
    *,
    device: str = "auto",
    threads: int | None = None,
    derived: Path | None = None,
) -> Any:
    """Loads the model in `folder` for `task`; without a task, the extractor of a base's features.

    `derived` is a folder of this model alone, for what is made of it to answer faster or start sooner. Raises Refused,
    whatever a library makes of the model's files.
    """
    with refusing("The model"):
        if task is None:
            from bedplate_serving.predictors.features import FeatureExtractor

            return FeatureExtractor(folder, device, threads)
        if not can_serve(task):
            raise Refused(f"Task {task!r} cannot be served by this release.", code="no-predictor")
        return import_module(_module(task)).load(folder, device=device, threads=threads, derived=derived)


def can_serve(task: str) -> bool:
    """Whether this release has a predictor for the task. Imports nothing."""
    return task in TASKS and find_spec(_module(task)) is not None


def _module(task: str) -> str:
    return f"{__name__}.{task.replace('-', '_')}"
