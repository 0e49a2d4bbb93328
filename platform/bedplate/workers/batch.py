"""Score a file of rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bedplate.data_refs import DataRef
from bedplate.home import Home
from bedplate.job_folder import JobFolder, JobReporter, run_worker
from bedplate_registry.columns import map_columns
from bedplate_registry.registry import Registry
from bedplate_registry.tables import columns_of
from bedplate_serving.batch import score_file
from bedplate_serving.predictors import load_predictor

__all__ = ["work"]


def work(folder: JobFolder, reporter: JobReporter, secrets: dict[str, Any]) -> dict[str, Any]:
    spec = folder.spec
    home = Home(Path(os.environ["BEDPLATE_HOME"]))
    registry = Registry(home.registry)
    data = DataRef.from_json(spec["input"])
    path = data.path(registry)
    columns = map_columns(spec["task"], columns_of(path, data.format), spec["columns"], need_label=False)
    reporter.progress("load", 0, 1)
    version = registry.models.get(spec["model"])
    predictor = load_predictor(
        registry.models.files_dir(version),
        spec["task"],
        device=spec["device"],
        threads=int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count(),
        derived=home.derived_of(version.digest),
    )
    reporter.progress("load", 1, 1)
    summary = score_file(
        predictor,
        path,
        data.format,
        folder.outputs / spec["output"],
        spec["output_format"],
        columns,
        spec["parameters"],
        reporter,
        error_threshold=spec["error_threshold"],
        state_dir=folder.checkpoints,
        images=data.images(registry),
        store=registry.blobs.root,
    )
    return {
        "output": spec["output"],
        "rows": summary.rows,
        "errors": summary.errors,
        "truncated": summary.truncated,
        "seconds": summary.seconds,
        "model": spec["model"],
    }


if __name__ == "__main__":
    run_worker(work)
