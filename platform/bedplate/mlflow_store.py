"""Runs in a store of MLflow's that is a folder: a SQLite file and a place for artifacts, of which there are none.

    DIR/mlflow.db, DIR/artifacts/

Look at it with: mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db, which is in the whole mlflow; to write it
mlflow-skinny is enough. The trials of a sweep are child runs of it. (MLflow has given up its own store of plain files.)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bedplate.exported_runs import Run, text_of
from bedplate_registry.errors import Conflict

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["write_mlflow_store"]

MOST_METRICS, MOST_TEXTS = 1000, 100  # that MLflow takes at a time
MOST_CHARACTERS = 6000  # of a parameter, as MLflow has it: a list of thousands of class names is cut
ENDS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
Item = TypeVar("Item")


def write_mlflow_store(runs: Sequence[Run], folder: Path) -> None:
    """Raises Conflict where one of them is there already: what MLflow keeps of a run cannot be taken back."""
    client = _client(folder)
    experiments = {name: _experiment(client, name, folder) for name in {run.experiment for run in runs}}
    for run in runs:
        there = client.search_runs([experiments[run.experiment]], f"tags.`bedplate.job` = '{run.job}'")
        if there:
            raise Conflict(f"{run.job} is in {folder} already.", hint="Give another --output.")
    ids: dict[str, str] = {}
    for run in runs:
        ids[run.job] = _write(client, run, experiments[run.experiment], ids.get(run.parent or ""))


def _client(folder: Path) -> MlflowClient:
    # MLflow tells its makers what is done with it, unless this is set before it is imported. Nothing leaves the house.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # not how it makes its tables; its import sets the level anew
    folder.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=f"sqlite:///{folder.resolve()}/mlflow.db")


def _experiment(client: MlflowClient, name: str, folder: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=(folder.resolve() / "artifacts").as_uri()))


def _write(client: MlflowClient, run: Run, experiment: str, parent: str | None) -> str:
    """Its id there."""
    from mlflow.entities import Metric, Param

    tags = {**run.tags, **({"mlflow.parentRunId": parent} if parent else {})}
    started = round(run.started * 1000)
    made = client.create_run(experiment, start_time=started, tags=tags, run_name=run.name).info.run_id
    params = [Param(name, text_of(value)[:MOST_CHARACTERS]) for name, value in run.params.items()]
    for some in _batches(params, MOST_TEXTS):
        client.log_batch(made, params=some)
    metrics = [Metric(point.name, point.value, started, point.step) for point in run.points]
    for few in _batches(metrics, MOST_METRICS):
        client.log_batch(made, metrics=few)
    if run.state in ENDS:
        end = round((run.finished or run.started) * 1000)
        client.set_terminated(made, ENDS[run.state], end_time=end)
    return str(made)


def _batches(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    return (items[at : at + most] for at in range(0, len(items), most))
