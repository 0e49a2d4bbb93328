"""How a model is judged on labeled rows, by the predictor that also serves it: one examiner a task.

The report of a fine-tune and that of an evaluation are made here, so that they say the same in the same words.
"""

from __future__ import annotations

from importlib import import_module

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners.base import Examiner, Setup

__all__ = ["EXAMINERS", "PROBED", "Examiner", "Setup", "get_examiner"]

# Each module has a class Examiner, which fulfills base.Examiner.
EXAMINERS = {
    "text-classification": "text_classification",
    "token-classification": "token_classification",
    "question-answering": "question_answering",
    "summarization": "summarization",
    "translation": "translation",
    "fill-mask": "fill_mask",
    "text-generation": "text_generation",
    "image-classification": "image_classification",
}

# Tasks for which a base without a head can be evaluated, by a probe.
PROBED = ("text-classification",)


def get_examiner(setup: Setup) -> Examiner:
    """The examiner of the task. Raises Refused for a task that has none."""
    if setup.task not in EXAMINERS:
        raise Refused(
            f"{setup.task} cannot be evaluated by this release.",
            hint=f"It evaluates: {', '.join(EXAMINERS)}.",
            code="no-recipe",
        )
    made: Examiner = import_module(f".{EXAMINERS[setup.task]}", __package__).Examiner(setup)
    return made
