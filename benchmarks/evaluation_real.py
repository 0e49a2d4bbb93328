"""Evaluations of real models on real data, whole, and their main metric worked out again by its reference library.

    python benchmarks/evaluation_real.py [NAME…]

Classifiers of texts are probes on the features of BERT-tiny and MiniLM; taggers, answerers and writers are fine-tuned
for a few steps first, which is enough to have something to measure. Each evaluation has intervals, slices, latency and
a file of rows; the reference is worked out from that file alone: by scikit-learn, seqeval, rouge-score or sacrebleu.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported

from finetune_sets import DATA, SETS, RealSet, model_for

from bedplate.wheel_models import BERT_TINY, MINILM, WheelModel
from bedplate_registry.progress import SILENT
from bedplate_registry.tables import read_rows
from bedplate_trainers.evaluation import EvaluateRequest, examine
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.messages import DataFile

__all__ = ["CASES", "REFERENCES", "Case", "measure"]

CACHE = Path("~/.cache/bedplate-benchmarks").expanduser()
COVID = DataFile(DATA / "question_answering/covidqa/200423_covidQA.json", "json")
NESTED = DataFile(DATA / "question_answering/xquad/xquad.en.json", "json")
DIALOGUES = DataFile(DATA / "summarization/dialogsum/dialogsum.test.jsonl", "jsonl")
FLAT = tuple(f"question_answering/xquad/flat_en/{part}.jsonl" for part in ("train", "test"))
TALKS = replace(SETS["dialogsum"], columns={"document": "dialogue"})
THREE = {"document": "dialogue", "summary": "summary1,summary2,summary3"}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """What is evaluated: a model that learned a set for so many steps (none: a probe), on its test rows or others."""

    real: RealSet
    model: WheelModel | None  # None: the one that model_for makes
    steps: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the fine-tune
    data: DataFile | None = None
    columns: dict[str, str] | None = None
    parts: tuple[str, ...] = ()  # files of lines that are its data together
    made_from: str = ""  # the set's name, where the model is another one for each


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """One evaluation, and the reference's figure for the first metric of the set."""
    real, name = case.real, case.real.metrics[0]
    model = case.model.fetch(CACHE) if case.model else model_for(case.made_from, DATA)
    train = DataFile(DATA / real.train, real.format)
    if case.steps:
        model = _fine_tuned(case, model, train, folder)
    request = EvaluateRequest(
        real.task,
        model,
        _data(case, folder),
        case.columns or real.columns,
        train=None if case.steps else train,
        device="cpu",
    )
    start = time.perf_counter()
    found = examine(request, SILENT)
    found.rows.write(folder / "rows.parquet")
    seconds, report = time.perf_counter() - start, found.report
    rows = list(read_rows(folder / "rows.parquet", "parquet"))
    return {
        "rows": report["data"]["rows"],
        "metric": name,
        "value": report["metrics"][name],
        "interval": report["confidence"].get(name),
        "reference": REFERENCES[real.task](rows, report),
        "calibration_error": (report.get("calibration") or {}).get("expected_calibration_error"),
        "slices": len(report["slices"]),
        "rows_per_second": round(report["samples_per_second"], 1),
        "p50_ms": report["latency"]["p50_ms"],
        "seconds": round(seconds, 1),
        "notes": report["notes"],
    }


def _data(case: Case, folder: Path) -> DataFile:
    if not case.parts:
        return case.data or DataFile(DATA / case.real.test, case.real.format)
    joined = folder / "rows.jsonl"
    joined.write_text("".join((DATA / part).read_text(encoding="utf-8") for part in case.parts), encoding="utf-8")
    return DataFile(joined, "jsonl")


def _fine_tuned(case: Case, model: Path, train: DataFile, folder: Path) -> Path:
    request = FinetuneRequest(
        task=case.real.task,
        model_dir=model,
        train=train,
        validation=None,
        test=None,
        columns=case.real.columns,
        settings={"max_steps": case.steps, **case.settings},
        work_dir=folder / "work",
        output_dir=folder / "model",
        device="cpu",
    )
    finetune(request, SILENT, resume=False)
    return folder / "model"


# --- the same figure by its reference library, from the file of rows


def _accuracy(rows: Rows, report: Mapping[str, Any]) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score([row["target"] for row in rows], [row["predicted"] for row in rows]))


