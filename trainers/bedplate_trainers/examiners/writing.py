"""What a model writes of labeled rows, through the predictor that serves it, and the report on that.

Summarization and translation differ in their metrics, in how a row is scored by itself, and in what needs no model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_trainers.comparison import difference_of
from bedplate_trainers.confidence import Counted
from bedplate_trainers.examiners.base import CutRows, Setup, in_chunks, report_of
from bedplate_trainers.judged import RowPrediction
from bedplate_trainers.latency import time_single
from bedplate_trainers.messages import DataFile
from bedplate_trainers.metrics.of_task import metrics_of, signatures_of
from bedplate_trainers.metrics.written import tokenizer_for
from bedplate_trainers.predicted import Predicted
from bedplate_trainers.shown import WORST_ROWS, shown_text
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.slices import slices_of
from bedplate_trainers.stored_rows import take
from bedplate_trainers.text_pairs import TextPair, TextPairs, read_text_pairs

__all__ = ["WritingExaminer", "Written"]

Array = np.ndarray[Any, Any]
MARGINS = {"summarization": 0.1, "translation": 10.0}  # of rougeL, of chrF: by how much a row must move to count
KEYS = {"summarization": ("document", "summary"), "translation": ("source", "target")}


@dataclass(frozen=True)
class Written:
    """What a model wrote of the rows, in their order, and how long it took. It fulfills judged.JudgedRows."""

    task: str
    rows: TextPairs
    texts: Sequence[str]
    seconds: float
    latency: Mapping[str, float] | None = None
    tokenizer: str = ""  # of the metrics; where it is not told, one for the script of the references

    @cached_property
    def targets(self) -> list[Any]:
        """What is right: a text of each row, or a list of each where any row has several."""
        if self.rows.with_several:
            return [list(row.targets) for row in self.rows]
        return [row.target for row in self.rows]

    @cached_property
    def predictions(self) -> Any:
        """Beside the references, as the task's metrics take them."""
        references = [row.targets for row in self.rows]
        tokenizer = self.tokenizer or tokenizer_for(self.task, references)
        return metrics_of(self.task).Predictions(self.texts, references, tokenizer)

    def part(self, places: Array) -> Written:
        """The rows at these places, read by the tokenizer of all."""
        rows, texts = self.rows.take(places), take(self.texts, places)
        return replace(self, rows=rows, texts=texts, tokenizer=self.predictions.tokenizer)

    @property
    def counted(self) -> Counted:
        counted: Counted = self.predictions.counted
        return counted

    @property
    def numbers(self) -> Iterator[int]:
        return (row.row for row in self.rows)

    @property
    def lengths(self) -> Array:
        return np.fromiter((len(row.source) for row in self.rows), dtype=np.int64)

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        return {}

    @property
    def margin(self) -> float:
        return MARGINS[self.task]

    def scores(self, names: Sequence[str]) -> dict[str, float]:
        module: Any = metrics_of(self.task)
        return dict(module.score_what_applies(self.predictions, names)[0])

    @property
    def row_scores(self) -> tuple[str, Array]:
        """The metric that a row has by itself, and its value for each."""
        module: Any = metrics_of(self.task)
        name, scores = module.row_scores(self.predictions)
        return name, scores

    def row_predictions(self) -> Iterator[RowPrediction]:
        """The score is that of `row_scores`."""
        key, _ = KEYS[self.task]
        whole = zip(self.rows, self.targets, self.texts, self.row_scores[1], strict=True)
        for row, target, text, score in whole:
            yield RowPrediction(row.row, {key: row.source}, target, text, float(score), None)


class WritingExaminer:
    """examiners.base.Examiner; a task adds what is named here, and the methods below that raise."""

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

        cut = CutRows(writes=True)

        def write(chunk: list[TextPair]) -> Sequence[str]:
            answers = predictor.predict([row.source for row in chunk], parameters, on_cut=cut.among(chunk))
            return [answer[predictor.answer_key] for answer in answers]

        texts = in_chunks(rows.rows, lambda row: len(row.source), write, self._setup.reporter, phase)
        seconds = time.perf_counter() - start
        cut.tell(len(rows), self._setup.reporter)
        latency = time_single(rows.rows, write, self._setup.settings.latency_rows)
        return Written(self.task, rows, texts, seconds, latency)

    def probe(self, folder: Path, rows: TextPairs, train: TextPairs) -> Written:
        raise Refused(
            "The model is a base that writes no texts, and there is no probe of texts.",
            hint=f"Fine-tune it for {self.task} first.",
            code="no-probe",
        )

    def said(self, rows: TextPairs, predicted: Sequence[Predicted]) -> Written:
        return Written(self.task, rows, tuple(one.text for one in predicted), 0.0)

    def report(self, judged: Written, columns: Columns | None = None) -> dict[str, Any]:
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
            confidence=judged.counted.intervals(settings.confidence_draws, settings.seed, metrics),
            slices=slices_of(judged, settings, columns or {}),
            latency=judged.latency,
        )

    def rows_of(self, judged: Written) -> Written:
        return judged

    def difference(self, mine: Written, other: Written) -> dict[str, dict[str, float]]:
        return difference_of(mine, other, self.task, self._setup.settings)

    def baselines(self, mine: Written, train: TextPairs | None) -> dict[str, dict[str, float]]:
        name, texts = self.without_model(mine.rows, train)
        simple = Written(self.task, mine.rows, tuple(texts), 0.0)
        return {name: metrics_of(self.task).score_what_applies(simple.predictions)[0]}

    def parameters(self) -> dict[str, Any]:
        """What the predictor is told beside the texts."""
        return {}

    def without_model(self, rows: TextPairs, train: TextPairs | None) -> tuple[str, list[str]]:
        """The name of a baseline, and what it writes of the rows."""
        raise NotImplementedError

    def _worst(self, judged: Written) -> list[dict[str, Any]]:
        """The rows that score lowest by themselves."""
        name, scores = judged.row_scores
        given, written = KEYS[self.task]
        found = []
        for place in np.argsort(scores, kind="stable")[:WORST_ROWS].tolist():
            row, target = judged.rows.rows[place], judged.targets[place]
            texts = {given: row.source, written: target, "predicted": judged.texts[place]}
            shown = {key: _shown(text) for key, text in texts.items()}
            found.append({"row": row.row, **shown, name: round(float(scores[place]), 6)})
        return found


def _shown(value: str | list[str]) -> Any:
    return shown_text(value) if isinstance(value, str) else list(map(shown_text, value))
