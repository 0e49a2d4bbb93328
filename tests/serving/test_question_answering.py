"""Answers are those of a slow plain search in transformers' own logits, window by window, by SQuAD's rules."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.batch import score_file
from bedplate_serving.predictors import BadItems, ItemError, load_predictor
from bedplate_serving.predictors.question_answering import PARAMETERS_KEY, QuestionAnswerer
from bedplate_serving.testing import FAMILIES, WORDS, tiny_masked_lm, tiny_question_answerer

Load = Callable[[str], tuple[QuestionAnswerer, Path]]
ODD = ("London,", "Zürich", "naïve.", "東京", "🙂", "e-mail", "½", "Ωmega!")


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    @cache
    def loaded(family: str) -> tuple[QuestionAnswerer, Path]:
        folder = tiny_question_answerer(tmp_path_factory.mktemp(family) / "model", family=family)
        return QuestionAnswerer(folder, device="cpu", threads=1), folder

    return loaded


def questions(count: int, longest: int, seed: int = 0) -> list[dict[str, str]]:
    source = random.Random(seed)

    def pick(most: int) -> str:
        return " ".join(source.choices([*WORDS, *ODD], k=source.randint(1, most)))

    return [{"question": pick(6), "context": pick(longest)} for _ in range(count)]


class Reference:
    """Plain loops over every span of every window that transformers' tokenizer cuts."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()

    def windows(self, item: dict[str, str], stride: int) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Of each: start logits, end logits, offsets and words of the context's tokens (None for all others)."""
        inputs = self.tokenizer(
            item["question"],
            item["context"],
            truncation="only_second",
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for number, encoding in enumerate(inputs.encodings):
            names = [name for name in self.tokenizer.model_input_names if name in inputs]
            with torch.inference_mode():
                output = self.model(**{name: torch.tensor([inputs[name][number]]) for name in names})
            own = [sequence == 1 for sequence in encoding.sequence_ids]
            offsets = [pair if mine else None for pair, mine in zip(encoding.offsets, own, strict=True)]
            words = [word if mine else None for word, mine in zip(encoding.word_ids, own, strict=True)]
            yield output.start_logits[0].tolist(), output.end_logits[0].tolist(), offsets, words

    def answers(self, item: dict[str, str], *, stride: int, longest: int, impossible: bool, align: bool) -> list[Any]:
        """(score, start, end) of all answers, the best first."""
        windows = list(self.windows(item, stride))
        none = min((starts[0] + ends[0], starts[0], ends[0]) for starts, ends, _, _ in windows)
        spans: dict[tuple[int, int], float] = {}
        largest: tuple[dict[Any, float], dict[Any, float]] = ({"none": none[1]}, {"none": none[2]})
        first_offsets, last_offsets = self.edges(item["context"])
        for starts, ends, offsets, words in windows:
            places = [place for place, pair in enumerate(offsets) if pair is not None]
            for kept, logits in zip(largest, (starts, ends), strict=True):
                for place in places:  # a token is told by its offsets, and by how many stand before it at the same
                    key = (offsets[place], offsets[:place].count(offsets[place]))
                    kept[key] = max(kept.get(key, -math.inf), logits[place])
            for start in places:
                for end in range(start, min(start + longest, places[-1] + 1)):
                    left = first_offsets[words[start]] if align else offsets[start][0]
                    right = last_offsets[words[end]] if align else offsets[end][1]
                    text = item["context"][left:right]
                    span = (left + len(text) - len(text.lstrip()), right - len(text) + len(text.rstrip()))
                    if text.strip():
                        spans[span] = max(spans.get(span, -math.inf), starts[start] + ends[end])
        total = sum(math.log(sum(map(math.exp, kept.values()))) for kept in largest)
        found = [(math.exp(logit - total), *span) for span, logit in spans.items()]
        if impossible:
            found.append((math.exp(none[0] - total), 0, 0))
        return sorted(found, reverse=True)

    def edges(self, context: str) -> tuple[dict[int, int], dict[int, int]]:
        encoding = self.tokenizer(context, add_special_tokens=False, return_offsets_mapping=True).encodings[0]
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
            first.setdefault(word, start)
            last[word] = end
        return first, last


def assert_answers(found: Any, expected: list[Any], context: str) -> None:
    assert len(found) <= len(expected)
    for one, (score, _, _) in zip(found, expected, strict=False):
        assert one["score"] == pytest.approx(score, abs=1e-4, rel=1e-4)
        assert one["answer"] == context[one["start"] : one["end"]]
        near = [span for other, *span in expected if other == pytest.approx(score, abs=1e-6, rel=1e-4)]
        assert [one["start"], one["end"]] in near
    assert len({(one["start"], one["end"]) for one in found}) == len(found)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("impossible", [False, True])
def test_the_answers_in_one_window_are_those_of_a_plain_search(family: str, impossible: bool, load: Load) -> None:
    predictor, folder = load(family)
    reference = Reference(folder)
    items = questions(5, 6)
    parameters = {"top_k": 4, "handle_impossible_answer": impossible, "max_answer_len": 5}
    answers: Any = predictor.predict(items, parameters)
    for item, found in zip(items, answers, strict=True):
        expected = reference.answers(item, stride=20, longest=5, impossible=impossible, align=True)
        assert_answers(found, expected, item["context"])
        assert len(found) == min(4, len(expected))


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2"])
@pytest.mark.parametrize("align", [False, True])
def test_the_answers_in_many_windows_are_those_of_a_plain_search(family: str, align: bool, load: Load) -> None:
    predictor, folder = load(family)
    reference = Reference(folder)
    items = questions(2, 120, seed=4)
    parameters = {"top_k": 5, "doc_stride": 11, "align_to_words": align, "handle_impossible_answer": True}
    encoded = predictor.encode([predictor.parse(item, predictor.parameters(parameters)) for item in items])
    assert sum(len(one.windows) for one in encoded) >= 5
    assert not any(one.truncated for one in encoded)
    answers: Any = predictor.predict(items, parameters)
    for item, found in zip(items, answers, strict=True):
        expected = reference.answers(item, stride=11, longest=15, impossible=True, align=align)
        assert_answers(found, expected, item["context"])
        assert len(found) == 5


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize(("top_k", "stride"), [(5, 25), (30, 11), (100, 25)])
def test_as_many_answers_come_as_there_are_however_many_spans_are_one(
    family: str, top_k: int, stride: int, load: Load
) -> None:
    """Words of many tokens: a hundred spans and more, in two windows each, are one word."""
    predictor, folder = load(family)
    source = random.Random(3)
    words = ["".join(source.choices("bcdfghjkvwxz", k=14)) for _ in range(60)]
    item = {"question": "where?", "context": " ".join(words)}
    [found] = predictor.predict([item], {"top_k": top_k, "doc_stride": stride})
    expected = Reference(folder).answers(item, stride=stride, longest=15, impossible=False, align=True)
    assert_answers(found, expected, item["context"])
    assert len(found) == min(top_k, len(expected))


def test_blanks_that_are_tokens_are_no_answers_and_no_way_without_end(load: Load) -> None:
    predictor, _ = load("roberta")
    item = {"question": "where?", "context": "card" + " " * 3000 + "login"}
    [found] = predictor.predict([item], {"top_k": 9, "align_to_words": False})
    answers = {one["answer"] for one in found}
    assert {"card", "login"} <= answers and all(answer == answer.strip() for answer in answers)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_of_each_window_are_transformers_own(family: str, load: Load) -> None:
    predictor, folder = load(family)
    items = questions(4, 100, seed=5)
    encoded = predictor.encode([predictor.parse(item, predictor.parameters({"doc_stride": 9})) for item in items])
    for item, rows in zip(items, predictor._windowed.run(encoded), strict=True):
        windows = list(Reference(folder).windows(item, 9))
        assert len(rows) == len(windows)
        for row, (starts, ends, offsets, _) in zip(rows, windows, strict=True):
            places = [0, *(place for place, pair in enumerate(offsets) if pair is not None)]
            assert np.abs(row - np.stack([starts, ends], axis=1)[places]).max() < 1e-4


def test_the_only_window_is_scored_as_transformers_former_pipeline_scored_it(load: Load) -> None:
    """A softmax over the context and the first token for the start, one for the end, and their product."""
    predictor, folder = load("bert")
    item = {"question": "where is my card?", "context": "the card is lost and the phone is slow"}
    [(starts, ends, offsets, _)] = Reference(folder).windows(item, 0)
    allowed = [0, *(place for place, pair in enumerate(offsets) if pair is not None)]
    start, end = (torch.softmax(torch.tensor(logits)[allowed], 0) for logits in (starts, ends))
    scores = [float(start[i] * end[j]) for i in range(1, len(allowed)) for j in range(i, min(i + 15, len(allowed)))]
    [answer] = predictor.predict([item])
    assert answer["score"] == pytest.approx(max(scores), abs=1e-6)
    [nothing] = predictor.predict([item], {"handle_impossible_answer": True, "top_k": 100})
    assert {"answer": "", "start": 0, "end": 0, "score": pytest.approx(float(start[0] * end[0]), abs=1e-6)} in nothing
    assert sum(one["score"] for one in nothing) <= 1.0


def test_scores_of_a_long_context_are_probabilities_too(load: Load) -> None:
    predictor, _ = load("modernbert")
    for item in questions(3, 300, seed=8):
        found: Any = predictor.predict([item], {"top_k": 50, "handle_impossible_answer": True})[0]
        assert 0 < sum(one["score"] for one in found) <= 1.0
        assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)


