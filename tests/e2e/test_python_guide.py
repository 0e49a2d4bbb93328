"""docs/python.md, run as it is written, block after block, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bedplate import client
from harness import bedplate_home, environment, free_port, serving, write_messages

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks() -> list[tuple[int, str]]:
    """Each block with the number of its first line."""
    text = GUIDE.read_text()
    return [(text[: found.start(1)].count("\n"), found.group(1)) for found in BLOCK.finditer(text)]


def scored_by_the_sample(home: Path) -> list[str]:
    """The texts that samples/score_many.py answers, in its order."""
    program = [sys.executable, str(GUIDE.parents[1] / "samples" / "score_many.py"), "support"]
    done = subprocess.run(program, input="card\nlogin\n", capture_output=True, text=True, env=environment(home))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(line["answer"][0]["score"] > 0 for line in lines)
    return [line["text"] for line in lines]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the guide leaves its files and connections open
def test_the_guide_runs_as_it_is_written(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_messages(tmp_path / "tickets.csv", 60)
    write_messages(tmp_path / "holdout.csv", 20, seed=1)
    namespace: dict[str, Any] = {"__name__": "guide"}
    with bedplate_home() as home, serving(home, free_port()):
        monkeypatch.setenv("BEDPLATE_HOME", str(home))
        monkeypatch.setenv("HF_ENDPOINT", hub)
        for line, block in blocks():
            if "endpoint.delete()" in block:
                assert scored_by_the_sample(home) == ["card", "login"]
            code = block.replace("sentence-transformers/all-MiniLM-L6-v2", "acme/tiny-encoder")
            exec(compile("\n" * line + code, os.fspath(GUIDE), "exec"), namespace)
        namespace["ws"].close()
    assert "<table>" in namespace["html"]
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == [
        "async.csv",
        "holdout.csv",
        "nightly.csv",
        "scored.csv",
        "tickets.csv",
    ]


def test_every_part_of_a_workspace_and_every_method_of_an_endpoint_is_in_the_guide() -> None:
    text = GUIDE.read_text()
    parts = ("models", "datasets", "evaluations", "jobs", "endpoints", "keys", "users", "audit")
    assert [part for part in parts if f"ws.{part}." not in text and f"{part}()" not in text] == []
    methods = [name for name in vars(client.Endpoint) if name[0] != "_" and callable(vars(client.Endpoint)[name])]
    assert [name for name in methods if f".{name}(" not in text and name not in ("wait", "refresh")] == []
