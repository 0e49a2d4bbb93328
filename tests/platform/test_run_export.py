"""Runs written for TensorBoard and MLflow, and read back with what these tools read them with."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from bedplate.exported_runs import Run, runs_of
from bedplate.run_export import export_runs
from bedplate_registry.errors import Conflict, Refused

SHA = "ab" * 32
STARTED = 1_795_449_600.0


def fine_tune(id: str = "finetune-1", **changes: Any) -> dict[str, Any]:
    """As REST shows one that has succeeded."""
    settings = {"learning_rate": 1e-3, "optim": "adamw_torch", "fsdp": False, "class_names": ["a", "b"]}
    spec = {"model": "acme/tiny:1", "model_digest": f"sha256:{SHA}", "task": "text-classification", "columns": {}}
    spec |= {"train": {"dataset": "tickets:2", "sha256": SHA, "filename": "t.csv"}, "validation": "auto"}
    spec |= {"test": "auto", "output": "acme/made", "device": "cpu", "processes": 1, "settings": settings}
    result = {"model": "acme/made:1", "metrics": {"accuracy": 0.8}, "test_metrics": {"accuracy": 0.75}, "steps": 20}
    job = {"id": id, "kind": "finetune", "state": "succeeded", "owner": "ann", "parent": None, "error": None}
    job |= {"created": STARTED, "started": STARTED, "finished": STARTED + 60, "spec": spec, "result": result}
    return {**job, **changes}


def sweep() -> list[Run]:
    spec = fine_tune()["spec"] | {"settings": {}, "search": {"learning_rate": [1e-3, 1e-9]}, "method": "grid"}
    spec |= {"metric": "accuracy", "greater_is_better": True, "trials": [], "total": 2, "parallel": 2}
    best = {"trial": 1, "job": "finetune-1", "settings": {"learning_rate": 1e-3}, "metric": 0.8}
    result = {"model": "acme/made:1", "best": best, "metric": "accuracy", "test_metrics": {"accuracy": 0.75}}
    pruned = {"code": "pruned", "message": "It was below the median.", "hint": "", "metric": 0.2, "evaluation": 2}
    trials = [
        (fine_tune(parent="sweep-1"), LOGGED),
        (fine_tune("finetune-2", parent="sweep-1", state="cancelled", result=None, error=pruned), LOGGED[:2]),
    ]
    return runs_of(fine_tune("sweep-1", kind="sweep", spec=spec, result=result), [], trials)


LOGGED = [
    {"attempt": 1, "step": 10, "loss": 0.9, "epoch": 1.0},
    {"attempt": 1, "step": 10, "eval_accuracy": 0.5, "epoch": 1.0},
    {"attempt": 1, "step": 20, "eval_accuracy": 0.8, "epoch": 2.0},
]


def test_tensorboard_reads_the_figures_of_each_step_and_where_a_run_comes_from(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    export_runs("tensorboard", runs_of(fine_tune(), LOGGED), tmp_path)
    read = EventAccumulator(str(tmp_path / "finetune-1"))
    read.Reload()
    assert {"loss", "eval_accuracy", "validation/accuracy", "test/accuracy"} == set(read.Tags()["scalars"])
    assert [(each.step, round(each.value, 6)) for each in read.Scalars("eval_accuracy")] == [(10, 0.5), (20, 0.8)]
    about = read.Tensors("about/text_summary" if "about/text_summary" in read.Tags()["tensors"] else "about")
    assert SHA in about[0].tensor_proto.string_val[0].decode()
    assert "learning_rate" in read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content.decode("latin-1")


def test_the_trials_of_a_sweep_lie_in_its_folder_and_nothing_is_written_twice(tmp_path: Path) -> None:
    export_runs("tensorboard", sweep(), tmp_path)
    folders = sorted(path.name for path in (tmp_path / "sweep-1").iterdir() if path.is_dir())
    assert folders == ["finetune-1", "finetune-2"]
    with pytest.raises(Conflict, match="sweep-1 is in"):
        export_runs("tensorboard", sweep(), tmp_path)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # of MLflow with SQLAlchemy 2.1
def test_mlflow_reads_a_sweep_with_its_trials_as_child_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_runs("mlflow", sweep(), tmp_path / "store")
    assert capfd.readouterr() == ("", ""), "what MLflow tells of its tables is not for the caller"
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/store/mlflow.db")
    experiment = client.get_experiment_by_name("acme/made")
    assert experiment is not None
    found = {run.data.tags["bedplate.job"]: run for run in client.search_runs([experiment.experiment_id])}
    whole, first, second = (found[id] for id in ("sweep-1", "finetune-1", "finetune-2"))
    assert first.data.tags["mlflow.parentRunId"] == second.data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert (first.info.run_name, first.info.status, second.info.status) == ("trial 1", "FINISHED", "KILLED")
    assert second.data.tags["bedplate.reason"] == "It was below the median."
    assert (first.data.params["learning_rate"], first.data.params["class_names"]) == ("0.001", '["a", "b"]')
    assert (first.data.tags["bedplate.train"], first.data.tags["bedplate.train_sha256"]) == ("tickets:2", SHA)
    steps = client.get_metric_history(first.info.run_id, "eval_accuracy")
    assert [(each.step, each.value) for each in steps] == [(10, 0.5), (20, 0.8)]
    assert whole.data.metrics == {"validation/accuracy": 0.8, "test/accuracy": 0.75}
    assert whole.info.start_time == STARTED * 1000
    with pytest.raises(Conflict, match="sweep-1 is in"):
        export_runs("mlflow", sweep(), tmp_path / "store")


def test_what_cannot_be_exported_is_refused_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="no experiment"):
        runs_of(fine_tune(kind="batch"), [])
    with pytest.raises(Refused) as caught:
        export_runs("mlfow", [], tmp_path)
    assert "'mlflow'" in caught.value.hint
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused) as caught:
        export_runs("mlflow", [], tmp_path)
    assert "bedplate[tracking]" in caught.value.hint
