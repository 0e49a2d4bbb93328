"""The REST application over a real home with something of everything in it, called in this process. No loop runs behind
it, so that what is queued stays queued; the only process is a gateway, once something was deployed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.testclient import TestClient

from bedplate import spawn
from bedplate.api.app import create_app
from bedplate.compute import Lease
from bedplate.gateway_process import Address
from bedplate.jobs import Job
from bedplate.machine import simulated
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from harness import free_port, wait_for

__all__ = ["CSV", "MODEL", "Rest", "fill", "finished_job", "publish_model", "rest_server"]

MODEL = "support-intent:1"
CSV = b"text,intent\nmy card is lost,card\nreset the password,login\n"


@dataclass
class Rest:
    """One home and its application; `keys` holds a key for each user."""

    workspace: Workspace
    app: FastAPI
    client: TestClient
    keys: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, *, user: str = "root", **options: Any) -> httpx.Response:
        """A request with the key of a user. `root` is an admin, `olga` an operator, `ana` and `bob` are users."""
        headers = {"Authorization": f"Bearer {self.keys[user]}", **options.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **options)  # type: ignore[return-value]

    def upload(self, data: bytes, **options: Any) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        assert self.call("PUT", f"/api/v1/uploads/{sha256}", content=data, **options).status_code == 201
        return sha256


@contextmanager
def rest_server(**env: str) -> Iterator[Rest]:
    """A new home. `env` is what its settings are read from besides."""
    home = Path(tempfile.mkdtemp(prefix="bp"))
    settings = Settings.from_environment({"BEDPLATE_HOME": str(home), **env})
    workspace = Workspace(settings, address=Address("127.0.0.1", free_port()), machine=simulated(cores=4, memory_gb=8))
    try:
        app = create_app(workspace, stop=lambda: None)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            rest = Rest(workspace, app, client)
            for user, role in (("root", "admin"), ("olga", "operator"), ("ana", "user"), ("bob", "user")):
                workspace.users.create(user, role)
                rest.keys[user] = workspace.keys.create(user, ["admin"], owner=user)[1]
            yield rest
    finally:
        workspace.gateway.stop()
        wait_for(lambda: workspace.gateway.address is None, seconds=60)
        spawn.reap()
        workspace.database.close()
        shutil.rmtree(home, ignore_errors=True)


def fill(rest: Rest) -> dict[str, str]:
    """Something of everything; the ids, by the names that paths give them."""
    workspace, registry = rest.workspace, rest.workspace.registry
    publish_model(workspace)
    registry.models.set_alias(MODEL, "production", by="root", why="the first")
    sha256 = rest.upload(CSV)
    body = {"name": "tickets", "upload": sha256, "filename": "tickets.csv"}
    assert rest.call("POST", "/api/v1/datasets", json=body).status_code == 201
    report = {"model": MODEL, "task": "text-classification", "metrics": {"accuracy": 0.9, "log_loss": float("nan")}}
    evaluation = registry.evaluations.add({**report, "metrics": {"accuracy": 0.9}})
    job = finished_job(workspace, owner="root")
    workspace.jobs.submit("batch", {"model": MODEL}, owner="root")
    workspace.endpoints.deploy("support", MODEL, "text-classification", owner="root")
    workspace.endpoints.add_replica(workspace.endpoints.deployments("support")[0], Lease(0, 1 << 30))
    workspace.keys.rotate("support", "primary")
    batch = {"name": "nightly", "model": MODEL}
    assert rest.call("POST", "/api/v1/batch-endpoints", json=batch).status_code == 201
    return {
        "job_id": job.id,
        "org": "_",
        "model": MODEL,
        "alias": "production",
        "sha256": sha256,
        "dataset": "tickets",
        "evaluation_id": evaluation,
        "endpoint": "support",
        "batch_endpoint": "nightly",
    }


def publish_model(workspace: Workspace, name: str = "support-intent", task: str = "text-classification") -> str:
    """A model of two small files, which nothing could load."""
    registry, files = workspace.registry, []
    for path, data in (("config.json", f'{{"name": "{name}"}}'.encode()), ("README.md", b"# A card")):
        source = workspace.home.path / "source"
        source.write_bytes(data)
        blob = registry.blobs.put_file(source)
        files.append(FileEntry(path, blob.size_bytes, blob.sha256))
    facts = ModelFacts(task, "BertModel", "bert", 1000, "float32", 4000, finetunable_tasks=("text-classification",))
    draft = ModelDraft(Name.parse(name), tuple(files), facts, Source("folder", name))
    return registry.models.publish(draft).ref


def finished_job(workspace: Workspace, owner: str) -> Job:
    """A job that succeeded, with a log, events, metrics and an output."""
    queued = workspace.jobs.submit("batch", {"model": MODEL}, owner=owner, request_id="r-1")
    running = workspace.jobs.claim(queued, Lease(1, 1 << 30))
    assert running is not None
    folder = workspace.job_folder(queued.id)
    folder.create(queued.spec)
    folder.log.write_bytes(b"one\ntwo\n")
    folder.events_file.write_text(json.dumps({"seq": 1, "epoch": 1, "type": "message", "text": "hello"}) + "\n")
    lines = ({"attempt": 1, "step": 1, "loss": 0.5}, {"attempt": 1, "step": 2, "loss": float("nan")})
    folder.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder.outputs / "rows.csv").write_bytes(CSV)
    assert workspace.jobs.move(running, "succeeded", result={"rows": 2})
    return workspace.jobs.get(queued.id)
