"""Image classification: a classifier's probabilities on labeled images, in the report of all classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners import text_classification
from bedplate_trainers.examiners.class_report import Judged
from bedplate_trainers.labels import LabelSet
from bedplate_trainers.linear import BASELINE_METRICS, majority, targets_of
from bedplate_trainers.messages import DataFile
from bedplate_trainers.metrics.classification import Predictions, score
from bedplate_trainers.pictures import Picture, Pictures, read_pictures

__all__ = ["Examiner"]

TASK: Final = "image-classification"


class Examiner(text_classification.Examiner):
    """examiners.base.Examiner for classifiers of images."""

    task = TASK

    def read(self, file: DataFile, what: str) -> Pictures:
        return read_pictures(file, self._setup.columns, what, self._setup.settings.class_names)

    def probe(self, folder: Path, rows: Any, train: Any) -> Judged:
        raise Refused(
            f"The model is a base, and {TASK} has no probe for one.",
            hint="Evaluate a model that has a head for images.",
            code="no-probe",
        )

    def items(self, rows: Any, chunk: list[Picture]) -> list[Any]:
        return [rows.read(row) for row in chunk]

    def length(self, row: Picture) -> int:
        """An image costs what every other one does: they stay in the order of the data."""
        return 0

    def simple(self, train: Any, rows: Any, labels: LabelSet) -> dict[str, dict[str, float]]:
        said = Predictions(majority(train, len(rows), labels), targets_of(rows, labels))
        return {"majority": score(said, BASELINE_METRICS)}
