"""Makes the ONNX graph of a text encoder by hand, for replicas that are started without a server.

    python -m bedplate_serving.predictors.encoders.make_graph MODEL TASK DERIVED

It exits with 0 once DERIVED, a replica's `derived_dir`, holds the graph; else with 1 and one line on stderr.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch

import shutil
import sys
from pathlib import Path

from bedplate_registry.durable import make_folder, temp_beside
from bedplate_registry.errors import BedplateError
from bedplate_serving.predictors.encoders.graph_folder import NAME, graph_key, put_graph

__all__ = ["main", "make_graph"]


def make_graph(model: Path, task: str, derived: Path) -> None:
    """Leaves the graph in `derived`, in the place of one that was there. Raises Refused where none can be made."""
    from bedplate_serving.predictors.encoders.onnx_export import export

    key = graph_key(derived, model, task)
    made = make_folder(temp_beside(derived / NAME))
    try:
        export(model, task, made, key)
        put_graph(made, derived, key)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 3:
        print("usage: python -m bedplate_serving.predictors.encoders.make_graph MODEL TASK DERIVED", file=sys.stderr)
        return 2
    model, task, derived = given
    try:
        make_graph(Path(model), task, Path(derived))
    except BedplateError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