def test_a_question_beyond_its_share_is_cut_and_said(load: Load) -> None:
    predictor, _ = load("bert")
    context = "my card is lost"
    for parameters, length in (({}, 30), ({"max_question_len": 5}, 5), ({"max_seq_len": 24}, 10)):
        wanted = predictor.parameters(parameters)
        [long, short] = predictor.encode(
            [predictor.parse({"question": text, "context": context}, wanted) for text in ("card " * 90, "card")]
        )
        assert (long.truncated, short.truncated) == (True, False)
        assert long.windows[0].length == length + 4 + 3


def test_answers_are_exact_slices_in_code_points(load: Load) -> None:
    context = "👩‍👩‍👧 paid at cafe\u0301 Müller in 東京, e\u0301te\u0301 2️⃣"
    for family in FAMILIES:
        predictor, _ = load(family)
        found: Any = predictor.predict([{"question": "who?", "context": context}], {"top_k": 100})[0]
        assert len(found) > 10
        for one in found:
            assert one["answer"] == context[one["start"] : one["end"]] == one["answer"].strip()
            assert not context[one["end"] :].startswith("\u0301"), "an accent belongs to its letter"
    predictor, _ = load("bert")
    found = predictor.predict([{"question": "who?", "context": context}], {"top_k": 100, "max_answer_len": 20})[0]
    assert "cafe\u0301" in {one["answer"] for one in found}


