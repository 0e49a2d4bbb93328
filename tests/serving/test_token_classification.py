"""Tags and entities agree with transformers' own pipeline; long texts and given words are tagged to the last one."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, TokenClassificationPipeline

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.batch import score_file
from bedplate_serving.predictors import BadItems, ItemError, load_predictor
from bedplate_serving.predictors.encoders.windows import MAX_CHARACTERS, ranges
from bedplate_serving.predictors.token_classification import Entity, TokenClassifier
from bedplate_serving.testing import FAMILIES, WORDS, tiny_masked_lm, tiny_token_classifier

STRATEGIES = ("none", "simple", "first", "average", "max")
Load = Callable[[str], tuple[TokenClassifier, Path]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    @cache
    def loaded(family: str) -> tuple[TokenClassifier, Path]:
        folder = tiny_token_classifier(tmp_path_factory.mktemp(family) / "model", family=family)
        return TokenClassifier(folder, device="cpu", threads=1), folder

    return loaded


ODD = ("London,", "Zürich", "naïve.", "東京", "🙂", "e-mail", "½", "Ωmega!")


def texts(count: int, longest: int = 9, seed: int = 0, odd: tuple[str, ...] = ODD) -> list[str]:
    source = random.Random(seed)
    return [" ".join(source.choices([*WORDS, *odd], k=source.randint(1, longest))) for _ in range(count)]


def pipeline_of(folder: Path) -> TokenClassificationPipeline:
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    return TokenClassificationPipeline(model=model.eval(), tokenizer=tokenizer)


def as_ours(text: str, entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pipeline may count the blank in front of a word to it. A token of nothing else is left out."""
    found = []
    for entity in entities:
        part = text[entity["start"] : entity["end"]]
        start = entity["start"] + len(part) - len(part.lstrip())
        if part.strip():
            found.append({**entity, "word": part.strip(), "start": start, "end": start + len(part.strip())})
    return found


def assert_same(found: Any, expected: list[dict[str, Any]]) -> None:
    without = [{key: value for key, value in entity.items() if key != "score"} for entity in found]
    assert without == [{key: value for key, value in entity.items() if key != "score"} for entity in expected]
    difference = [abs(a["score"] - b["score"]) for a, b in zip(found, expected, strict=True)]
    assert max(difference, default=0.0) < 1e-4


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_entities_are_those_of_transformers_own_pipeline(family: str, strategy: str, load: Load) -> None:
    predictor, folder = load(family)
    pipeline = pipeline_of(folder)
    # Where a tokenizer marks no words, the pipeline cuts them at unknown letters and at letters of several bytes.
    by_words = strategy not in ("none", "simple") and FAMILIES[family].tokenizer != "wordpiece"
    given = texts(25, odd=("e-mail", "lost,", "(not")) if by_words else texts(25)
    answers: Any = predictor.predict(given, {"aggregation_strategy": strategy})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the tokenizer does not know words
        expected = [pipeline(text, aggregation_strategy=strategy) for text in given]
    for text, answer, entities in zip(given, answers, expected, strict=True):
        assert_same(answer, as_ours(text, entities))
        assert all(text[one["start"] : one["end"]] == one["word"] for one in answer)
    labels = {one.get("entity") or one["entity_group"] for answer in answers for one in answer}
    assert len(labels) > 1, "a model that says the same of every token would pass with anything"


def test_labels_are_left_out_as_asked_and_nothing_but_the_asked_is_known(load: Load) -> None:
    predictor, _ = load("bert")
    [answer] = predictor.predict(["my card is lost"], {"ignore_labels": [], "aggregation_strategy": "none"})
    assert [one["word"] for one in answer] == ["my", "card", "is", "lost"]
    assert [one["index"] for one in answer] == [1, 2, 3, 4]
    kinds = {one["entity"] for one in answer}
    assert predictor.predict(["my card is lost"], {"ignore_labels": [*kinds], "aggregation_strategy": "none"}) == [[]]
    for wrong, message in (
        ({"strid": 3}, "no parameter 'strid'"),
        ({"aggregation_strategy": "best"}, "aggregation_strategy is 'best'"),
        ({"stride": -1}, "stride is -1; it must be at least 0"),
        ({"ignore_labels": "O"}, "ignore_labels is 'O'"),
    ):
        with pytest.raises(Refused, match=message):
            predictor.parameters(wrong)


