"""The samples run as they stand, on a tiny model of a loopback Hub; what the docs show is what works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from harness import bedplate_home, environment, free_port, run_cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def env(hub: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which `bedplate` and `python` are this interpreter's, with a home and a Hub of its own."""
    programs = tmp_path_factory.mktemp("bin")
    bedplate = programs / "bedplate"
    bedplate.write_text(f"#!{sys.executable}\nfrom bedplate.cli import main\nmain()\n")
    bedplate.chmod(0o755)
    python = programs / "python"  # no link: an environment's interpreter finds its packages by its own path
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with bedplate_home() as home:
        yield environment(
            home,
            PATH=f"{programs}:{os.environ['PATH']}",
            BEDPLATE_HUB_URL=hub,
            BEDPLATE_PORT=str(free_port()),
            MODEL="acme/tiny-encoder",
            SETTINGS="--set max_steps=5",
            STEPS="5",
            ROWS="300",
        )


def test_the_command_line_sample_runs(env: dict[str, str], tmp_path: Path) -> None:
    script = ROOT / "samples" / "main_job.sh"
    done = subprocess.run(["bash", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scored.csv").read_text().splitlines()[0].startswith("id,text,label,score")


def test_the_python_sample_runs(env: dict[str, str], tmp_path: Path) -> None:
    script = ROOT / "samples" / "main_job.py"
    done = subprocess.run([sys.executable, script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scored.parquet").stat().st_size > 0


def test_the_sample_of_token_classification_runs(env: dict[str, str], tmp_path: Path) -> None:
    script = ROOT / "samples" / "token_classification.sh"
    done = subprocess.run(["bash", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "tagged.jsonl").read_text().splitlines()]
    assert len(rows) == 50
    assert all(len(row["tags"]) == len(row["tokens"]) for row in rows)
    assert "word f1_score_micro" in done.stdout, "its baseline stands beside it"


def test_the_sample_of_question_answering_runs(env: dict[str, str], tmp_path: Path) -> None:
    script = ROOT / "samples" / "question_answering.sh"
    done = subprocess.run(["bash", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "answered.jsonl").read_text().splitlines()]
    assert len(rows) == 50
    assert all(row["answer"] == row["context"][row["start"] : row["end"]] for row in rows)
    assert "whole_context f1_score" in done.stdout, "its baseline stands beside it"


@pytest.mark.parametrize(
    ("task", "answer", "baseline"),
    [("summarization", "summary", "lead rougeL"), ("translation", "translation", "copy")],
)
def test_the_samples_of_models_that_write_run_on_an_encoder(
    env: dict[str, str], tmp_path: Path, task: str, answer: str, baseline: str
) -> None:
    """Two of it are joined to a model that writes, registered, deployed and scored."""
    script = ROOT / "samples" / f"{task}.sh"
    few = {"ROWS": "60", "SETTINGS": "--set max_steps=3 --set num_beams=1"}
    done = subprocess.run(["bash", script], env=env | few, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    written = tmp_path / ("summaries.jsonl" if task == "summarization" else "translated.jsonl")
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    assert len(rows) == 20
    assert all(isinstance(row[answer], str) for row in rows)
    assert baseline in done.stdout, "its baseline stands beside it"


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_command_that_the_docs_name_exists(tmp_path: Path) -> None:
    named = {
        match for path in documents() for match in re.findall(r"\bbedplate ((?:[a-z]+)(?: [a-z]+)?)", path.read_text())
    }
    listed = run_cli("--help", home=tmp_path).stdout
    commands = set(re.findall(r"^  ([a-z]+)  ", listed, re.MULTILINE))
    assert {name.split()[0] for name in named} <= commands | {"and", "is", "serves"}


def test_every_file_that_the_docs_link_to_exists() -> None:
    for path in documents():
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_setting_that_is_read_is_in_the_docs() -> None:
    read = set(re.findall(r'"((?:BEDPLATE|HF)_[A-Z_]+)"', (ROOT / "platform/bedplate/settings.py").read_text()))
    documented = (ROOT / "docs/operations.md").read_text()
    assert {name for name in read if name not in documented} == set()


def test_every_training_setting_is_in_the_docs_with_its_default_and_why() -> None:
    from bedplate_trainers.settings import FinetuneSettings

    documented = (ROOT / "docs/fine-tuning.md").read_text()
    for setting in fields(FinetuneSettings):
        default = str(setting.default or "none") if setting.default in ((), "") else str(setting.default)
        default = default.lower() if isinstance(setting.default, bool) else default
        tasks = ", ".join(setting.metadata["tasks"]) or "all"
        row = f"| `{setting.name}` | {default} | {tasks} | {setting.metadata['doc']} | "
        assert re.search(re.escape(row) + r"\w.+ \|$", documented, re.MULTILINE), row
