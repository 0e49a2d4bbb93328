"""A plain file of predictions, to be judged as a model's: one for each row of the data, in its order. No torch.

    label                          {"label": "money"}             or a list of several labels
    label, score                   and how sure it was of it
    label, probabilities           {"money": 0.9, "access": 0.1}; the label may be left out
    tags                           ["O", "B-PER"]
    answer, score                  "" for none
    summary, target, completion    a text
    answer                         the word behind a mask; of several masks a word for each

`predicted` or `prediction` is taken for any of these, and what batch scoring calls them too: beside the data's own
`label` that is `predicted_label`. A .txt has one prediction a line and nothing else; the tags of a line have blanks
between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.cells import parsed
from bedplate_registry.errors import Refused
from bedplate_registry.tables import columns_of, read_rows
from bedplate_registry.texts import has_surrogate

from .labels import some
from .messages import DataFile

__all__ = ["COLUMNS", "LINES", "Predicted", "check_count", "check_predicted", "find_columns", "read_predicted"]

LINES = "txt"  # the format of a file of plain lines
# What the column may be called, the first of them that the file has; before them `predicted`, and each as batch scoring
# names it where the file had one of that name.
NAMES: Mapping[str, tuple[str, ...]] = {
    "text-classification": ("label",),
    "image-classification": ("label",),
    "token-classification": ("tags",),
    "question-answering": ("answer",),
    "summarization": ("summary_text", "summary"),
    "translation": ("translation", "translation_text", "target"),
    "text-generation": ("generated_text", "completion"),
    "fill-mask": ("token", "answer"),
}
COLUMNS = {
    task: ("predicted", "prediction", *(f"predicted_{name}" for name in names), *names) for task, names in NAMES.items()
}
WITH_PROBABILITIES = ("text-classification", "image-classification")
WITH_SCORES = (*WITH_PROBABILITIES, "question-answering", "fill-mask")
PROBABILITIES, SCORE = "probabilities", "score"
ROUNDED = 1e-4  # by so much numbers of half precision miss 0, 1 and what they should add up to
LISTS = ("text-classification", "image-classification", "token-classification", "fill-mask")


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was said of one row."""

    row: int
    value: Any  # a text or a list of them; None where `probabilities` say it
    score: float | None
    probabilities: Mapping[str, float] | None

    def refused(self, what: str, hint: str) -> Refused:
        """An error that names the row."""
        return Refused(f"The prediction of row {self.row} {what}.", hint=hint, code="bad-predictions")

    def check_known(self, label: str, known: Sequence[str], what: str) -> None:
        """Raises Refused where it is not one of the labels that are `known`."""
        if label not in known:
            hint = f"Known: {some(known)}. Where the data lacks some, name all of them: --set class_names=…"
            raise self.refused(f"has the {what} {label[:80]!r}, which the data does not have", hint)

    @property
    def text(self) -> str:
        """Raises Refused where it is a list."""
        if isinstance(self.value, list):
            raise self.refused("is a list", "Give one text for each row.")
        return str(self.value)


def check_predicted(file: DataFile, task: str) -> dict[str, str]:
    """Which column holds what (find_columns); nothing for a file of lines."""
    return {} if file.format == LINES else find_columns(columns_of(file.path, file.format), task)


def find_columns(known: Sequence[str], task: str) -> dict[str, str]:
    """Which of the columns holds what: `predicted`, `score`, `probabilities`.

    Raises Refused where none of them is of predictions.
    """
    first = next((name for name in COLUMNS[task] if name in known), None)
    found = {} if first is None else {"predicted": first}
    if task in WITH_SCORES and not _is_of_an_evaluation(first, task):
        score = next((name for name in (f"predicted_{SCORE}", SCORE) if name in known), None)
        found |= {} if score is None else {SCORE: score}
    found |= {PROBABILITIES: PROBABILITIES} if PROBABILITIES in known and task in WITH_PROBABILITIES else {}
    if "predicted" not in found and PROBABILITIES not in found:
        raise Refused(
            f"The predictions have no column {COLUMNS[task][-1]!r}.",
            hint=f"For {task} it is called {' or '.join(COLUMNS[task])}. The file has: {', '.join(known)}.",
            code="missing-column",
        )
    return found


