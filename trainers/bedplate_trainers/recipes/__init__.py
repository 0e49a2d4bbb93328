"""Recipes: how each task is fine-tuned. One file a task, read from top to bottom, over the library beside this folder.

A recipe is a module with `run(request, reporter, *, resume) -> FinetuneResult | None`.
"""

from __future__ import annotations

__all__ = ["RECIPES"]

RECIPES = {
    "text-classification": "text_classification",
    "token-classification": "token_classification",
    "question-answering": "question_answering",
    "summarization": "summarization",
    "translation": "translation",
}
