"""Load a model that is not published yet and have it answer once, in a caged process: no network, no tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bedplate.workers.caged_child import run_caged
from bedplate_registry.models import ModelFacts

__all__ = ["load_check"]

TIMEOUT_SECONDS = 900


def load_check(
    folder: Path, facts: ModelFacts, *, device: str = "auto", registry: Path | None = None
) -> dict[str, Any]:
    """The request and answer of one sample. Raises Refused where the model does not load, hangs or dies.

    What it loads cannot change `registry`, which is given for a stranger's model.
    """
    arguments = [str(folder), "--device", device, *(("--task", facts.task) if facts.task else ())]
    answer = run_caged(
        "bedplate_serving.predictors.check",
        arguments,
        failed="The model does not load",
        code="load-failed",
        timeout_seconds=TIMEOUT_SECONDS,
        walls=[f"--read-only={registry}"] if registry else [],
    )
    sample: dict[str, Any] = answer["sample"]
    return sample
