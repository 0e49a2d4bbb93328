"""Summarization and translation: what every family is told, that it learns, and that it is served as it was judged."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.predictors import load_predictor
from bedplate_serving.testing import WORDS, seq2seq
from bedplate_trainers.evaluation import EvaluateRequest, evaluate
from bedplate_trainers.examiners import Setup, get_examiner
from bedplate_trainers.finetune import DataFile, FinetuneRequest, FinetuneResult, finetune
from bedplate_trainers.metrics.written import tokenizer_for
from bedplate_trainers.objectives import ClassLoss
from bedplate_trainers.plan import inputs_of
from bedplate_trainers.recipes import summarization, translation
from bedplate_trainers.sampling import LengthGroupedBatches
from bedplate_trainers.text_pairs import read_text_pairs

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

Maker = Callable[..., FinetuneRequest]
Row = dict[str, str]
RECIPES = {"summarization": summarization, "translation": translation}
# Where a model is told languages, and where it is not: source, target, what stands before a text, what is forced.
FAMILIES = {
    "t5": ("en", "de", "translate English to German: ", None),
    "marian": ("en", "fra", ">>fra<< ", None),
    "mbart": ("en_XX", "ro_RO", "", "decoder_start_token_id"),
    "mbart50": ("de_DE", "fr_XX", "", "forced_bos_token_id"),
    "m2m100": ("en", "fr", "", "forced_bos_token_id"),
    "nllb": ("fra_Latn", "deu_Latn", "", "forced_bos_token_id"),
    "bart": ("", "", "", None),
    "led": ("", "", "", None),
    "pegasus": ("", "", "", None),
    "encoder_decoder": ("", "", "", None),
}
ABROAD = dict(zip(WORDS[:8], WORDS[20:28], strict=True))


def translated(count: int, seed: int = 0) -> list[Row]:
    """A language in which every word has another one."""
    generator = random.Random(seed)
    texts = [generator.choices(WORDS[:8], k=generator.randint(2, 4)) for _ in range(count)]
    return [{"source": " ".join(words), "target": " ".join(ABROAD[word] for word in words)} for words in texts]


def summarized(count: int, seed: int = 0) -> list[Row]:
    """The first two words are what a text says."""
    generator = random.Random(seed)
    texts = [generator.choices(WORDS[:8], k=generator.randint(3, 6)) for _ in range(count)]
    return [{"document": " ".join(words), "summary": " ".join(words[:2])} for words in texts]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Marian for one direction with weights as training begins with them, a little wider, without dropout."""
    from transformers import MarianConfig, MarianMTModel

    folder = seq2seq.tiny_marian(tmp_path_factory.mktemp("untrained"), languages=())
    config = MarianConfig.from_pretrained(folder)
    config.d_model, config.dropout = 64, 0.0
    torch.manual_seed(0)
    MarianMTModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def make(make_request: Maker, write_rows: Callable[..., DataFile], untrained: Path) -> Maker:
    def made(task: str, rows: list[Row], model_dir: Path | None = None, **changes: Any) -> FinetuneRequest:
        given = {"columns": {}, "train": write_rows(rows, "pairs.jsonl"), **changes}
        given["settings"] = {"max_steps": 2, "per_device_train_batch_size": 8} | changes.get("settings", {})
        return make_request(task=task, model_dir=model_dir or untrained, **given)

    return made


def tuned(request: FinetuneRequest, reporter: Any = SILENT) -> FinetuneResult:
    result = finetune(request, reporter, resume=False)
    assert result is not None
    return result


LEARNING = {"max_steps": 150, "learning_rate": 5e-3, "per_device_train_batch_size": 32, "eval_strategy": "steps"}
# A plain loop with 150 such steps on 600 rows wrote 54 of 60 translations word for word; with those of SUMMARIES, 57 of
# 60 summaries.
LEARNING |= {"eval_steps": 75, "num_beams": 2}
# Words come twice, and each has several tokens.
SUMMARIES = LEARNING | {"max_steps": 200, "learning_rate": 2e-3, "no_repeat_ngram_size": 0}


