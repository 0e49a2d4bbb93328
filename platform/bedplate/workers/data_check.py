"""Check data for a task, and write repaired copies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bedplate.data_refs import DataRef
from bedplate.job_folder import JobFolder, JobReporter, run_worker
from bedplate.workers.token_counts import TokenCounts
from bedplate_registry.datachecks import Checked, Measure, Mender, Report, Table, check_rows
from bedplate_registry.errors import Refused
from bedplate_registry.registry import Registry
from bedplate_registry.tables import count_rows

__all__ = ["work"]

Check = Callable[..., Report]


def work(folder: JobFolder, reporter: JobReporter, secrets: dict[str, Any]) -> dict[str, Any]:
    spec = folder.spec
    registry = Registry(Path(os.environ["BEDPLATE_HOME"]) / "registry")
    refs = {name: DataRef.from_json(value) for name, value in spec["splits"].items()}
    splits = {name: Table(ref.path(registry), ref.format, ref.images(registry)) for name, ref in refs.items()}
    measure = _measure(registry, spec)
    total = sum(_rows(table) for table in splits.values())

    def check(tables: Mapping[str, Table], on_row: Callable[[Checked], None], phase: str = "check") -> Report:
        return check_rows(
            spec["task"],
            spec["columns"],
            tables,
            class_names=spec["class_names"],
            measure=measure,
            on_row=on_row,
            progress=lambda rows: reporter.progress(phase, rows, max(rows, total), "rows"),
        )

    if spec["names"] is None:
        return {"report": check(splits, lambda checked: None).to_json(), "fixed": None}
    made = folder.path / "fixed"
    shutil.rmtree(made, ignore_errors=True)  # of an attempt that was killed
    made.mkdir()
    with Mender(splits, made) as mender:
        report = check(splits, mender.take)
    fixed = _fixed(registry, refs, splits, report, mender, check)
    shutil.rmtree(made)
    return {"report": report.to_json(), "fixed": fixed}


def _measure(registry: Registry, spec: Mapping[str, Any]) -> Measure | None:
    if not spec["model"]:
        return None
    version = registry.models.get(spec["model"])
    return TokenCounts(registry.models.files_dir(version), spec["limit"])


def _rows(table: Table) -> int:
    """For the bar; what cannot be counted is found soon enough."""
    try:
        return count_rows(table.path, table.format)
    except Refused:
        return 0


def _fixed(
    registry: Registry,
    refs: Mapping[str, DataRef],
    splits: Mapping[str, Table],
    report: Report,
    mender: Mender,
    check: Check,
) -> dict[str, Any]:
    """What was changed, the drafts to publish, and what is found in the data as it is then."""
    broken = {split for finding in report.findings if finding.code == "bad-file" for split in finding.rows}
    left_out = dict.fromkeys(sorted(broken), "The file cannot be read to its end.")
    left_out |= {split: "No row would be left." for split in splits if not (mender.rows[split] or split in broken)}
    written = [split for split in mender.changed_splits if split not in left_out]
    drafts = {split: registry.datasets.draft(mender.paths[split], refs[split].filename) for split in written}
    then = {**splits, **{split: Table(mender.paths[split], splits[split].format) for split in written}}
    after = check(then, lambda checked: None, "check again") if written else report
    return {
        "changes": [change.to_json() for change in mender.changes if change.split in written],
        "rows": {split: mender.rows[split] for split in written},
        "left_out": left_out,
        "drafts": drafts,
        "report": after.to_json(),
    }


if __name__ == "__main__":
    run_worker(work)
