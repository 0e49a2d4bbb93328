"""The registry: one folder that holds everything Bedplate keeps. Copy the folder and you have a backup."""

from __future__ import annotations

from pathlib import Path

from .blobs import Blobs
from .datasets import Datasets
from .evaluations import Evaluations
from .models import Models
from .search import ModelSearch

__all__ = ["Registry"]


class Registry:
    """The stores under one root (`BEDPLATE_HOME/registry`). Making one touches no disk; the first write does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = Blobs(root / "blobs")
        self.datasets = Datasets(root / "datasets", self.blobs)
        self.evaluations = Evaluations(root / "evaluations")
        self.models = Models(root / "models", self.blobs, self.evaluations)
        self.search = ModelSearch(self.models, root / "models", root / "search.db")
