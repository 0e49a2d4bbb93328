"""Taggers: rows and their faults, windows, what a fine-tune learns, and the report on it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.testing import tiny_token_classifier
from bedplate_trainers.evaluation import EvaluateRequest, evaluate
from bedplate_trainers.examiners import Setup
from bedplate_trainers.examiners.tag_report import Judged
from bedplate_trainers.examiners.token_classification import Examiner
from bedplate_trainers.finetune import DataFile, FinetuneRequest, FinetuneResult, finetune
from bedplate_trainers.labels import LabelSet
from bedplate_trainers.pretrained import load_tokenizer
from bedplate_trainers.settings import FinetuneSettings
from bedplate_trainers.splits import split_off
from bedplate_trainers.tagged import TaggedRow, TaggedRows, learn_tags, read_tagged, sorted_tags
from bedplate_trainers.word_windows import WindowEncoder
from tagged_rows import tagged_rows

TASK = "token-classification"
TAGS = ("O", "B-MOOD", "B-THING", "I-THING")
Maker = Callable[..., FinetuneRequest]
Writer = Callable[..., DataFile]


@pytest.fixture(scope="module")
def still_base(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder without dropout, so that few steps are enough and a loop of our own can be held beside."""
    folder = tmp_path_factory.mktemp("still") / "model"
    shutil.copytree(base_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def make(make_request: Maker, still_base: Path) -> Maker:
    """A small fine-tune of a tagger."""

    def made(rows: list[dict[str, Any]] | None = None, **changes: Any) -> FinetuneRequest:
        settings = {"learning_rate": 2e-3, "num_train_epochs": 15, "per_device_train_batch_size": 16}
        changes["settings"] = settings | changes.get("settings", {})
        given = {"task": TASK, "model_dir": still_base, "columns": {}, **changes}
        return make_request(rows if rows is not None else tagged_rows(400), **given)

    return made


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tags at random."""
    return tiny_token_classifier(tmp_path_factory.mktemp("tagger") / "model", labels=TAGS, max_positions=32)


def tuned(request: FinetuneRequest, reporter: Any = SILENT) -> FinetuneResult:
    result = finetune(request, reporter, resume=False)
    assert result is not None
    return result


def report_on(model: Path, data: DataFile, reporter: Any = SILENT, **more: Any) -> dict[str, Any]:
    request = EvaluateRequest(TASK, model, data, more.pop("columns", {}), device="cpu", **more)
    report = evaluate(EvaluateRequest.from_json(json.loads(json.dumps(request.to_json()))), reporter)
    return dict(json.loads(json.dumps(report)))


# --- rows


def test_rows_that_cannot_be_used_are_refused_by_their_numbers(write_rows: Writer) -> None:
    rows: list[dict[str, Any]] = [
        {"tokens": ["a", "b"], "tags": ["O", "O"]},
        {"tokens": ["a", "b"], "tags": ["O"]},
        {"tokens": [], "tags": []},
        {"tokens": ["a", 1], "tags": ["O", "O"]},
        {"tokens": ["a"], "tags": [None]},
    ]
    with pytest.raises(Refused) as caught:
        read_tagged(write_rows(rows), {}, "The data")
    assert caught.value.code == "bad-rows"
    assert caught.value.message == (
        "The data has 4 rows that cannot be used: row 2 has 2 tokens and 1 tags; row 3 has no tokens; "
        "row 4 has 1 as token 2, which is no text; row 5 has the tag None, which is neither a text nor a whole number."
    )


def test_numbers_digits_and_names_of_tags_come_to_the_same(tmp_path: Path, write_rows: Writer) -> None:
    names, numbers = ["O", "B-PER", "I-PER"], [0, 1, 2]
    tokens = ["a", "b", "c"]
    files = [
        write_rows([{"tokens": tokens, "tags": tags}], f"{number}.jsonl")
        for number, tags in enumerate((names, numbers, [str(number) for number in numbers], [0.0, 1.0, 2.0]))
    ]
    table = tmp_path / "tags.csv"
    table.write_text('tokens,tags\n"[""a"", ""b"", ""c""]","[0, 1, 2]"\n')
    for file in (*files, DataFile(table, "csv")):
        [row] = read_tagged(file, {}, "The data", names)
        assert (row.tokens, row.tags) == (("a", "b", "c"), ("O", "B-PER", "I-PER"))
    with pytest.raises(Refused, match="row 1 has the label '2', which is neither"):
        read_tagged(files[1], {}, "The data", names[:2])


@pytest.mark.parametrize(
    "tags",
    [
        ("O", "LOC", "PER"),
        ("O", "B-LOC", "I-LOC", "B-creative-work", "I-creative-work"),
        ("O", "B-LOC", "I-LOC", "E-LOC", "S-LOC", "B-PER"),
        ("0", "1", "2", "10"),
        ("B", "I"),
    ],
)
def test_tags_stand_with_o_first_and_those_of_a_type_together(tags: tuple[str, ...]) -> None:
    assert sorted_tags(reversed(tags)) == tags


def test_a_split_leaves_no_tag_to_the_held_rows_alone() -> None:
    rows = [TaggedRow(n, (f"w{n}",) * 3, ("O", f"B-{n % 7}", f"I-{n % 11}" if n % 5 else "O")) for n in range(60)]
    split = split_off(TaggedRows(tuple(rows)), 0.2, 1, "test")
    assert len(split.held) == 12
    assert {tag for row in split.held for tag in row.tags} <= set(learn_tags(split.train).names)


def test_a_tag_that_training_lacks_is_refused_before_training(make: Maker, write_rows: Writer) -> None:
    test = write_rows([{"tokens": ["a", "b"], "tags": ["O", "B-CITY"]}], "test.jsonl")
    with pytest.raises(Refused, match=r"The test data has labels .*'B-CITY' \(row 1\)"):
        tuned(make(test=test))
    with pytest.raises(Refused, match="only the tag 'O'"):
        tuned(make([{"tokens": [f"a{n}"], "tags": ["O"]} for n in range(30)]))


def test_validation_rows_without_an_entity_are_refused_before_training(make: Maker, write_rows: Writer) -> None:
    plain = write_rows([{"tokens": ["a", "b"], "tags": ["O", "O"]}], "plain.jsonl")
    with pytest.raises(Refused, match="no entity in any row, so f1_score_micro cannot choose"):
        tuned(make(validation=plain))
    result = tuned(make(validation=plain, settings={"metric_for_best_model": "loss", "max_steps": 2}))
    assert "f1_score_micro" not in result.metrics and result.metrics["accuracy"] >= 0


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"token_key": "words"}, "--map"),
        ({"label_all_tokens": True}, "labeled at its first"),
        ({"stride": 64}, "Here it is doc_stride"),
        ({"metric_for_best_model": "overall_f1"}, "Here it is f1_score_micro"),
        ({"max_target_length": 8}, "It is one of summarization"),
    ],
)
def test_names_of_other_programs_are_told_apart(settings: dict[str, Any], hint: str) -> None:
    with pytest.raises(Refused) as caught:
        FinetuneSettings.from_mapping(settings, TASK)
    assert hint in caught.value.hint


# --- windows


def long_row(source: random.Random, words: int) -> TaggedRow:
    """Words of one to thirty tokens, and some that a tokenizer sees nothing in."""
    tokens = [source.choice(["card", "my", "qz" * source.randint(1, 15), "\u200b", ""]) for _ in range(words)]
    return TaggedRow(1, tuple(tokens), tuple(source.choices(TAGS, k=words)))


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2"])
@pytest.mark.parametrize("stride", [0, 4, 7])
def test_each_word_is_labeled_once_at_its_first_token_where_it_sees_most(
    tmp_path_factory: pytest.TempPathFactory, made_tokenizer: Callable[[str], Any], family: str, stride: int
) -> None:
    source, tokenizer = random.Random(stride), made_tokenizer(family)
    rows = TaggedRows(tuple(replace(long_row(source, source.randint(1, 60)), row=row) for row in range(1, 21)))
    windows = WindowEncoder(tokenizer, LabelSet(TAGS, False), 16, stride)(rows, SILENT)
    batch = windows.__getitems__(range(len(windows)))
    assert windows.lengths.max() == 16
    found = batch["labels"][batch["labels"] != -100].tolist()
    assert found == [TAGS.index(tag) for row in rows for tag in row.tags], "every word once, and in order"
    assert batch["attention_mask"][batch["labels"] != -100].all()
    counted = [
        number for number, labels in zip(windows.numbers, batch["labels"], strict=True) for _ in labels[labels != -100]
    ]
    assert counted == [row.row for row in rows for _ in row.tags], "each window knows the row that it is of"
    unknown = int((batch["input_ids"][batch["labels"] != -100] == tokenizer.unk_token_id).sum())
    assert unknown > 0, "what the tokenizer sees nothing in is read as unknown"


def test_an_overlap_is_parted_in_its_middle(made_tokenizer: Callable[[str], Any]) -> None:
    row = TaggedRow(1, ("card",) * 24, ("B-THING",) * 24)
    windows = WindowEncoder(made_tokenizer("bert"), LabelSet(TAGS, False), 16, 4)(TaggedRows((row,)), SILENT)
    labeled = (windows.__getitems__(range(2))["labels"] != -100).tolist()
    assert [place for place, is_labeled in enumerate(labeled[0]) if is_labeled] == list(range(1, 13))
    assert [place for place, is_labeled in enumerate(labeled[1]) if is_labeled] == list(range(3, 15))


@pytest.mark.parametrize(("limit", "stride"), [(16, 8), (5, 0)])
def test_windows_that_share_too_much_or_hold_too_little_are_refused(
    made_tokenizer: Callable[[str], Any], limit: int, stride: int
) -> None:
    with pytest.raises(Refused, match=f"max_seq_length is {limit}") as caught:
        WindowEncoder(made_tokenizer("bert"), LabelSet(TAGS, False), limit, stride)
    assert caught.value.code == "bad-setting"


@pytest.fixture(scope="module")
def made_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    @cache
    def made(family: str) -> Any:
        return load_tokenizer(tiny_token_classifier(tmp_path_factory.mktemp(family) / "model", family=family))

    return made


def test_the_model_says_while_it_trains_what_it_says_where_it_is_served(make: Maker, write_rows: Writer) -> None:
    """Long documents, so that both have to cut and choose alike."""
    rows = [row | {"tokens": [*row["tokens"], "\u200b"], "tags": [*row["tags"], "O"]} for row in tagged_rows(60)]
    long = [{name: [*chain(*(row[name] for row in rows[at::12]))] for name in rows[0]} for at in range(12)]
    validation = write_rows(long, "long.jsonl")
    request = make(rows, validation=validation, test=validation, settings={"max_steps": 30, "max_seq_length": 24})
    recorder = Figures()
    result = tuned(request, recorder)
    assert json.loads((request.output_dir / "tokenizer_config.json").read_text())["model_max_length"] == 24
    assert result.report is not None
    for name in ("accuracy", "f1_score_micro"):
        assert recorder.last[f"eval_{name}"] == result.metrics[name] == result.report["metrics"][name]
    assert result.metrics["accuracy"] > 0.7


class Figures:
    """A reporter that remembers what came last of each figure."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.losses: list[float] = []

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None: ...

    def message(self, text: str) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.last |= values
        self.losses += [values["loss"]] if "loss" in values else []


# --- what it learns


def test_it_learns_entities_and_reports_the_test(make: Maker, recorder: Any) -> None:
    request = make()
    result = tuned(request, recorder)
    report = result.report
    assert report is not None
    assert result.labels == TAGS
    assert report["metrics"]["f1_score_micro"] > 0.8  # a plain loop with these settings came to 0.91
    assert report["baselines"]["majority"]["f1_score_micro"] == 0.0
    assert set(report["baselines"]["word"]) == {
        "accuracy", "precision_score_micro", "recall_score_micro", "f1_score_micro",
    }  # fmt: skip
    assert [one["label"] for one in report["classes"]] == ["MOOD", "THING"]
    assert np.array(report["confusion"]["matrix"]).sum() == report["words"]
    low, high = report["confidence"]["f1_score_micro"]
    assert low <= report["metrics"]["f1_score_micro"] <= high
    figures = {name for _, values in recorder.figures for name in values}
    assert {"eval_loss", "eval_accuracy", "eval_f1_score_micro", "eval_recall_score_micro"} <= figures
    assert result.resolved["values"]["metric_for_best_model"] == "f1_score_micro"
    names = {path.name for path in request.output_dir.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    config = json.loads((request.output_dir / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["id2label"] == {str(number): tag for number, tag in enumerate(TAGS)}


def test_with_shuffled_tags_it_falls_to_chance(make: Maker) -> None:
    source, rows = random.Random(1), tagged_rows(200)
    for row in rows:
        source.shuffle(row["tags"])
    report = tuned(make(rows, settings={"num_train_epochs": 8})).report
    assert report is not None
    assert report["metrics"]["f1_score_micro"] < 0.2


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_its_losses_are_those_of_a_plain_loop(make: Maker, weights: str) -> None:
    rows, steps = tagged_rows(48), 12
    settings = {
        "max_steps": steps,
        "warmup_steps": 0,
        "logging_steps": 1,
        "per_device_train_batch_size": 8,
        "label_smoothing_factor": 0.1,
        "class_weights": weights,
    }
    figures = Figures()
    request = make(rows, validation=None, test=None, settings=settings)
    tuned(request, figures)
    expected = losses_of_a_plain_loop(request.model_dir, rows, steps, balanced=weights == "balanced")
    assert figures.losses == pytest.approx(expected, abs=1e-4)


def test_two_processes_have_the_losses_of_one_though_their_rows_have_unlike_numbers_of_words(
    make: Maker, start_worker: Callable[..., Any], result_of: Callable[..., Any], tmp_path: Path
) -> None:
    settings = {"max_steps": 6, "logging_steps": 1, "per_device_train_batch_size": 8}
    figures = Figures()
    request = make(tagged_rows(100), validation=None, test=None, settings=settings)
    tuned(request, figures)
    halves = request.settings | {"per_device_train_batch_size": 4}
    two = replace(request, processes=2, settings=halves, work_dir=tmp_path / "two", output_dir=tmp_path / "both")
    result_of(start_worker(two))
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(figures.losses, abs=1e-4)


def losses_of_a_plain_loop(folder: Path, rows: list[dict[str, Any]], steps: int, *, balanced: bool) -> list[float]:
    """As one would write it with transformers' own tokenizer."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer, get_linear_schedule_with_warmup, set_seed

    from bedplate_trainers.sampling import LengthGroupedBatches

    tokenizer = AutoTokenizer.from_pretrained(folder)
    set_seed(42)
    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(TAGS)).train()
    plain = [p for name, p in model.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    decayed = [p for name, p in model.named_parameters() if not (name.endswith("bias") or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=2e-3)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
    having = np.bincount([TAGS.index(tag) for row in rows for tag in row["tags"]], minlength=len(TAGS))
    weight = torch.tensor(having.sum() / (len(TAGS) * having), dtype=torch.float32) if balanced else None
    lengths = np.array([len(tokenizer(row["tokens"], is_split_into_words=True)["input_ids"]) for row in rows])
    batches = LengthGroupedBatches(lengths, 8, 42)
    losses: list[float] = []
    epoch = 0
    while len(losses) < steps:
        batches.set_epoch(epoch)
        epoch += 1
        for batch in batches:
            chosen = [rows[place] for place in batch]
            inputs = tokenizer([row["tokens"] for row in chosen], is_split_into_words=True, padding=True)
            labels = [
                [
                    -100 if word is None or word in ids[:place] else TAGS.index(row["tags"][word])
                    for place, word in enumerate(ids)
                ]
                for row, ids in ((row, inputs.word_ids(number)) for number, row in enumerate(chosen))
            ]
            logits = model(**inputs.convert_to_tensors("pt")).logits
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), torch.tensor(labels).flatten(), weight=weight, label_smoothing=0.1
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return losses


def test_a_head_for_the_same_tags_is_kept_and_another_replaced(make: Maker, tmp_path: Path) -> None:
    turned = tuple(reversed(TAGS))
    same = tiny_token_classifier(tmp_path / "same", labels=turned)
    other = tiny_token_classifier(tmp_path / "other", labels=("w", "x", "y", "z"))
    few = {"max_steps": 1, "learning_rate": 1e-9}
    alone = {"validation": None, "test": None}
    assert tuned(make(model_dir=same, settings=few, **alone)).labels == turned
    assert tuned(make(model_dir=other, settings=few, **alone)).labels == TAGS
    with pytest.raises(Refused, match="a head for 4 other labels"):
        tuned(make(model_dir=other, settings=few | {"ignore_mismatched_sizes": False}, **alone))


def test_tags_without_names_are_trained_with_0_as_outside_and_that_is_said(make: Maker, recorder: Any) -> None:
    rows = [row | {"tags": [TAGS.index(tag) for tag in row["tags"]]} for row in tagged_rows(60)]
    result = tuned(make(rows, settings={"max_steps": 2}), recorder)
    assert result.labels == ("0", "1", "2", "3")
    assert result.report is not None
    assert "0" not in {one["label"] for one in result.report["classes"]}
    assert any("The tags are numbers without names; 0 counts as outside" in text for text in recorder.messages)


# --- evaluation


def test_two_taggers_are_compared_on_the_same_rows(tmp_path: Path, tagger: Path, write_rows: Writer) -> None:
    rows = tagged_rows(80)
    other = tiny_token_classifier(tmp_path / "other", labels=tuple(reversed(TAGS)), seed=3)
    report = report_on(tagger, write_rows(rows), against_dir=other, train=write_rows(tagged_rows(50, 2), "t.jsonl"))
    assert (report["kind"], report["data"]["rows"]) == ("model", 80)
    gap = report["metrics"]["f1_score_micro"] - report["against"]["metrics"]["f1_score_micro"]
    assert report["difference"]["f1_score_micro"]["value"] == pytest.approx(gap)
    assert report["baselines"]["word"]["accuracy"] > report["baselines"]["majority"]["accuracy"]
    worst = report["worst"]
    assert len(worst) == 20
    assert [one["wrong_words"] for one in worst] == sorted((one["wrong_words"] for one in worst), reverse=True)
    for one in worst:
        assert (one["tokens"], one["tags"]) == (rows[one["row"] - 1]["tokens"], rows[one["row"] - 1]["tags"])
        assert one["wrong_words"] == sum(a != b for a, b in zip(one["tags"], one["predicted"], strict=True))


def test_of_a_long_row_the_part_around_its_first_wrong_word_is_shown(tagger: Path, write_rows: Writer) -> None:
    row = {name: [item for one in tagged_rows(40) for item in one[name]] for name in ("tokens", "tags")}
    [shown] = report_on(tagger, write_rows([row]))["worst"]
    assert (len(shown["tokens"]), shown["words"]) == (60, len(row["tokens"]))
    assert shown["tokens"] == row["tokens"][shown["first_word"] : shown["first_word"] + 60]
    assert shown["wrong_words"] > 0


def test_numbers_stand_for_the_models_tags_and_unknown_tags_are_refused(
    tagger: Path, write_rows: Writer, recorder: Any
) -> None:
    rows = tagged_rows(20)
    numbered = [row | {"tags": [TAGS.index(tag) for tag in row["tags"]]} for row in rows]
    named = report_on(tagger, write_rows(rows))
    assert report_on(tagger, write_rows(numbered), recorder)["metrics"] == named["metrics"]
    assert recorder.messages[0].startswith("The data numbers its labels")
    with pytest.raises(Refused, match=r"'B-CITY' \(row 1\)"):
        report_on(tagger, write_rows([{"tokens": ["a"], "tags": ["B-CITY"]}]))


def test_only_the_metrics_asked_for_are_reported(tagger: Path, write_rows: Writer) -> None:
    settings = {"metrics": ["recall_score_macro"], "confidence_draws": 0}
    report = report_on(tagger, write_rows(tagged_rows(10)), settings=settings)
    assert (list(report["metrics"]), report["confidence"]) == (["recall_score_macro"], {})
    plain = report_on(tagger, write_rows([{"tokens": ["a"], "tags": ["O"]}]))
    assert "accuracy" in plain["metrics"] and "f1_score_micro" in plain["not_computed"]


def test_a_base_is_not_evaluated(base_dir: Path, write_rows: Writer) -> None:
    file = write_rows(tagged_rows(10))
    with pytest.raises(Refused, match="no head for token-classification, so there is nothing to evaluate"):
        report_on(base_dir, file, train=file)


@pytest.mark.shared_data
def test_the_yardstick_of_wnut17_is_what_was_worked_out_elsewhere(shared_data: Path, tagger: Path) -> None:
    folder, columns = shared_data / "token_classification" / "wnut17", {"tags": "ner_tags"}
    train, test = (
        read_tagged(DataFile(folder / f"{name}.jsonl", "jsonl"), columns, name) for name in ("train", "test")
    )
    assert (len(train), len(test), sum(len(row.tokens) for row in test)) == (3394, 1287, 23_394)
    names = json.loads((folder / "int_tags" / "label_names.json").read_text())
    numbered = read_tagged(DataFile(folder / "int_tags" / "test.jsonl", "jsonl"), columns, "test", names)
    assert [row.tags for row in numbered] == [row.tags for row in test]
    judged = Judged(learn_tags(train), test, [["O"] * len(row.tags) for row in test], [], 0.0)
    found = Examiner(Setup(TASK, columns, "cpu", SILENT)).baselines(judged, train)
    expected = {"precision_score_micro": 0.212, "recall_score_micro": 0.035, "f1_score_micro": 0.060, "accuracy": 0.925}
    assert found["word"] == pytest.approx(expected, abs=6e-4)
    assert found["majority"]["f1_score_micro"] == 0.0
