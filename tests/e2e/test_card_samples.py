"""The samples of a model's card run as they stand: on the command line, in Python, and with curl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import bedplate
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from harness import bedplate_home, environment, free_port, serving

MODEL = "acme/tiny_classifier"
SAMPLE = {"request": "my card is lost", "answer": [{"label": "card", "score": 0.9}]}


@pytest.fixture(scope="module")
def env(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server with a classifier, `bedplate` and `python` on the PATH, URL and KEY."""
    programs = tmp_path_factory.mktemp("bin")
    for name, text in (
        ("bedplate", f"#!{sys.executable}\nfrom bedplate.cli import main\nmain()\n"),
        ("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    port = free_port()
    with bedplate_home() as home, serving(home, port):
        registry, name = Registry(home / "registry"), Name.parse(MODEL)
        folder = models / "classifier"
        draft = prepare_folder_import(registry, folder, name=name, check=lambda *_: SAMPLE, reporter=SILENT)
        assert isinstance(draft, ModelDraft)
        registry.models.publish(draft)
        with bedplate.connect(home=home) as ws:
            key = ws.keys.create("card", ["infer"]).text
        path = f"{programs}:{os.environ['PATH']}"
        yield environment(home, PATH=path, URL=f"http://127.0.0.1:{port}", KEY=str(key))


def test_the_samples_of_a_card_run_as_they_stand(env: dict[str, str], tmp_path: Path) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    card = run("bedplate", "models", "card", MODEL)
    blocks = [token for token in MarkdownIt().parse(card) if token.type == "fence" and token.info in ("sh", "python")]
    deploy, curl, batch, python, *finetune = [token.content for token in blocks]
    assert env["URL"] in card and all("bedplate finetune" in text for text in finetune)
    assert "label" in run("bash", "-euc", deploy)
    assert "label" in str(json.loads(run("bash", "-euc", curl)))
    run("bash", "-euc", batch)
    (tmp_path / "sample.py").write_text(python)
    assert "label" in run("python", "sample.py")
    [row] = map(json.loads, (tmp_path / "scored.jsonl").read_text().splitlines())
    assert row["score"] > 0
