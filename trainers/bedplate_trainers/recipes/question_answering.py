"""Question answering: the part of a context that answers a question, or none where the context does not say.

read -> split -> cut into windows -> train -> save -> tune the threshold of "no answer" -> test with the predictor that
will serve the model -> baselines
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bedplate_registry.progress import Reporter
from bedplate_serving.predictors.answer_search import find_answers
from bedplate_serving.predictors.encoders.windows import Span
from bedplate_serving.predictors.question_answering import PARAMETERS_KEY, QuestionAnswerer
from bedplate_trainers.examiners.base import in_chunks
from bedplate_trainers.messages import DataFile, FinetuneRequest, FinetuneResult
from bedplate_trainers.metrics.question_answering import Predictions, score
from bedplate_trainers.no_answer import best_threshold
from bedplate_trainers.objectives import SpanLoss
from bedplate_trainers.plan import inputs_of, watched
from bedplate_trainers.pretrained import figures_of, load_answerer, load_tokenizer, set_padding
from bedplate_trainers.question_windows import EncodedQuestions, QuestionEncoder
from bedplate_trainers.questions import QuestionRows, read_questions
from bedplate_trainers.recipes.base import Prepared, make_plan, pad_multiple, resolve_for, run_recipe
from bedplate_trainers.sets import Sets, read_sets
from bedplate_trainers.settings import FinetuneSettings
from bedplate_trainers.token_cache import TokenCache

__all__ = ["prepare", "run"]

# Scored at each evaluation while training; the report has them all.
RUNNING_METRICS = ("exact_match", "f1_score")


def run(request: FinetuneRequest, reporter: Reporter, *, resume: bool) -> FinetuneResult | None:
    return run_recipe(prepare, request, reporter, resume=resume)


def prepare(request: FinetuneRequest, reporter: Reporter) -> Prepared:
    """From files to tensors. The same request gives the same result, in every process of a run."""
    settings = FinetuneSettings.from_mapping(request.settings, request.task)
    sets = _read_sets(request, settings, reporter)
    reporter.progress("load", 1, 3)
    tokenizer = load_tokenizer(request.model_dir)
    model = load_answerer(request.model_dir, settings.seed)
    set_padding(model, tokenizer)
    reporter.progress("load", 2, 3)
    figures = figures_of(model, tokenizer)
    cut = resolve_for(request, settings, figures, len(sets.train)).settings
    cache = TokenCache(request.work_dir, tokenizer, reporter)
    window = (int(cut.max_seq_length), int(cut.doc_stride))
    encoder = QuestionEncoder(tokenizer, *window, pad_multiple(request), cache.keep)
    reporter.progress("load", 3, 3)
    train = encoder.to_learn(sets.train, reporter)
    resolved = resolve_for(request, settings, figures, len(train))  # epochs and steps are of windows
    chosen = resolved.settings
    objective = SpanLoss(chosen.label_smoothing_factor)
    judge = None
    if sets.validation:
        judge = _Judge(sets, encoder.to_judge(sets.validation, reporter), objective, chosen)
    plan = make_plan(request, resolved, model, train, judge, objective, train.numbers)
    settle = partial(_settle, sets=sets, settings=chosen, device=plan.device, reporter=reporter)
    return Prepared(plan, tokenizer, resolved, sets, settle=settle)


def _read_sets(request: FinetuneRequest, settings: FinetuneSettings, reporter: Reporter) -> Sets[QuestionRows]:
    def read(file: DataFile, what: str) -> QuestionRows:
        return read_questions(file, request.columns, what, reporter)

    sets = read_sets(request, settings, read, reporter)
    if sets.train.without_answer:
        reporter.message(f"{sets.train.without_answer} of {len(sets.train)} questions to train on have no answer.")
    return sets


# --- figures


class _Said(NamedTuple):
    """Of one question: the best answer that is not empty, by how much "no answer" passes it, and the loss."""

    answer: str
    difference: float
    loss: float  # the sum over its windows that have a target
    items: int


class _Judge:
    """Loss and metrics of the validation rows, each answered over all its windows, and with the threshold that would be
    kept.
    """

    def __init__(
        self, sets: Sets[QuestionRows], encoded: EncodedQuestions, objective: SpanLoss, settings: FinetuneSettings
    ) -> None:
        assert sets.validation is not None
        self._names = watched(RUNNING_METRICS, settings)
        self._encoded, self._objective, self._settings = encoded, objective, settings
        self._references = [row.texts for row in sets.validation]
        self._may_be_empty = sets.train.without_answer + sets.validation.without_answer > 0
        self._is_tuned = _is_tuned(sets)
        self.lengths = encoded.lengths
        # A metric that these rows cannot have is refused before anything is trained.
        score(Predictions([""] * len(self._references), self._references), self._names)

    def predict(self, model: Any, rows: Sequence[int], device: torch.device) -> list[_Said]:
        logits, losses = self._logits(
            model, [number for row in rows for number in self._encoded.windows_of(row)], device
        )
        return [self._said(row, logits, losses) for row in rows]

    def _logits(
        self, model: Any, numbers: Sequence[int], device: torch.device
    ) -> tuple[dict[int, Any], dict[int, float]]:
        """Of each window by its number: [tokens, 2], and its loss. A question may have many: not all go at once."""
        windows, logits, losses = self._encoded.windows, dict[int, Any](), dict[int, float]()
        order, size = sorted(numbers, key=lambda number: windows.lengths[number]), self._batch_size
        for chunk in (order[at : at + size] for at in range(0, len(order), size)):
            batch = windows.__getitems__(chunk)
            outputs = model(**inputs_of(batch, device))
            losses.update(zip(chunk, self._objective.each(outputs, batch).tolist(), strict=True))
            both = torch.stack((outputs.start_logits, outputs.end_logits), dim=-1).double().cpu().numpy()
            for number, line, mask in zip(chunk, both, batch["attention_mask"].numpy(), strict=True):
                logits[number] = line[mask > 0]
        return logits, losses

    @property
    def _batch_size(self) -> int:
        return int(self._settings.per_device_eval_batch_size)

    def _said(self, row: int, logits: Mapping[int, Any], losses: Mapping[int, float]) -> _Said:
        numbers = self._encoded.windows_of(row)
        taken = self._encoded.taken(row, [logits[number] for number in numbers])
        cut = self._encoded.cuts[row]
        found = find_answers(cut, taken, longest=self._settings.max_answer_length, keep=1)
        span, best = found.spans[0] if found.spans else (Span(0, 0), -math.inf)
        difference = math.inf if best == -math.inf else found.none - best
        targets = self._encoded.windows.targets["start_positions"][numbers.start : numbers.stop]
        items = int((targets != SpanLoss.IGNORED).sum())
        return _Said(cut.context[slice(*span)], difference, sum(losses[number] for number in numbers), items)

    def scores(self, predictions: Sequence[_Said]) -> Mapping[str, float]:
        """With `null_score_diff_threshold` where it is tuned."""
        answers, differences = [said.answer for said in predictions], [said.difference for said in predictions]
        threshold = best_threshold(differences, answers, self._references) if self._is_tuned else 0.0
        if self._may_be_empty:
            answers = ["" if none > threshold else said for said, none in zip(answers, differences, strict=True)]
        tuned = {"null_score_diff_threshold": threshold} if self._is_tuned else {}
        loss = sum(said.loss for said in predictions) / max(sum(said.items for said in predictions), 1)
        return {"loss": loss, **score(Predictions(answers, self._references), self._names), **tuned}


# --- how the model is asked


def _settle(
    folder: Path, sets: Sets[QuestionRows], settings: FinetuneSettings, device: str, reporter: Reporter
) -> None:
    """Keeps in config.json how the model is to be asked: as it was trained, and with the threshold of "no answer" that
    is best for the validation rows (0 where all or none of them have an answer).
    """
    own: dict[str, Any] = {
        "max_seq_len": settings.max_seq_length,
        "doc_stride": settings.doc_stride,
        "max_answer_len": settings.max_answer_length,
        "handle_impossible_answer": sets.train.without_answer > 0,
    }
    _keep(folder, own)
    if sets.validation is not None and _is_tuned(sets):
        own["null_score_diff_threshold"] = round(_tuned(folder, sets.validation, device, reporter), 6)
        _keep(folder, own)


def _is_tuned(sets: Sets[QuestionRows]) -> bool:
    """Whether questions without an answer were learned, and the validation rows have both kinds to tune on."""
    held = sets.validation
    return held is not None and sets.train.without_answer > 0 and 0 < held.without_answer < len(held)


def _keep(folder: Path, own: Mapping[str, Any]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {PARAMETERS_KEY: own}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _tuned(folder: Path, rows: QuestionRows, device: str, reporter: Reporter) -> float:
    predictor = QuestionAnswerer(folder, device)

    def weigh(chunk: list[Any]) -> Sequence[tuple[str, float]]:
        return predictor.weigh_no_answer([row.input for row in chunk])

    found = in_chunks(rows.rows, lambda row: len(row.context), weigh, reporter, "threshold")
    return best_threshold([one[1] for one in found], [one[0] for one in found], [row.texts for row in rows])
