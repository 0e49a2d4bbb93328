"""Summaries and translations are what transformers' own `generate` writes of each text alone, in every family."""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from bedplate_registry.errors import Refused
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.inspection import inspect_folder
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_serving.predictors import BadItems, ItemError, load_predictor
from bedplate_serving.predictors.base import forward_sorted
from bedplate_serving.predictors.seq2seq import predictor as engine
from bedplate_serving.predictors.seq2seq.predictor import Generated
from bedplate_serving.testing import WORDS, seq2seq

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

SUMMARIZERS = ("t5", "bart", "led", "pegasus", "encoder_decoder")
# Where the model must be told: its codes, and what `generate` is told for them.
TRANSLATORS = {
    "t5": ("en", "de"),
    "marian": (None, "fra"),
    "mbart": ("en_XX", "ro_RO"),
    "mbart50": ("de_DE", "fr_XX"),
    "m2m100": ("en", "fr"),
    "nllb": ("eng_Latn", "fra_Latn"),
}
FAMILIES = [*(("summarization", name) for name in SUMMARIZERS), *(("translation", name) for name in TRANSLATORS)]


def words(count: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


# Of very different lengths, the last beyond what any of the models reads.
TEXTS = ["help", words(6), "Größe – 日本語の文字 🙂", words(9, 1), "a" * 20, words(400, 2)]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root, made = tmp_path_factory.mktemp("seq2seq"), dict[str, Path]()

    def make(name: str) -> Path:
        if name not in made:
            made[name] = getattr(seq2seq, f"tiny_{name}")(root / name)
        return made[name]

    return make


@pytest.fixture(scope="module")
def predictor_of(folder_of: Callable[[str], Path]) -> Callable[..., Any]:
    loaded: dict[tuple[str, str], Any] = {}

    def load(task: str, name: str) -> Any:
        if (task, name) not in loaded:
            loaded[task, name] = load_predictor(folder_of(name), task, device="cpu", threads=1)
        return loaded[task, name]

    return load


def languages(task: str, name: str) -> dict[str, Any]:
    source, target = TRANSLATORS[name] if task == "translation" else (None, None)
    return {key: code for key, code in (("src_lang", source), ("tgt_lang", target)) if code}


def reference(folder: Path, task: str, texts: Sequence[str], *runs: dict[str, Any]) -> tuple[Any, list[Any]]:
    """One text at a time through transformers alone, once for each settings: no batch, no padding, nothing of ours."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    prefix, forced = "", {}
    if folder.name == "t5":
        prefix = "summarize: " if task == "summarization" else "translate English to German: "
    elif folder.name == "marian":
        prefix = ">>fra<< "
    elif task == "translation":
        tokenizer.src_lang, target = TRANSLATORS[folder.name]
        slot = "decoder_start_token_id" if folder.name == "mbart" else "forced_bos_token_id"
        codes = getattr(tokenizer, "lang_code_to_id", {})
        forced = {slot: codes.get(target) or tokenizer.convert_tokens_to_ids(target)}
    rows: list[Any] = [[] for _ in runs]
    for text in texts:
        inputs = tokenizer(prefix + text, truncation=True, max_length=context_of(folder), return_tensors="pt")
        if folder.name == "led":
            inputs["global_attention_mask"] = torch.zeros_like(inputs.input_ids).index_fill(1, torch.tensor(0), 1)
        for row, settings in zip(rows, runs, strict=True):
            with torch.inference_mode():
                row.append(model.generate(**inputs, **forced, **settings)[0, 1:].tolist())
    return tokenizer, rows


def context_of(folder: Path) -> int:
    return 256 if folder.name == "led" else 64


def written(predictor: Any, texts: Sequence[Any], parameters: dict[str, Any]) -> list[Generated]:
    items = predictor.parse_all(texts, predictor.parameters(parameters))
    return forward_sorted(predictor, predictor.encode(items))


@pytest.mark.parametrize(("task", "name"), FAMILIES)
def test_every_family_writes_what_generate_writes_of_each_text_alone(
    task: str, name: str, folder_of: Callable[[str], Path], predictor_of: Callable[..., Any]
) -> None:
    predictor, folder, own = predictor_of(task, name), folder_of(name), languages(task, name)
    assert predictor.context_length == context_of(folder)
    runs = {"max_new_tokens": 9, "min_new_tokens": 0, "num_beams": 1}, {"max_new_tokens": 6, "num_beams": 3}
    tokenizer, expected = reference(folder, task, TEXTS, *runs)
    for settings, rows in zip(runs, expected, strict=True):
        together = written(predictor, TEXTS, {**settings, **own})
        assert [list(one.token_ids) for one in together] == rows
        assert [one.truncated for one in together] == [False] * 5 + [True]
        assert [one.text for one in together] == [
            tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows
        ]
        assert len({one.token_ids for one in together}) > 3, (
            "a model that always says the same would pass with anything"
        )
    assert written(predictor, TEXTS[2:3], {**runs[1], **own}) == together[2:3]
    assert together[0].prompt_tokens < together[1].prompt_tokens
    assert all(one.completion_tokens == len(one.token_ids) <= 6 for one in together)


@pytest.mark.parametrize(("task", "name"), [("summarization", "bart"), ("translation", "marian")])
def test_inspection_finds_the_task_and_the_sample_is_answered(
    task: str, name: str, folder_of: Callable[[str], Path], predictor_of: Callable[..., Any]
) -> None:
    assert inspect_folder(folder_of(name)).task == task
    predictor = predictor_of(task, name)
    answer = predictor.predict([predictor.sample()], {"max_new_tokens": 4})[0]
    assert list(answer) == ["summary_text" if task == "summarization" else "translation_text"]


@pytest.mark.parametrize("name", [*TRANSLATORS, "encoder_decoder"])
def test_every_translator_answers_its_own_sample_without_parameters(
    name: str, predictor_of: Callable[..., Any]
) -> None:
    predictor = predictor_of("translation", name)
    assert isinstance(predictor.predict([predictor.sample()])[0]["translation_text"], str)


def test_items_of_one_batch_may_differ_in_their_settings(predictor_of: Callable[..., Any]) -> None:
    predictor = predictor_of("summarization", "bart")
    kinds = [
        {"max_new_tokens": 5},
        {"max_new_tokens": 12, "num_beams": 3, "no_repeat_ngram_size": 2, "length_penalty": 2.0},
        {"max_length": 8, "min_length": 4, "repetition_penalty": 1.5},
        {"do_sample": True, "seed": 7, "max_new_tokens": 12, "temperature": 5.0},
    ]
    wanted = [predictor.parameters(kinds[place % len(kinds)]) for place in range(12)]
    items = [predictor.parse(words(1 + 3 * place, place), wanted[place]) for place in range(12)]
    together = predictor.forward(predictor.encode(items))
    assert together == [predictor.forward(predictor.encode([item]))[0] for item in items]
    assert {one.completion_tokens for one in together[::4]} == {5}
    assert max(one.completion_tokens for one in together[2::4]) == 7, "max_length counts the first token"


def test_settings_may_stand_in_generate_parameters_or_beside_it(predictor_of: Callable[..., Any]) -> None:
    predictor = predictor_of("summarization", "bart")
    flat = {"max_new_tokens": 6, "num_beams": 2, "early_stopping": True}
    expected = predictor.predict(TEXTS[:3], flat)
    assert predictor.predict(TEXTS[:3], {"generate_parameters": flat}) == expected
    assert predictor.predict(TEXTS[:3], {"max_new_tokens": 6, "generate_parameters": flat}) == expected
    assert predictor.predict(TEXTS[:3], {"clean_up_tokenization_spaces": True, **flat, "top_k": None}) == expected


@pytest.mark.parametrize(
    ("raw", "code", "said"),
    [
        ({"max_new_token": 5}, "unknown-parameter", "max_new_tokens"),
        ({"generate_parameters": {"num_beam": 2}}, "unknown-parameter", "num_beams"),
        ({"generate_parameters": {"truncation": "only_first"}}, "bad-parameter", "outside"),
        ({"generate_parameters": 3}, "bad-parameter", "object"),
        ({"num_beams": 2, "generate_parameters": {"num_beams": 3}}, "bad-parameter", "twice"),
        ({"num_beams": 0}, "bad-parameter", "at least 1"),
        ({"num_beams": 17}, "bad-parameter", "at most 16"),
        ({"temperature": -1}, "bad-parameter", "at least 0"),
        ({"temperature": 0.001}, "bad-parameter", "0, or at least 0.01"),
        ({"repetition_penalty": 0.001}, "bad-parameter", "at least 0.01"),
        ({"top_p": 1.5}, "bad-parameter", "at most 1"),
        ({"max_new_tokens": "5"}, "bad-parameter", "whole number"),
        ({"max_new_tokens": 64}, "bad-parameter", "at most 63"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, "bad-parameter", "must have 5 tokens"),
        ({"do_sample": True, "num_beams": 4}, "bad-parameter", "one of them"),
        ({"do_sample": False, "temperature": 0.5}, "bad-parameter", "steers sampling"),
        ({"truncation": "only_second"}, "bad-parameter", "do_not_truncate"),
        ({"max_time": 1e9}, "bad-parameter", "at most"),
        ({"src_lang": "en"}, "unknown-parameter", "Known"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(
    raw: dict[str, Any], code: str, said: str, predictor_of: Callable[..., Any]
) -> None:
    with pytest.raises(Refused) as refused:
        predictor_of("summarization", "bart").parameters(raw)
    assert refused.value.code == code
    assert said in f"{refused.value.message} {refused.value.hint}"


def test_the_same_seed_gives_the_same_text_whoever_is_beside_it(predictor_of: Callable[..., Any]) -> None:
    predictor = predictor_of("summarization", "t5")
    warm = {"max_new_tokens": 20, "min_new_tokens": 20, "temperature": 3.0}
    first = predictor.predict(TEXTS[:2], {**warm, "seed": 1})
    assert predictor.predict([TEXTS[1]], {**warm, "seed": 1}) == first[1:]
    assert predictor.predict(TEXTS[:2], {**warm, "seed": 2}) != first
    assert predictor.predict(TEXTS[:2], warm) != predictor.predict(TEXTS[:2], warm)
    before = torch.random.get_rng_state()
    predictor.predict(TEXTS[:1], {**warm, "seed": 1})
    assert torch.equal(before, torch.random.get_rng_state()), "no other part of the process draws differently for it"


def test_a_long_text_is_cut_and_said_so_or_refused(predictor_of: Callable[..., Any]) -> None:
    predictor = predictor_of("summarization", "bart")
    short = {"max_new_tokens": 3}
    assert [one.truncated for one in written(predictor, [TEXTS[0], words(500)], short)] == [False, True]
    assert [one.truncated for one in predictor.encode(predictor.parse_all(TEXTS))] == [False] * 5 + [True]
    assert written(predictor, ["help" + " " * 9000], short)[0].truncated, "blanks are tokens to BART"
    strict = predictor.parameters({**short, "truncation": "do_not_truncate"})
    assert predictor.encode(predictor.parse_all(TEXTS[:3], strict))
    with pytest.raises(ItemError, match="the model reads 64"):
        predictor.encode(predictor.parse_all(TEXTS, strict))


@pytest.mark.parametrize(
    "bad", ["", "  ", None, 3, ["a"], {}, {"document": 1}, {"document": "a", "speed": 2}, "\ud800"]
)
def test_a_bad_item_is_named_and_the_others_are_in_order(bad: Any, predictor_of: Callable[..., Any]) -> None:
    predictor = predictor_of("summarization", "bart")
    with pytest.raises(BadItems) as refused:
        predictor.predict(["fine", bad, "fine"])
    assert [index for index, _ in refused.value.errors] == [1]


def test_a_row_of_a_file_and_every_wire_form_are_the_same_text(predictor_of: Callable[..., Any]) -> None:
    summarizer, translator = predictor_of("summarization", "bart"), predictor_of("translation", "nllb")
    forms = ["help", {"document": "help", "summary": "ignored"}, {"text": "help"}, {"input_string": "help"}]
    assert len({summarizer.parse(form) for form in forms}) == 1
    wanted = translator.parameters(languages("translation", "nllb"))
    rows = ["help", {"source": "help", "target": "ignored"}, {"text": "help"}]
    assert len({translator.parse(row, wanted) for row in rows}) == 1
    answers = [{"summary_text": "a"}, {"summary_text": "b"}]
    assert summarizer.hub_answer(answers[:1], single=True) == answers[:1]
    assert summarizer.hub_answer(answers, single=False) == answers
    assert summarizer.azure_answer(answers, None) == ["a", "b"]
    assert summarizer.output_row(answers[0], None) == {"summary": "a"}
    assert translator.output_columns(wanted) == ("translation",)
    for predictor in (summarizer, translator):
        schemas = predictor.schemas()
        assert "generate_parameters" in schemas["parameters"]["properties"]


def target_of(predictor: Any, raw: dict[str, Any], text: Any = "help") -> tuple[str, str | None, dict[str, Any]]:
    item = predictor.parse(text, predictor.parameters(raw))
    forced = {name: value for name, value in item.plan.settings if name.endswith("token_id")}
    return item.text, item.language, forced


def test_languages_are_told_in_each_familys_own_way(predictor_of: Callable[..., Any]) -> None:
    nllb, m2m100, mbart50, marian, t5 = (
        predictor_of("translation", name) for name in ("nllb", "m2m100", "mbart50", "marian", "t5")
    )
    french = {
        "forced_bos_token_id": AutoTokenizer.from_pretrained(nllb._engine.tokenizer.name_or_path).vocab["fra_Latn"]
    }
    assert target_of(nllb, {"src_lang": "deu_Latn", "tgt_lang": "fra_Latn"}) == ("help", "deu_Latn", french)
    assert target_of(nllb, {"source_lang": "deu_Latn", "target_lang": "fra"}) == ("help", "deu_Latn", french)
    assert target_of(nllb, {}, {"source": "help", "src_lang": "deu_Latn", "tgt_lang": "fra_Latn"})[2] == french
    null = {"source": "help", "src_lang": None, "tgt_lang": ""}
    assert target_of(nllb, {"src_lang": "deu_Latn", "tgt_lang": "fra_Latn"}, null) == ("help", "deu_Latn", french)
    assert target_of(m2m100, {"tgt_lang": "de"})[1] == "en", "the tokenizer's own where none is given"
    assert target_of(mbart50, {"src_lang": "de", "tgt_lang": "fr"})[1] == "de_DE"
    assert target_of(marian, {"tgt_lang": "spa"})[0] == ">>spa<< help"
    assert target_of(marian, {}, ">>deu<< help")[0] == ">>deu<< help"
    assert target_of(t5, {"src_lang": "en", "tgt_lang": "fr"})[0] == "translate English to French: help"
    own = "translate English to German: help"
    assert target_of(t5, {}, own)[0] == target_of(t5, {"src_lang": "en", "tgt_lang": "de"}, own)[0] == own
    summarizer = predictor_of("summarization", "t5")
    assert summarizer.parse("help").text == summarizer.parse("summarize: help").text == "summarize: help"


def test_azure_says_the_languages_in_its_task_type(predictor_of: Callable[..., Any]) -> None:
    mbart50, t5 = predictor_of("translation", "mbart50"), predictor_of("translation", "t5")
    wanted = mbart50.azure_parameters({"task_type": "translation_en_XX_to_ro_RO", "num_beams": 2})
    assert (wanted.src_lang, wanted.tgt_lang, wanted.num_beams) == ("en_XX", "ro_RO", 2)
    assert t5.parse("help", t5.azure_parameters({"task_type": "translation_en_to_fr"})).text.endswith("French: help")
    with pytest.raises(Refused, match="translation_en_to_ro"):
        t5.azure_parameters({"task_type": "summarization"})
    with pytest.raises(Refused, match="'ro'"):
        t5.azure_parameters({"task_type": "translation_en_to_ro"})
    one_way = predictor_of("translation", "encoder_decoder")
    assert one_way.azure_parameters({"task_type": "translation_en_to_ro"}) == one_way.parameters({})


@pytest.mark.parametrize(
    ("name", "raw", "code", "said"),
    [
        ("nllb", {"tgt_lang": "fra_Latin"}, "unknown-language", "'fra_Latn'"),
        ("m2m100", {"src_lang": "zz", "tgt_lang": "fr"}, "unknown-language", "and"),
        ("marian", {"tgt_lang": "fro"}, "unknown-language", "knows deu, fra, spa"),
        ("marian", {"src_lang": "klingon!", "tgt_lang": "fra"}, "unknown-language", "no code of a language"),
        ("t5", {"src_lang": "en", "tgt_lang": "ro"}, "unknown-language", "knows de, fr"),
        ("encoder_decoder", {"src_lang": "en", "tgt_lang": "ro"}, "unknown-language", "Leave"),
        ("nllb", {"src_lang": "eng_Latn", "source_lang": "fra_Latn"}, "bad-parameter", "differ"),
    ],
)
def test_an_unknown_language_is_refused_with_the_nearest(
    name: str, raw: dict[str, Any], code: str, said: str, predictor_of: Callable[..., Any]
) -> None:
    with pytest.raises(Refused) as refused:
        predictor_of("translation", name).parameters(raw)
    assert refused.value.code == code
    assert said in f"{refused.value.message} {refused.value.hint}"


def test_a_model_of_several_languages_must_be_told(predictor_of: Callable[..., Any]) -> None:
    for name in ("nllb", "m2m100", "marian", "mbart50"):
        with pytest.raises(BadItems, match="was not told which"):
            predictor_of("translation", name).predict(["help"])


def test_a_marian_of_one_direction_takes_its_own_languages_and_no_others(tmp_path: Path) -> None:
    predictor: Any = load_predictor(seq2seq.tiny_marian(tmp_path, languages=()), "translation", device="cpu", threads=1)
    assert predictor.predict(["help"], {"max_new_tokens": 3, "src_lang": "en", "tgt_lang": "de_DE"})
    assert predictor.predict(["help"], {"max_new_tokens": 3}) == predictor.predict(
        ["help"], {"max_new_tokens": 3, "src_lang": "en", "tgt_lang": "de"}
    )
    with pytest.raises(Refused, match="'fr'"):
        predictor.parameters({"src_lang": "en", "tgt_lang": "fr"})


def test_a_marian_of_several_targets_takes_the_one_source_that_it_names(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folder_of("marian"), tmp_path / "model")
    path = folder / "tokenizer_config.json"
    for source, refused in (("en", ["de", "zz"]), ("gmq", ["no such"])):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"source_lang": source}))
        predictor = load_predictor(folder, "translation", device="cpu", threads=1)
        assert predictor.parameters({"src_lang": "en" if source == "en" else "sv", "tgt_lang": "fra"})
        for code in refused:
            with pytest.raises(Refused, match="src_lang"):
                predictor.parameters({"src_lang": code, "tgt_lang": "fra"})


def test_no_text_goes_on_for_ever(predictor_of: Callable[..., Any], folder_of: Callable[[str], Path]) -> None:
    predictor = predictor_of("summarization", "bart")
    cut = written(predictor, TEXTS[:2], {"max_new_tokens": 63, "min_new_tokens": 63, "max_time": 0.001})
    assert all(one.finish_reason == "time" and one.completion_tokens < 63 for one in cut)
    full = written(predictor, TEXTS[:2], {"max_new_tokens": 5, "min_new_tokens": 5})
    assert all(one.finish_reason == "length" for one in full), "the end that is forced at the last place is no end"
    plan = predictor.parse("help").plan
    assert plan.max_new_tokens == 63, "no more than it has positions, whatever the default"
    unlimited = predictor_of("summarization", "t5")
    with pytest.raises(Refused, match="at most 1024"):
        unlimited.parameters({"max_new_tokens": 1025})
    own = dict(unlimited.parse("help").plan.settings)
    assert own["max_new_tokens"] == 29, "as the model's config says for this task"
    assert own["min_new_tokens"] == 1


def test_what_a_models_files_ask_for_stays_within_what_is_done(
    folder_of: Callable[[str], Path], predictor_of: Callable[..., Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(folder_of("bart"), tmp_path / "model")
    path = folder / "generation_config.json"
    asked = {
        "num_beams": 3,
        "no_repeat_ngram_size": 2,
        "max_length": 6,
        "min_length": 56,
        "top_k": 5,
        "temperature": 0.5,
    }
    nasty = {
        "num_return_sequences": 3,
        "num_beam_groups": 3,
        "diversity_penalty": 0.5,
        "cache_implementation": "static",
    }
    nasty |= {"return_dict_in_generate": True, "output_scores": True, "stop_strings": ["a"], "max_time": 1e-9}
    path.write_text(json.dumps(json.loads(path.read_text()) | asked | nasty))
    predictor: Any = load_predictor(folder, "summarization", device="cpu", threads=1)
    plain = {"num_beams": 3, "no_repeat_ngram_size": 2, "max_new_tokens": 5, "min_new_tokens": 5}
    assert written(predictor, TEXTS, {}) == written(predictor_of("summarization", "bart"), TEXTS, plain)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_beams": 10_000, "max_length": 10**9}))
    plan = load_predictor(folder, "summarization", device="cpu", threads=1).parse("help").plan
    assert (plan.num_beams, plan.max_new_tokens) == (16, 63)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"temperature": 1e-9}, "temperature is 1e-09; it must be 0, or at least 0.01"),
        ({"repetition_penalty": 0.001}, "repetition_penalty is 0.001; it must be at least 0.01"),
        ({"no_repeat_ngram_size": 10**9}, "no_repeat_ngram_size is 1000000000; it must be at most 100"),
        ({"eos_token_id": 10**6}, "eos_token_id names the token 1000000"),
        ({"bad_words_ids": [[3, 10**6]]}, "bad_words_ids names the token 1000000"),
        ({"suppress_tokens": "all"}, "suppress_tokens"),
    ],
    ids=str,
)
def test_settings_of_a_model_that_cannot_be_are_refused_by_name(
    stated: dict[str, Any], said: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folder_of("bart"), tmp_path / "model")
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | stated))
    with pytest.raises(Refused, match=re.escape(said)) as refused:
        load_predictor(folder, "summarization", device="cpu", threads=1)
    assert refused.value.code == "bad-config" and "generation_config.json" in refused.value.hint


def test_what_a_config_says_of_a_task_has_the_same_bounds(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folder_of("t5"), tmp_path / "model")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["task_specific_params"]["summarization"] |= {"num_beams": 10**6, "max_length": 10**9}
    path.write_text(json.dumps(config))
    plan = load_predictor(folder, "summarization", device="cpu", threads=1).parse("help").plan
    assert (plan.num_beams, plan.max_new_tokens) == (16, 1024)
    config["task_specific_params"]["summarization"] |= {"length_penalty": "much"}
    path.write_text(json.dumps(config))
    with pytest.raises(Refused, match="length_penalty is 'much'"):
        load_predictor(folder, "summarization", device="cpu", threads=1)


def test_a_model_that_keeps_no_cache_writes_with_one_all_the_same(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folder_of("bart"), tmp_path / "model")
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_cache": False}))
    predictor: Any = load_predictor(folder, "summarization", device="cpu", threads=1)
    read: list[int] = []
    predictor._engine.model.get_decoder().register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    predictor.predict(["help"], {"max_new_tokens": 5, "min_new_tokens": 5})
    assert read == [1] * 5, "each token is read once"


def test_a_callers_beams_go_before_the_chance_that_a_model_has_by_itself(
    folder_of: Callable[[str], Path], predictor_of: Callable[..., Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(folder_of("bart"), tmp_path / "model")
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_sample": True, "temperature": 5.0}))
    chancy: Any = load_predictor(folder, "summarization", device="cpu", threads=1)
    beams = {"num_beams": 3, "max_new_tokens": 8}
    assert written(chancy, TEXTS, beams) == written(predictor_of("summarization", "bart"), TEXTS, beams)
    assert chancy.parse("help").plan.is_sampled
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": 0}))
    assert not load_predictor(folder, "summarization", device="cpu", threads=1).parse("help").plan.is_sampled


def test_a_model_that_looks_at_everything_reads_no_more_than_16384_tokens(tmp_path: Path) -> None:
    folder = seq2seq.tiny_t5(tmp_path)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 1_000_000}))
    assert load_predictor(folder, "summarization", device="cpu", threads=1).context_length == 16_384


def test_a_text_that_the_servers_clock_ends_says_so(
    predictor_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = predictor_of("summarization", "bart")
    long = {"max_new_tokens": 60, "min_new_tokens": 60}
    monkeypatch.setattr(engine, "MAX_SECONDS", 0.0)
    seeds = [predictor.parameters({**long, "do_sample": True, "seed": seed}) for seed in range(3)]
    encoded = predictor.encode([predictor.parse("help", wanted) for wanted in seeds])
    cut = predictor.forward(encoded)  # three groups under one clock
    assert [(one.finish_reason, one.truncated, one.completion_tokens) for one in cut] == [("time", True, 1)] * 3
    assert predictor.answer(cut[0]) == {"summary_text": cut[0].text, "finish_reason": "time"}
    monkeypatch.undo()
    [whole] = written(predictor, ["help"], long)
    assert predictor.answer(whole) == {"summary_text": whole.text} and not whole.truncated


def test_the_groups_of_a_batch_share_one_clock(
    predictor_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = predictor_of("summarization", "bart")
    clock = iter([0.0, 0.0, 90.0, 130.0])  # the start, then before each of three groups
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    given: list[float] = []
    generate = predictor._engine.model.generate
    monkeypatch.setattr(
        predictor._engine.model,
        "generate",
        lambda **asked: given.append(asked["generation_config"].max_time) or generate(**asked),
    )
    kinds = [predictor.parameters({"max_new_tokens": count, "max_time": 35.0}) for count in (3, 4, 5)]
    predictor.forward(predictor.encode([predictor.parse("help", wanted) for wanted in kinds]))
    assert given == [35.0, 15.0, 0.0]


def test_writing_ends_when_all_who_wait_for_it_have_left(predictor_of: Callable[..., Any]) -> None:
    predictor = predictor_of("summarization", "bart")
    wanted = predictor.parameters({"max_new_tokens": 60, "min_new_tokens": 60})
    encoded = predictor.encode([predictor.parse(text, wanted) for text in TEXTS[:2]])
    encoded[0].abandon()
    assert [one.completion_tokens for one in predictor.forward(encoded)] == [60, 60]
    encoded[1].abandon()
    assert [one.completion_tokens for one in predictor.forward(encoded)] == [1, 1]


@pytest.mark.parametrize("name", ["marian", "m2m100", "nllb", "t5"])
def test_an_import_takes_all_that_its_tokenizer_needs(
    name: str, folder_of: Callable[[str], Path], predictor_of: Callable[..., Any], tmp_path: Path
) -> None:
    registry = Registry(tmp_path)
    draft = prepare_folder_import(
        registry,
        folder_of(name),
        name=Name.parse("acme/words"),
        task="translation",
        check=lambda *_: {},
        reporter=SILENT,
    )
    assert isinstance(draft, ModelDraft)
    folder = registry.models.files_dir(registry.models.publish(draft))
    imported = load_predictor(folder, "translation", device="cpu", threads=1)
    own = {"max_new_tokens": 4, **languages("translation", name)}
    assert imported.predict(TEXTS[:3], own) == predictor_of("translation", name).predict(TEXTS[:3], own)


def test_two_threads_may_score_at_once_in_different_languages(predictor_of: Callable[..., Any]) -> None:
    predictor = predictor_of("translation", "nllb")
    pairs = [("eng_Latn", "fra_Latn"), ("deu_Latn", "spa_Latn")]
    wanted = [{"max_new_tokens": 4, "src_lang": one, "tgt_lang": other} for one, other in pairs]
    expected = [predictor.predict(TEXTS[:3], raw) for raw in wanted]
    results: dict[int, list[Any]] = {0: [], 1: []}

    def score(place: int) -> None:
        results[place] = [predictor.predict(TEXTS[:3], wanted[place]) for _ in range(4)]

    threads = [threading.Thread(target=score, args=(place,)) for place in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {place: [expected[place]] * 4 for place in results}


def test_a_replica_serves_a_summary(floor: Any, folder_of: Callable[[str], Path]) -> None:
    replica = floor.replica(folder_of("bart"), task="summarization")
    with replica.client() as client:
        body = {"inputs": "my card is lost", "parameters": {"generate_parameters": {"max_new_tokens": 5}}}
        one = client.post("/", json=body)
        assert one.status_code == 200, one.text
        assert [list(answer) for answer in one.json()] == [["summary_text"]]
        azure = client.post("/score", json={"input_data": ["my card is lost"], "params": {"max_length": 6}})
        assert azure.json() == [one.json()[0]["summary_text"]]
        long = client.post("/", json={**body, "inputs": words(300)})
        assert long.headers["x-bedplate-truncated"]
        refused = client.post("/", json={"inputs": words(300), "parameters": {"truncation": "do_not_truncate"}})
        assert refused.status_code == 422
        assert "the model reads 64" in refused.text
    replica.process.kill()
