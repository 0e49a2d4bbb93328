"""Real files with real oddities, where they are beside the checkout, and quick slices of them that models learn.

The full runs are benchmarks/finetune.py. Of a slice no more than this is asked: that the model learned what stands in
the rows. Beside each floor is what came of it, and what came of it with the targets shuffled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import real_models
from bedplate_registry.errors import Unavailable
from bedplate_registry.progress import SILENT
from bedplate_trainers.data import read_examples
from bedplate_trainers.evaluation import EvaluateRequest, evaluate
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.labels import learn_labels
from bedplate_trainers.messages import DataFile
from bedplate_trainers.splits import overlap, split_off
from bedplate_trainers.text_pairs import read_text_pairs

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
FOLDER = SHARED_DATA / "text_classification"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FOLDER.exists(), reason="the real datasets are not beside this checkout"),
]
Row = dict[str, Any]
Writer = Callable[..., DataFile]
TWEETS, TAGGED = {"sentence1": "text"}, {"tokens": "tokens", "tags": "ner_tags"}


def test_banking77_with_its_line_ends_and_quoted_newlines_is_read_whole() -> None:
    file = DataFile(FOLDER / "banking77" / "train.csv", "csv")
    rows = read_examples(file, {"sentence1": "text", "label": "category"}, "The data")
    assert len(rows) == 10_003
    assert len(learn_labels([row.labels for row in rows], False).names) == 77
    assert sum("\n" in row.text for row in rows) == 10
    split = split_off(rows, 0.1, 42, "validation")
    assert abs(len(split.held) - 1000) <= 2
    assert overlap(split.held, split.train) == 0
    assert len({row.labels for row in split.held}) == 77


def test_tweeteval_emotion_takes_its_class_names() -> None:
    file = DataFile(FOLDER / "tweeteval_emotion" / "train.jsonl", "jsonl")
    rows = read_examples(file, {"sentence1": "text"}, "The data", ["anger", "joy", "optimism", "sadness"])
    assert len(rows) == 3257
    assert {row.labels[0] for row in rows} == {"anger", "joy", "optimism", "sadness"}


def test_sick_pairs_are_read_from_tabs_with_either_line_end() -> None:
    columns = {"sentence1": "sentence_A", "sentence2": "sentence_B", "label": "entailment_judgment"}
    for name, count in (("SICK_train.txt", 4500), ("SICK_test_annotated.txt", 4927)):
        rows = read_examples(DataFile(FOLDER / "sick_pairs" / name, "tsv"), columns, "The data")
        assert len(rows) == count
        assert rows.is_pairs
        assert {row.labels[0] for row in rows} == {"NEUTRAL", "ENTAILMENT", "CONTRADICTION"}


@pytest.mark.parametrize("who", ["lead", "people"])
def test_dialogues_are_held_against_all_their_summaries_as_by_rouge_score(who: str, write_rows: Writer) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    file = DataFile(SHARED_DATA / "summarization/dialogsum/dialogsum.test.jsonl", "jsonl")
    rows = rows_of("summarization/dialogsum/dialogsum.test.jsonl", 500)
    summaries = ["summary1", "summary2", "summary3"] if who == "lead" else ["summary1", "summary3"]
    said = [row["summary2"] if who == "people" else "\n".join(row["dialogue"].split("\n")[:3]) for row in rows]
    predictions = write_rows([{"predicted": text} for text in said], "said.jsonl")
    columns = {"document": "dialogue", "summary": ",".join(summaries)}
    request = EvaluateRequest("summarization", None, file, columns, predictions=predictions, device="cpu")
    report = evaluate(request, SILENT)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    each = [scorer.score_multi([row[name] for name in summaries], text) for row, text in zip(rows, said, strict=True)]
    for name in ("rouge1", "rouge2", "rougeL"):
        mean = sum(scores[name].fmeasure for scores in each) / len(each)
        assert report["metrics"][name] == pytest.approx(mean, abs=1e-12)
        low, high = report["confidence"][name]
        assert low < mean < high
    assert report["signatures"]["rouge"].startswith(f"nrefs:{len(summaries)}|")
    assert report["worst"][0]["summary"] == [rows[report["worst"][0]["row"] - 1][name] for name in summaries]


def test_papers_are_read_with_all_their_summaries() -> None:
    file = DataFile(SHARED_DATA / "summarization/scitldr_a/test.jsonl", "jsonl")
    rows = read_text_pairs(file, "summarization", {"document": "title", "summary": "target"}, "The data")
    assert len(rows) == rows.with_several == 618
    assert {len(row.targets) for row in rows} == {2, 3, 4}


# --- slices


@pytest.fixture(scope="module")
def bert_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return real_models.bert_tiny(tmp_path_factory.mktemp("bert-tiny"))
    except Unavailable as error:
        pytest.skip(error.message)


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], Path]:
    """A very small Marian of random weights without dropout, whose vocabulary is that of the texts."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from untrained_translator import make_translator

    def make(texts: Sequence[str]) -> Path:
        folder = make_translator(tmp_path / "untrained", texts, pieces=200, layers=1, width=64)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"dropout": 0.0}))
        return folder

    return make


