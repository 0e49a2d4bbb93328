"""Has the graph of an encoder made (onnx_graph.py) by a process of its own (onnx_child.py): torch, the model and its
copies take much memory, all of which ends with that process.

Of several replicas of a model one starts that process; the others wait for it here, without torch, and find the graph.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bedplate_registry.errors import Unavailable
from bedplate_registry.safetensors_header import read_header
from bedplate_serving.predictors.encoders.memory import free_bytes
from bedplate_serving.predictors.encoders.onnx_graph import find_graph

__all__ = ["make_graph"]

CHILD = "bedplate_serving.predictors.encoders.onnx_child"
MAX_SECONDS = 900  # a large model takes minutes; what takes longer than this hangs, and holds up the others
BASE_BYTES = 600_000_000  # of torch and transformers
WEIGHT_BYTES = 12  # in float32, and held three times over: as the model, as the traced graph, as the optimized one


def make_graph(derived: Path, model: Path, task: str) -> None:
    """Leaves a graph in `derived` that is valid here. Raises Unavailable (no-graph), saying what prevents it, and
    Refused where the files of the model are damaged.
    """
    if not os.access(derived, os.W_OK):
        raise _no_graph(f"{str(derived)!r} cannot be written to")
    with _alone(derived) as lock:
        if find_graph(derived, model, task) is not None:  # another process made it meanwhile
            return
        _check_memory(model)
        _run_child([str(os.getpid()), str(model), task, str(derived)], lock)


@contextmanager
def _alone(derived: Path) -> Iterator[int]:
    """One process at a time. The lock goes on to the child, which may outlive us by a moment."""
    with (derived / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _check_memory(model: Path) -> None:
    files = sorted(model.rglob("*.safetensors"))  # an adapter's, too
    weights = sum(tensor.elements for file in files for tensor in read_header(file, file.name))
    needed, free = BASE_BYTES + WEIGHT_BYTES * weights, free_bytes()
    if free < needed:
        raise _no_graph(f"it takes about {needed >> 20} MiB of memory, of which {free >> 20} MiB are free")


def _run_child(arguments: list[str], lock: int) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", CHILD, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MAX_SECONDS,
            pass_fds=[lock],
        )
    except subprocess.TimeoutExpired:
        raise _no_graph(f"it took longer than {MAX_SECONDS} seconds") from None
    if done.returncode != 0:
        raise _no_graph((done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"])[-1][:300])


def _no_graph(reason: str) -> Unavailable:
    return Unavailable(f"the ONNX graph could not be made: {reason}", code="no-graph")
