"""Fine-tune one model, one process a device, several of them started by accelerate; the first one reports and saves."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bedplate.data_refs import DataRef
from bedplate.job_folder import JobFolder, JobReporter, run_worker
from bedplate.processes import die_with_parent
from bedplate.row_files import rows_file
from bedplate.spawn import Held as HeldWorker
from bedplate.workers.load_check import load_check
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelDraft, ModelVersion, Source
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_trainers.finetune import finetune
from bedplate_trainers.messages import AUTO, DataFile, FinetuneRequest, FinetuneResult, Held
from bedplate_trainers.stored_rows import keep_rows_in

__all__ = ["work"]


def work(folder: JobFolder, reporter: JobReporter, secrets: dict[str, Any]) -> dict[str, Any]:
    die_with_parent()  # the launcher of several of us, or the supervisor, with which that dies too
    _leave_if_orphaned(folder, reporter.epoch)
    keep_rows_in(folder.path)
    spec = folder.spec
    registry = Registry(Path(os.environ["BEDPLATE_HOME"]) / "registry")
    base = registry.models.get(spec["model"])
    is_first = os.environ.get("RANK", "0") == "0"
    request = FinetuneRequest(
        task=spec["task"],
        model_dir=registry.models.files_dir(base),
        train=_file(registry, spec["train"]),
        validation=_held(registry, spec["validation"]),
        test=_held(registry, spec["test"]),
        columns=spec["columns"],
        settings=spec["settings"],
        work_dir=folder.checkpoints,
        output_dir=folder.path / "model",
        device=spec["device"],
        processes=spec["processes"],
        model_name=str(base.name),
        rows_file=rows_file(folder.path, reporter.epoch),
    )
    result = finetune(request, reporter if is_first else SILENT, resume=reporter.epoch > 1)
    if result is None:  # not the first process
        return {}
    draft = _draft(registry, folder, base, request, result, reporter)
    return {
        "draft": draft.to_json(),
        "report": _report(registry, spec, result),
        "metrics": result.metrics,
        "rows": {"train": result.train_rows, "validation": result.validation_rows, "test": result.test_rows},
        "steps": result.steps,
        "best_step": result.best_step,
        "seconds": result.seconds,
        "samples_per_second": result.samples_per_second,
        "changed": result.resolved.get("changed", {}),
        "forecast": result.forecast,
    }


def _leave_if_orphaned(folder: JobFolder, epoch: int) -> None:
    """The supervisor may have been killed while we imported torch, before we could ask to die with our parent."""
    held = HeldWorker(folder.path, epoch)
    for _ in range(50):
        if held.is_alive:
            return
        time.sleep(0.1)  # it may be about to write that it started
    os._exit(1)


def _draft(
    registry: Registry,
    folder: JobFolder,
    base: ModelVersion,
    request: FinetuneRequest,
    result: FinetuneResult,
    reporter: JobReporter,
) -> ModelDraft:
    """The trained folder as blobs and a draft, with where it comes from: enough to make it again."""
    spec = folder.spec
    is_adapter = (request.output_dir / "adapter_config.json").is_file()
    prepared = prepare_folder_import(
        registry,
        request.output_dir,
        name=Name.parse(spec["output"]),
        task=spec["task"],
        base=base.ref if is_adapter else None,
        check=lambda view, facts: load_check(view, facts, device=spec["device"]),
        reporter=reporter,
    )
    lineage = {
        **prepared.lineage,
        "job": folder.path.name,
        "base": base.ref,
        "base_digest": base.digest,
        "base_source": vars(base.source),
        "data": {part: spec[part] for part in ("train", "validation", "test")},
        "columns": spec["columns"],
        "settings": result.resolved,
        "metrics": result.metrics,
        "test_metrics": (result.report or {}).get("metrics", {}),
        "packages": result.packages,
    }
    source = Source("job", folder.path.name)
    facts = replace(prepared.facts, license=base.facts.license)  # a fine-tune inherits its base's license
    return ModelDraft(Name.parse(spec["output"]), prepared.files, facts, source, lineage, prepared.sample)


def _report(registry: Registry, spec: dict[str, Any], result: FinetuneResult) -> dict[str, Any] | None:
    if result.report is None:
        return None
    held = spec["test"] if isinstance(spec["test"], dict) else spec["train"]
    class_names = result.resolved["values"].get("class_names")
    about = {**held, **DataRef.from_json(held).read_as(registry, spec["task"], spec["columns"], class_names)}
    if held is spec["train"]:
        about |= {"split": "test", "split_seed": spec["settings"]["split_seed"]}
    return {**result.report, "baselines": result.baselines, "data": {**about, **result.report.get("data", {})}}


def _file(registry: Registry, data: dict[str, Any]) -> DataFile:
    ref = DataRef.from_json(data)
    return DataFile(ref.path(registry), ref.format)


def _held(registry: Registry, data: Any) -> Held:
    return _file(registry, data) if isinstance(data, dict) else (AUTO if data == "auto" else None)


if __name__ == "__main__":
    run_worker(work)
