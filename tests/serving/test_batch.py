"""Batch scoring of files: formats, order, bad rows, and a job that goes on after SIGKILL with the same bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_registry.tables import columns_of, open_writer, read_rows
from bedplate_serving.batch import WINDOW_ROWS, BatchSummary, TooManyErrors, score_file
from bedplate_serving.predictors import load_predictor
from bedplate_serving.predictors.base import Encoded, ItemError, TaskPredictor
from bedplate_serving.predictors.parameters import Parameters
from bedplate_serving.predictors.text_classification import TextClassifier
from bedplate_serving.testing.images import tiny_vit
from bedplate_serving.testing.seq2seq import tiny_bart

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")


@pytest.fixture(scope="module")
def predictor(tiny: Path) -> TextClassifier:
    return load_predictor(tiny, "text-classification", device="cpu", threads=1)


def write(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> Path:
    with open_writer(path, path.suffix[1:], columns) as writer:
        for row in rows:
            writer.write(row)
    return path


def score(predictor: TextClassifier, source: Path, target: Path, **more: Any) -> BatchSummary:
    names = columns_of(source, source.suffix[1:])
    columns = map_columns("text-classification", names, more.pop("mapping", {"sentence1": "text"}), need_label=False)
    return score_file(
        predictor,
        source,
        source.suffix[1:],
        target,
        target.suffix[1:],
        columns,
        more.pop("parameters", {}),
        SILENT,
        more.pop("error_threshold", -1),
        target.parent / "state",
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    return list(read_rows(path, path.suffix[1:]))


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_every_format_goes_in_and_out_with_rows_in_order(
    predictor: TextClassifier, tmp_path: Path, source: str, target: str
) -> None:
    texts = ["my card is lost", "a", 'quoted "text", with\r\na line break', "refund " * 40, "née Müller"]
    path = write(tmp_path / f"in.{source}", [{"id": f"r{n}", "text": t} for n, t in enumerate(texts)], ["id", "text"])
    summary = score(predictor, path, tmp_path / f"out.{target}")
    rows = rows_of(tmp_path / f"out.{target}")
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(len(texts))]
    assert [row["text"] for row in rows] == texts
    expected = [answer[0] for answer in predictor.predict(texts)]
    assert [row["label"] for row in rows] == [answer["label"] for answer in expected]
    assert [float(row["score"]) for row in rows] == pytest.approx([answer["score"] for answer in expected], abs=1e-6)
    assert [row["error"] or None for row in rows] == [None] * len(texts)
    assert (summary.rows, summary.errors, summary.truncated) == (5, 0, 0)
    assert summary.columns == ("label", "score", "error")
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted({f"in.{source}", f"out.{target}"})


def test_a_bad_row_gets_its_reason_and_the_others_their_answers(predictor: TextClassifier, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "fine"}\n{"text": ""}\n{"text": null}\n{"other": 1}\n{"text": "fine"}\n')
    summary = score(predictor, source, tmp_path / "out.jsonl")
    rows = rows_of(tmp_path / "out.jsonl")
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, False]
    assert [row["label"] is None for row in rows] == [False, True, True, True, False]
    assert rows[3]["other"] == 1, "a column that only a late row has is kept"
    assert "is empty" in rows[1]["error"]
    assert summary.errors == 3


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("in.jsonl", ['{"text": "good"}', '{"text": "cut', '["text"]', '{"text": "fine"}']),
        ("in.csv", ["text,n", "good,1", "too,many,cells", "few", "fine,2"]),
    ],
)
def test_a_line_that_is_no_row_gets_its_reason_and_stops_nothing(
    predictor: TextClassifier, tmp_path: Path, name: str, lines: list[str]
) -> None:
    source, target = tmp_path / name, tmp_path / "out.jsonl"
    source.write_text("\n".join(lines) + "\n")
    summary = score(predictor, source, target)
    rows = rows_of(target)
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert [row.get("text") for row in rows] == ["good", None, None, "fine"]
    assert "Row 2" in rows[1]["error"]
    assert (summary.rows, summary.errors) == (4, 2)


def test_the_error_threshold_stops_the_job_and_minus_one_never_does(predictor: TextClassifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", [{"text": text} for text in ("a", "", "", "b")], ["text"])
    for threshold in (0, 1):
        with pytest.raises(TooManyErrors, match=f"2 of the first 4 rows failed; at most {threshold} may"):
            score(predictor, source, tmp_path / "out.csv", error_threshold=threshold)
        assert not (tmp_path / "out.csv").exists()
    for threshold in (2, -1):
        assert score(predictor, source, tmp_path / "out.csv", error_threshold=threshold).errors == 2


def test_pairs_and_top_k(predictor: TextClassifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", [{"a": "card", "b": "lost"}], ["a", "b"])
    mapping = {"sentence1": "a", "sentence2": "b"}
    summary = score(predictor, source, tmp_path / "out.csv", mapping=mapping, parameters={"top_k": 2})
    assert summary.columns == ("label", "score", "predictions", "error")
    [row] = rows_of(tmp_path / "out.csv")
    predictions = json.loads(row["predictions"])
    [expected] = predictor.predict([{"text": "card", "text_pair": "lost"}], {"top_k": 2})
    assert [one["label"] for one in predictions] == [one["label"] for one in expected]
    assert row["label"] == predictions[0]["label"]


def test_a_label_already_in_the_file_is_kept_beside_ours(predictor: TextClassifier, tmp_path: Path) -> None:
    row = {"text": "a", "label": "x", "error": "old", "score": 7}
    source = write(tmp_path / "in.jsonl", [row], ["text", "label", "error", "score"])
    summary = score(predictor, source, tmp_path / "out.jsonl")
    assert summary.columns == ("predicted_label", "predicted_score", "scoring_error")
    [out] = rows_of(tmp_path / "out.jsonl")
    assert {key: out[key] for key in row} == row
    assert out["predicted_label"] in predictor.labels


def test_cut_texts_are_counted(predictor: TextClassifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": "long " * 100}, {"text": "short"}], ["text"])
    assert score(predictor, source, tmp_path / "out.jsonl").truncated == 1


def test_an_empty_file_gives_an_empty_file_with_a_header(predictor: TextClassifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,id\n")
    assert score(predictor, tmp_path / "in.csv", tmp_path / "out.csv").rows == 0
    assert (tmp_path / "out.csv").read_text() == "text,id,label,score,error\n"


def test_a_wrong_parameter_is_refused_before_any_work(predictor: TextClassifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": "a"}], ["text"])
    with pytest.raises(Refused, match="no parameter 'topk'"):
        score(predictor, source, tmp_path / "out.jsonl", parameters={"topk": 1})
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in.jsonl"]


WORKER = """
import os; os.environ["OMP_WAIT_POLICY"] = "passive"
import sys
from pathlib import Path
from bedplate_registry.columns import map_columns
from bedplate_registry.progress import SILENT
from bedplate_serving.batch import score_file
from bedplate_serving.predictors import load_predictor
model, source, target, state = map(Path, sys.argv[1:])
predictor = load_predictor(model, "text-classification", device="cpu", threads=1)
print("loaded", flush=True)
columns = map_columns("text-classification", ["id", "text"], {"sentence1": "text"}, need_label=False)
score_file(predictor, source, "csv", target, "csv", columns, {}, SILENT, -1, state)
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three windows and a bit, with bad rows here and there."""
    path = tmp_path_factory.mktemp("big") / "in.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for number in range(3 * WINDOW_ROWS + 100):
            text = "" if number % 500 == 7 else "please refund my order " * (number % 5 + 1)
            writer.writerow([number, text])
    yield path


def test_a_killed_job_goes_on_and_writes_the_same_bytes(
    predictor: TextClassifier, tiny: Path, big: Path, tmp_path: Path
) -> None:
    undisturbed = tmp_path / "undisturbed" / "out.csv"
    undisturbed.parent.mkdir()
    summary = score(predictor, big, undisturbed)
    assert summary.rows == 3 * WINDOW_ROWS + 100

    target, state = tmp_path / "out.csv", tmp_path / "state"
    command = [sys.executable, "-c", WORKER, *map(str, (tiny, big, target, state))]
    kills = 0
    for wanted_parts in (1, 2):  # killed in the middle of the second window, then of a later one
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        while child.poll() is None and len(list(state.glob("part-*"))) < wanted_parts:
            os.sched_yield()
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.communicate()
        assert not target.exists()
    assert kills == 2
    kept = {part: part.stat().st_mtime_ns for part in state.glob("part-*")}
    assert kept
    score(predictor, big, target)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(undisturbed.read_bytes()).digest()
    assert not state.exists()


def test_parts_of_another_input_are_not_taken(predictor: TextClassifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", [{"text": text} for text in ("a", "")], ["text"])
    with pytest.raises(TooManyErrors):
        score(predictor, source, tmp_path / "out.csv", error_threshold=0)
    assert (tmp_path / "state").exists()
    write(source, [{"text": "b"}, {"text": "c"}], ["text"])
    score(predictor, source, tmp_path / "out.csv", error_threshold=0)
    expected = [answer[0]["score"] for answer in predictor.predict(["b", "c"])]
    assert [float(row["score"]) for row in rows_of(tmp_path / "out.csv")] == pytest.approx(expected, abs=1e-6)


def test_parts_of_another_engine_are_not_taken(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": str(number)} for number in range(9)], ["prompt"])
    columns = map_columns("text-to-image", ["prompt"], {}, need_label=False)
    parts = (source, "jsonl", tmp_path / "out.jsonl", "jsonl", columns)
    for engine, windows in (("torch-packed", 2), ("torch-packed", 0), ("onnxruntime", 2)):
        painter = Painter(engine=engine)
        (tmp_path / "out.jsonl").mkdir(exist_ok=True)  # where it is to be written: all is scored and nothing ends
        with pytest.raises(OSError, match="directory"):
            score_file(painter, *parts, {}, SILENT, state_dir=tmp_path / "state")
        assert len(painter.batches) >= windows and bool(painter.batches) == bool(windows)


@dataclass(frozen=True, kw_only=True)
class Prompt(Encoded):
    text: str


class Strength(Parameters):
    strength: int = 1


@dataclass
class Painter(TaskPredictor):
    """Answers a prompt with bytes, in seven tokens a prompt and three prompts a batch; fails on some."""

    task = "text-to-image"
    parameters_type = Strength
    token_budget = 21
    workers: int = 1
    engine: str = "torch"
    batches: list[list[str]] = field(default_factory=list)

    def parse(self, item: Any, parameters: Any = None) -> str:
        if not item["prompt"]:
            raise ItemError("prompt is empty")
        return str(item["prompt"]) * parameters.strength

    def encode(self, items: Sequence[str]) -> list[Prompt]:
        if "unreadable" in items:
            raise ValueError("secret")
        return [Prompt(length=7, truncated=item == "long", text=item) for item in items]

    def forward(self, batch: Sequence[Prompt]) -> list[bytes]:
        words = [one.text for one in batch]
        self.batches.append(words)
        if "poison" in words:
            raise RuntimeError("secret")
        return [word.encode() for word in words]

    def answer(self, raw: bytes, parameters: Any = None) -> dict[str, Any]:
        if raw == b"unspeakable":
            raise KeyError("secret")
        return {"image": raw, "boxes": [{"at": [1, 2]}]}

    def output_columns(self, parameters: Any) -> tuple[str, ...]:
        return ("image", "boxes")

    def output_row(self, answer: Any, parameters: Any) -> dict[str, Any]:
        return dict(answer)


PROMPTS = ["a", "b", "poison", "", "unreadable", "c", "unspeakable", "long", "d", "e"]


def paint(painter: Painter, folder: Path, target: str, **more: Any) -> tuple[BatchSummary, list[dict[str, Any]]]:
    source = write(folder / "in.jsonl", [{"prompt": prompt} for prompt in PROMPTS], ["prompt"])
    columns = map_columns("text-to-image", ["prompt"], {}, need_label=False)
    parts = (source, "jsonl", folder / target, target.rpartition(".")[2], columns)
    summary = score_file(painter, *parts, more, SILENT)
    return summary, rows_of(folder / target)


@pytest.mark.parametrize("target", ["out.jsonl", "out.parquet"])
def test_images_are_kept_as_base64_and_what_fails_at_any_step_fails_alone(tmp_path: Path, target: str) -> None:
    painter = Painter()
    summary, rows = paint(painter, tmp_path, target)
    errors = {row["prompt"]: row["error"] for row in rows if row["error"]}
    assert set(errors) == {"poison", "", "unreadable", "unspeakable"}
    assert "secret" not in str(errors)
    for row in rows:
        if not row["error"]:
            assert base64.b64decode(row["image"]).decode() == row["prompt"]
            assert row["boxes"] == [{"at": [1, 2]}]
    assert (summary.rows, summary.errors, summary.truncated) == (10, 4, 1)


def test_only_what_failed_is_tried_again(tmp_path: Path) -> None:
    painter = Painter()
    paint(painter, tmp_path, "out.jsonl")
    assert painter.batches == [
        *(["a", "b", "poison"], ["a", "b"], ["poison"]),
        *(["c", "unspeakable", "long"], ["d", "e"]),  # windows of eight rows, since an image takes its time
    ]


def test_parameters_of_the_call_reach_every_row_and_batches_run_side_by_side(tmp_path: Path) -> None:
    _, rows = paint(Painter(workers=2), tmp_path, "out.jsonl", strength=2)
    assert [base64.b64decode(row["image"]).decode() for row in rows if row["image"]] == [
        prompt * 2 for prompt in PROMPTS if prompt
    ]


@pytest.mark.parametrize("target", ["out.csv", "out.tsv"])
def test_images_do_not_go_into_a_table_of_texts(tmp_path: Path, target: str) -> None:
    with pytest.raises(Refused, match="do not go into") as caught:
        paint(Painter(), tmp_path, target)
    assert ".parquet" in caught.value.hint
    assert not (tmp_path / target).exists()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_predictor(tiny_vit(tmp_path_factory.mktemp("vit") / "m"), "image-classification", device="cpu")


def classify(classifier: Any, folder: Path, cells: Sequence[str], images: Path | None) -> list[dict[str, Any]]:
    source = write(folder / "in.csv", [{"image": cell} for cell in cells], ["image"])
    columns = map_columns("image-classification", ["image"], {}, need_label=False)
    score_file(classifier, source, "csv", folder / "out.jsonl", "jsonl", columns, {}, SILENT, images=images)
    return rows_of(folder / "out.jsonl")


def test_a_row_may_name_an_image_by_its_path_in_the_folder_of_the_data(classifier: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    inline = classifier.sample()
    (photos / "one.png").write_bytes(base64.b64decode(inline))
    (tmp_path / "secret.png").write_bytes(base64.b64decode(inline))
    (photos / "way-out.png").symlink_to(tmp_path / "secret.png")
    cells = ["one.png", inline, "../secret.png", "way-out.png", "none.png"]
    rows = classify(classifier, tmp_path, cells, photos)
    assert [row["image"] for row in rows] == cells
    assert rows[0]["label"] == rows[1]["label"]
    assert rows[0]["score"] == pytest.approx(rows[1]["score"], abs=1e-6)  # the batch they are in moves the last digits
    assert ["leads out" in row["error"] for row in rows[2:]] == [True, True, False]
    assert "none.png" in rows[4]["error"] and str(tmp_path) not in str(rows)


def test_without_a_folder_no_path_is_read(classifier: Any, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(base64.b64decode(classifier.sample()))
    [row] = classify(classifier, tmp_path, ["one.png"], None)
    assert "is a path" in row["error"]


def test_a_text_that_a_clock_cut_is_counted(tmp_path: Path) -> None:
    summarizer = load_predictor(tiny_bart(tmp_path / "m"), "summarization", device="cpu", threads=1)
    source = write(tmp_path / "in.jsonl", [{"document": "my card is lost"}], ["document"])
    columns = map_columns("summarization", ["document"], {}, need_label=False)
    cut = {"max_new_tokens": 40, "min_new_tokens": 40, "max_time": 0.001}
    parts = (source, "jsonl", tmp_path / "out.jsonl", "jsonl", columns)
    assert score_file(summarizer, *parts, cut, SILENT).truncated == 1
    assert score_file(summarizer, *parts, {**cut, "max_time": 100.0}, SILENT).truncated == 0
