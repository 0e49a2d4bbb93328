"""Question answering: a model's answers to questions, by the predictor that also serves it and as it is served."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners.answer_report import Judged, difference, make_report
from bedplate_trainers.examiners.base import CutRows, Setup, in_chunks
from bedplate_trainers.latency import time_single
from bedplate_trainers.messages import DataFile
from bedplate_trainers.metrics.question_answering import Predictions, score_what_applies
from bedplate_trainers.predicted import Predicted
from bedplate_trainers.questions import TASK, QuestionRows, read_questions
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.stored_rows import store

__all__ = ["Examiner"]

BASELINE_METRICS = ("exact_match", "f1_score")


class Examiner:
    """examiners.base.Examiner for models that answer questions."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def read(self, file: DataFile, what: str) -> QuestionRows:
        return read_questions(file, self._setup.columns, what, self._setup.reporter, learns=False)

    def judge(self, folder: Path, rows: QuestionRows, phase: str = "evaluate", derived: Path | None = None) -> Judged:
        """Where some questions have no answer, the model may say so, even if it does not where it is served."""
        from bedplate_serving.predictors import load_predictor
        from bedplate_serving.predictors.question_answering import QuestionAnswerer

        predictor = load_predictor(folder, TASK, device=self._setup.device, derived=derived)
        assert isinstance(predictor, QuestionAnswerer)
        parameters = self._parameters(predictor.defaults, rows)

        cut = CutRows()

        def answer(chunk: list[Any]) -> Sequence[Any]:
            found = predictor.predict([row.input for row in chunk], parameters, on_cut=cut.among(chunk))
            return [one if isinstance(one, list) else [one] for one in found]

        start = time.perf_counter()
        found = in_chunks(rows.rows, _length, answer, self._setup.reporter, phase)
        seconds = time.perf_counter() - start
        cut.tell(len(rows), self._setup.reporter)
        latency = time_single(rows.rows, answer, self._setup.settings.latency_rows)
        asked = predictor.parameters(parameters)
        return Judged(rows, found, asked.model_dump(exclude={"top_k"}), seconds, latency)

    def _parameters(self, defaults: Any, rows: QuestionRows) -> dict[str, Any]:
        settings = self._setup.settings
        parameters: dict[str, Any] = {"top_k": settings.n_best_size}
        if settings.max_answer_length != "auto":
            parameters["max_answer_len"] = settings.max_answer_length
        if rows.without_answer and not defaults.handle_impossible_answer:
            parameters["handle_impossible_answer"] = True
            self._setup.reporter.message(
                f"{rows.without_answer} of {len(rows)} questions have no answer. The model may say so here; where it is"
                " served it does so only with handle_impossible_answer."
            )
        return parameters

    def probe(self, folder: Path, rows: QuestionRows, train: QuestionRows) -> Judged:
        raise Refused(
            f"The model is a base, and {TASK} has no probe for one.",
            hint="Fine-tune it, and evaluate what comes of it.",
            code="no-probe",
        )

    def said(self, rows: QuestionRows, predicted: Sequence[Predicted]) -> Judged:
        answers = [[{"answer": one.text, "score": one.score or 0.0, "start": 0, "end": 0}] for one in predicted]
        has_scores = all(one.score is not None for one in predicted)
        return Judged(rows, answers, {}, 0.0, has_scores=has_scores)

    def report(self, judged: Judged, columns: Columns | None = None) -> dict[str, Any]:
        return make_report(judged, self._setup.settings, columns)

    def rows_of(self, judged: Judged) -> Judged:
        return judged

    def difference(self, mine: Judged, other: Judged) -> dict[str, dict[str, float]]:
        return difference(mine, other, self._setup.settings)

    def baselines(self, mine: Judged, train: QuestionRows | None) -> dict[str, dict[str, float]]:
        """`whole_context` says all of it, `no_answer` nothing, where that may be right. Neither learns of `train`."""
        said: dict[str, Sequence[str]] = {"whole_context": store(row.context for row in mine.rows)}
        if mine.rows.without_answer:
            said["no_answer"] = [""] * len(mine.rows)
        references = mine.predictions.references
        return {
            name: score_what_applies(Predictions(texts, references), BASELINE_METRICS)[0]
            for name, texts in said.items()
        }


def _length(row: Any) -> int:
    return len(row.question) + len(row.context)
