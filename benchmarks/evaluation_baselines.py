"""Yardsticks that need no model, each as a plain file of predictions through an evaluation of ours, beside the figures
that the report of the shared data has for them, which were worked out without us. Those "of any" are held against all
the summaries that a row has, and their figures are those of rouge-score's own `score_multi`.

    python benchmarks/evaluation_baselines.py [NAME…]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bedplate_registry.progress import SILENT
from bedplate_registry.tables import read_rows
from bedplate_trainers.evaluation import EvaluateRequest, evaluate
from bedplate_trainers.messages import DataFile

__all__ = ["BASELINES", "DATA", "Baseline", "figures_of"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Row = dict[str, Any]
Made = tuple[list[Row], list[Any]]  # labeled rows, and what was said of each
ROUGE = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Baseline:
    """Predictions of one kind for one set, and what the report of the data says of them."""

    task: str
    make: Callable[[], Made]
    reported: dict[str, str]  # metric -> the figure, with as many digits as the report gives
    percent: bool = False  # the report's figures are a hundred times ours
    columns: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def figures_of(baseline: Baseline, folder: Path) -> dict[str, str]:
    """Our figures, written with as many digits as the report's."""
    rows, said = baseline.make()
    data, predictions = folder / "rows.jsonl", folder / "said.jsonl"
    _write(data, rows)
    _write(predictions, [{"predicted": one} for one in said])
    request = EvaluateRequest(
        baseline.task,
        None,
        DataFile(data, "jsonl"),
        baseline.columns,
        settings={"metrics": list(baseline.reported), "confidence_draws": 0, **baseline.settings},
        predictions=DataFile(predictions, "jsonl"),
    )
    found = evaluate(request, SILENT)["metrics"]
    factor = 100 if baseline.percent else 1
    return {
        name: f"{found[name] * factor:.{len(figure.partition('.')[2])}f}" for name, figure in baseline.reported.items()
    }


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- labels


def _banking(split: str) -> list[Row]:
    with (DATA / f"text_classification/banking77/{split}.csv").open(encoding="utf-8", newline="") as file:
        return [{"sentence1": row["text"], "label": row["category"]} for row in csv.DictReader(file)]


def _emotion(split: str) -> list[Row]:
    rows = read_rows(DATA / f"text_classification/tweeteval_emotion/{split}.jsonl", "jsonl")
    return [{"sentence1": row["text"], "label": row["label"]} for row in rows]


def _sick(split: str) -> list[Row]:
    name = {"train": "SICK_train.txt", "test": "SICK_test_annotated.txt"}[split]
    rows = read_rows(DATA / "text_classification/sick_pairs" / name, "tsv")
    keys = {"sentence1": "sentence_A", "sentence2": "sentence_B", "label": "entailment_judgment"}
    return [{key: row[column] for key, column in keys.items()} for row in rows]


def _majority(read: Callable[[str], list[Row]]) -> Made:
    """The commonest label of the training rows, for every row."""
    rows = read("test")
    [(most, _)] = Counter(row["label"] for row in read("train")).most_common(1)
    return rows, [most] * len(rows)


