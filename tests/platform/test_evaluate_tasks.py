"""Evaluation of images, masks and generated texts as people meet it: by command, on a page, beside other models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bedplate.report_page import report_page
from bedplate_registry.leaderboard import boards
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_serving.testing import tiny_masked_lm, tiny_vit
from bedplate_serving.testing.causal import tiny_causal
from bedplate_trainers.evaluation import EvaluateRequest, evaluate
from bedplate_trainers.messages import DataFile
from harness import bedplate_home, run_cli

COLORS = {"cat": (200, 40, 40), "dog": (40, 40, 200)}


def report_of(task: str, model: Path, rows: list[dict[str, Any]], folder: Path, **settings: Any) -> dict[str, Any]:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    request = EvaluateRequest(task, model, DataFile(data, "jsonl"), {}, settings=settings, device="cpu")
    return {**evaluate(request, SILENT), "model": "tiny:1"}


def test_a_folder_of_images_is_evaluated_on_by_its_name(tmp_path: Path) -> None:
    for label, color in COLORS.items():
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (24, 24), color).save(tmp_path / "pets" / label / f"{number}.png")
    model = tiny_vit(tmp_path / "vit", labels=tuple(COLORS))
    with bedplate_home() as home:
        run_cli("import", "--from", str(model), "--name", "vit", home=home)
        run_cli("datasets", "add", "pets", str(tmp_path / "pets"), home=home)
        done = run_cli("evaluate", "vit", "--data", "pets", "--format", "json", home=home)
        report = json.loads(done.stdout)
        assert (report["task"], report["model"], report["data"]["rows"]) == ("image-classification", "vit:1", 6)
        assert report["data"]["columns"] == {"image": "image", "label": "label"}
        [board] = boards(Registry(home / "registry").evaluations, "image-classification")
        assert [side.model for side in board.sides] == ["vit:1"]
        assert "vit:1: Image classification" in report_page(report)


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
