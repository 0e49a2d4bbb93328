"""A model of each task through all of it: imported from a Hub by the real worker, listed, shown, verified, served as a
Hub and loaded by from_pretrained. Those from the package index have real weights; the others are seeded and small.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import bedplate
from bedplate.client import RemoteWorkspace
from bedplate.wheel_models import BERT_TINY
from bedplate_registry.blobs import digest_of
from bedplate_registry.errors import Unavailable
from harness import bedplate_home, free_port, serving
from hub_server import serve_folders

REAL_WEIGHTS = Path("~/.cache/bedplate-benchmarks").expanduser()
MADE = """
import sys
from pathlib import Path
from bedplate_serving.testing import causal, encoders, images, seq2seq
makers = {name: make for module in (causal, encoders, images, seq2seq) for name, make in vars(module).items()}
for name in sys.argv[2:]:
    makers[f"tiny_{name}"](Path(sys.argv[1]) / name)
"""
# What each is imported as, by which task, and which class of transformers or diffusers loads it.
SEEDED = {
    "text_classifier": ("text-classification", "AutoModelForSequenceClassification"),
    "token_classifier": ("token-classification", "AutoModelForTokenClassification"),
    "question_answerer": ("question-answering", "AutoModelForQuestionAnswering"),
    "masked_lm": ("fill-mask", "AutoModelForMaskedLM"),
    "bart": ("summarization", "AutoModelForSeq2SeqLM"),
    "marian": ("translation", "AutoModelForSeq2SeqLM"),
    "llama": ("text-generation", "AutoModelForCausalLM"),
    "vit": ("image-classification", "AutoModelForImageClassification"),
    "diffusion": ("text-to-image", "DiffusionPipeline"),
}
SMOLLM2 = "SmolLM2-135M-Instruct"  # made once a machine by benchmarks/wheel_language_model.py, which takes a while
REAL = {
    "real/bert-tiny": ("fill-mask", "AutoModelForMaskedLM"),
    "real/smollm2": ("text-generation", "AutoModelForCausalLM"),
}
LOADED = """
import json, sys
import diffusers, transformers
for name, loader in json.loads(sys.argv[1]).items():
    module = diffusers if loader == "DiffusionPipeline" else transformers
    getattr(module, loader).from_pretrained(name)
    print(name, flush=True)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each name."""
    root = tmp_path_factory.mktemp("seeded")
    made = [sys.executable, "-c", MADE, str(root), *SEEDED]
    done = subprocess.run(made, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = {f"acme/{name.replace('_', '-')}": root / name for name in SEEDED}
    with suppress(Unavailable):  # the test of real weights says so
        found["real/bert-tiny"] = BERT_TINY.fetch(REAL_WEIGHTS)
    if (REAL_WEIGHTS / SMOLLM2 / "model.safetensors").exists():
        found["real/smollm2"] = REAL_WEIGHTS / SMOLLM2
    return found


@pytest.fixture(scope="module")
def wanted(folders: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """Of each name the task and the class."""
    known = {f"acme/{name.replace('_', '-')}": facts for name, facts in SEEDED.items()}
    return {name: {**known, **REAL}[name] for name in folders}


@pytest.fixture(scope="module")
def served(folders: dict[str, Path], wanted: dict[str, tuple[str, str]]) -> Iterator[tuple[RemoteWorkspace, str]]:
    """A server that imported all of them, its queue as it is, and the address of its Hub."""
    with bedplate_home() as home, serve_folders(folders) as hub:
        port = free_port()
        with serving(home, port), bedplate.connect(home=home) as ws:
            jobs = [ws.submit_import(name, hub=hub, task=task) for name, (task, _) in wanted.items()]
            for job in jobs:
                job.wait(timeout_seconds=300)
            yield ws, f"http://127.0.0.1:{port}/hub"


def test_a_model_of_each_task_is_listed_shown_and_whole(
    served: tuple[RemoteWorkspace, str], wanted: dict[str, tuple[str, str]]
) -> None:
    ws, _ = served
    assert {model.data["name"]: model.task for model in ws.models.list()} == {
        name: task for name, (task, _) in wanted.items()
    }
    for name in wanted:
        model = ws.models.get(name)
        assert model.data["sample"] is not None and model.data["source"]["id"] == name
        assert model.verify() == []


@pytest.mark.network
@pytest.mark.parametrize("name", REAL)
def test_real_weights_keep_their_digest(
    served: tuple[RemoteWorkspace, str], folders: dict[str, Path], name: str
) -> None:
    if name not in folders:
        pytest.skip(f"{name} is not to be had: the package index was not reached, or it was not made here yet")
    files = {file["path"]: file["sha256"] for file in served[0].models.get(name).data["files"]}
    assert files["model.safetensors"] == digest_of(folders[name] / "model.safetensors").sha256


def test_each_is_loaded_from_the_servers_own_hub(
    served: tuple[RemoteWorkspace, str], wanted: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    ws, url = served
    key: dict[str, Any] = ws.connection.post("/api/v1/keys", {"name": "reader", "scopes": ["infer"]})
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_TOKEN": key["key"], "HF_HOME": str(tmp_path)}
    loaders = json.dumps({name: loader for name, (_, loader) in wanted.items()})
    command = [sys.executable, "-c", LOADED, loaders]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == [*wanted]