def test_batch_mates_of_any_length_change_nothing(load: Load) -> None:
    predictor, _ = load("roberta")
    items = [*questions(5, 5), *questions(2, 200, seed=1), {"question": "a", "context": "b"}]
    alone: list[Any] = [predictor.predict([item])[0] for item in items]
    for budget in (1, 300, 100_000):
        for found, expected in zip(predictor.predict(items, token_budget=budget), alone, strict=True):
            assert found["answer"] == expected["answer"]
            assert found["score"] == pytest.approx(expected["score"], abs=1e-5)


def test_a_context_of_nothing_that_the_tokenizer_sees_has_no_answer(load: Load) -> None:
    [answer] = load("bert")[0].predict([{"question": "card?", "context": "\u200b"}])
    assert answer == {"answer": "", "score": pytest.approx(1.0), "start": 0, "end": 0}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text", 'must be {"question": …, "context": …}, not str'),
        (["q", "c"], "not a list"),
        ({"question": "q"}, "has no 'context'"),
        ({"question": "", "context": "c"}, "question is empty"),
        ({"question": "q", "context": " "}, "context is empty"),
        ({"question": "q", "context": None}, "context must be a string, not null"),
        ({"question": "q", "context": "c", "text": "t"}, "unknown key 'text'"),
    ],
)
def test_an_item_that_cannot_be_answered_says_why(item: Any, reason: str, load: Load) -> None:
    with pytest.raises(ItemError, match=reason):
        load("bert")[0].parse(item)


