"""Tokenized rows are kept beside the checkpoints, come back as they were, and are never taken for others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bedplate_registry.progress import SILENT
from bedplate_trainers.data import Example
from bedplate_trainers.encoding import Keep, encode_texts
from bedplate_trainers.finetune import FinetuneRequest
from bedplate_trainers.labels import LabelSet
from bedplate_trainers.pretrained import load_tokenizer
from bedplate_trainers.question_windows import QuestionEncoder
from bedplate_trainers.questions import QuestionRow, QuestionRows, RightAnswer
from bedplate_trainers.recipes.text_classification import prepare
from bedplate_trainers.tagged import TaggedRow, TaggedRows
from bedplate_trainers.token_cache import FEWEST_ROWS, TokenCache
from bedplate_trainers.word_windows import WindowEncoder

COUNT = 30
TEXTS = [" ".join(["please", "refund", "my", "phone"] * (1 + number % 5)) for number in range(COUNT)]


def texts(tokenizer: Any, keep: Keep, reporter: Any, limit: int = 16) -> Any:
    rows = [Example(number, text, None, ("a",)) for number, text in enumerate(TEXTS)]
    return encode_texts(tokenizer, rows, np.arange(COUNT), limit, reporter, 1, keep)


def words(tokenizer: Any, keep: Keep, reporter: Any) -> Any:
    rows = [TaggedRow(n, tuple(text.split()), tuple("ab"[n % 2] for _ in text.split())) for n, text in enumerate(TEXTS)]
    return WindowEncoder(tokenizer, LabelSet(("a", "b"), False), 12, 4, 1, keep)(TaggedRows(tuple(rows)), reporter)


def questions(tokenizer: Any, keep: Keep, reporter: Any) -> Any:
    rows = [QuestionRow(n, "why ?", text, (RightAnswer("refund", 7),)) for n, text in enumerate(TEXTS)]
    return QuestionEncoder(tokenizer, 16, 4, 1, keep).to_learn(QuestionRows(tuple(rows)), reporter)


@pytest.fixture
def tokenizer(base_dir: Path) -> Any:
    return load_tokenizer(base_dir)


@pytest.fixture
def keep(tokenizer: Any, tmp_path: Path, recorder: Any) -> Keep:
    return TokenCache(tmp_path, tokenizer, recorder, fewest=COUNT).keep


def tokenized(reporter: Any) -> bool:
    """Whether it was, since the last time."""
    phases, reporter.phases = reporter.phases, []
    return any(phase == "tokenize" for phase, *_ in phases)


@pytest.mark.parametrize("encode", [texts, words, questions])
def test_rows_come_back_as_they_were_without_being_tokenized_again(
    tokenizer: Any, keep: Keep, recorder: Any, encode: Callable[..., Any]
) -> None:
    first = encode(tokenizer, keep, recorder)
    assert tokenized(recorder)
    again = encode(tokenizer, keep, recorder)
    assert not tokenized(recorder)
    assert list(again.numbers) == list(first.numbers)
    one, other = (rows.__getitems__(range(len(rows))) for rows in (first, again))
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_other_settings_and_another_tokenizer_make_other_rows(
    tokenizer: Any, keep: Keep, recorder: Any, tmp_path: Path
) -> None:
    for limit in (16, 8, 7, 6, 5):
        assert texts(tokenizer, keep, recorder, limit).lengths.max() == limit
        assert tokenized(recorder)
    tokenizer.add_tokens(["refund my"])
    texts(tokenizer, keep, recorder, 5)
    assert tokenized(recorder)
    assert len(list((tmp_path / "tokens").iterdir())) == 4  # older ones made room


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no archive", lambda data: b""])
def test_a_damaged_file_is_made_again(
    tokenizer: Any, keep: Keep, recorder: Any, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    first = texts(tokenizer, keep, recorder)
    (path,) = (tmp_path / "tokens").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    tokenized(recorder)
    assert texts(tokenizer, keep, recorder).lengths.tolist() == first.lengths.tolist()
    assert tokenized(recorder)
    assert "are damaged, and made again" in recorder.messages[0]
    texts(tokenizer, keep, recorder)
    assert not tokenized(recorder)


def test_a_folder_that_cannot_be_written_to_stops_nothing(tokenizer: Any, recorder: Any, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a file")
    texts(tokenizer, TokenCache(tmp_path, tokenizer, recorder, fewest=1).keep, recorder)
    assert tokenized(recorder)
    assert any("are not kept for another attempt" in message for message in recorder.messages)


def test_few_rows_are_not_worth_keeping(tokenizer: Any, recorder: Any, tmp_path: Path) -> None:
    texts(tokenizer, TokenCache(tmp_path, tokenizer, recorder).keep, SILENT)
    assert not (tmp_path / "tokens").exists()


def test_another_attempt_of_a_fine_tune_takes_what_the_first_one_kept(
    make_request: Callable[..., FinetuneRequest], recorder: Any
) -> None:
    rows = [{"text": f"refund {number}", "label": "ab"[number % 2]} for number in range(FEWEST_ROWS)]
    request = make_request(rows, validation=None, test=None)
    first = prepare(request, recorder).plan.train
    assert tokenized(recorder)
    again = prepare(request, recorder).plan.train
    assert not tokenized(recorder)
    assert again.lengths.tolist() == first.lengths.tolist()