def _entities(rows: Rows, report: Mapping[str, Any]) -> float:
    from seqeval.metrics import f1_score

    return float(f1_score([row["target"] for row in rows], [row["predicted"] for row in rows]))


def _words(rows: Rows, report: Mapping[str, Any]) -> float:
    """The rule of SQuAD's script, written down again: the shared words of the best of the right answers."""
    import re
    import string
    from collections import Counter
    from statistics import mean

    def words(text: str) -> list[str]:
        plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", plain).split()

    def shared(said: list[str], right: list[str]) -> float:
        if not said or not right:
            return float(said == right)
        both = sum((Counter(said) & Counter(right)).values())
        return 2 * both / (len(said) + len(right))

    return 100 * mean(
        max(shared(words(row["predicted"]), words(text)) for text in row["target"] or [""]) for row in rows
    )


def _rouge(rows: Rows, report: Mapping[str, Any]) -> float:
    from statistics import mean

    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return mean(scorer.score_multi(_several(row["target"]), row["predicted"])["rougeL"].fmeasure for row in rows)


def _bleu(rows: Rows, report: Mapping[str, Any]) -> float:
    from sacrebleu import corpus_bleu

    return float(corpus_bleu([row["predicted"] for row in rows], [[row["target"] for row in rows]]).score)


def _several(target: str | list[str]) -> list[str]:
    return target if isinstance(target, list) else [target]


REFERENCES: dict[str, Callable[[Rows, Mapping[str, Any]], float]] = {
    "text-classification": _accuracy,
    "token-classification": _entities,
    "question-answering": _words,
    "summarization": _rouge,
    "translation": _bleu,
}
TAGS = {"learning_rate": 1e-3, "per_device_train_batch_size": 16}
ANSWERS = {"learning_rate": 1e-3, "per_device_train_batch_size": 16}
CASES = {
    "banking77, BERT-tiny": Case(SETS["banking77"], BERT_TINY),
    "banking77, MiniLM": Case(SETS["banking77"], MINILM),
    "emotion, BERT-tiny": Case(SETS["tweeteval_emotion"], BERT_TINY),
    "emotion, MiniLM": Case(SETS["tweeteval_emotion"], MINILM),
    "sick, BERT-tiny": Case(SETS["sick_pairs"], BERT_TINY),
    "sick, MiniLM": Case(SETS["sick_pairs"], MINILM),
    "wnut17, BERT-tiny": Case(SETS["wnut17"], BERT_TINY, 400, TAGS),
    "wnut17, MiniLM": Case(SETS["wnut17"], MINILM, 150, {"per_device_train_batch_size": 16}),
    "xquad flat, BERT-tiny": Case(SETS["xquad_flat_en"], BERT_TINY, 300, ANSWERS, parts=FLAT),
    "xquad nested, BERT-tiny": Case(SETS["xquad_flat_en"], BERT_TINY, 300, ANSWERS, NESTED),
    "xquad nested, MiniLM": Case(SETS["xquad_flat_en"], MINILM, 60, {}, NESTED),
    "covidqa, BERT-tiny": Case(SETS["xquad_flat_en"], BERT_TINY, 300, ANSWERS, COVID),
    "multi30k, Marian": Case(SETS["multi30k"], None, 300, made_from="multi30k"),
    "dialogsum, two BERT-tiny": Case(TALKS, BERT_TINY, 60, {}, DIALOGUES, THREE),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {'; '.join(CASES)}; all by default")
    names = parser.parse_args().names or list(CASES)
    print(
        f"{'model and data':26}{'rows':>7}  {'metric':16}{'ours':>9}{'reference':>11}   {'interval':18}{'seconds':>8}"
    )
    results: dict[str, Any] = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            one = results[name] = measure(CASES[name], Path(folder))
        interval = " to ".join(f"{end:.4f}" for end in one["interval"] or ())
        figures = f"{one['value']:>9.4f}{one['reference']:>11.4f}   {interval:18}{one['seconds']:>8}"
        print(f"{name:26}{one['rows']:>7}  {one['metric']:16}{figures}", flush=True)
        for note in one["notes"]:
            print(f"    {note}", flush=True)
    print(json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), "results": results}))
    return int(any(abs(one["value"] - one["reference"]) > 1e-9 * max(1, abs(one["value"])) for one in results.values()))


if __name__ == "__main__":
    sys.exit(main())
