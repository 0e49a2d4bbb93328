"""Text generation: perplexity of right texts, and what is written of prompts, by the predictor that also serves it.

A completion follows its prompt as it stands: blanks between the two are the data's. Its tokens are those of both
together that are not the prompt's, so that one across the border counts. Of plain texts all tokens count but the first,
before which the model has read nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners.base import CutRows, Setup, in_chunks
from bedplate_trainers.examiners.generation_report import Judged, Likelihood, difference, make_report
from bedplate_trainers.latency import time_single
from bedplate_trainers.messages import DataFile
from bedplate_trainers.parsing import AUTO
from bedplate_trainers.predicted import Predicted
from bedplate_trainers.prompts import PromptRow, PromptRows, read_prompts
from bedplate_trainers.slice_columns import Columns

if TYPE_CHECKING:
    from bedplate_serving.predictors.text_generation import TextGenerator

__all__ = ["Examiner"]

TASK: Final = "text-generation"
LIKELIHOOD = "perplexity"
READ = {"decoder_input_details": True, "max_new_tokens": 1}  # how likely each token of a prompt was


class Examiner:
    """examiners.base.Examiner for models that write texts."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def read(self, file: DataFile, what: str) -> PromptRows:
        return read_prompts(file, self._setup.columns, what)

    def judge(self, folder: Path, rows: PromptRows, phase: str = "evaluate", derived: Path | None = None) -> Judged:
        """Texts are written where there is something to hold them against and a metric that does it was asked for."""
        from bedplate_serving.predictors import load_predictor
        from bedplate_serving.predictors.text_generation import TextGenerator

        wanted = self._setup.settings.metrics
        _check_has_completions(rows, wanted)
        generator = load_predictor(folder, TASK, device=self._setup.device, derived=derived)
        assert isinstance(generator, TextGenerator)

        cut = CutRows(writes=True)

        def write(chunk: list[PromptRow]) -> Sequence[str]:
            prompts = [row.prompt for row in chunk]
            answers = generator.predict(prompts, self._parameters(), on_cut=cut.among(chunk))
            return [answer[0]["generated_text"] for answer in answers]

        def weigh(chunk: list[PromptRow]) -> Sequence[Likelihood]:
            return _likelihoods(generator, chunk)

        writes = rows.has_completions and set(wanted) != {LIKELIHOOD}
        weighs = not wanted or LIKELIHOOD in wanted
        start = time.perf_counter()
        likelihoods = self._each(rows, weigh, phase) if weighs else None
        texts = self._each(rows, write, "write" if weighs else phase) if writes else None
        seconds = time.perf_counter() - start
        cut.tell(len(rows), self._setup.reporter)
        latency = time_single(rows.rows, write if writes else weigh, self._setup.settings.latency_rows)
        return Judged("model", rows, texts, likelihoods, seconds, latency)

    def probe(self, folder: Path, rows: PromptRows, train: PromptRows) -> Judged:
        raise Refused(
            "The model is a base that writes no texts, and there is no probe of texts.",
            hint="Evaluate a model that writes.",
            code="no-probe",
        )

    def said(self, rows: PromptRows, predicted: Sequence[Predicted]) -> Judged:
        """Perplexity is not among what texts alone tell."""
        _check_has_completions(rows, self._setup.settings.metrics or ("rouge1",))
        return Judged("predictions", rows, [one.text for one in predicted], None, 0.0)

    def report(self, judged: Judged, columns: Columns | None = None) -> dict[str, Any]:
        return make_report(judged, self._setup.settings, columns)

    def rows_of(self, judged: Judged) -> Judged:
        return judged

    def difference(self, mine: Judged, other: Judged) -> dict[str, dict[str, float]]:
        return difference(mine, other, self._setup.settings)

    def baselines(self, mine: Judged, train: PromptRows | None) -> dict[str, dict[str, float]]:
        """None: what follows a prompt is in no other row."""
        return {}

    def _each(self, rows: PromptRows, score: Any, phase: str) -> Sequence[Any]:
        return in_chunks(rows.rows, lambda row: len(row.whole), score, self._setup.reporter, phase)

    def _parameters(self) -> dict[str, Any]:
        most = self._setup.settings.max_new_tokens
        return {} if most == AUTO else {"max_new_tokens": most}


def _check_has_completions(rows: PromptRows, wanted: Sequence[str]) -> None:
    others = [name for name in wanted if name != LIKELIHOOD]
    if others and not rows.has_completions:
        raise Refused(
            f"The metric {others[0]} cannot be computed.",
            hint="The data has nothing to hold a text against: map a column to completion. Perplexity needs none.",
            code="metric",
        )


def _likelihoods(generator: TextGenerator, rows: Sequence[PromptRow]) -> list[Likelihood]:
    """How likely the completions are after their prompts, or plain texts from their second token on."""
    wholes = [_ids(generator, row.whole) for row in rows]
    starts = [
        _shared(_ids(generator, row.prompt), ids) if row.completion else 0
        for row, ids in zip(rows, wholes, strict=True)
    ]
    found = []
    for start, [answer] in zip(starts, generator.predict(wholes, READ), strict=True):
        known = [one["logprob"] for one in answer["details"]["prefill"][start:] if one["logprob"] is not None]
        found.append(Likelihood(float(sum(known)), len(known)))
    return found


def _ids(generator: TextGenerator, text: str) -> list[int]:
    [encoded] = generator.encode([generator.parse(text)])
    return list(encoded.ids)


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
