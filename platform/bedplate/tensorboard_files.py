"""Runs as TensorBoard's event files, in a folder of their own each; trials lie in the folder of their sweep.

    DIR/sweep-1a2b3c4d/finetune-5e6f7a8b/events.out.tfevents.…

Look at them with: tensorboard --logdir DIR. What has no clock of its own, which is all that is logged by steps, bears
the time at which its run started.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # type: ignore[import-untyped]
from tensorboard.plugins.text.summary_v2 import text_pb  # type: ignore[import-untyped]
from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]

from bedplate.exported_runs import Run, text_of
from bedplate_registry.errors import Conflict

__all__ = ["write_event_files"]


def write_event_files(runs: Sequence[Run], folder: Path) -> None:
    """Raises Conflict where one of them is there already: its points would be there twice."""
    places = [(run, folder / (run.parent or "") / run.job) for run in runs]
    for run, place in places:
        if place.exists():
            raise Conflict(f"{run.job} is in {folder} already.", hint="Remove its folder, or give another --output.")
    for run, place in places:
        _write(run, place)


def _write(run: Run, place: Path) -> None:
    writer = EventFileWriter(str(place))
    for step, summary in _summaries(run):
        writer.add_event(Event(wall_time=run.started, step=step, summary=summary))
    writer.close()


def _summaries(run: Run) -> Iterable[tuple[int, Any]]:
    yield 0, hparams_pb(dict(run.params), trial_id=run.job, start_time_secs=run.started)
    about = {"name": run.name, "state": run.state, **run.tags}
    yield 0, text_pb("about", "\n".join(["| | |", "|---|---|", *(f"| {key} | {about[key]} |" for key in about)]))
    params = {name: text_of(value) for name, value in run.params.items()}
    yield 0, text_pb("params", "\n".join(["| | |", "|---|---|", *(f"| {key} | {params[key]} |" for key in params)]))
    for point in sorted(run.points, key=lambda point: point.step):
        yield point.step, Summary(value=[Summary.Value(tag=point.name, simple_value=point.value)])