def test_it_learns_a_small_language_and_reports_the_test(make: Maker, recorder: Any) -> None:
    result = tuned(make("translation", translated(600), settings=LEARNING), recorder)
    report = result.report
    assert report is not None
    assert report["metrics"]["bleu"] > 70
    assert report["baselines"]["copy"]["bleu"] < 5
    low, high = report["confidence"]["bleu"]
    assert low <= report["metrics"]["bleu"] <= high
    assert report["signatures"]["bleu"].startswith("nrefs:1|")
    assert {"row", "source", "target", "predicted", "chrf"} == report["worst"][0].keys()
    assert [row["chrf"] for row in report["worst"]] == sorted(row["chrf"] for row in report["worst"])
    assert result.metrics["bleu"] > 70
    figures = dict(recorder.figures)
    assert {"eval_loss", "eval_bleu", "eval_chrf"} <= figures[150].keys()
    assert json.loads(json.dumps(result.to_json()))["resolved"]["values"]["num_beams"] == 2


def test_it_learns_to_say_what_a_text_begins_with(make: Maker) -> None:
    report = tuned(make("summarization", summarized(600), settings=SUMMARIES)).report
    assert report is not None
    assert report["metrics"]["rougeL"] > 0.8
    assert report["baselines"]["lead"]["rougeL"] < report["metrics"]["rougeL"]
    assert {"document", "summary", "predicted", "rougeL"} <= report["worst"][0].keys()
    assert set(report["confidence"]) == {"rouge1", "rouge2", "rougeL", "rougeLsum"}


def test_with_shuffled_targets_it_falls_to_chance(make: Maker) -> None:
    rows = translated(600)
    targets = [row["target"] for row in rows]
    random.Random(1).shuffle(targets)
    rows = [{**row, "target": target} for row, target in zip(rows, targets, strict=True)]
    report = tuned(make("translation", rows, settings=LEARNING | {"max_steps": 60})).report
    assert report is not None
    assert report["metrics"]["bleu"] < 35