def _is_of_an_evaluation(column: str | None, task: str) -> bool:
    """Whether the file may be of an evaluation of ours, whose scores of answers are their F1 and no confidence."""
    return task == "question-answering" and column == "predicted"


def read_predicted(file: DataFile, task: str, rows: int) -> list[Predicted]:
    """Those of a file, one for each of `rows`. Raises Refused, which names the row that has none or a bad one."""
    columns = check_predicted(file, task)
    raw = _lines(file) if file.format == LINES else read_rows(file.path, file.format)
    found = [_predicted(number, row, columns, task) for number, row in enumerate(raw, 1)]
    check_count(len(found), rows)
    return found


def check_count(predicted: int, rows: int) -> None:
    """Raises Refused unless there is a prediction for each row."""
    if predicted != rows:
        raise Refused(
            f"The predictions have {predicted} rows, and the data has {rows}.",
            hint="Give one prediction for each row of the data, in the same order.",
            code="row-count",
        )


def _lines(file: DataFile) -> Iterator[dict[str, Any]]:
    """Lines as people see them: whatever ends one, and no more after the last."""
    with file.path.open(encoding="utf-8-sig", newline=None) as lines:
        try:
            for line in lines:
                yield {"predicted": line.removesuffix("\n")}
        except UnicodeDecodeError as error:
            hint = "Save the file as UTF-8."
            raise Refused("The predictions are no text in UTF-8.", hint=hint, code="bad-predictions") from error


def _predicted(number: int, row: Mapping[str, Any], columns: Mapping[str, str], task: str) -> Predicted:
    given = {name: row.get(column) for name, column in columns.items()} or dict(row)
    bare = Predicted(number, None, None, None)
    probabilities = _probabilities(bare, given.get(PROBABILITIES)) if PROBABILITIES in columns else None
    value = _value(bare, given.get("predicted"), task) if "predicted" in given else None
    return Predicted(number, value, _number(bare, given.get(SCORE), SCORE), probabilities)


def _value(bare: Predicted, value: Any, task: str) -> Any:
    """A text, or a list of texts where the task has such."""
    if value is None or value != value or isinstance(value, Mapping):
        hint = 'Give a text; "" where there is no answer.' if task == "question-answering" else "Give a text."
        is_object = isinstance(value, Mapping)
        raise bare.refused(f"is {value!r:.60}, which is no text" if is_object else "is missing", hint)
    if isinstance(value, bool):
        value = str(value).lower()  # as it is read where it is a label of the data
    if isinstance(value, str) and task in LISTS and value.lstrip().startswith("["):
        value = parsed(value)
    if task == "token-classification" and isinstance(value, str):
        value = value.split()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # Parquet turns a column of integers with a gap into floats
    texts = [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
    _check_texts(bare, texts)
    return texts if isinstance(value, list | tuple) else texts[0]


def _check_texts(bare: Predicted, texts: Iterable[str]) -> None:
    if any(has_surrogate(text) is not None for text in texts):
        raise bare.refused("holds half a surrogate pair, which is no text", "Write such characters whole.")


def _probabilities(bare: Predicted, value: Any) -> dict[str, float]:
    if isinstance(value, str):
        value = parsed(value)
    if not isinstance(value, Mapping) or not value:
        raise bare.refused("has probabilities that are no object", 'Give {"label": number, …}.')
    _check_texts(bare, map(str, value))
    numbers = {str(label): _number(bare, number, "probability") for label, number in value.items()}
    return {label: number or 0.0 for label, number in numbers.items()}  # Parquet gives all rows all labels, with None


def _number(bare: Predicted, value: Any, what: str) -> float | None:
    """From 0 to 1; None where it is not given."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not -ROUNDED <= number <= 1 + ROUNDED:
        raise bare.refused(f"has a {what} of {value!r:.40}", "Give a number from 0 to 1.")
    return min(max(number, 0.0), 1.0)
