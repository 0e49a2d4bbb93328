"""Evaluation of images, masks and generated texts as people meet it: by command, on a page, beside other models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bedplate
from bedplate.report_page import report_page
from bedplate_registry.errors import NotFound, Refused
from bedplate_registry.leaderboard import boards
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_serving.testing import tiny_masked_lm, tiny_vit
from bedplate_serving.testing.causal import tiny_causal
from bedplate_trainers.evaluation import EvaluateRequest, evaluate
from bedplate_trainers.messages import DataFile
from harness import bedplate_home, run_cli
from light_server import light_server

COLORS = {"cat": (200, 40, 40), "dog": (40, 40, 200)}


def report_of(task: str, model: Path, rows: list[dict[str, Any]], folder: Path, **settings: Any) -> dict[str, Any]:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    request = EvaluateRequest(task, model, DataFile(data, "jsonl"), {}, settings=settings, device="cpu")
    return {**evaluate(request, SILENT), "model": "tiny:1"}


def picture(file: Path, color: tuple[int, int, int]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), color).save(file)


def test_a_folder_of_images_is_a_dataset_from_the_moment_that_it_is_evaluated_on(tmp_path: Path) -> None:
    pets = tmp_path / "My pets"
    for label, color in COLORS.items():
        for number in range(3):
            picture(pets / label / f"{number}.png", color)
    model = tiny_vit(tmp_path / "vit", labels=tuple(COLORS))
    with bedplate_home() as home, bedplate.connect(home=home) as ws:
        run_cli("import", "--from", str(model), "--name", "vit", home=home)
        done = run_cli("evaluate", "vit", "--data", str(pets), "--format", "json", home=home)
        report = json.loads(done.stdout)
        assert f"{pets} is the dataset my-pets:1 now." in done.stderr
        assert (report["task"], report["model"], report["data"]["rows"]) == ("image-classification", "vit:1", 6)
        assert (report["data"]["dataset"], report["data"]["columns"]) == (
            "my-pets:1",
            {"image": "image", "label": "label"},
        )
        [board] = boards(Registry(home / "registry").evaluations, "image-classification")
        assert [side.model for side in board.sides] == ["vit:1"]
        assert "vit:1: Image classification" in report_page(report)

        target = tmp_path / "scored.jsonl"
        scored = run_cli("batch", "vit", "--input", str(pets), "--output", str(target), home=home)
        assert "is the dataset my-pets:1 now." in scored.stderr, "the same content makes no other version"
        assert len(target.read_text().splitlines()) == 6

        picture(pets / "cat" / "3.png", COLORS["dog"])
        job = ws.evaluate("vit", data=pets)
        assert job.data["spec"]["data"]["dataset"] == "my-pets:2"
        job.cancel()


def test_what_a_folder_is_called_and_what_a_text_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("Pets", "photos/test", "写真"):
        picture(tmp_path / folder / "cat" / "1.png", COLORS["cat"])
    (tmp_path / "link").symlink_to(tmp_path / "Pets")
    (tmp_path / "rows.csv").write_text("text\nx\n")
    with light_server() as server, bedplate.connect(home=server.home.path) as ws:
        named = {text: ws.data(text, images=True) for text in ("Pets", "photos/test/", "./link")}
        assert named == {"Pets": "Pets:1", "photos/test/": "photos-test:1", "./link": "link:1"}
        assert ws.data("Pets", images=True) == "Pets", "now it is the name of a dataset"
        with pytest.raises(Refused, match="no letter or digit"):
            ws.data("写真", images=True)
        with pytest.raises(NotFound, match="There is no file or folder 'dogs/'"):
            ws.data("dogs/", images=True)
        with pytest.raises(Refused, match="'Pets/' is a folder") as caught:
            ws.finetune("vit", task="image-classification", train="Pets/", output="x")
        assert "datasets add" in caught.value.hint

        rows = ws.datasets.add("Pets", "rows.csv")
        assert (rows.ref, ws.data("Pets/", images=True)) == ("Pets:2", "Pets:1"), "the version with the same content"
        picture(tmp_path / "Pets" / "cat" / "1.png", COLORS["dog"])
        assert ws.data(Path("Pets"), images=True) == "Pets:3"
        ws.datasets.archive("Pets:3")
        ws.datasets.archive("Pets:2")
        ws.datasets.archive("Pets:1")
        assert ws.data("Pets", images=True) == "Pets", "and the server says that all of it is archived"


def test_pages_show_masks_and_what_stood_behind_them(tmp_path: Path) -> None:
    rows = [{"text": f"{first} [MASK] my card", "answer": "lost"} for first in ("why", "how", "when")] * 4
    report = report_of("fill-mask", tiny_masked_lm(tmp_path / "model"), rows, tmp_path)
    page = report_page(report)
    assert all(name in page for name in ("top1_accuracy", "pseudo_perplexity", "why [MASK] my card", "Calibration"))


@pytest.mark.parametrize("completion", [" is lost today", None])
def test_pages_show_perplexity_without_a_bar_that_takes_it_for_a_share(completion: str | None, tmp_path: Path) -> None:
    more = {} if completion is None else {"completion": completion}
    rows = [{"prompt": f"{first} my card", **more} for first in ("why", "how", "when")] * 4
    model = tiny_causal(tmp_path / "model", "gpt2")
    page = report_page(report_of("text-generation", model, rows, tmp_path, max_new_tokens=4, metrics=["perplexity"]))
    assert "perplexity" in page and "why my card" in page
    tiles = page.partition('<div class="tiles">')[2].partition("</section>")[0].partition("<section>")[0]
    assert "perplexity" in tiles and "<svg" not in tiles