def test_predict_names_every_bad_item_by_its_index(load: Load) -> None:
    fine = {"question": "q", "context": "c", "answers": {"text": [], "answer_start": []}, "id": "1"}
    with pytest.raises(BadItems) as caught:
        load("bert")[0].predict([fine, 3, fine, {"question": ""}])
    assert [index for index, _ in caught.value.errors] == [1, 3]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"topk": 1}, "no parameter 'topk'"),
        ({"top_k": 0}, "top_k is 0"),
        ({"max_seq_len": 65}, "max_seq_len is 65; this model reads at most 64 tokens"),
        ({"handle_impossible_answer": "yes"}, "handle_impossible_answer is 'yes'; it must be true or false"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name_and_value(parameters: Any, message: str, load: Load) -> None:
    with pytest.raises(Refused, match=message):
        load("bert")[0].parameters(parameters)


def test_each_dialect_gets_its_shape(load: Load) -> None:
    predictor, _ = load("bert")
    items = questions(2, 10)
    answers = predictor.predict(items)
    assert predictor.hub_answer(answers[:1], True) == answers[0] and "answer" in answers[0]
    assert predictor.hub_answer(answers, False) == answers
    many = predictor.predict(items, {"top_k": 3})
    assert [len(one) for one in many] == [3, 3] and predictor.hub_answer(many[:1], True) == many[0]
    texts = [one["answer"] for one in answers]
    for given, parameters in ((answers, {}), (many, {"top_k": 3})):
        wanted = predictor.azure_parameters(parameters)
        assert predictor.azure_answer(given, wanted) == texts
        row = predictor.output_row(given[0], wanted)
        assert tuple(row) == predictor.output_columns(wanted) and row["answer"] == texts[0]
    assert predictor.predict([predictor.sample()])[0]["answer"]
    assert "FoundAnswer" in str(predictor.schemas()["answer"])


def test_a_model_without_the_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no head for question-answering") as caught:
        load_predictor(tiny_masked_lm(tmp_path / "m"), "question-answering", device="cpu")
    assert caught.value.code == "no-head"


def nested(path: Path) -> list[dict[str, Any]]:
    """SQuAD's nested form as rows."""
    paragraphs = (one for article in json.loads(path.read_text())["data"] for one in article["paragraphs"])
    return [{"context": one["context"], **question} for one in paragraphs for question in one["qas"]]


@pytest.mark.shared_data
@pytest.mark.parametrize("language", ["en", "de"])
def test_xquad_is_answered_in_batch(language: str, shared_data: Path, tmp_path: Path, load: Load) -> None:
    rows = nested(shared_data / "question_answering" / "xquad" / f"xquad.{language}.json")[:12]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in [*rows, {**rows[0], "question": ""}]))
    columns = map_columns("question-answering", list(rows[0]), {}, need_label=False)
    summary = score_file(load("bert")[0], source, "jsonl", target, "jsonl", columns, {}, SILENT)
    scored = [json.loads(line) for line in target.read_text().splitlines()]
    assert (summary.rows, summary.errors) == (13, 1) and "question is empty" in scored[-1]["error"]
    assert summary.columns == ("answer", "score", "start", "end", "error")
    for row in scored[:-1]:
        assert row["answer"] and row["answer"] == row["context"][row["start"] : row["end"]]
        assert 0 < row["score"] <= 1


