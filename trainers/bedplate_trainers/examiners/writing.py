"""What a model writes of labeled rows, through the predictor that serves it, and the report on that.

Summarization and translation differ in their metrics, in how a row is scored by itself, and in what needs no model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_trainers.confidence import draw, interval
from bedplate_trainers.examiners.base import Setup, in_chunks, report_of
from bedplate_trainers.messages import DataFile
from bedplate_trainers.metrics.of_task import metrics_of, signatures_of
from bedplate_trainers.metrics.written import tokenizer_for
from bedplate_trainers.text_pairs import TextPair, TextPairs, read_text_pairs

__all__ = ["WritingExaminer", "Written"]

Array = np.ndarray[Any, Any]
WORST_ROWS = 20
WORST_CHARACTERS = 500


@dataclass(frozen=True)
class Written:
    """What a model wrote of the rows, in their order, and how long it took."""

    task: str
    rows: TextPairs
    texts: tuple[str, ...]
    seconds: float

    @cached_property
    def predictions(self) -> Any:
        """Beside the references, as the task's metrics take them."""
        references = [row.target for row in self.rows]
        return metrics_of(self.task).Predictions(self.texts, references, tokenizer_for(self.task, references))


class WritingExaminer:
    """examiners.base.Examiner; a task adds its `task` and the five methods below that raise here."""

    task: str

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def read(self, file: DataFile, what: str) -> TextPairs:
        return read_text_pairs(file, self.task, self._setup.columns, what)

    def judge(self, folder: Path, rows: TextPairs, phase: str = "evaluate", derived: Path | None = None) -> Written:
        """Sources beyond the model's context are cut, as they are where it is served."""
        from bedplate_serving.predictors import load_predictor

        predictor: Any = load_predictor(folder, self.task, device=self._setup.device, derived=derived)
        parameters = self.parameters()
        predictor.parameters(parameters)  # what the model cannot do is said before any row
        start = time.perf_counter()

        def write(chunk: list[TextPair]) -> Sequence[str]:
            answers = predictor.predict([row.source for row in chunk], parameters)
            return [answer[predictor.answer_key] for answer in answers]

        texts = in_chunks(rows.rows, lambda row: len(row.source), write, self._setup.reporter, phase)
        return Written(self.task, rows, tuple(texts), time.perf_counter() - start)

    def probe(self, folder: Path, rows: TextPairs, train: TextPairs) -> Written:
        raise Refused(
            "The model is a base that writes no texts, and there is no probe of texts.",
            hint=f"Fine-tune it for {self.task} first.",
            code="no-probe",
        )

    def report(self, judged: Written) -> dict[str, Any]:
        settings = self._setup.settings
        module, missing = metrics_of(self.task), dict[str, str]()
        if settings.metrics:
            metrics = module.score(judged.predictions, settings.metrics)
        else:
            metrics, missing = module.score_what_applies(judged.predictions)
        return report_of(
            self.task,
            kind="model",
            rows=len(judged.rows),
            seconds=judged.seconds,
            metrics=metrics,
            missing=missing,
            worst=self._worst(judged),
            signatures=signatures_of(self.task, judged.predictions),
            confidence=self._intervals(judged) if settings.confidence_draws else {},
        )

    def difference(self, mine: Written, other: Written) -> dict[str, dict[str, float]]:
        """On the same draws of rows."""
        settings = self._setup.settings
        counts = np.concatenate([self.counts(mine), self.counts(other)], axis=1)
        values = self._apart(counts.sum(axis=0, keepdims=True))
        spread = self._apart(draw(counts, max(settings.confidence_draws, 1), settings.seed))
        found = {}
        for name, value in values.items():
            low, high = interval(spread[name])
            found[name] = {"value": float(value[0]), "low": low, "high": high}
        return found

    def baselines(self, mine: Written, train: TextPairs | None) -> dict[str, dict[str, float]]:
        name, texts = self.without_model(mine.rows, train)
        simple = Written(self.task, mine.rows, tuple(texts), 0.0)
        return {name: metrics_of(self.task).score_what_applies(simple.predictions)[0]}

    def parameters(self) -> dict[str, Any]:
        """What the predictor is told beside the texts."""
        return {}

    def counts(self, judged: Written) -> Array:
        """Of each row what `figures` needs to know of it, [rows, n]: they are added up over drawn rows."""
        raise NotImplementedError

    def figures(self, sums: Array) -> Mapping[str, Array]:
        """Metrics of summed counts, [draws, n] -> name: [draws]."""
        raise NotImplementedError

    def row_scores(self, judged: Written) -> tuple[str, Array]:
        """A metric by its name, and its value for each row by itself."""
        raise NotImplementedError

    def without_model(self, rows: TextPairs, train: TextPairs | None) -> tuple[str, list[str]]:
        """The name of a baseline, and what it writes of the rows."""
        raise NotImplementedError

    def _apart(self, sums: Array) -> dict[str, Array]:
        """The figures of the first half of the columns less those of the second."""
        first, second = (self.figures(half) for half in np.split(sums, 2, axis=1))
        return {name: first[name] - second[name] for name in first}

    def _intervals(self, judged: Written) -> dict[str, list[float]]:
        settings = self._setup.settings
        drawn = draw(self.counts(judged), settings.confidence_draws, settings.seed)
        return {name: interval(values) for name, values in self.figures(drawn).items()}

    def _worst(self, judged: Written) -> list[dict[str, Any]]:
        """The rows that score lowest by themselves."""
        name, scores = self.row_scores(judged)
        keys = _KEYS[self.task]
        found = []
        for place in np.argsort(scores, kind="stable")[:WORST_ROWS]:
            row = judged.rows.rows[int(place)]
            texts = dict(zip((*keys, "predicted"), (row.source, row.target, judged.texts[int(place)]), strict=True))
            shown = {key: text[:WORST_CHARACTERS] for key, text in texts.items()}
            found.append({"row": row.row, **shown, name: round(float(scores[place]), 6)})
        return found


_KEYS = {"summarization": ("document", "summary"), "translation": ("source", "target")}
