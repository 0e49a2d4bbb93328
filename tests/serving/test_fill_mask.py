"""Masked words are guessed as transformers' own pipeline guesses them, in texts of any length."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, FillMaskPipeline

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_registry.tables import read_rows
from bedplate_serving.batch import score_file
from bedplate_serving.predictors import BadItems, ItemError, load_predictor
from bedplate_serving.predictors.fill_mask import MaskFiller
from bedplate_serving.predictors.filled_text import NEAR
from bedplate_serving.testing import FAMILIES, WORDS, tiny_encoder, tiny_masked_lm

Load = Callable[[str], tuple[MaskFiller, Path]]
ODD = ("London,", "Zürich", "naïve.", "東京", "🙂", "e-mail", "½", "Ωmega!")


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    @cache
    def loaded(family: str) -> tuple[MaskFiller, Path]:
        folder = tiny_masked_lm(tmp_path_factory.mktemp(family) / "model", family=family)
        return MaskFiller(folder, device="cpu", threads=1), folder

    return loaded


def texts(count: int, masks: int = 1, longest: int = 9, seed: int = 0) -> list[str]:
    source = random.Random(seed)
    found = []
    for _ in range(count):
        words = source.choices([*WORDS, *ODD], k=source.randint(1, longest))
        for _ in range(masks):
            words.insert(source.randint(0, len(words)), "[MASK]")
        found.append(" ".join(words))
    return found


def pipeline_of(folder: Path) -> FillMaskPipeline:
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    return FillMaskPipeline(model=model.eval(), tokenizer=tokenizer)


def assert_same(found: Any, expected: Any, *, sequences: bool = True) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    keys = ("token", "token_str", *(["sequence"] if sequences else []))
    by_token = {one["token"]: one for one in expected}
    for one in found:
        if one["token"] in by_token:  # the last of them may be as likely as the next
            assert [one[key] for key in keys] == [by_token[one["token"]][key] for key in keys]
    assert [one["token"] for one in found[:3]] == [one["token"] for one in expected[:3]]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_mask_is_filled_as_transformers_own_pipeline_fills_it(family: str, load: Load) -> None:
    predictor, folder = load(family)
    pipeline = pipeline_of(folder)
    given = texts(20)
    for text, found in zip(given, predictor.predict(given, {"top_k": 7}), strict=True):
        assert_same(found, pipeline(text.replace("[MASK]", predictor.mask_token), top_k=7))


@pytest.mark.parametrize("family", FAMILIES)
def test_several_masks_are_a_list_for_each(family: str, load: Load) -> None:
    predictor, folder = load(family)
    pipeline = pipeline_of(folder)
    given = texts(10, masks=3)
    for text, found in zip(given, predictor.predict(given), strict=True):
        expected = pipeline(text.replace("[MASK]", predictor.mask_token))
        assert len(found) == 3
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, sequences=False)
            assert all(filling["sequence"].count(predictor.mask_token) >= 2 for filling in one)


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("bert", ["card", "Refund", "login", "##a"]),
        ("roberta", [" card", "refund"[:1], " refund"]),
        ("xlm-roberta", ["card", "refund", "▁login"]),
    ],
)
def test_targets_are_scored_as_transformers_own_pipeline_scores_them(
    family: str, targets: list[str], load: Load
) -> None:
    predictor, folder = load(family)
    pipeline = pipeline_of(folder)
    for text in texts(5):
        [found] = predictor.predict([text], {"targets": targets, "top_k": 9})
        assert len(found) == len(targets)
        assert_same(found, pipeline(text.replace("[MASK]", predictor.mask_token), targets=targets, top_k=9))


@pytest.mark.parametrize(
    ("parameters", "message", "hint"),
    [
        (
            {"targets": ["card", "cards"]},
            r"targets holds 'cards', which is not one token .*: it reads it as card, ##s",
            "'card'",
        ),
        ({"targets": ["\u200b"]}, "it reads it as nothing", ""),
        ({"targets": []}, r"targets is \[\]", ""),
        ({"targets": "card"}, "targets is 'card'; it must be a list", ""),
        ({"top_k": 0}, "top_k is 0; it must be at least 1", ""),
        ({"topk": 1}, "no parameter 'topk'", "'top_k'"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name_and_value(parameters: Any, message: str, hint: str, load: Load) -> None:
    with pytest.raises(Refused, match=message) as caught:
        load("bert")[0].parameters(parameters)
    assert hint in caught.value.hint


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_either_spelling_of_a_mask_is_the_models_own(family: str, load: Load) -> None:
    predictor, _ = load(family)
    one, other = predictor.predict(["my [MASK] is lost", "my <mask> is lost"])
    assert one == other
    assert predictor.mask_token in predictor.sample() and predictor.predict([predictor.sample()])[0]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_of_a_long_text_the_part_around_the_mask_is_read(family: str, load: Load) -> None:
    predictor, folder = load(family)
    source = random.Random(1)
    words = [word for word in WORDS if len(word) > 1]
    before, after = source.choices(words, k=90), source.choices(words, k=70)
    text = " ".join([*before, predictor.mask_token, *after])
    [encoded] = predictor.encode([predictor.parse(text)])
    assert encoded.truncated and encoded.length == 64
    [found] = predictor.predict([text])
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    mask = ids.index(tokenizer.mask_token_id)
    part = [tokenizer.cls_token_id, *ids[mask - 30 : mask + 32], tokenizer.sep_token_id]
    with torch.inference_mode():
        scores = torch.softmax(model(input_ids=torch.tensor([part])).logits[0, 31], -1)
    assert [one["score"] for one in found] == pytest.approx(scores.topk(5).values.tolist(), abs=1e-5)
    for one in found:
        filled = [*ids[mask - 30 : mask], one["token"], *ids[mask + 1 : mask + 32]]
        assert one["sequence"] == tokenizer.decode(filled, skip_special_tokens=True)


@pytest.mark.parametrize(("before", "after"), [(0, 200), (200, 0), (40, 40)])
def test_a_mask_at_an_end_is_read_with_all_that_fits_beside_it(before: int, after: int, load: Load) -> None:
    predictor, _ = load("bert")
    short, long = predictor.encode(
        [predictor.parse("card " * count[0] + "[MASK]" + " card" * count[1]) for count in ((2, 2), (before, after))]
    )
    assert (short.length, long.length) == (7, 64)
    place = {0: 0, 200: 61}.get(before, 30)
    assert list(long.parts[0].masks) == [place] and list(long.windows[0].take or ()) == [place + 1]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_masks_far_apart_are_each_read_with_what_stands_around_them(family: str, load: Load) -> None:
    predictor, _ = load(family)
    source, mask = random.Random(2), predictor.mask_token
    words = [source.choices([word for word in WORDS if len(word) > 1], k=count) for count in (100, 40, 150, 80)]
    first, second, third, last = (" ".join(some) for some in words)
    text = f"{first} {mask} {second} {mask} {third} {mask} {last}"
    [encoded] = predictor.encode([predictor.parse(text)])
    assert encoded.truncated and sum(len(part.masks) for part in encoded.parts) == 3
    assert all(len(part.ids) == 62 for part in encoded.parts) and encoded.length == 64 * len(encoded.parts)
    [found] = predictor.predict([text])
    [near, alone] = predictor.predict([f"{first} {mask} {second} {mask} {third}", f"{third} {mask} {last}"])
    for answer, expected in zip(found, [*near, alone], strict=True):
        assert_same(answer, expected, sequences=False)
    assert [one["sequence"].count(mask) for one in (found[0][0], found[2][0])] == [len(encoded.parts[0].masks) - 1, 0]


def test_masks_at_the_edge_of_a_window_are_in_it_or_in_the_next(load: Load) -> None:
    predictor, _ = load("bert")
    for between, windows in ((60, 1), (61, 2)):
        text = "[MASK] " + "card " * between + "[MASK]" + " card" * 9
        [encoded] = predictor.encode([predictor.parse(text)])
        assert (len(encoded.windows), encoded.truncated) == (windows, True)
        assert [len(answer) for answer in predictor.predict([text])[0]] == [5, 5]


def test_only_masked_tokens_pass_through_the_vocabulary(load: Load) -> None:
    predictor, _ = load("bert")
    encoded = predictor.encode([predictor.parse(text) for text in texts(5, masks=2)])
    rows = predictor._windowed.run(encoded)
    assert [row.shape[0] for [row] in rows] == [2] * 5
    assert predictor.is_packed


def test_batch_mates_of_any_length_change_nothing(load: Load) -> None:
    predictor, _ = load("deberta-v2")
    given = [*texts(5), *texts(3, masks=2), "[MASK]", *texts(2, longest=300)]
    alone: list[Any] = [predictor.predict([text])[0] for text in given]
    for budget in (1, 200, 100_000):
        for found, expected in zip(predictor.predict(given, token_budget=budget), alone, strict=True):
            one, other = (answer[0] if isinstance(answer[0], list) else answer for answer in (found, expected))
            assert_same(one, other)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (3, "must be a string with a mask in it, not int"),
        (None, "not null"),
        (["[MASK]"], "not a list"),
        ("", "text is empty"),
        ("my card", r"has no mask: put \[MASK\] where the word is missing"),
        ({"text": "my card", "answer": "x"}, "has no mask"),
        ({"texts": "my [MASK]"}, 'no "text"'),
        ({"text": "my [MASK]", "label": "x"}, "unknown key 'label'"),
        ({"text": None}, "text must be a string, not null"),
        ("[MASK] " * 65, "has 65 masks; at most 64"),
    ],
)
def test_an_item_that_cannot_be_filled_says_why(item: Any, reason: str, load: Load) -> None:
    with pytest.raises(ItemError, match=reason):
        load("bert")[0].parse(item)


def test_an_answer_is_not_a_thousand_times_as_long_as_its_question(load: Load) -> None:
    predictor, _ = load("bert")
    many = predictor.parameters({"top_k": 1000})
    assert predictor.parse("[MASK] [MASK]", many)
    with pytest.raises(ItemError, match="has 3 masks, which with top_k 1000 are more than 2000 answers"):
        predictor.parse("[MASK] [MASK] [MASK]", many)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_text_is_written_with_each_word_as_its_tokenizer_would_write_it(family: str, load: Load) -> None:
    """Only what is near the mask is written for each word."""
    predictor, folder = load(family)
    tokenizer = AutoTokenizer.from_pretrained(folder)._tokenizer
    wanted = predictor.parameters({"top_k": 1000})
    words = [*WORDS[:9], *ODD]
    for place in (0, 1, 7, 12, len(words)):
        text = " ".join([*words[:place], predictor.mask_token, *words[place:]])
        [encoded] = predictor.encode([predictor.parse(text, wanted)])
        [part] = encoded.parts
        [found] = predictor.forward([encoded])
        assert len(part.ids) > 3 * NEAR and len(found) > 100
        for one in found:
            ids = [*part.ids[: part.masks[0]], one["token"], *part.ids[part.masks[0] + 1 :]]
            assert one["sequence"] == tokenizer.decode(ids, skip_special_tokens=True)


def test_many_answers_count_in_the_cost_of_a_text(load: Load) -> None:
    predictor, _ = load("bert")
    few, many, targets = (
        predictor.encode([predictor.parse("my [MASK] is [MASK]", predictor.parameters(raw))])[0].length
        for raw in ({}, {"top_k": 800}, {"top_k": 800, "targets": ["card"]})
    )
    assert (many, targets) == (few + 100, few)


def test_a_missing_mask_is_asked_for_in_the_models_own_spelling(load: Load) -> None:
    with pytest.raises(BadItems, match="item 1: has no mask: put <mask> where") as caught:
        load("roberta")[0].predict(["my <mask>", "my card"])
    assert [index for index, _ in caught.value.errors] == [1]


def test_each_dialect_gets_its_shape(load: Load) -> None:
    predictor, _ = load("roberta")
    answers = predictor.predict(["my <mask> is lost", "<mask> is my <mask>"])
    assert predictor.hub_answer(answers[:1], True) == answers[0] and "token_str" in answers[0][0]
    assert predictor.hub_answer(answers, False) == answers
    wanted = predictor.azure_parameters({})
    one, two = predictor.azure_answer(answers, wanted)
    assert one == answers[0][0]["token_str"].strip() and two == ",".join(a[0]["token_str"].strip() for a in answers[1])
    rows = [predictor.output_row(answer, wanted) for answer in answers]
    assert tuple(rows[0]) == predictor.output_columns(wanted)
    assert rows[0] == {"token": one, "score": answers[0][0]["score"], "predictions": [answers[0]]}
    assert rows[1]["token"] == two and rows[1]["score"] == pytest.approx(
        answers[1][0][0]["score"] * answers[1][1][0]["score"]
    )
    assert rows[1]["predictions"] == answers[1]
    assert "Filling" in str(predictor.schemas()["answer"])


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_a_file_is_filled_in_batch(format: str, tmp_path: Path, load: Load) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / f"out.{format}"
    lines = [{"text": "my [MASK] is lost", "answer": "card"}, {"text": "no mask"}, {"text": "[MASK] [MASK]"}]
    lines += [{"text": "[MASK] " + "card " * 100 + "[MASK]"}]
    source.write_text("\n".join(json.dumps(line) for line in lines))
    columns = map_columns("fill-mask", ["text", "answer"], {}, need_label=False)
    summary = score_file(load("bert")[0], source, "jsonl", target, format, columns, {"top_k": 2}, SILENT)
    rows = list(read_rows(target, format))
    assert (summary.errors, summary.columns) == (1, ("token", "score", "predictions", "error"))
    assert summary.truncated == 1
    predictions = [
        json.loads(one) if isinstance(one, str) and one else one for one in (row["predictions"] for row in rows)
    ]
    assert [len(predictions[0]), len(predictions[2])] == [1, 2] and len(predictions[0][0]) == 2
    assert rows[0]["token"] == predictions[0][0][0]["token_str"] and rows[2]["token"].count(",") == 1
    assert "no mask" in rows[1]["error"] and [len(one) for one in predictions[3]] == [2, 2]


def test_a_model_without_the_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no head for fill-mask") as caught:
        load_predictor(tiny_encoder(tmp_path / "m"), "fill-mask", device="cpu")
    assert caught.value.code == "no-head"


def test_a_model_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    folder = tiny_masked_lm(tmp_path / "m")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["mask_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(Refused, match="no mask token") as caught:
        load_predictor(folder, "fill-mask", device="cpu")
    assert caught.value.code == "no-mask"


def test_a_mask_token_that_the_model_has_no_place_for_is_refused(tmp_path: Path) -> None:
    """Out of the vocabulary it is another token for the tokenizer, one that the model never saw."""
    folder = tiny_masked_lm(tmp_path / "m")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"mask_token": "[NOWHERE]"}))
    with pytest.raises(Refused, match="mask token") as caught:
        load_predictor(folder, "fill-mask", device="cpu")
    assert caught.value.code == "no-mask"


def test_weights_that_are_broken_are_said_to_be(tmp_path: Path) -> None:
    folder = tiny_masked_lm(tmp_path / "m")
    model = AutoModelForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        model.cls.predictions.bias.fill_(np.nan)
    model.save_pretrained(folder)
    with pytest.raises(Exception, match="not finite"):
        load_predictor(folder, "fill-mask", device="cpu").predict(["my [MASK]"])


@pytest.mark.network
def test_real_weights_say_sensible_things_and_what_transformers_own_pipeline_says(bert_tiny: Path) -> None:
    predictor, pipeline = MaskFiller(bert_tiny, device="cpu", threads=1), pipeline_of(bert_tiny)
    given = ["Paris is the [MASK] of France.", "san [MASK], california", "i drink a cup of [MASK] every morning."]
    answers: Any = predictor.predict(given)
    for text, answer in zip(given, answers, strict=True):
        assert_same(answer, pipeline(text))
    assert [answer[0]["token_str"] for answer in answers] == ["city", "city", "drink"]
    assert predictor.azure_answer(answers, predictor.azure_parameters({})) == ["city", "city", "drink"]
