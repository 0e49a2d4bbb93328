"""The real datasets that fine-tuning is measured on, each with how it is read and the model that learns it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from untrained_translator import make_translator

from bedplate.wheel_models import BERT_TINY, MINILM, WheelModel
from bedplate_trainers.messages import DataFile, FinetuneRequest

__all__ = ["DATA", "SETS", "RealSet", "model_for", "request_for"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CACHE = Path("~/.cache/bedplate-benchmarks").expanduser()


@dataclass(frozen=True)
class RealSet:
    """A dataset, how it is read, and the least a trainer must reach with a suitable small model."""

    train: str
    validation: str | None
    test: str
    format: str
    columns: dict[str, str]
    floor: float  # of the first metric
    task: str = "text-classification"
    metrics: tuple[str, str] = ("accuracy", "f1_score_macro")
    known: float | None = None  # the first metric of a plain loop of ours, run before there were recipes
    model: WheelModel = BERT_TINY

    @property
    def point(self) -> float:
        """One in a hundred: some metrics are shares, some go to 100."""
        return 1.0 if self.metrics[0] in ("f1_score", "bleu") else 0.01


SETS = {
    "banking77": RealSet(
        "text_classification/banking77/train.csv",
        None,
        "text_classification/banking77/test.csv",
        "csv",
        {"sentence1": "text", "label": "category"},
        0.90,
        known=0.921,
        model=MINILM,
    ),
    "tweeteval_emotion": RealSet(
        "text_classification/tweeteval_emotion/train.jsonl",
        "text_classification/tweeteval_emotion/val.jsonl",
        "text_classification/tweeteval_emotion/test.jsonl",
        "jsonl",
        {"sentence1": "text", "label": "label"},
        0.69,
        known=0.733,
    ),
    "sick_pairs": RealSet(
        "text_classification/sick_pairs/SICK_train.txt",
        "text_classification/sick_pairs/SICK_trial.txt",
        "text_classification/sick_pairs/SICK_test_annotated.txt",
        "tsv",
        {"sentence1": "sentence_A", "sentence2": "sentence_B", "label": "entailment_judgment"},
        0.77,
        known=0.814,
    ),
    "wnut17": RealSet(
        "token_classification/wnut17/train.jsonl",
        "token_classification/wnut17/dev.jsonl",
        "token_classification/wnut17/test.jsonl",
        "jsonl",
        {"tokens": "tokens", "tags": "ner_tags"},
        0.20,
        "token-classification",
        ("f1_score_micro", "accuracy"),
        known=0.232,
    ),
    # 894 questions are too few to learn much from: whole contexts as answers have an F1 of 5.7, a plain loop has 9.9.
    "xquad_flat_en": RealSet(
        "question_answering/xquad/flat_en/train.jsonl",
        None,
        "question_answering/xquad/flat_en/test.jsonl",
        "jsonl",
        {},
        6.9,
        "question-answering",
        ("f1_score", "exact_match"),
        known=9.9,
    ),
    # From scratch: a small Marian whose vocabulary is learned from these texts. The source as it is has a BLEU of 0.5.
    "multi30k": RealSet(
        "translation/multi30k/train.jsonl",
        "translation/multi30k/val.jsonl",
        "translation/multi30k/test_2016_flickr.jsonl",
        "jsonl",
        {"source": "translation.en", "target": "translation.de"},
        0.5,
        "translation",
        ("bleu", "chrf"),
    ),
    # Two BERT-tiny joined to one model: about 2,000 abstracts teach it little, and the first sentence is far ahead.
    "scitldr": RealSet(
        "summarization/scitldr_a/train.jsonl",
        "summarization/scitldr_a/dev.jsonl",
        "summarization/scitldr_a/test.jsonl",
        "jsonl",
        {"document": "source", "summary": "target"},
        0.05,
        "summarization",
        ("rougeL", "rouge1"),
    ),
    # There are no training rows: its 500 development rows are divided, and the first of three summaries is the test's.
    "dialogsum": RealSet(
        "summarization/dialogsum/dialogsum.dev.jsonl",
        None,
        "summarization/dialogsum/dialogsum.test.jsonl",
        "jsonl",
        {"document": "source", "summary": "target"},
        0.05,
        "summarization",
        ("rougeL", "rouge1"),
    ),
}
SETS["wnut17_minilm"] = replace(SETS["wnut17"], floor=0.35, known=0.413, model=MINILM)


def model_for(name: str, data: Path) -> Path:
    """The folder of the model that learns a set: out of a wheel of the package index, for multi30k made here."""
    if name == "multi30k":
        return make_translator(CACHE / "untrained-translator", texts_of(data / SETS[name].train))
    return SETS[name].model.fetch(CACHE)


def request_for(
    name: str, model: Path, data: Path, folder: Path, device: str, settings: dict[str, Any] | None = None
) -> FinetuneRequest:
    """A fine-tune of `model` on the set, with everything that it writes in `folder`."""
    real = SETS[name]

    def file(part: str) -> DataFile:
        path = data / part
        return DataFile(flat(path, folder, FLAT[name]) if name in FLAT else path, real.format)

    return FinetuneRequest(
        task=real.task,
        model_dir=model,
        train=file(real.train),
        validation=file(real.validation) if real.validation else "auto",
        test=file(real.test),
        columns=real.columns,
        settings=settings or {},
        work_dir=folder / "work",
        output_dir=folder / "model",
        device=device,
    )


def flat(path: Path, folder: Path, texts: Callable[[dict[str, Any]], tuple[str, str]]) -> Path:
    """A file of the rows with one source and one target each."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps(dict(zip(("source", "target"), texts(row), strict=True))) for row in rows]
    target = folder / path.name
    target.write_text("\n".join(lines), encoding="utf-8")
    return target


# Of sentences one text, and of several summaries the first.
FLAT: dict[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    "scitldr": lambda row: (" ".join(row["source"]), row["target"][0]),
    "dialogsum": lambda row: (row["dialogue"], row["summary"] if "summary" in row else row["summary1"]),
}


def texts_of(path: Path) -> list[str]:
    """English and German, to learn a vocabulary from."""
    rows = [json.loads(line)["translation"] for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[language] for row in rows for language in ("en", "de")]
