"""Sweeps whose trials are played by hand: a workspace whose loop does not run, and what a worker would leave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bedplate.compute import GIB, Inventory, Lease
from bedplate.job_folder import JobReporter
from bedplate.jobs import Job
from bedplate.machine import SimulatedMachine
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from harness import write_messages

TASK = "text-classification"
COLUMNS = {"sentence1": "text", "label": "intent"}
RATES = {"learning_rate": [1e-4, "3e-4"]}
ROOMY = Inventory(cores=4, memory_bytes=8 * GIB, memory_free_bytes=8 * GIB)
LEASE = Lease(cores=1, memory_bytes=GIB)
FIGURES = {"report": None, "rows": {}, "steps": 4, "best_step": 4, "seconds": 1.0, "samples_per_second": 9.0}


@contextmanager
def sweep_workspace(folder: Path, models: Path) -> Iterator[Workspace]:
    """A workspace with a base, `tiny`, and a dataset, `tickets`."""
    settings = Settings.from_environment({"BEDPLATE_HOME": str(folder / "home")})
    made = Workspace(settings, address=None, machine=SimulatedMachine(ROOMY))
    publish_tiny(made, models, "tiny")
    made.registry.datasets.add(Name.parse("tickets"), write_messages(folder / "tickets.csv", 40), "tickets.csv")
    try:
        yield made
    finally:
        made.database.close()


def publish_tiny(workspace: Workspace, models: Path, name: str) -> None:
    """A base to begin with."""
    base = prepare_folder_import(
        workspace.registry, models / "encoder", name=Name.parse(name), check=lambda folder, facts: {}, reporter=SILENT
    )
    assert isinstance(base, ModelDraft)
    workspace.registry.models.publish(base)


def request(**changes: Any) -> dict[str, Any]:
    given = {"model": "tiny", "task": TASK, "train": "tickets", "columns": COLUMNS, "output": "best", "search": RATES}
    return {**given, **changes}


def start(workspace: Workspace, **changes: Any) -> Job:
    """A sweep that runs and has not been moved on yet."""
    sweep = workspace.submit("sweep", request(**changes), owner="ann")
    return claim(workspace, sweep)


def claim(workspace: Workspace, job: Job) -> Job:
    claimed = workspace.jobs.claim(workspace.jobs.get(job.id), LEASE)
    assert claimed is not None
    return claimed


def advance(workspace: Workspace, sweep: Job) -> Job:
    workspace.intake.advance(workspace.jobs.get(sweep.id))
    return workspace.jobs.get(sweep.id)


def trials_of(workspace: Workspace, sweep: Job) -> list[Job]:
    return workspace.jobs.find(parent=sweep.id)[::-1]


def states(workspace: Workspace, sweep: Job) -> list[str]:
    return [trial.state for trial in trials_of(workspace, sweep)]


def succeed(workspace: Workspace, trial: Job, accuracy: float) -> None:
    """Play the worker of a trial and the end that the scheduler makes of it."""
    running = claim(workspace, trial)
    draft = ModelDraft.to_json(workspace.registry.models.get("tiny"))
    draft |= {"name": "best", "lineage": {"job": trial.id}, "facts": {**draft["facts"], "task": TASK}}
    result = {**FIGURES, "draft": draft, "metrics": {"accuracy": accuracy, "log_loss": 1 - accuracy}}
    folder = workspace.job_folder(trial.id)
    folder.create(running.spec)
    (folder.path / "model").mkdir()
    (folder.path / f"result-{running.epoch}.json").write_text(json.dumps(result))
    workspace.jobs.move(running, "succeeded", result=workspace.attempts.finish(running, result))


def evaluate(workspace: Workspace, trial: Job, accuracies: Sequence[float]) -> None:
    """Play a worker that has come to these figures, one an epoch of ten steps, and goes on."""
    running = claim(workspace, trial)
    folder = workspace.job_folder(trial.id)
    folder.create(running.spec)
    reporter = JobReporter(folder, running.epoch)
    for epoch, accuracy in enumerate(accuracies, 1):
        reporter.metrics(10 * epoch, {"eval_accuracy": accuracy, "epoch": float(epoch)})


def fail(workspace: Workspace, trial: Job) -> None:
    running = claim(workspace, trial)
    workspace.job_folder(trial.id).create(running.spec)
    workspace.jobs.move(running, "failed", error={"code": "no", "message": "Out of memory.", "hint": "Buy some."})
