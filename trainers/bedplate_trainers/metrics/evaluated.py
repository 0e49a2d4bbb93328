"""Our metrics as an `evaluate.Metric`. The folders of `modules/` each hold one, for `evaluate.load`.

Importing this takes seconds, as `evaluate` does: it is imported on use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import datasets
import evaluate

from bedplate_registry.errors import Refused, nearest

from .of_task import metrics_of

__all__ = ["TaskMetric"]

MULTI_LABEL = "multilabel"  # the configuration, named as those of Hugging Face's own metrics are
_NUMBER, _TEXT = datasets.Value("int64"), datasets.Value("string")
_ONE, _SEVERAL = _TEXT, datasets.Sequence(_TEXT)
# A column of texts may have one or several right texts a row: evaluate takes the first of these that fits.
_TEXTS = ((_ONE, _SEVERAL), (_ONE, _ONE))
_FEATURES: dict[str, tuple[tuple[Any, Any], ...]] = {
    "text-classification": ((datasets.Sequence(datasets.Value("float64")), _NUMBER),),
    "token-classification": ((_SEVERAL, _SEVERAL),),
    "question-answering": _TEXTS,
    "summarization": _TEXTS,
    "translation": _TEXTS,
}


class TaskMetric(evaluate.Metric):  # type: ignore[misc]
    """The metrics of a task: `compute(predictions=, references=, names=)`, and the options of its `Predictions`.

    Without `names` all that have a value. What cannot be computed is Refused, as `score` does.
    """

    task = "text-classification"

    def __init__(self, *args: Any, names: Iterable[str] | None = None, **kwargs: Any) -> None:
        self._names = None if names is None else tuple(names)
        super().__init__(*args, **{**kwargs, "keep_in_memory": True})

    def _build_data_dir(self) -> str:
        """Without the folder under the home that `evaluate` would make: all is kept in memory."""
        return tempfile.gettempdir()

    def _info(self) -> Any:
        pairs = _FEATURES[self.task]
        if self.config_name == MULTI_LABEL:
            pairs = tuple((said, datasets.Sequence(right)) for said, right in pairs)
        choices = [datasets.Features(predictions=said, references=right) for said, right in pairs]
        return evaluate.MetricInfo(
            description=metrics_of(self.task).__doc__ or "",
            citation="",
            inputs_description=type(self).__doc__ or "",
            features=choices[0] if len(choices) == 1 else choices,
        )

    def _compute(
        self, predictions: Any, references: Any, names: Iterable[str] | None = None, **options: Any
    ) -> dict[str, float]:
        metrics = metrics_of(self.task)
        known = [field.name for field in fields(metrics.Predictions)][2:]  # type: ignore[arg-type]
        for name in options:
            if name not in known:
                raise Refused(f"The metrics of {self.task} have no option {name!r}.", hint=nearest(name, known))
        given = metrics.Predictions(predictions, references, **options)
        wanted = self._names if names is None else names
        return metrics.score_what_applies(given)[0] if wanted is None else metrics.score(given, wanted)
