"""Make the ONNX graph of a text encoder, in the job's folder. The owner moves it to where replicas read it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from bedplate.home import Home
from bedplate.job_folder import JobFolder, JobReporter, run_worker
from bedplate.kinds.graph import MADE
from bedplate_registry.errors import Refused
from bedplate_registry.registry import Registry
from bedplate_serving.predictors.encoders.graph_folder import NO_GRAPH, key_of
from bedplate_serving.predictors.encoders.onnx_export import export

__all__ = ["work"]

NICENESS = 5  # a third of what others get: a replica under load wants its graph soon


def work(folder: JobFolder, reporter: JobReporter, secrets: dict[str, Any]) -> dict[str, Any]:
    os.nice(NICENESS)
    spec = folder.spec
    registry = Registry(Home(Path(os.environ["BEDPLATE_HOME"])).registry)
    model = registry.models.files_dir(registry.models.get(spec["model"]))
    made = folder.path / MADE
    shutil.rmtree(made, ignore_errors=True)  # of an attempt that was ended
    made.mkdir()
    reporter.progress("export", 0, 1)
    try:
        export(model, spec["task"], made, key_of(spec["digest"], spec["task"]))
    except Refused as error:
        if error.code != NO_GRAPH:  # of this machine at this moment, perhaps: the job fails, and can be tried again
            raise
        return {"reason": error.message}
    reporter.progress("export", 1, 1)
    return {}


if __name__ == "__main__":
    run_worker(work)
