"""A model of each task through all of it: imported from a Hub, listed, shown, verified, served as a Hub and loaded by
from_pretrained. Those from the package index have real weights; the others are seeded and small. Three come in by jobs;
for the others, the load check is done in this process, which has torch at hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import bedplate
import real_models
from bedplate.client import RemoteWorkspace
from bedplate_registry.blobs import digest_of
from bedplate_registry.errors import Unavailable
from bedplate_registry.hub import Hub
from bedplate_registry.importing import prepare_hub_import
from bedplate_registry.models import ModelDraft, ModelFacts
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from harness import bedplate_home, free_port, serving
from hub_server import serve_folders

# What each is imported as, by which task (None: a base), and which class of transformers or diffusers loads it.
SEEDED = {
    "acme/encoder": (None, "AutoModel"),
    "acme/text-classifier": ("text-classification", "AutoModelForSequenceClassification"),
    "acme/token-classifier": ("token-classification", "AutoModelForTokenClassification"),
    "acme/question-answerer": ("question-answering", "AutoModelForQuestionAnswering"),
    "acme/masked-lm": ("fill-mask", "AutoModelForMaskedLM"),
    "acme/bart": ("summarization", "AutoModelForSeq2SeqLM"),
    "acme/marian": ("translation", "AutoModelForSeq2SeqLM"),
    "acme/llama": ("text-generation", "AutoModelForCausalLM"),
    "acme/vit": ("image-classification", "AutoModelForImageClassification"),
    "acme/timm": ("image-classification", "AutoModelForImageClassification"),
    "acme/diffusion": ("text-to-image", "DiffusionPipeline"),
}
BY_JOBS = ("acme/encoder", "acme/bart", "acme/diffusion")
REAL: dict[str, tuple[Callable[[Path], Path], str | None, str]] = {
    "real/bert-tiny": (real_models.bert_tiny, "fill-mask", "AutoModelForMaskedLM"),
    "real/minilm": (real_models.minilm, None, "AutoModel"),
    "real/lite0": (real_models.lite0, "image-classification", "AutoModelForImageClassification"),
    "real/smollm2": (real_models.smollm2, "text-generation", "AutoModelForCausalLM"),
}
LOADERS = {name: loader for name, (*_, loader) in (SEEDED | REAL).items()}
LOADED = """
import json, sys
import diffusers, transformers
for name, loader in json.loads(sys.argv[1]).items():
    module = diffusers if loader == "DiffusionPipeline" else transformers
    getattr(module, loader).from_pretrained(name)
    print(name, flush=True)
"""


@dataclass(frozen=True)
class Served:
    """A server: its home, a workspace on it, and the address of its Hub."""

    home: Path
    ws: RemoteWorkspace
    url: str

    def bring(self, hub: str, name: str) -> None:
        """Import without a job."""
        registry = Registry(self.home / "registry")
        found = prepare_hub_import(registry, Hub(hub), name, check=answered, reporter=SILENT)
        assert isinstance(found, ModelDraft)
        registry.models.publish(found)


def answered(folder: Path, facts: ModelFacts) -> dict[str, Any]:
    """What the load check answers, in this process."""
    from bedplate_serving.predictors import check

    told = StringIO()
    with redirect_stdout(told):
        check.main([str(folder), *(("--task", facts.task) if facts.task else ())])
    report = json.loads(told.getvalue().splitlines()[-1])
    assert report["ok"], report
    sample: dict[str, Any] = report["sample"]
    return sample


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from bedplate_serving.testing import causal, encoders, images, seq2seq

    makers = {name: make for module in (causal, encoders, images, seq2seq) for name, make in vars(module).items()}
    found = {name: tmp_path_factory.mktemp("seeded") / "model" for name in SEEDED}
    for name, folder in found.items():
        makers[f"tiny_{name.partition('/')[2].replace('-', '_')}"](folder)
    return found


@pytest.fixture(scope="module")
def served(folders: dict[str, Path]) -> Iterator[Served]:
    """A server with the seeded models."""
    port = free_port()
    with bedplate_home() as home, serve_folders(folders) as hub, serving(home, port), bedplate.connect(home=home) as ws:
        served = Served(home, ws, f"http://127.0.0.1:{port}/hub")
        jobs = [ws.submit_import(name, hub=hub) for name in BY_JOBS]
        for name in SEEDED:
            if name not in BY_JOBS:
                served.bring(hub, name)
        for job in jobs:
            job.wait(timeout_seconds=200)
        yield served


def test_a_model_of_each_task_is_listed_shown_and_whole(served: Served) -> None:
    assert {model.data["name"]: model.task for model in served.ws.models.list(query="acme")} == {
        name: task for name, (task, _) in SEEDED.items()
    }
    for name in SEEDED:
        model = served.ws.models.get(name)
        assert model.data["sample"]["answer"] and model.data["source"]["id"] == name
        assert model.verify() == []


@pytest.mark.network
@pytest.mark.parametrize("name", REAL)
def test_real_weights_come_in_answer_and_keep_their_digest(served: Served, name: str, tmp_path: Path) -> None:
    fetch, task, _ = REAL[name]
    try:
        folder = fetch(tmp_path)
    except Unavailable as exc:
        pytest.skip(str(exc))
    with serve_folders({name: folder}) as hub:
        served.bring(hub, name)
    model = served.ws.models.get(name)
    assert model.task == task and model.data["sample"]["answer"]
    files = {file["path"]: file["sha256"] for file in model.data["files"]}
    assert files["model.safetensors"] == digest_of(folder / "model.safetensors").sha256
    assert model.verify() == []


def test_each_is_loaded_from_the_servers_own_hub(served: Served, tmp_path: Path) -> None:
    key: dict[str, Any] = served.ws.connection.post("/api/v1/keys", {"name": "reader", "scopes": ["infer"]})
    environment = {**os.environ, "HF_ENDPOINT": served.url, "HF_TOKEN": key["key"], "HF_HOME": str(tmp_path)}
    names = [model.data["name"] for model in served.ws.models.list()]
    command = [sys.executable, "-c", LOADED, json.dumps({name: LOADERS[name] for name in names})]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == names
