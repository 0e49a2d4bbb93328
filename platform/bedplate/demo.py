"""`bedplate demo`: the main job on sample data, through the same client that a user has."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import bedplate
from bedplate.client import Endpoint, Job, RemoteWorkspace
from bedplate.console import Progress, say
from bedplate.demo_data import EXAMPLE_MESSAGES, DemoFiles, write
from bedplate.demo_hub import MODEL_ID, REVISION, demo_hub
from bedplate.settings import Settings
from bedplate_registry.errors import NotFound

__all__ = ["run_demo"]

TASK = "text-classification"
COLUMNS = {"sentence1": "text", "label": "intent"}
OUTPUT = "support-intent"
ENDPOINT = "support"
# The defaults would train for 10 epochs; the demo is to be over in minutes on two cores.
SETTINGS: dict[str, Any] = {"num_train_epochs": 4, "per_device_train_batch_size": 16}


def run_demo(home: Path | None) -> None:
    """Seven steps; each says what it does and what it came to."""
    started = time.monotonic()
    settings = Settings.from_environment()
    folder = (home or settings.home).expanduser().absolute() / "demo"
    files = write(folder)
    with bedplate.connect(home=home or settings.home) as ws:
        base = _import(ws, settings, folder)
        _add_data(ws, files)
        probe = _evaluate_base(ws, base)
        job = _finetune(ws, base)
        comparison = _compare(ws, job, base)
        endpoint = _deploy_and_score(ws, job)
        batch, scored = _batch(ws, job, files, folder)
        _summary(probe, comparison, batch, scored, endpoint, time.monotonic() - started)


def _step(number: int, text: str) -> None:
    say(f"\n[{number}/7] {text}")


def _run(job: Job) -> Job:
    return job.wait(watch=Progress())


def _import(ws: RemoteWorkspace, settings: Settings, folder: Path) -> str:
    _step(1, f"Import {MODEL_ID} at commit {REVISION[:12]}")
    with demo_hub(settings.hub_url, folder, offline=settings.offline) as (url, where):
        say(where)
        job = _run(ws.submit_import(MODEL_ID, revision=REVISION, hub=url))
    model = job.model
    again = " (already here)" if job.result["already_imported"] else ""
    say(f"{model.ref}{again}: {model.data['parameters']:,} parameters, a base: it has no head and is to be fine-tuned.")
    return model.ref


def _add_data(ws: RemoteWorkspace, files: DemoFiles) -> None:
    _step(2, "Add the sample data: support messages of our own making")
    for name, path in (("support-train", files.train), ("support-holdout", files.holdout)):
        added = ws.datasets.add(name, path)
        say(f"{added.ref}: {added.rows} rows")


def _evaluate_base(ws: RemoteWorkspace, base: str) -> dict[str, Any]:
    _step(3, "Evaluate the base: a probe (frozen features and a logistic regression), beside two baselines")
    job = ws.evaluate(base, data="support-holdout", train="support-train", task=TASK, columns=COLUMNS)
    report = _run(job).report.data
    for name, metrics in report["baselines"].items():
        say(f"  {name:<9} accuracy {metrics['accuracy']:.3f}")
    say(f"  {'probe':<9} accuracy {report['metrics']['accuracy']:.3f}")
    return report


def _finetune(ws: RemoteWorkspace, base: str) -> Job:
    _step(4, "Fine-tune it; the held-back rows are its test")
    data = {"train": "support-train", "test": "support-holdout"}
    job = ws.finetune(base, task=TASK, columns=COLUMNS, output=OUTPUT, **data, **SETTINGS)
    _run(job)
    rows, seconds = job.result["rows"], job.result["seconds"]
    say(f"{job.result['model']}: {rows['train']} training rows, {job.result['steps']} steps in {seconds:.0f} s")
    return job


def _compare(ws: RemoteWorkspace, job: Job, base: str) -> dict[str, Any]:
    _step(5, "Evaluate it against the base on the same rows")
    compared = ws.evaluate(
        job.model, against=base, data="support-holdout", train="support-train", task=TASK, columns=COLUMNS
    )
    report = _run(compared).report.data
    low, high = report["confidence"]["accuracy"]
    say(f"  tuned     accuracy {report['metrics']['accuracy']:.3f}  (95 % interval {low:.3f} to {high:.3f})")
    return report


def _deploy_and_score(ws: RemoteWorkspace, job: Job) -> Endpoint:
    _step(6, "Deploy it and score over HTTP with a key")
    with suppress(NotFound):
        ws.endpoints.get(ENDPOINT).delete()  # of an earlier demo
    endpoint = ws.deploy(job.model, endpoint=ENDPOINT)
    for message in EXAMPLE_MESSAGES:
        best = endpoint.score(message, top_k=1)[0]
        say(f"  {best['label']:<24} {best['score']:.2f}  {message}")
    return endpoint


def _batch(ws: RemoteWorkspace, job: Job, files: DemoFiles, folder: Path) -> tuple[dict[str, Any], Path]:
    _step(7, "Score a file in batch")
    scored = folder / "scored.csv"
    done = _run(ws.batch(job.model, input=files.incoming, output=scored, columns={"sentence1": "text"}))
    result = done.result
    say(f"{result['rows']} rows in order, {result['errors']} of them with a reason instead of a label: {scored}")
    return result, scored


def _summary(
    probe: dict[str, Any],
    comparison: dict[str, Any],
    batch: dict[str, Any],
    scored: Path,
    endpoint: Endpoint,
    seconds: float,
) -> None:
    baselines = probe["baselines"]
    lines = {
        "majority": baselines["majority"]["accuracy"],
        "TF-IDF": baselines["tfidf"]["accuracy"],
        "probe of the base": probe["metrics"]["accuracy"],
        "fine-tuned": comparison["metrics"]["accuracy"],
    }
    print(f"\nAccuracy on {comparison['data']['rows']} held-back messages")
    for name, value in lines.items():
        print(f"  {name:<18} {value:.3f}  {'#' * round(40 * value)}")
    print(f"\nDone in {seconds:.0f} s. The endpoint {endpoint.name} goes on answering at {endpoint.url}")
    print("\nTry next:")
    program = "bedplate" if shutil.which("bedplate") else os.path.relpath(sys.argv[0])
    for command in (
        f'{program} score {endpoint.name} --input "{EXAMPLE_MESSAGES[0]}"',
        f"curl -H 'Authorization: Bearer {endpoint.key}' -d '{{\"inputs\": \"where is my refund\"}}' {endpoint.url}",
        f"{program} models show {OUTPUT}",
        f"{program} models lineage {OUTPUT}",
        f"head -3 {scored}",
        f"{program} jobs list",
        f"{program} stop --all          (stops the server, the endpoint's replica and all jobs)",
    ):
        print(f"  {command}")