def reference_of_windows(folder: Path, text: str, stride: int) -> Any:
    """Probabilities of each token of a long text, from the window in which it is farthest from an end."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForTokenClassification.from_pretrained(folder)
    windows = tokenizer(text, truncation=True, stride=stride, return_overflowing_tokens=True)["input_ids"]
    rows: list[Any] = []
    margins: list[float] = []
    start = 0
    for number, ids in enumerate(windows):
        with torch.inference_mode():
            scores = torch.softmax(model.eval()(input_ids=torch.tensor([ids])).logits[0, 1:-1], -1).numpy()
        for place, row in enumerate(scores):
            left = place if number else 1e9
            right = len(scores) - 1 - place if number < len(windows) - 1 else 1e9
            if start + place == len(rows):
                rows.append(row)
                margins.append(min(left, right))
            elif min(left, right) >= margins[start + place]:
                rows[start + place], margins[start + place] = row, min(left, right)
        start += len(scores) - stride
    return np.stack(rows)


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2"])
@pytest.mark.parametrize("stride", [0, 13, 16])
def test_each_token_of_a_long_text_is_tagged_once_where_it_sees_most(family: str, stride: int, load: Load) -> None:
    predictor, folder = load(family)
    text = " ".join(texts(40))
    parameters = {"aggregation_strategy": "none", "ignore_labels": [], "stride": stride}
    expected = reference_of_windows(folder, text, stride)
    [encoded] = predictor.encode([predictor.parse(text, predictor.parameters(parameters))])
    assert len(encoded.windows) >= 5
    assert max(window.length for window in encoded.windows) == predictor.context_length
    assert not encoded.truncated
    taken = np.concatenate(predictor._windowed.run([encoded])[0])
    powers = np.exp(taken)
    assert np.abs(powers / powers.sum(-1, keepdims=True) - expected).max() < 1e-4
    [answer] = predictor.predict([text], parameters)
    assert "".join(one["word"] for one in answer) == text.replace(" ", "") or family != "bert"
    places = [one["index"] for one in answer]
    assert places == sorted(set(places))


def test_an_entity_across_two_windows_is_one(load: Load) -> None:
    predictor, _ = load("xlm-roberta")
    labels = predictor.labels
    text = "refund " * 200
    encoded = predictor.encode([predictor.parse(text, predictor.parameters({"ignore_labels": []}))])[0]
    row = np.full((1, len(labels)), -9.0)
    row[0, labels.index("I-PER")] = 9.0
    rows = [np.repeat(row, len(window.take or ()), axis=0) for window in encoded.windows]
    [entity] = cast(list[Entity], predictor._read(encoded, rows))
    assert entity["entity_group"] == "PER" and (entity["start"], entity["end"]) == (0, len(text) - 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_given_words_are_read_as_the_text_they_make_and_each_gets_a_tag(family: str, load: Load) -> None:
    predictor, folder = load(family)
    words = ["my", "card", "is", "lost", "and", "i", "can", "not", "login", "please", "help"]
    item = predictor.parse({"tokens": words, "tags": ["O"] * len(words)})
    [encoded] = predictor.encode([item])
    assert encoded.encoding.ids == AutoTokenizer.from_pretrained(folder)(" ".join(words)).input_ids[1:-1]
    [answer] = predictor.predict([{"tokens": words}], {"ignore_labels": []})
    assert len(answer["tags"]) == len(answer["scores"]) == len(words)
    [tokens] = predictor.predict([" ".join(words)], {"aggregation_strategy": "none", "ignore_labels": []})
    starts = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    first = [next(one for one in tokens if one["start"] == start) for start in starts]
    assert answer["tags"] == [one["entity"] for one in first]
    assert answer["scores"] == pytest.approx([one["score"] for one in first], abs=1e-5)
    for entity in answer["entities"]:
        whole = " ".join(words[entity["first_word"] : entity["last_word"] + 1])
        assert entity["word"] == whole == " ".join(words)[entity["start"] : entity["end"]]


@pytest.mark.parametrize("strategy", ["first", "average", "max"])
def test_entities_of_given_words_are_those_of_transformers_own_pipeline(strategy: str, load: Load) -> None:
    predictor, folder = load("bert")
    given = [text.replace("-", "").replace(",", "").replace(".", "").replace("!", "").split() for text in texts(20)]
    given = [[word for word in words if word.isalnum() and len(word) > 2] or ["card"] for words in given]
    pipeline = pipeline_of(folder)
    answers = predictor.predict([{"tokens": words} for words in given], {"aggregation_strategy": strategy})
    for words, answer in zip(given, answers, strict=True):
        expected = pipeline(words, aggregation_strategy=strategy, is_split_into_words=True)[0]
        found = [{key: value for key, value in one.items() if not key.endswith("_word")} for one in answer["entities"]]
        assert_same(found, as_ours(" ".join(words), expected))


def test_a_word_that_a_tokenizer_sees_nothing_in_gets_a_tag_too(load: Load) -> None:
    predictor, _ = load("bert")
    words = ["my", "\u200b", "", "card"]
    [answer] = predictor.predict([{"tokens": words}])
    [known] = predictor.predict([{"tokens": ["my", "[UNK]", "[UNK]", "card"]}])
    assert (answer["tags"], answer["scores"]) == (known["tags"], known["scores"])
    tagged, alone = predictor.tag_words([words, ["\u200b"]])
    assert tagged == answer
    assert alone["tags"] == predictor.tag_words([["[UNK]"]])[0]["tags"]
    assert predictor.predict(["\u200b"]) == [[]]


def test_words_are_whole_letters_with_their_accents_and_offsets_are_code_points(load: Load) -> None:
    predictor, _ = load("bert")
    text = "👩‍👩‍👧 i paid at the cafe\u0301\nand café in 東京"
    [answer] = predictor.predict([text], {"aggregation_strategy": "none", "ignore_labels": []})
    words = [one["word"] for one in answer]
    assert all(text[one["start"] : one["end"]] == one["word"] for one in answer)
    assert "e\u0301" in words and "é" in words and words[-2:] == ["東", "京"]
    roberta, _ = load("roberta")
    [answer] = roberta.predict([text], {"aggregation_strategy": "first", "ignore_labels": []})
    assert " ".join(one["word"] for one in answer).split() == text.split(), "no word is divided, lost or doubled"


def test_batch_mates_of_any_length_change_nothing(load: Load) -> None:
    predictor, _ = load("modernbert")
    given: list[Any] = [*texts(6), "card", " ".join(texts(30)), {"tokens": ["my", "card"]}]
    alone = [predictor.predict([item])[0] for item in given]
    for budget in (1, 200, 100_000):
        for found, expected in zip(predictor.predict(given, token_budget=budget), alone, strict=True):
            pairs = zip(found, expected, strict=True) if isinstance(found, list) else [(found, expected)]
            for one, other in pairs:
                if isinstance(found, list):
                    assert_same([one], [other])
                else:
                    assert one["tags"] == other["tags"]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (3, "must be a string, or words"),
        (None, "not null"),
        ("", "text is empty"),
        ({}, 'no "tokens"'),
        ({"tokens": []}, "tokens is empty"),
        ({"tokens": [" "]}, "tokens is empty"),
        ({"tokens": ["a", None]}, r"tokens\[1\] must be a string, not null"),
        ({"tokens": ["a"], "ner": ["O"]}, "unknown key 'ner'"),
        ({"tokens": ["a", "\ud800"]}, "half a surrogate pair"),
    ],
)
def test_an_item_that_cannot_be_tagged_says_why(item: Any, reason: str, load: Load) -> None:
    with pytest.raises(ItemError, match=reason):
        load("bert")[0].parse(item)


def test_predict_names_every_bad_item_by_its_index(load: Load) -> None:
    with pytest.raises(BadItems) as caught:
        load("bert")[0].predict(["fine", 3, {"tokens": ["fine"]}, ""])
    assert [index for index, _ in caught.value.errors] == [1, 3]


@pytest.mark.parametrize("item", ["My card is lost", ["My card is lost"], ["My", "card", "is", "lost"]])
def test_azure_gets_a_tag_for_each_word(item: Any, load: Load) -> None:
    """A text, a list around it (a notebook nests so), or a cell of a table whose column is `tokens`."""
    predictor, _ = load("bert")
    wanted = predictor.azure_parameters({})
    raws = predictor.forward(predictor.encode([predictor.parse(one, wanted) for one in (item, "card")]))
    body = predictor.azure_answer([predictor.answer(raw, wanted) for raw in raws], wanted)
    assert [len(tags) for tags in body] == [4, 1]
    words: Any = {"tokens": ["My", "card", "is", "lost"]}
    assert body[0] == predictor.predict([words])[0]["tags"]


def test_the_hub_gets_a_flat_list_for_one_text_and_a_list_of_them_for_many(load: Load) -> None:
    predictor, _ = load("bert")
    answers = predictor.predict(["my card", "refund"])
    assert predictor.hub_answer(answers[:1], True) == answers[0]
    assert predictor.hub_answer(answers, False) == answers
    assert predictor.predict([predictor.sample()], {"ignore_labels": []})[0]
    assert "TaggedWords" in str(predictor.schemas()["answer"])


def test_a_model_without_the_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no head for token-classification") as caught:
        load_predictor(tiny_masked_lm(tmp_path / "m"), "token-classification", device="cpu")
    assert caught.value.code == "no-head"


@pytest.mark.shared_data
def test_every_word_of_wnut17_gets_a_tag_in_batch(shared_data: Path, tmp_path: Path, load: Load) -> None:
    lines = (shared_data / "token_classification" / "wnut17" / "test.jsonl").read_text().splitlines()[:150]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join([*lines, json.dumps({"tokens": ["card"] * 300, "ner_tags": []}), '{"tokens": []}']))
    columns = map_columns("token-classification", ["tokens", "ner_tags"], {}, need_label=False)
    summary = score_file(load("bert")[0], source, "jsonl", target, "jsonl", columns, {}, SILENT)
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert (summary.rows, summary.errors, summary.columns) == (152, 1, ("tags", "entities", "error"))
    assert rows[-1]["error"] == "tokens is empty"
    for row in rows[:-1]:
        assert len(row["tags"]) == len(row["tokens"])
        assert all(" ".join(row["tokens"])[one["start"] : one["end"]] == one["word"] for one in row["entities"])


def test_windows_share_half_of_one_at_most_and_a_text_has_so_many_of_them(load: Load) -> None:
    predictor, _ = load("bert")
    text = "my card is lost " * 60
    [most] = predictor.predict([text], {"stride": 31})
    assert predictor.predict([text], {"stride": 10**9}) == [most]
    assert len(ranges(4000, 4, 2)) == 1999
    with pytest.raises(ItemError, match="2,001 windows; at most 2,000"):
        ranges(4004, 4, 2)
    with pytest.raises(ValueError, match="cannot share"):
        ranges(10, 4, 4)


def test_a_text_beyond_a_million_characters_and_long_keys_are_refused_in_few_words(load: Load) -> None:
    predictor, _ = load("bert")
    with pytest.raises(ItemError, match="1,000,001 characters; it may have 1,000,000"):
        predictor.parse("a" * (MAX_CHARACTERS + 1))
    with pytest.raises(ItemError) as caught:
        predictor.parse({"k" * 5000: 1})
    assert len(str(caught.value)) < 200


def test_one_word_with_a_blank_in_it_stays_a_word(load: Load) -> None:
    [answer] = load("bert")[0].predict([{"tokens": ["New York"]}])
    assert len(cast(Any, answer)["tags"]) == 1
