"""A fine-tune that is done again from its job comes to the same model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bedplate
from harness import bedplate_home, run_cli, write_messages

FIGURES = ("loss", "learning_rate", "grad_norm", "eval_loss", "eval_accuracy")


@pytest.fixture
def home(stock: Path) -> Iterator[Path]:
    with bedplate_home(stock) as home:
        yield home


def told(home: Path, *arguments: str) -> Any:
    return json.loads(run_cli(*arguments, "--format", "json", home=home).stdout)


def logged(job: Any) -> list[dict[str, Any]]:
    """What the training came to at each step, and not how long it took."""
    return [{name: line[name] for name in ("step", *FIGURES) if name in line} for line in job.metrics()]


@pytest.mark.timeout(400)
def test_from_job_repeats_a_fine_tune_to_the_last_digit_or_with_changes(home: Path, tmp_path: Path) -> None:
    rows = write_messages(tmp_path / "rows.csv", 60)
    how = ("--task", "text-classification", "--train", str(rows), "--map", "sentence1=text", "--map", "label=intent")
    settings = ("--set", "max_steps=6", "--set", "logging_steps=1", "--output", "acme/again")
    told(home, "finetune", "acme/tiny-encoder", *how, *settings, "--need", "cores=1", "--need", "preemptible=true")
    rows.unlink()
    with bedplate.connect(home=home) as ws:
        [first] = ws.jobs.list(kind="finetune")
        told(home, "finetune", "--from-job", first.id)
        again, _ = ws.jobs.list(kind="finetune")
        assert again.data["spec"]["train"]["sha256"] == first.data["spec"]["train"]["sha256"]
        assert again.data["spec"]["settings"] == first.data["spec"]["settings"]
        assert again.data["spec"]["needs"] == {"cores": 1, "preemptible": True}
        assert (again.data["demand"]["cores"], again.data["preemptible"]) == (1, True)
        assert logged(again) == logged(first) != []
        assert again.result["test_metrics"] == first.result["test_metrics"]
        [mine, theirs] = ([*job.report.rows()] for job in (first, again))
        assert mine == theirs
        assert len(mine) == first.result["rows"]["test"] > 0
        assert len({row["row"] for row in mine}) == len(mine)
        one, two = (
            {file["path"]: file["sha256"] for file in ws.models.get(job.result["model"]).files()}
            for job in (first, again)
        )
        assert one["model.safetensors"] == two["model.safetensors"]

    changed = ("--set", "learning_rate=0.001", "--output", "acme/other")
    plan = told(home, "finetune", "--from-job", first.id, *changed, "--dry-run")
    assert (plan["output"], plan["settings"]["learning_rate"], plan["settings"]["max_steps"]) == ("acme/other", 1e-3, 6)
    refused = run_cli("finetune", "--from-job", "import-00000000", home=home, check=False)
    assert (refused.returncode, "There is no job 'import-00000000'" in refused.stderr) == (1, True)
