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
from harness import bedplate_home, environment, free_port, serving


@pytest.fixture(scope="module")
def env(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server with a classifier and a model that fills masks, `bedplate` and `python` on the PATH, URL and KEY."""
    programs = tmp_path_factory.mktemp("bin")
    for name, text in (
        ("bedplate", f"#!{sys.executable}\nfrom bedplate.cli import main\nmain()\n"),
        ("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    port = free_port()
    with bedplate_home() as home, serving(home, port):
        with bedplate.connect(home=home) as ws:
            jobs = [ws.submit_import_folder(models / name, f"acme/tiny_{name}") for name in ("classifier", "masked")]
            for job in jobs:
                job.wait(timeout_seconds=240)
            key = ws.keys.create("card", ["infer"]).text
        path = f"{programs}:{os.environ['PATH']}"
        yield environment(home, PATH=path, URL=f"http://127.0.0.1:{port}", KEY=str(key))


@pytest.mark.parametrize(("name", "answer"), [("classifier", "label"), ("masked", "token_str")])
def test_the_samples_of_a_card_run_as_they_stand(env: dict[str, str], tmp_path: Path, name: str, answer: str) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    card = run("bedplate", "models", "card", f"acme/tiny_{name}")
    blocks = [token for token in MarkdownIt().parse(card) if token.type == "fence" and token.info in ("sh", "python")]
    deploy, curl, batch, python, *finetune = [token.content for token in blocks]
    assert env["URL"] in card and all("bedplate finetune" in text for text in finetune)
    assert answer in run("bash", "-euc", deploy)
    assert answer in str(json.loads(run("bash", "-euc", curl)))
    run("bash", "-euc", batch)
    (tmp_path / "sample.py").write_text(python)
    assert answer in run("python", "sample.py")
    [row] = map(json.loads, (tmp_path / "scored.jsonl").read_text().splitlines())
    assert row["score"] > 0
    run("bedplate", "endpoints", "delete", f"tiny-{name}")
