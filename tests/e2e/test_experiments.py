"""A sweep of real fine-tunes: the best is registered, a hopeless one is ended early, all of them go to other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import bedplate
from harness import bedplate_home, run_cli, write_messages


@pytest.fixture
def home(stock: Path) -> Iterator[Path]:
    with bedplate_home(stock) as home:
        yield home


@pytest.mark.timeout(400)
def test_a_hopeless_fine_tune_is_pruned_and_the_sweep_is_exported_with_its_trials(home: Path, tmp_path: Path) -> None:
    rows = write_messages(tmp_path / "rows.csv", 60)
    how = ("--task", "text-classification", "--train", str(rows), "--map", "sentence1=text", "--map", "label=intent")
    search = (
        "--search",
        "learning_rate=2e-3,3e-3,4e-3,5e-3,1e-9",
        "--parallel",
        "2",
        "--need",
        "cores=1",
        "--prune",
        "median",
    )
    settings = ("--set", "num_train_epochs=60", "--metric", "loss", "--budget", "1h", "--output", "acme/swept")
    given = ("sweep", "acme/tiny-encoder", *how, *search, *settings)
    planned = json.loads(run_cli(*given, "--dry-run", "--format", "json", home=home).stdout)
    assert [trial["learning_rate"] for trial in planned["trials"]] == [2e-3, 3e-3, 4e-3, 5e-3, 1e-9]
    assert (planned["budget_seconds"], planned["prune"]) == (3600, "median")
    shown = run_cli(*given, home=home).stdout
    assert shown.split()[:4] == ["trial", "job", "state", "learning_rate"]
    assert "above the median" in shown
    with bedplate.connect(home=home) as ws:
        [sweep] = ws.jobs.list(kind="sweep")
        table = sweep.result["trials"]
        assert [line["state"] for line in table] == ["succeeded"] * 4 + ["pruned"]
        hopeless = ws.jobs.get(table[4]["job"])
        assert (hopeless.state, hopeless.data["error"]["code"]) == ("cancelled", "pruned")
        evaluations = [line for line in hopeless.metrics() if "eval_loss" in line]
        assert 2 <= len(evaluations) < 60, "it was not trained to its end"
        assert [model.ref for model in ws.models.list() if model.ref.startswith("acme/swept")] == ["acme/swept:1"]
        assert sweep.report.data["model"] == sweep.model.ref == "acme/swept:1"
        assert sweep.model.data["lineage"]["job"] == sweep.result["best"]["job"]
        assert 0 < len([*sweep.report.rows()]) == sweep.report.data["data"]["rows"]
        left = [path for line in table for path in (home / "jobs" / line["job"]).glob("predictions-*")]
        assert left == [], "rows of trials are kept once, with the sweep's report"
        assert sweep.result["best"]["metric"] == min(line["metric"] for line in table[:4])
    run_cli("jobs", "export", sweep.id, "--to", "tensorboard", "--output", str(tmp_path / "events"), home=home)
    assert {path.name for path in (tmp_path / "events" / sweep.id).iterdir() if path.is_dir()} == {
        line["job"] for line in table
    }
    done = run_cli("jobs", "export", sweep.id, "--to", "mlflow", "--output", str(tmp_path / "store"), home=home)
    assert "mlflow ui --backend-store-uri" in done.stderr
    assert (tmp_path / "store" / "mlflow.db").stat().st_size > 0
