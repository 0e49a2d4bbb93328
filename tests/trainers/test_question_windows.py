"""Questions as windows: those of the predictor, with targets that point to the answer, in any family."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.predictors.question_answering import QuestionAnswerer
from bedplate_serving.testing import FAMILIES, WORDS, tiny_question_answerer
from bedplate_trainers.objectives import SpanLoss
from bedplate_trainers.pretrained import figures_of
from bedplate_trainers.question_windows import QuestionEncoder
from bedplate_trainers.questions import QuestionRow, QuestionRows, RightAnswer
from question_rows import question_rows

LIMIT, STRIDE = 24, 5


def rows_of(count: int, longest: int = 40, without: float = 0.2) -> QuestionRows:
    found = []
    for number, row in enumerate(question_rows(count, longest=longest, without=without), 1):
        answers = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        right = tuple(RightAnswer(*one) for one in answers)
        found.append(QuestionRow(number, row["question"], row["context"], right))
    return QuestionRows(tuple(found))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(tiny_question_answerer(tmp_path_factory.mktemp("bert") / "model"))


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_are_those_of_the_predictor_and_targets_point_to_the_answer(family: str, tmp_path: Path) -> None:
    folder = tiny_question_answerer(tmp_path / "model", family=family)
    tokenizer, predictor = AutoTokenizer.from_pretrained(folder), QuestionAnswerer(folder, "cpu", 1)
    model = AutoModelForQuestionAnswering.from_pretrained(folder)
    assert figures_of(model, tokenizer).context_length == predictor.context_length
    rows = rows_of(12, longest=12)
    limit = 48  # of bytes and letters a window holds little
    encoded = QuestionEncoder(tokenizer, limit, STRIDE).to_judge(rows, SILENT)
    asked = predictor.parameters({"max_seq_len": limit, "doc_stride": STRIDE})
    for place, one in enumerate(predictor.encode([predictor.parse(row.input, asked) for row in rows])):
        row, numbers = rows.rows[place], encoded.windows_of(place)
        offsets = predictor._windowed.tokenize([row.context])[0].offsets
        taken = encoded.taken(place, [np.arange(window.length) for window in one.windows])
        assert [found.tolist() for found in taken] == [list(window.take or ()) for window in one.windows]
        for number, window, part in zip(numbers, one.windows, one.cut.parts, strict=True):
            batch = encoded.windows[number]
            assert batch["input_ids"][0].tolist() == list(window.ids)
            assert window.type_ids is None or batch["token_type_ids"][0].tolist() == list(window.type_ids)
            start, end = int(batch["start_positions"]), int(batch["end_positions"])
            if start > 0:
                shift = part.start - encoded.cutter.first_place(one.cut)
                text = row.context[offsets[start + shift][0] : offsets[end + shift][1]]
                assert text.strip() == row.texts[0]
    assert (encoded.windows.targets["start_positions"] > 0).any()


def test_a_window_without_the_whole_answer_points_to_the_first_token(bert: Any, recorder: Any) -> None:
    context = " ".join(WORDS[:40])
    answer = RightAnswer(WORDS[30], context.index(f" {WORDS[30]} ") + 1)
    rows = QuestionRows((QuestionRow(1, "card ?", context, (answer,)), QuestionRow(2, "card ?", context, ())))
    encoded = QuestionEncoder(bert, LIMIT, STRIDE).to_learn(rows, recorder)
    starts = encoded.targets["start_positions"]
    assert len(starts) % 2 == 0 and (starts[len(starts) // 2 :] == 0).all()
    pointing = [number for number in range(len(starts) // 2) if starts[number] > 0]
    assert 1 <= len(pointing) <= 2 and len(pointing) < len(starts) // 2
    for number in pointing:
        ids = encoded[number]["input_ids"][0]
        first, last = int(starts[number]), int(encoded.targets["end_positions"][number])
        assert bert.decode(ids[first : last + 1]).replace(" ", "") == WORDS[30]
    assert recorder.messages == []


def test_what_is_cut_or_left_out_of_training_is_told(bert: Any, recorder: Any) -> None:
    context = " ".join(WORDS[:40])
    long = RightAnswer(" ".join(WORDS[5:30]), context.index(f" {WORDS[5]} ") + 1)
    rows = QuestionRows((QuestionRow(1, "card ?", context, (long,)), QuestionRow(2, "card " * 30, context, ())))
    encoder = QuestionEncoder(bert, LIMIT, STRIDE)
    learned = encoder.to_learn(rows, recorder)
    assert (learned.targets["start_positions"] == 0).all()  # of the second row alone
    assert set(learned.numbers) == {2} and len(learned.numbers) == len(learned)
    assert "Of 1 of 2 questions only the beginning is read" in recorder.messages[0]
    assert recorder.messages[1].startswith("1 of 2 questions are left out of training")
    assert len(encoder.to_judge(rows, recorder).cuts) == 2
    with pytest.raises(Refused, match="No answer fits into a window"):
        encoder.to_learn(QuestionRows(rows.rows[:1]), SILENT)


def test_a_window_without_room_is_refused(bert: Any) -> None:
    with pytest.raises(Refused, match="max_seq_length is 6, of which 3 are special tokens"):
        QuestionEncoder(bert, 6, 1)


def test_padding_in_front_moves_the_targets_and_changes_no_loss(bert: Any) -> None:
    rows = rows_of(8)
    right = QuestionEncoder(bert, 64, STRIDE).to_learn(rows, SILENT)
    bert.padding_side = "left"
    left = QuestionEncoder(bert, 64, STRIDE).to_learn(rows, SILENT)
    bert.padding_side = "right"
    several = list(range(len(right)))
    behind, before = right.__getitems__(several), left.__getitems__(several)
    for number in several:
        for name in ("start_positions", "end_positions"):
            assert (
                behind["input_ids"][number, behind[name][number]] == before["input_ids"][number, before[name][number]]
            )
    source = torch.Generator().manual_seed(0)
    objective = SpanLoss(0.1)
    for windows in (right, left):
        batch = windows.__getitems__(several)
        logits = torch.randn(*batch["input_ids"].shape, 2, generator=source)
        each = objective.each(SimpleNamespace(start_logits=logits[..., 0], end_logits=logits[..., 1]), batch)
        for number in several:
            alone = windows[number]
            own = logits[number][batch["attention_mask"][number] > 0][None]
            outputs = SimpleNamespace(start_logits=own[..., 0], end_logits=own[..., 1])
            assert objective.total(outputs, alone) == pytest.approx(float(each[number]), rel=1e-5)


def test_the_loss_without_smoothing_is_transformers_own(bert: Any, tmp_path: Path) -> None:
    model = AutoModelForQuestionAnswering.from_pretrained(tiny_question_answerer(tmp_path / "model")).eval()
    windows = QuestionEncoder(bert, 64, STRIDE).to_learn(rows_of(4), SILENT)
    for number in range(len(windows)):
        batch = windows[number]
        with torch.no_grad():
            outputs = model(**batch)
        assert float(SpanLoss().total(outputs, batch)) == pytest.approx(float(outputs.loss), rel=1e-5)
    whole = windows.__getitems__(range(len(windows)))
    whole["start_positions"][0] = whole["end_positions"][0] = SpanLoss.IGNORED
    assert int(SpanLoss().items(whole)) == len(windows) - 1
