"""The notebooks run cell by cell, as they are written, on tiny models of a loopback Hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import bedplate
from bedplate_registry.errors import Conflict
from bedplate_registry.tasks import TASKS
from harness import bedplate_home, free_port, serving
from hub_server import serve_folders

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NOTEBOOKS = sorted((SAMPLES / "notebooks").glob("*.ipynb"))
PICTURED = ("analog clock", "crossword puzzle, crossword", "envelope", "traffic light, traffic signal, stoplight")
READY = {"GUESSER": "acme/tiny-masked", "WRITER": "acme/tiny-llama", "VIEWER": "acme/tiny-vit"}
FEW = {"max_steps": 2, "eval_strategy": "no", "per_device_train_batch_size": 8}


def cells(notebook: Path, kind: str) -> list[str]:
    written = json.loads(notebook.read_text(encoding="utf-8"))
    assert (written["nbformat"], written["nbformat_minor"]) == (4, 5)
    return ["".join(cell["source"]) for cell in written["cells"] if cell["cell_type"] == kind]


@pytest.fixture(scope="module")
def folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the samples beside a server, so that what the notebooks write stays out of the repository."""
    root = tmp_path_factory.mktemp("notebooks")
    make = "import sys; from pathlib import Path; from bedplate_serving.testing import causal, tiny_vit; "
    make += "root = Path(sys.argv[1]); causal.tiny_llama(root / 'llama'); tiny_vit(root / 'vit', sys.argv[2:])"
    subprocess.run([sys.executable, "-c", make, str(root), *PICTURED], check=True, capture_output=True)
    shutil.copytree(SAMPLES, root / "samples")
    own = {"acme/tiny-encoder": models / "encoder", "acme/tiny-masked": models / "masked"}
    served = {**own, "acme/tiny-llama": root / "llama", "acme/tiny-vit": root / "vit"}
    with serve_folders(served) as hub, bedplate_home() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEDPLATE_HOME", str(home))
        patch.setenv("HF_ENDPOINT", hub)
        patch.chdir(root / "samples" / "notebooks")
        with serving(home, free_port()):
            yield Path.cwd()


def test_there_is_one_for_each_task_that_is_fine_tuned_and_none_holds_outputs() -> None:
    tasks = [name for name, task in TASKS.items() if task.finetunable]
    assert [path.stem for path in NOTEBOOKS] == sorted([*(name.replace("-", "_") for name in tasks), "evaluation"])
    for path in NOTEBOOKS:
        code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def run(notebook: Path) -> None:
    """Cell by cell, and then end what it left behind."""
    namespace: dict[str, Any] = {"__name__": "notebook"}
    for number, code in enumerate(cells(notebook, "code"), 1):
        exec(compile(code, f"{notebook.name}, code cell {number}", "exec"), namespace)
    with bedplate.connect() as ws:  # the graph of an encoder takes longer than all the rest
        for job in ws.jobs.list():
            if job.data["kind"] == "graph" and not job.is_final:
                with suppress(Conflict):  # it ended by itself in this moment
                    job.cancel()


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS if path.name != "evaluation.ipynb"])
def test_a_notebook_runs_as_it_is_written(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of text classification on a decoder-only model, the others on an encoder."""
    classifies, writes = name == "text_classification.ipynb", name in ("summarization.ipynb", "translation.ipynb")
    monkeypatch.setenv("MODEL", "acme/tiny-llama" if classifies else "acme/tiny-encoder")
    monkeypatch.setenv("ROWS", "200" if classifies else "40")
    monkeypatch.setenv("SETTINGS", json.dumps(FEW | ({"num_beams": 1} if writes else {})))
    run(folder / name)
    printed = capsys.readouterr().out
    assert ":1 2 steps" in printed
    assert "baselines: {'" in printed
    assert ("accuracy less that of the base: " if classifies else " ms a row") in printed


def test_models_are_evaluated_as_they_come_in_a_notebook_and_on_the_command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The one has imported them for the other."""
    for name, model in READY.items():
        monkeypatch.setenv(name, model)
    run(folder / "evaluation.ipynb")
    printed = capsys.readouterr().out
    assert all(f"{what}: " in printed for what in ("words", "texts", "predictions"))
    assert "topic capitals" in printed
    assert "pictures: pictures:1 " in printed

    (tmp_path / "bedplate").write_text(f"#!{sys.executable}\nfrom bedplate.cli import main\nmain()\n")
    (tmp_path / "bedplate").chmod(0o755)
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = SAMPLES / "evaluation.sh"
    done = subprocess.run(["bash", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "asked/pictures/ is the dataset pictures:1 now." in done.stderr, "the notebook's own, as it is the same"
    assert "always France (predictions)" in done.stdout
    assert (tmp_path / "guessed.parquet").stat().st_size > 0
    assert (tmp_path / "guessed.html").read_text().startswith("<!doctype html>")
