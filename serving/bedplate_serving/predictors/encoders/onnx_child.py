"""The process that makes the ONNX graph of a text encoder; onnx_making.py starts it.

    python -m bedplate_serving.predictors.encoders.onnx_child PARENT MODEL TASK DERIVED

It exits with 0 once DERIVED holds a graph that is valid here (onnx_graph.py) and answered as the padded pass of torch
does; else with 1 and one line on stderr. It gives way to other processes and dies with PARENT, the process that started
it: both are settled before torch is imported, which takes seconds.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch

import ctypes
import signal
import sys
from pathlib import Path

from bedplate_registry.errors import BedplateError

__all__ = ["main"]

PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    parent, model, task, derived = sys.argv[1:] if arguments is None else arguments
    if not _dies_with(int(parent)):
        return 1
    os.nice(5)  # a third of what others get: a replica under load wants its graph soon
    from bedplate_serving.predictors.encoders.onnx_export import export

    try:
        export(Path(model), task, Path(derived))
    except BedplateError as error:
        print(error.message, file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - the process's outer edge: whatever a library does ends as a line
        print(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}", file=sys.stderr)
    else:
        return 0
    return 1


def _dies_with(parent: int) -> bool:
    """False where the parent is gone already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


if __name__ == "__main__":
    sys.exit(main())
