"""A worker as the platform starts one, for tests: python -m trainer_worker REQUEST.json [--resume]

Figures go to metrics.jsonl beside the request, the result to result.json.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.launch import leave


class FileReporter:
    """Appends figures to a file; slows each step down, so that a test can kill the worker between two."""

    def __init__(self, folder: Path, seconds_per_step: float) -> None:
        self._path, self._pause = folder / "metrics.jsonl", seconds_per_step

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        if phase == "train":
            time.sleep(self._pause)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def message(self, text: str) -> None:
        print(text, flush=True)


def main(path: str, *flags: str) -> None:
    spec = json.loads(Path(path).read_text())
    pause = spec.pop("seconds_per_step", 0.0)
    folder = Path(path).parent
    result = finetune(FinetuneRequest.from_json(spec), FileReporter(folder, pause), resume="--resume" in flags)
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result.to_json()))
    leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
