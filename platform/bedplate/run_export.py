"""Runs written down for another tool, in a folder of the caller's. No server is asked: nothing leaves the machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from bedplate.exported_runs import Run
from bedplate_registry.errors import Refused, nearest

__all__ = ["TOOLS", "check_tool", "export_runs"]

TOOLS = ("tensorboard", "mlflow")


def check_tool(tool: str) -> None:
    """Raises Refused for one that is not known, and for one that is not installed."""
    if tool not in TOOLS:
        raise Refused(f"Runs are not written for {tool!r}.", hint=nearest(tool, TOOLS), code="unknown-tool")
    if importlib.util.find_spec(tool) is None:
        raise Refused(
            f"{tool} is not installed here.", hint="Install it with: pip install 'bedplate[tracking]'", code="no-tool"
        )


def export_runs(tool: str, runs: Sequence[Run], folder: str | Path) -> Path:
    """Write them for `tensorboard` or `mlflow`. Raises Refused; Conflict where one of them is there already."""
    check_tool(tool)
    target = Path(folder).expanduser()
    if tool == "tensorboard":
        from bedplate.tensorboard_files import write_event_files

        write_event_files(runs, target)
    else:
        from bedplate.mlflow_store import write_mlflow_store

        write_mlflow_store(runs, target)
    return target
