"""The shipped list of models, and what is asked of it."""

from __future__ import annotations

from typing import Any

import pytest

from bedplate_registry.catalog import CatalogEntry, Wanted, parse_catalog, shipped_catalog
from bedplate_registry.errors import Refused
from bedplate_registry.tasks import ENCODERS, SEQ2SEQ, TASKS, finetunable_tasks

GOOD: dict[str, Any] = {
    "id": "acme/tiny",
    "task": "fill-mask",
    "model_type": "bert",
    "license": "MIT",
    "parameters": 1000,
    "languages": ["en"],
    "about": "For tests.",
}
LICENSES = {"Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"}
WITHOUT_SPDX = {"creativeml-openrail-m", "openrail++"}
TEXT_TASKS = {"text-classification", "token-classification", "question-answering", "fill-mask"}


def test_the_shipped_list_has_some_sixty_models_over_all_nine_tasks_and_bases() -> None:
    entries = shipped_catalog()
    assert 55 <= len(entries) <= 90
    assert {entry.task for entry in entries} == {*TASKS, None}
    assert len({entry.model_id.lower() for entry in entries}) == len(entries)


@pytest.mark.parametrize("entry", shipped_catalog(), ids=lambda entry: entry.model_id)
def test_each_shipped_model_agrees_with_the_description_of_its_task(entry: CatalogEntry) -> None:
    assert entry.license in LICENSES | WITHOUT_SPDX
    assert 1_000_000 <= (entry.parameters or 0) <= 20_000_000_000
    assert entry.about[0].isupper() or entry.about[0].isdigit()
    assert entry.about[-1] in ".?"
    assert len(entry.about) <= 90
    assert all(language == "multilingual" or len(language) == 2 for language in entry.languages)
    assert entry.languages or entry.task == "image-classification"
    assert entry.finetunable_tasks == finetunable_tasks(entry.model_type)
    if entry.task in TEXT_TASKS | {None}:
        assert entry.model_type in ENCODERS | SEQ2SEQ
    if entry.task in ("summarization", "translation"):
        assert entry.task in entry.finetunable_tasks


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"licence": "MIT"}, "unknown key 'licence'"),
        ({"task": "fill-masks"}, "not one of the nine tasks"),
        ({"id": "https://hub/acme/tiny"}, "is a URL"),
        ({"parameters": "1000"}, "wrong parameters: '1000'"),
        ({"parameters": True}, "wrong parameters: True"),
        ({"languages": "en"}, "wrong languages: 'en'"),
        ({"about": ""}, "wrong about: ''"),
        ({"license": None}, "wrong license: None"),
    ],
)
def test_an_entry_that_is_not_right_is_refused_by_what_is_wrong(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        parse_catalog([GOOD | change])


def test_an_entry_that_lacks_something_is_there_twice_or_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="has no license, parameters"):
        parse_catalog([{key: GOOD[key] for key in ("id", "model_type", "about")}])
    with pytest.raises(Refused, match="'acme/tiny' is there twice"):
        parse_catalog([GOOD, GOOD])
    for nothing in ({}, None, "text"):
        with pytest.raises(Refused, match="no list of models"):
            parse_catalog(nothing)
    with pytest.raises(Refused, match="no mapping"):
        parse_catalog(["acme/tiny"])


def test_the_list_is_filtered_by_task_license_language_words_and_size() -> None:
    entries = shipped_catalog()

    def ids(**wanted: Any) -> list[str]:
        return [entry.model_id for entry in Wanted(**wanted).among(entries)]

    assert ids() == sorted(entry.model_id for entry in entries)
    assert "facebook/bart-large-cnn" in ids(task="summarization")
    assert ids(task="summarization", query="CONVERSATIONS") == ["philschmid/bart-large-cnn-samsum"]
    assert ids(license="cc-by-nc-4.0") == ["facebook/nllb-200-distilled-600M"]
    assert ids(license="unknown") == []
    assert "google-bert/bert-base-german-cased" in ids(language="DE")
    assert "microsoft/deberta-v3-base" in ids(finetunable_for="token-classification")
    assert ids(max_parameters=3_000_000) == ["timm/mobilenetv3_small_100.lamb_in1k"]
    assert ids(min_parameters=10_000_000_000) == ["black-forest-labs/FLUX.1-schnell"]
    assert ids(query="no such words") == []


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(Refused, match="'summarisation'") as refused:
        Wanted(task="summarisation")
    assert "summarization" in refused.value.hint
