"""Text classification: one text or a pair, single-label or multi-label, on any AutoModelForSequenceClassification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from bedplate_serving.predictors.base import OnCut, predict_sorted
from bedplate_serving.predictors.class_scores import Function, LabelScore, default_function, ranked, scores_of
from bedplate_serving.predictors.encoders.encoder import EncoderPredictor, Head, TextEncoder, Window
from bedplate_serving.predictors.parameters import Parameters, read_parameters
from bedplate_serving.predictors.text import TextItem, TextPair, parse_text

__all__ = ["ClassificationParameters", "TextClassifier", "load"]

Vector = np.ndarray[Any, Any]

HEAD = Head("AutoModelForSequenceClassification", "pooled", lambda output: output.logits, task="text-classification")


class ClassificationParameters(Parameters):
    top_k: Annotated[
        int | None, Field(ge=1, description="How many labels an answer holds, the likeliest first; else all.")
    ] = None
    function_to_apply: Annotated[
        Function | None, Field(description="From logits to scores; by default what the model's own config asks for.")
    ] = None


class AzureParameters(ClassificationParameters):
    """Azure's callers get the top label alone unless they ask for more."""

    return_all_scores: bool = False


Answer = list[LabelScore]


def load(
    folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None
) -> TextClassifier:
    return TextClassifier(folder, device, threads, derived)


class TextClassifier(EncoderPredictor):
    """The predictor of the task text-classification; see base.Predictor for what each method promises."""

    task = "text-classification"
    parameters_type = ClassificationParameters
    input_type = str | TextPair
    answer_type = Answer

    def __init__(
        self, folder: Path, device: str = "auto", threads: int | None = None, derived: Path | None = None
    ) -> None:
        encoder = TextEncoder(folder, HEAD, device, threads, derived)
        self._stand_on(encoder)
        self.labels = encoder.labels
        self._function = default_function(encoder.facts)

    def parse(self, item: Any, parameters: Any = None) -> TextItem:
        return parse_text(item)

    def encode(self, items: Sequence[TextItem]) -> list[Window]:
        return self._encoder.encode(items)

    def forward(self, batch: Sequence[Window]) -> list[Vector]:
        return self._encoder.run(batch)

    def answer(self, raw: Vector, parameters: ClassificationParameters | None = None) -> Answer:
        wanted = parameters or DEFAULT
        return ranked(self.labels, scores_of(raw, wanted.function_to_apply or self._function), wanted.top_k)

    def probabilities(self, items: Sequence[Any], on_cut: OnCut | None = None) -> Vector:
        """[n, labels] in the order of `labels`: softmax, or sigmoid for a multi-label model."""
        rows = predict_sorted(self, self.parse_all(items), on_cut=on_cut)
        return np.stack([scores_of(row, self._function) for row in rows]) if rows else np.zeros((0, len(self.labels)))

    def hub_answer(self, answers: Sequence[Answer], single: bool) -> list[Answer]:
        """A list of lists even for one input: InferenceClient would silently drop all labels but one of a flat list."""
        return list(answers)

    def azure_parameters(self, raw: Mapping[str, Any]) -> AzureParameters:
        return read_parameters(AzureParameters, raw, self.task)

    def azure_answer(self, answers: Sequence[Answer], parameters: AzureParameters) -> list[Any]:
        every = parameters.return_all_scores or parameters.top_k is not None
        return list(answers) if every else [answer[0] for answer in answers]

    def sample(self) -> Any:
        return "Hello, where is my order?"

    def output_columns(self, parameters: ClassificationParameters) -> tuple[str, ...]:
        return ("label", "score") if (parameters.top_k or 1) == 1 else ("label", "score", "predictions")

    def output_row(self, answer: Answer, parameters: ClassificationParameters) -> dict[str, Any]:
        row: dict[str, Any] = {"label": answer[0]["label"], "score": answer[0]["score"]}
        return row if (parameters.top_k or 1) == 1 else row | {"predictions": answer}


DEFAULT = ClassificationParameters()
