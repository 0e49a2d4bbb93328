"""Load a model that is not published yet and have it answer once, in a caged process: no network, no tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bedplate.spawn import worker_environment
from bedplate_registry.errors import Refused
from bedplate_registry.models import ModelFacts

__all__ = ["load_check"]

TIMEOUT_SECONDS = 900


def load_check(folder: Path, facts: ModelFacts, *, device: str = "auto") -> dict[str, Any]:
    """The request and answer of one sample. Raises Refused where the model does not load, hangs or dies."""
    argv = [sys.executable, "-m", "bedplate.cage", str(os.getpid()), "--"]
    argv += [sys.executable, "-m", "bedplate_serving.predictors.check", str(folder), "--device", device]
    argv += ["--task", facts.task] if facts.task else []
    try:
        done = subprocess.run(
            argv,
            env=worker_environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise _refused(f"it did not answer within {TIMEOUT_SECONDS} s") from exc
    sys.stderr.write(done.stderr)
    answer = _last_json(done.stdout)
    if done.returncode < 0:
        raise _refused(f"its process was ended by signal {-done.returncode}")
    if answer is None:
        raise _refused((done.stderr.strip().splitlines() or ["it printed no answer"])[-1])
    if not answer.get("ok"):
        error = answer["error"]
        raise Refused(error["message"], hint=error["hint"] or "Nothing was published.", code=error["code"])
    sample: dict[str, Any] = answer["sample"]
    return sample


def _refused(why: str) -> Refused:
    return Refused(
        f"The model does not load: {why}", hint="Nothing was published. The job's log says more.", code="load-failed"
    )


def _last_json(text: str) -> dict[str, Any] | None:
    for line in reversed(text.strip().splitlines()):
        if line.startswith("{"):
            parsed: dict[str, Any] = json.loads(line)
            return parsed
    return None