def _tfidf(read: Callable[[str], list[Row]]) -> Made:
    """Words and pairs of words, and a logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = read("train"), read("test")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=1000)
    model.fit(words.fit_transform(map(_text, train)), [row["label"] for row in train])
    return test, model.predict(words.transform(map(_text, test))).tolist()


def _text(row: Row) -> str:
    return " ".join(row[key] for key in ("sentence1", "sentence2") if key in row)


def _commonest_tags() -> Made:
    """Of each word the tag that it has most often in the training rows; O for words that are not there."""
    folder, counts = DATA / "token_classification/wnut17", defaultdict[str, Counter[str]](Counter)
    for row in read_rows(folder / "train.jsonl", "jsonl"):
        for token, tag in zip(row["tokens"], row["ner_tags"], strict=True):
            counts[token][tag] += 1
    best = {token: tags.most_common(1)[0][0] for token, tags in counts.items()}
    rows = [{"tokens": row["tokens"], "tags": row["ner_tags"]} for row in read_rows(folder / "test.jsonl", "jsonl")]
    return rows, [[best.get(token, "O") for token in row["tokens"]] for row in rows]


# --- texts


def _papers(say: Callable[[Row], str], right: Callable[[str, list[str]], Any]) -> Made:
    """What is said of each paper, held against those that `right` takes of its summaries."""
    papers = list(read_rows(DATA / "summarization/scitldr_a/test.jsonl", "jsonl"))
    said = list(map(say, papers))
    rows = [
        {"document": " ".join(paper["source"]), "summary": right(one, paper["target"])}
        for one, paper in zip(said, papers, strict=True)
    ]
    return rows, said


def _lead(row: Row) -> str:
    return str(row["source"][0])


def _title(row: Row) -> str:
    return str(row["title"])


def _first(said: str, summaries: list[str]) -> str:
    return summaries[0]


def _any(said: str, summaries: list[str]) -> list[str]:
    return summaries


def _nearest(said: str, summaries: list[str]) -> str:
    """The one that shares most words with what is said, by ROUGE-1."""
    from bedplate_trainers.metrics.summarization import Predictions

    scores = Predictions([said] * len(summaries), summaries).rows("rouge1").tolist()
    return summaries[scores.index(max(scores))]


def _dialogues(say: Callable[[Row], str]) -> Made:
    rows = list(read_rows(DATA / "summarization/dialogsum/dialogsum.test.jsonl", "jsonl"))
    return rows, list(map(say, rows))


def _first_turns(row: Row) -> str:
    return "\n".join(row["dialogue"].split("\n")[:3])


def _second_summary(row: Row) -> str:
    return str(row["summary2"])


def _copied(name: str) -> Made:
    """The English text as a German one."""
    pairs = [row["translation"] for row in read_rows(DATA / f"translation/multi30k/{name}.jsonl", "jsonl")]
    return [{"source": pair["en"], "target": pair["de"]} for pair in pairs], [pair["en"] for pair in pairs]


def _rouge(figures: str) -> dict[str, str]:
    return dict(zip(ROUGE, figures.split("/"), strict=True))


def _summaries(make: Callable[[], Made], figures: str, columns: dict[str, str] | None = None) -> Baseline:
    return Baseline(SUMMARIES, make, _rouge(figures), percent=True, columns=columns or {})


def _dialogue(say: Callable[[Row], str], figures: str, summaries: str) -> Baseline:
    return _summaries(lambda: _dialogues(say), figures, {"document": "dialogue", "summary": summaries})


def _labels(accuracy: str, macro: str | None = None) -> dict[str, str]:
    return {"accuracy": accuracy, **({"f1_score_macro": macro} if macro else {})}


TEXTS, TAGS, SUMMARIES = "text-classification", "token-classification", "summarization"
SPANS = ("precision_score_micro", "recall_score_micro", "f1_score_micro", "accuracy")
BASELINES = {
    "banking77 majority": Baseline(TEXTS, lambda: _majority(_banking), _labels("0.013")),
    "banking77 TF-IDF": Baseline(TEXTS, lambda: _tfidf(_banking), _labels("0.894", "0.894")),
    "emotion majority": Baseline(TEXTS, lambda: _majority(_emotion), _labels("0.393")),
    "emotion TF-IDF": Baseline(TEXTS, lambda: _tfidf(_emotion), _labels("0.640", "0.550")),
    "sick majority": Baseline(TEXTS, lambda: _majority(_sick), _labels("0.567")),
    "sick TF-IDF": Baseline(TEXTS, lambda: _tfidf(_sick), _labels("0.615", "0.558")),
    "wnut17 tags": Baseline(TAGS, _commonest_tags, dict(zip(SPANS, ("0.212", "0.035", "0.060", "0.925"), strict=True))),
    "scitldr lead": _summaries(lambda: _papers(_lead, _first), "25.79/9.32/20.12"),
    "scitldr lead, nearest": _summaries(lambda: _papers(_lead, _nearest), "31.29/11.42/24.08"),
    "scitldr lead, of any": _summaries(lambda: _papers(_lead, _any), "31.29/12.33/24.98"),
    "scitldr title, nearest": _summaries(lambda: _papers(_title, _nearest), "40.40/20.33/33.68"),
    "scitldr title, of any": _summaries(lambda: _papers(_title, _any), "40.40/21.65/34.67"),
    "dialogsum lead": _dialogue(_first_turns, "27.48/7.23/21.09", "summary1"),
    "dialogsum lead, of any": _dialogue(_first_turns, "32.02/10.22/24.87", "summary1,summary2,summary3"),
    "dialogsum people": _dialogue(_second_summary, "52.96/26.02/44.51", "summary1"),
    "dialogsum people, of any": _dialogue(_second_summary, "59.29/33.41/51.33", "summary1,summary3"),
    "multi30k copy, 2016": Baseline("translation", lambda: _copied("test_2016_flickr"), {"bleu": "0.48"}),
    "multi30k copy, 2017": Baseline("translation", lambda: _copied("test_2017_flickr"), {"bleu": "0.15"}),
    "multi30k copy, COCO": Baseline("translation", lambda: _copied("test_2017_mscoco"), {"bleu": "0.03"}),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(BASELINES)}; all by default")
    names = parser.parse_args().names or list(BASELINES)
    results = {}
    print(f"{'yardstick':26}{'metric':24}{'ours':>10}{'reported':>10}")
    for name in names:
        baseline = BASELINES[name]
        with tempfile.TemporaryDirectory() as folder:
            ours = figures_of(baseline, Path(folder))
        results[name] = {"ours": ours, "reported": baseline.reported}
        for metric, figure in baseline.reported.items():
            print(f"{name:26}{metric:24}{ours[metric]:>10}{figure:>10}{'' if ours[metric] == figure else '  differs'}")
    print(json.dumps(results))
    return int(any(one["ours"] != one["reported"] for one in results.values()))


if __name__ == "__main__":
    sys.exit(main())
