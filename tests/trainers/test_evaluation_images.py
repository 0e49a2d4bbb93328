"""Image classifiers on labeled images: the report of all classifiers, by paths in a folder or by base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.predictors import load_predictor
from bedplate_serving.testing import tiny_vit
from bedplate_trainers.evaluation import Evaluated, EvaluateRequest, examine
from bedplate_trainers.messages import DataFile

Writer = Callable[..., DataFile]
COLORS = {"cat": (200, 40, 40), "dog": (40, 40, 200), "daisy": (40, 200, 40)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit(tmp_path_factory.mktemp("vit"), labels=tuple(COLORS))


@pytest.fixture
def pictures(tmp_path: Path) -> list[dict[str, Any]]:
    """Rows that name images in tmp_path/images."""
    generator, rows = np.random.default_rng(0), []
    for number in range(36):
        label = list(COLORS)[number % 3]
        path = tmp_path / "images" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(-30, 30, (24, 24, 3))
        Image.fromarray((np.array(COLORS[label]) + noise).clip(0, 255).astype(np.uint8)).save(path)
        rows.append({"image": f"{label}/{number}.png", "label": label, "camera": ("old", "new")[number % 2]})
    return rows


def evaluated(model: Path, data: DataFile, tmp_path: Path, **more: Any) -> Evaluated:
    folder = {"images": tmp_path / "images", "store": tmp_path / "images"}
    file = DataFile(data.path, data.format, **folder)
    return examine(EvaluateRequest("image-classification", model, file, {}, device="cpu", **more), SILENT)


def test_the_report_is_that_of_a_classifier_and_says_what_the_served_model_says(
    model: Path, pictures: list[dict[str, Any]], write_rows: Writer, tmp_path: Path
) -> None:
    settings = {"slices": ["camera"]}
    found = evaluated(model, write_rows(pictures), tmp_path, settings=settings)
    report = found.report
    predictor = load_predictor(model, "image-classification", device="cpu")
    images = [(tmp_path / "images" / row["image"]).read_bytes() for row in pictures]
    said = [answer[0]["label"] for answer in predictor.predict(images)]
    right = np.mean([one == row["label"] for one, row in zip(said, pictures, strict=True)])
    assert report["task"] == "image-classification" and report["metrics"]["accuracy"] == pytest.approx(right)
    assert {"log_loss", "AUC_macro", "matthews_correlation"} <= set(report["metrics"])
    assert report["confusion"]["labels"] == list(predictor.labels)
    assert [one["by"] for one in report["slices"]] == ["camera", "camera"], "images have no length"
    assert report["curves"]["roc"] and report["calibration"]["bins"] and report["latency"]["rows"] > 0
    assert set(report["worst"][0]) == {"row", "image", "label", "predicted", "confidence"}
    found.rows.write(tmp_path / "rows.parquet")
    lines = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [line["predicted"] for line in lines] == said
    assert lines[4]["image"] == pictures[4]["image"]


def test_images_as_base64_give_the_same_figures_and_reports_do_not_hold_them(
    model: Path, pictures: list[dict[str, Any]], write_rows: Writer, tmp_path: Path
) -> None:
    by_path = evaluated(model, write_rows(pictures), tmp_path).report
    held = [
        row | {"image": base64.b64encode((tmp_path / "images" / row["image"]).read_bytes()).decode()}
        for row in pictures
    ]
    by_text = evaluated(model, write_rows(held, "held.jsonl"), tmp_path).report
    assert by_text["metrics"] == by_path["metrics"]
    assert by_text["worst"][0]["image"].endswith("characters of base64")


def test_two_models_are_compared_and_the_commonest_label_stands_beside_them(
    model: Path, pictures: list[dict[str, Any]], write_rows: Writer, tmp_path: Path
) -> None:
    other, data = tiny_vit(tmp_path / "other", labels=tuple(COLORS), seed=3), write_rows(pictures)
    report = evaluated(model, data, tmp_path, against_dir=other, train=data).report
    assert report["baselines"] == {
        "majority": {"accuracy": pytest.approx(1 / 3), "f1_score_macro": pytest.approx(1 / 6)}
    }
    assert set(report["difference"]) == set(report["metrics"]) & set(report["against"]["metrics"])
    assert {"accuracy", "f1_score_macro"} <= {name for name, one in report["difference"].items() if "p_value" in one}
    assert report["against"]["task"] == "image-classification" and "fixed" in report["changed"]


def test_a_row_whose_image_cannot_be_read_is_named(
    model: Path, pictures: list[dict[str, Any]], write_rows: Writer, tmp_path: Path
) -> None:
    (tmp_path / "images" / pictures[6]["image"]).write_bytes(b"not an image")
    with pytest.raises(Refused, match="Row 7: ") as caught:
        evaluated(model, write_rows(pictures), tmp_path)
    assert caught.value.code == "bad-rows"
    pictures[6]["image"] = "../outside.png"
    with pytest.raises(Refused, match=r"Row 7: .*(leads out of|cannot be read)"):
        evaluated(model, write_rows(pictures), tmp_path)
    pictures[6] = pictures[7] | {"label": "palace"}
    with pytest.raises(Refused, match=r"'palace' \(row 7\)"):
        evaluated(model, write_rows(pictures), tmp_path)


def test_paths_of_a_table_that_came_alone_are_refused_with_what_to_do(
    model: Path, pictures: list[dict[str, Any]], write_rows: Writer
) -> None:
    data = write_rows(pictures)
    with pytest.raises(Refused, match=r"Row 1: .*did not come with the table") as caught:
        examine(EvaluateRequest("image-classification", model, data, {}, device="cpu"), SILENT)
    assert "datasets add" in caught.value.hint


def test_a_request_crosses_into_a_worker_with_its_folder_of_images_and_its_predictions(tmp_path: Path) -> None:
    data = DataFile(tmp_path / "rows.jsonl", "jsonl", tmp_path / "images", tmp_path / "store")
    said = DataFile(tmp_path / "said.txt", "txt")
    request = EvaluateRequest("image-classification", None, data, {}, predictions=said)
    assert EvaluateRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
