"""Summarization: a long text in, a short one out, on any encoder-decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from bedplate_serving.predictors.seq2seq.languages import prefixes_of, summary_prefix
from bedplate_serving.predictors.seq2seq.predictor import CutShort, Seq2SeqItem, Seq2SeqPredictor, text_of
from bedplate_serving.predictors.seq2seq.settings import Seq2SeqParameters

__all__ = ["SummarizationParameters", "Summarizer", "load"]


class SummarizationParameters(Seq2SeqParameters):
    """See Seq2SeqParameters."""


class Document(TypedDict):
    """A text by the name of its column."""

    document: str


class Summary(TypedDict):
    summary_text: str
    finish_reason: NotRequired[CutShort]


def load(folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None) -> Summarizer:
    """`derived` is for encoders: nothing is kept there."""
    return Summarizer(folder, device, threads)


class Summarizer(Seq2SeqPredictor):
    """The predictor of the task summarization; see base.Predictor for what each method promises."""

    task = "summarization"
    parameters_type = SummarizationParameters
    input_type = str | Document
    answer_type = Summary
    answer_key, column = "summary_text", "summary"

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        super().__init__(folder, device, threads)
        self._prefixes = prefixes_of(self._engine.config)

    def parse(self, item: Any, parameters: Any = None) -> Seq2SeqItem:
        if isinstance(item, Seq2SeqItem):
            return item
        text = text_of(item, ("document", "text", "input_string"), ignored=("summary",))
        return self._item(summary_prefix(self._prefixes, text) + text, parameters or DEFAULT)

    def sample(self) -> Any:
        return (
            "The shop was closed for two days after the storm. It opens again on Monday, and late orders go out first."
        )


DEFAULT = SummarizationParameters()