@pytest.fixture
def learn(tmp_path: Path, write_rows: Callable[..., DataFile]) -> Callable[..., dict[str, float]]:
    """The metrics of the test rows after a fine-tune of so many steps."""

    def learned(
        task: str, model: Path, train: list[Row], test: list[Row], columns: dict[str, str], **settings: Any
    ) -> dict[str, float]:
        request = FinetuneRequest(
            task=task,
            model_dir=model,
            train=write_rows(train, "train.jsonl"),
            validation=None,
            test=write_rows(test, "test.jsonl"),
            columns=columns,
            settings=settings,
            work_dir=tmp_path / "work",
            output_dir=tmp_path / "model",
            device="cpu",
        )
        result = finetune(request, SILENT, resume=False)
        assert result is not None
        assert result.report is not None
        return dict(result.report["metrics"])

    return learned


def rows_of(path: str, count: int, length: Callable[[Row], int] | None = None) -> list[Row]:
    """The first rows of a file, or the shortest."""
    rows = [json.loads(line) for line in (SHARED_DATA / path).read_text(encoding="utf-8").splitlines()]
    return (rows if length is None else sorted(rows, key=length))[:count]


def test_feelings_of_tweets_are_learned_from_a_slice(learn: Callable[..., dict[str, float]], bert_tiny: Path) -> None:
    train, test = (rows_of(f"text_classification/tweeteval_emotion/{part}.jsonl", 800) for part in ("train", "test"))
    metrics = learn("text-classification", bert_tiny, train, test[:300], TWEETS, max_steps=75)
    assert metrics["accuracy"] > 0.5  # 0.62; 0.40, which is to say anger of all


def test_entities_are_learned_from_a_slice(learn: Callable[..., dict[str, float]], bert_tiny: Path) -> None:
    rows = rows_of("token_classification/wnut17/train.jsonl", 3000)
    train = [row for row in rows if set(row["ner_tags"]) != {"O"}][:600]
    test = rows_of("token_classification/wnut17/dev.jsonl", 200)
    settings = {"max_steps": 70, "learning_rate": 1e-3, "per_device_train_batch_size": 16}
    metrics = learn("token-classification", bert_tiny, train, test, TAGGED, **settings)
    assert metrics["f1_score_micro"] > 0.08  # 0.28; 0


def test_answers_to_a_few_questions_are_learned_by_heart(
    learn: Callable[..., dict[str, float]], bert_tiny: Path
) -> None:
    rows = rows_of("question_answering/xquad/flat_en/train.jsonl", 32, lambda row: len(row["context"]))
    settings = {"max_steps": 45, "learning_rate": 2e-3, "per_device_train_batch_size": 8}
    metrics = learn("question-answering", bert_tiny, rows, rows, {}, **settings)
    assert metrics["f1_score"] > 60  # 92; 4


BY_HEART = {
    "max_steps": 110,
    "learning_rate": 1e-2,
    "per_device_train_batch_size": 16,
    "num_beams": 1,
    "no_repeat_ngram_size": 0,
}


def test_captions_are_translated_by_heart(
    learn: Callable[..., dict[str, float]], untrained: Callable[[Sequence[str]], Path]
) -> None:
    captions = [row["translation"] for row in rows_of("translation/multi30k/train.jsonl", 16)]
    rows = [{"source": texts["en"], "target": texts["de"]} for texts in captions]
    model = untrained([text for row in rows for text in row.values()])
    assert learn("translation", model, rows, rows, {}, **BY_HEART)["bleu"] > 50  # 100; 24


def test_dialogues_are_summarized_by_heart(
    learn: Callable[..., dict[str, float]], untrained: Callable[[Sequence[str]], Path]
) -> None:
    found = rows_of("summarization/dialogsum/dialogsum.dev.jsonl", 10, lambda row: len(row["dialogue"]))
    rows = [{"document": row["dialogue"], "summary": row["summary"]} for row in found]
    model = untrained([text for row in rows for text in row.values()])
    assert learn("summarization", model, rows, rows, {}, **BY_HEART)["rougeL"] > 0.5  # 0.996; 0.22
