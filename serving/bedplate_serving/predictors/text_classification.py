"""Text classification: one text or a pair, single-label or multi-label, on any AutoModelForSequenceClassification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, get_args

import numpy as np

from bedplate_registry.errors import BedplateError, Refused, nearest
from bedplate_serving.predictors.base import BadItems, Encoded, ItemError, predict_sorted
from bedplate_serving.predictors.encoder import TextEncoder, TextItem, load_model, parse_text, pick_device

__all__ = ["ClassificationParameters", "TextClassifier", "load"]

Function = Literal["softmax", "sigmoid", "none"]
Vector = np.ndarray[Any, Any]
Answer = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ClassificationParameters:
    """`None` means the default: all labels, and the function the model's own config asks for."""

    top_k: int | None = None
    function_to_apply: Function | None = None
    all_scores: bool = False  # Azure's dialect answers the top label alone unless asked for more


DEFAULT = ClassificationParameters()
HUB_NAMES = ("function_to_apply", "top_k")
AZURE_NAMES = (*HUB_NAMES, "return_all_scores")


def load(folder: Path, *, device: str = "auto", threads: int | None = None) -> TextClassifier:
    return TextClassifier(folder, device, threads)


class TextClassifier:
    """The predictor of the task text-classification; see base.Predictor for what each method promises."""

    task = "text-classification"

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        from transformers import AutoModelForSequenceClassification

        self.device = pick_device(device)
        model = load_model(AutoModelForSequenceClassification, folder, self.device, head=self.task)
        self._encoder = TextEncoder(model, folder, self.device, threads)
        self._model = model
        self._packing = self._encoder.packing(self._logits)
        self.labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))
        self._function = _default_function(model.config)
        self.context_length = self._encoder.context_length
        self.token_budget = self._encoder.token_budget

    @property
    def is_packed(self) -> bool:
        """Whether batches run as one row without padding (packed.py); the answers are the same."""
        return self._packing is not None

    def parameters(self, raw: Mapping[str, Any]) -> ClassificationParameters:
        _refuse_unknown(raw, HUB_NAMES)
        return ClassificationParameters(_top_k(raw.get("top_k")), _function(raw.get("function_to_apply")))

    def parse(self, item: Any, parameters: ClassificationParameters | None = None) -> TextItem:
        return parse_text(item)

    def encode(self, items: Sequence[TextItem]) -> list[Encoded]:
        return self._encoder.encode(items)

    def forward(self, batch: Sequence[Encoded]) -> list[Vector]:
        return list(self._encoder.run(batch, self._logits, self._packing))

    def _logits(self, **inputs: Any) -> Any:
        return self._model(**inputs).logits

    def answer(self, raw: Vector, parameters: ClassificationParameters | None = None) -> Answer:
        wanted = parameters or DEFAULT
        scores = self._scores(raw, wanted.function_to_apply)
        order = np.argsort(-scores, kind="stable")[: wanted.top_k]
        values = scores.tolist()
        return [{"label": self.labels[index], "score": values[index]} for index in order.tolist()]

    def _scores(self, logits: Vector, function: Function | None = None) -> Vector:
        if not np.isfinite(logits).all():
            raise BedplateError(
                "The model answered with numbers that are not finite.",
                hint="Its weights are broken.",
                code="non-finite",
            )
        return _apply(function or self._function, logits.astype(np.float64))

    def predict(
        self, items: Sequence[Any], parameters: Mapping[str, Any] | None = None, token_budget: int | None = None
    ) -> list[Answer]:
        wanted = self.parameters(parameters or {})
        return [self.answer(raw, wanted) for raw in predict_sorted(self, self._parse_all(items), token_budget)]

    def probabilities(self, items: Sequence[Any]) -> Vector:
        """[n, labels] in the order of `labels`: softmax, or sigmoid for a multi-label model."""
        rows = predict_sorted(self, self._parse_all(items))
        return np.stack([self._scores(row) for row in rows]) if rows else np.zeros((0, len(self.labels)))

    def _parse_all(self, items: Sequence[Any]) -> list[TextItem]:
        parsed, errors = [], []
        for index, item in enumerate(items):
            try:
                parsed.append(parse_text(item))
            except ItemError as error:
                errors.append((index, error.message))
        if errors:
            raise BadItems(errors)
        return parsed

    # --- on the wire and in files

    def hub_answer(self, answers: Sequence[Answer], single: bool) -> list[Answer]:
        """A list of lists even for one input: InferenceClient would silently drop all labels but one of a flat list."""
        return list(answers)

    def azure_parameters(self, raw: Mapping[str, Any]) -> ClassificationParameters:
        _refuse_unknown(raw, AZURE_NAMES)
        every = raw.get("return_all_scores")
        if every is not None and not isinstance(every, bool):
            raise Refused(f"return_all_scores must be true or false, not {every!r}.", code="bad-parameter")
        top_k = _top_k(raw.get("top_k"))
        return ClassificationParameters(
            top_k, _function(raw.get("function_to_apply")), bool(every) or top_k is not None
        )

    def azure_answer(self, answers: Sequence[Answer], parameters: ClassificationParameters) -> list[Any]:
        return list(answers) if parameters.all_scores else [answer[0] for answer in answers]

    def sample(self) -> Any:
        return "Hello, where is my order?"

    def output_columns(self, parameters: ClassificationParameters) -> tuple[str, ...]:
        return ("label", "score") if (parameters.top_k or 1) == 1 else ("label", "score", "predictions")

    def output_row(self, answer: Answer, parameters: ClassificationParameters) -> dict[str, Any]:
        row = {"label": answer[0]["label"], "score": answer[0]["score"]}
        return row if (parameters.top_k or 1) == 1 else row | {"predictions": answer}


def _default_function(config: Any) -> Function:
    """As transformers' own pipeline chooses."""
    if config.problem_type == "regression":
        return "none"
    many = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "sigmoid" if many else "softmax"


def _apply(function: Function, logits: Vector) -> Vector:
    if function == "softmax":
        powers = np.exp(logits - logits.max())
        return cast(Vector, powers / powers.sum())
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500))) if function == "sigmoid" else logits


def _refuse_unknown(raw: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in raw:
        if name not in known:
            raise Refused(
                f"text-classification has no parameter {name!r}.",
                hint=nearest(str(name), known),
                code="unknown-parameter",
            )


def _top_k(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        _bad_parameter("top_k", value, "a whole number of at least 1")
    return value


def _function(value: Any) -> Function | None:
    if value is None:
        return None
    if value not in get_args(Function):
        _bad_parameter("function_to_apply", value, "softmax, sigmoid or none")
    return cast(Function, value)


def _bad_parameter(name: str, value: Any, accepted: str) -> NoReturn:
    raise Refused(f"{name} is {value!r}; it must be {accepted}.", code="bad-parameter")