def test_the_loss_of_each_step_is_that_of_a_plain_loop(make: Maker, recorder: Any) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, get_linear_schedule_with_warmup

    from bedplate_trainers.sampling import LengthGroupedBatches

    settings = {"max_steps": 6, "learning_rate": 1e-3, "weight_decay": 0.0, "eval_strategy": "no", "logging_steps": 1}
    request = make("translation", translated(40), settings=settings, validation=None, test=None)
    prepared = translation.prepare(request, SILENT)
    batches = LengthGroupedBatches(prepared.plan.train.lengths, 8, 42)
    tuned(request, recorder)

    model = AutoModelForSeq2SeqLM.from_pretrained(request.model_dir).train()
    tokenizer = AutoTokenizer.from_pretrained(request.model_dir)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 1, 6)
    rows, losses = translated(40), list[float]()
    while len(losses) < 6:
        batches.set_epoch(len(losses) // len(batches))
        for places in batches:
            texts = [rows[place] for place in places]
            inputs = tokenizer(
                [row["source"] for row in texts],
                text_target=[row["target"] for row in texts],
                padding=True,
                return_tensors="pt",
            )
            labels = inputs.pop("labels")
            loss = model(**inputs, labels=labels.masked_fill(labels == tokenizer.pad_token_id, -100)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    ours = [values["loss"] for _, values in recorder.figures if "loss" in values]
    assert ours == pytest.approx(losses[:6], abs=1e-4)


def test_two_processes_follow_the_loss_of_one_with_the_same_global_batch(
    make: Maker, start_worker: Callable[..., Any], result_of: Callable[..., Any], recorder: Any, tmp_path: Path
) -> None:
    settings = {"max_steps": 4, "per_device_train_batch_size": 4, "logging_steps": 1, "eval_generate_rows": 8}
    request = make("translation", translated(60), settings=settings, processes=2)
    two = result_of(start_worker(request))
    one = replace(request, processes=1, settings=request.settings | {"per_device_train_batch_size": 8})
    result = tuned(replace(one, work_dir=tmp_path / "one", output_dir=tmp_path / "one-model"), recorder)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    theirs, ours = (
        [values["loss"] for values in found if "loss" in values]
        for found in (lines, [values for _, values in recorder.figures])
    )
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert two["metrics"]["bleu"] == pytest.approx(result.metrics["bleu"], abs=1e-3)


@pytest.mark.parametrize("task", RECIPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_served_as_it_was_trained(make: Maker, tmp_path: Path, name: str, task: str) -> None:
    """A caller who sends nothing but a text is given what the model was trained for."""
    folder = getattr(seq2seq, f"tiny_{name}")(tmp_path / "base")
    source, target, prefix, slot = FAMILIES[name]
    is_translation = task == "translation"
    languages = {"source_lang": source, "target_lang": target} if is_translation else {}
    rows = translated(20) if is_translation else summarized(20)
    request = make(task, rows, folder, settings={**languages, "num_beams": 3, "length_penalty": 0.5})
    prepared = RECIPES[task].prepare(request, SILENT)
    plan, tokenizer = prepared.plan, prepared.tokenizer
    plan.model.save_pretrained(request.output_dir)
    tokenizer.save_pretrained(request.output_dir)

    batch = plan.train.__getitems__([0])
    logits = plan.model(**inputs_of(batch)).logits
    assert logits.shape[:2] == batch["labels"].shape
    plan.objective.total(SimpleNamespace(logits=logits), batch).backward()
    idle = [name for name, weight in plan.model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert idle == []  # several processes would wait for their gradients
    values = plan.settings
    assert values.source_prefix == (prefix if is_translation else "summarize: " if name == "t5" else "")
    predictor: Any = load_predictor(request.output_dir, task, device="cpu")
    text = prepared.sets.train.rows[0].source
    item = predictor.parse(text)
    assert list(predictor.encode([item])[0].ids) == batch["input_ids"][0].tolist()
    written = dict(item.plan.settings)
    assert (written["num_beams"], written["length_penalty"]) == (3, 0.5)
    assert item.plan.max_new_tokens == values.max_target_length
    if slot:
        code = target if is_translation else prepared.tokenizer.src_lang
        engine = predictor._engine
        language = engine.tokenizer.convert_ids_to_tokens(getattr(engine.generation_config, slot))
        assert language.strip("_") == code
        first = batch["decoder_input_ids"] if slot == "decoder_start_token_id" else batch["labels"]
        assert int(first[0, 0]) == getattr(engine.generation_config, slot)


@pytest.mark.parametrize("task", RECIPES)
def test_an_encoder_becomes_both_halves_of_a_model_that_writes(
    make: Maker, base_dir: Path, recorder: Any, task: str
) -> None:
    request = make(task, translated(30) if task == "translation" else summarized(30), base_dir)
    result = tuned(request, recorder)
    assert result.report is not None
    assert any("both halves of an encoder-decoder" in message for message in recorder.messages)
    config = json.loads((request.output_dir / "config.json").read_text())
    assert config["architectures"] == ["EncoderDecoderModel"]
    assert (config["decoder_start_token_id"], config["eos_token_id"], config["pad_token_id"]) == (2, 3, 0)
    answer = load_predictor(request.output_dir, task, device="cpu").predict([WORDS[0]])
    assert len(answer) == 1


def test_a_model_that_was_trained_is_trained_further_in_its_own_direction(make: Maker, tmp_path: Path) -> None:
    folder = seq2seq.tiny_nllb(tmp_path / "base")
    languages = {"source_lang": "fra_Latn", "target_lang": "deu_Latn"}
    first = make("translation", translated(20), folder, settings=languages)
    tuned(first)
    again = make("translation", translated(20), first.output_dir)
    values = translation.prepare(again, SILENT).plan.settings
    assert (values.source_lang, values.target_lang) == ("fra_Latn", "deu_Latn")


def test_words_of_a_users_own_stand_before_each_text_and_may_be_left_out(make: Maker, tmp_path: Path) -> None:
    folder = seq2seq.tiny_t5(tmp_path / "base")
    rows = {"summarization": summarized(20), "translation": translated(20)}
    for task in RECIPES:
        for prefix in ("help: ", ""):
            request = make(task, rows[task], folder, settings={"source_prefix": prefix, "max_steps": 1})
            tuned(request)
            predictor: Any = load_predictor(request.output_dir, task, device="cpu")
            assert predictor.parse("card").text == f"{prefix}card"
            shutil.rmtree(request.output_dir)


def test_a_lora_that_is_merged_keeps_what_the_model_was_told(make: Maker, tmp_path: Path) -> None:
    folder = seq2seq.tiny_t5(tmp_path / "base")
    settings = {"apply_lora": True, "source_prefix": "help: ", "num_beams": 3}
    request = make("summarization", summarized(20), folder, settings=settings)
    tuned(request)
    item = load_predictor(request.output_dir, "summarization", device="cpu").parse("card")
    assert (item.text, item.plan.num_beams) == ("help: card", 3)


@pytest.mark.parametrize(
    ("task", "name", "settings", "code"),
    [
        ("translation", "nllb", {}, "no-language"),
        ("translation", "nllb", {"target_lang": "fra_Latin"}, "unknown-language"),
        ("translation", "nllb", {"target_lang": "fra_Latn", "source_prefix": "to French: "}, "bad-setting"),
        ("translation", "marian", {}, "no-language"),
        ("translation", "t5", {"source_lang": "en", "target_lang": "it"}, "unknown-language"),
        ("translation", "bart", {"target_lang": "de"}, "unknown-language"),
        ("summarization", "bart", {"source_lang": "de"}, "unknown-language"),
        ("summarization", "bart", {"max_target_length": 64}, "bad-setting"),
        ("summarization", "bart", {"max_source_length": 65}, "bad-setting"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_training(
    make: Maker, tmp_path: Path, task: str, name: str, settings: dict[str, Any], code: str
) -> None:
    folder = getattr(seq2seq, f"tiny_{name}")(tmp_path / "base")
    rows = translated(20) if task == "translation" else summarized(20)
    with pytest.raises(Refused) as caught:
        RECIPES[task].prepare(make(task, rows, folder, settings=settings), SILENT)
    assert caught.value.code == code
    assert "src_lang" not in caught.value.message + caught.value.hint
    if settings.get("target_lang") == "fra_Latin":
        assert "fra_Latn" in caught.value.hint


def test_long_texts_are_cut_each_to_its_own_length(make: Maker) -> None:
    rows = [{"source": " ".join(WORDS[:20]), "target": " ".join(WORDS[:20])} for _ in range(20)]
    settings = {"max_source_length": 12, "max_target_length": 6}
    plan = translation.prepare(make("translation", rows, settings=settings), SILENT).plan
    batch = plan.train.__getitems__([0, 1])
    assert (batch["input_ids"].shape, batch["labels"].shape) == ((2, 12), (2, 6))


def test_batches_of_pairs_are_padded_little_on_either_side(make: Maker) -> None:
    generator = random.Random(0)
    rows = []
    for _ in range(400):
        words = generator.randint(2, 24)
        counts = (words, max(1, round(words * generator.uniform(0.6, 1.4))))
        rows.append(dict(zip(("source", "target"), (" ".join([WORDS[0]] * count) for count in counts), strict=True)))
    train = translation.prepare(make("translation", rows, test=None, validation=None), SILENT).plan.train
    batches = [train.__getitems__(batch) for batch in LengthGroupedBatches(train.lengths, 8, 1)]
    held = [mask for batch in batches for mask in (batch["attention_mask"] > 0, batch["labels"] != ClassLoss.IGNORED)]
    padding = 1 - sum(int(mask.sum()) for mask in held) / sum(mask.numel() for mask in held)
    assert padding < 0.10  # ordered by the sum of both it is 0.12, by the source 0.14


def test_no_text_is_written_while_training_where_none_is_wanted(make: Maker, recorder: Any) -> None:
    tuned(make("translation", translated(40), settings={"eval_generate_rows": 0}), recorder)
    names = {name for _, values in recorder.figures for name in values}
    assert "eval_loss" in names
    assert "eval_bleu" not in names


def test_the_validation_loss_is_the_mean_over_its_tokens(make: Maker) -> None:
    plan = translation.prepare(make("translation", translated(60)), SILENT).plan
    judge, model = plan.judge, plan.model.eval()
    assert judge is not None
    rows = list(range(len(judge.lengths)))
    with torch.no_grad():
        predictions = [one for row in rows for one in judge.predict(model, [row], torch.device("cpu"))]
        together = judge.predict(model, rows, torch.device("cpu"))
    assert judge.scores(predictions)["loss"] == pytest.approx(judge.scores(together)["loss"], abs=1e-5)


def test_a_row_without_a_text_is_refused_by_its_number(write_rows: Callable[..., DataFile]) -> None:
    file = write_rows([{"source": "a", "target": "b"}, {"source": " ", "target": "b"}, {"source": "a", "target": ""}])
    with pytest.raises(Refused, match=r"row 2 has an empty source; row 3"):
        read_text_pairs(file, "translation", {}, "The data")
    with pytest.raises(Refused, match="source and target are both the column 'source'"):
        read_text_pairs(file, "translation", {"target": "source"}, "The data")


def test_a_model_is_evaluated_with_languages_and_beside_another(
    write_rows: Callable[..., DataFile], tmp_path: Path
) -> None:
    folder = seq2seq.tiny_t5(tmp_path / "model")
    data = write_rows(translated(12))
    settings = {"source_lang": "en", "target_lang": "de", "confidence_draws": 50}
    request = EvaluateRequest("translation", folder, data, {}, against_dir=folder, settings=settings, device="cpu")
    report = evaluate(request, SILENT)
    assert report["difference"]["bleu"] == {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}
    assert report["baselines"]["copy"]["bleu_1"] == 0.0
    with pytest.raises(Refused, match="a language that this model does not know"):
        evaluate(replace(request, settings={"source_lang": "en", "target_lang": "xx"}), SILENT)


def test_the_lead_has_as_many_sentences_as_training_summaries(write_rows: Callable[..., DataFile]) -> None:
    examiner: Any = get_examiner(Setup("summarization", {}, "cpu", SILENT))
    document = "One is here. Two are there! Is it three? Four."
    rows = examiner.read(write_rows([{"document": document, "summary": "x"}]), "The data")
    train = examiner.read(write_rows([{"document": "x", "summary": "A b. C d."}], "train.jsonl"), "The data")
    assert examiner.without_model(rows, train) == ("lead", ["One is here. Two are there!"])
    assert examiner.without_model(rows, None) == ("lead", ["One is here. Two are there! Is it three?"])


@pytest.mark.parametrize(
    ("text", "rouge", "bleu"),
    [
        ("Über die Größe", "rouge_stemmer", "13a"),
        ("Счёт оплачен", "intl", "13a"),
        ("今天天气很好", "zh", "zh"),
        ("日本語の文字です", "char", "char"),
        ("สวัสดี", "char", "char"),
    ],
)
def test_texts_are_read_by_the_words_of_their_script(text: str, rouge: str, bleu: str) -> None:
    assert (tokenizer_for("summarization", [text]), tokenizer_for("translation", [text])) == (rouge, bleu)


def test_a_row_counts_in_the_interval_as_in_the_metric(write_rows: Callable[..., DataFile]) -> None:
    from bedplate_trainers.examiners.writing import Written

    rows = read_text_pairs(write_rows(translated(30)), "translation", {}, "The data")
    texts = tuple(row.target if number % 3 else row.source for number, row in enumerate(rows))
    judged = Written("translation", rows, texts, 1.0)
    examiner: Any = get_examiner(Setup("translation", {}, "cpu", SILENT))
    assert judged.counted.values["bleu"] == pytest.approx(examiner.report(judged)["metrics"]["bleu"])