@pytest.mark.shared_data
def test_a_context_of_29000_characters_is_read_to_its_end(shared_data: Path, tmp_path: Path) -> None:
    rows = nested(shared_data / "question_answering" / "covidqa" / "200423_covidQA.json")
    row = next(one for one in rows if 29_000 < len(one["context"]) < 33_000)
    item = {"question": row["question"], "context": row["context"]}
    predictor = QuestionAnswerer(tiny_question_answerer(tmp_path / "m", max_positions=512), device="cpu", threads=1)
    [encoded] = predictor.encode([predictor.parse(item)])
    assert max(window.length for window in encoded.windows) == 384
    assert len(item["context"]) > 29_000 and encoded.cut.parts[-1].end == len(encoded.cut.offsets)
    [found] = predictor.predict([item], {"top_k": 20})
    assert len(found) == 20
    assert all(one["answer"] == item["context"][one["start"] : one["end"]] for one in found)


def with_own(folder: Path, parameters: Any) -> Path:
    """The model says in its config how it is to be asked."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {PARAMETERS_KEY: parameters}))
    return folder


def test_a_model_is_asked_as_its_config_says_and_a_request_may_say_otherwise(tmp_path: Path) -> None:
    own = {"max_seq_len": 24, "doc_stride": 5, "max_answer_len": 2, "handle_impossible_answer": True}
    folder = with_own(tiny_question_answerer(tmp_path / "m"), own | {"null_score_diff_threshold": -1e9})
    predictor = QuestionAnswerer(folder, device="cpu", threads=1)
    item = {"question": "card?", "context": " ".join(WORDS)}
    assert max(window.length for window in predictor.encode([predictor.parse(item)])[0].windows) == 24
    assert predictor.predict([item]) == [
        {"answer": "", "score": predictor.predict([item])[0]["score"], "start": 0, "end": 0}
    ]
    [found] = predictor.predict([item], {"handle_impossible_answer": False, "top_k": 9, "doc_stride": None})
    assert all(one["answer"] and len(one["answer"].split()) <= 2 for one in found)
    assert predictor.schemas()["parameters"]["properties"]["max_answer_len"]["default"] == 15


def test_the_empty_answer_comes_first_where_it_passes_the_threshold(load: Load) -> None:
    predictor, _ = load("bert")
    [item] = questions(1, 9, seed=3)
    asked = {"handle_impossible_answer": True, "top_k": 100}
    [plain] = predictor.predict([item], asked)
    place = next(place for place, one in enumerate(plain) if not one["answer"])
    best, none = next(one for one in plain if one["answer"]), plain[place]
    passed_by = math.log(none["score"] / best["score"])
    for threshold, is_first in ((passed_by - 0.01, True), (passed_by + 0.01, False)):
        [found] = predictor.predict([item], asked | {"null_score_diff_threshold": threshold})
        assert (found[0]["answer"] == "") is is_first
        assert sorted(one["score"] for one in found) == sorted(one["score"] for one in plain)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"max_answer_length": 3}, "no parameter 'max_answer_length'"),
        ({"max_seq_len": 65}, "max_seq_len is 65; this model reads at most 64 tokens"),
        ([], "not an object"),
    ],
)
def test_a_config_that_asks_wrongly_is_refused_at_loading(own: Any, message: str, tmp_path: Path) -> None:
    folder = with_own(tiny_question_answerer(tmp_path / "m"), own)
    with pytest.raises(Refused, match=message) as caught:
        QuestionAnswerer(folder, device="cpu", threads=1)
    assert caught.value.code == "bad-config"
