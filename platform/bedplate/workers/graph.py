"""Make the ONNX graph of a text encoder, in the job's folder. The owner moves it to where replicas read it."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from bedplate.home import Home
from bedplate.job_folder import JobFolder, JobReporter, run_worker
from bedplate.kinds.graph import MADE
from bedplate_registry.errors import Refused
from bedplate_registry.registry import Registry
from bedplate_serving.predictors.encoders.graph_folder import key_of
from bedplate_serving.predictors.encoders.onnx_export import export

__all__ = ["work"]

log = logging.getLogger("bedplate.job")

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
        return {"reason": error.message}
    except (OSError, MemoryError):  # of this machine at this moment, and not of the model
        raise
    except Exception as error:  # whatever a library says of a model: it will say so again
        log.exception("no graph can be made")
        return {"reason": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"}
    reporter.progress("export", 1, 1)
    return {}


if __name__ == "__main__":
    run_worker(work)
