"""Rows per second of one process and of several that train one model together, with as many rows a step in all.

Processes are started as a job starts them. They divide the cores of this machine between them, so on a machine that
one process fills the most to be had is what one has.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_speed import subject_of

from bedplate_trainers.messages import FinetuneRequest

__all__ = ["measure_scaling"]

LOGS = 10  # steps from one figure to the next, of which the first is where the time begins


def measure_scaling(request: FinetuneRequest, steps: int, rounds: int, processes: int = 2) -> dict[str, Any]:
    """Medians over rounds in turns, on the CPU, and of the ratios of several processes to one."""
    plan = subject_of(replace(request, device="cpu"), steps).plan
    rows, steps = int(plan.settings.per_device_train_batch_size), int(plan.settings.max_steps)
    counts = (1, processes)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(rounds):
        for count in counts if turn % 2 == 0 else reversed(counts):
            rates[count].append(_rate(request, steps, rows, count))
    ratio = statistics.median(many / one for one, many in zip(rates[1], rates[processes], strict=True))
    found = {str(count): round(statistics.median(rates[count]), 1) for count in counts}
    return {"rows_per_step": rows, "steps": steps, "samples_per_second": found, "ratio": round(ratio, 3)}


def _rate(request: FinetuneRequest, steps: int, rows: int, processes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        asked = replace(
            request,
            validation=None,
            test=None,
            settings=request.settings
            | {"max_steps": steps, "per_device_train_batch_size": rows // processes, "logging_steps": LOGS},
            work_dir=Path(folder) / "work",
            output_dir=Path(folder) / "model",
            device="cpu",
            processes=processes,
        )
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(asked.to_json()), encoding="utf-8")
        return _steps_per_second(file) * rows


def _steps_per_second(request: Path) -> float:
    """Told by when the figures of training come."""
    command = [sys.executable, "-m", "bedplate_trainers.standalone", str(request)]
    moments: dict[int, float] = {}
    with (
        (request.parent / "errors").open("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                moments.setdefault(json.loads(line)["step"], time.perf_counter())
        if process.wait() != 0:
            errors.seek(0)
            sys.exit(errors.read())
    first, last = min(moments), max(moments)
    return (last - first) / (moments[last] - moments[first])
