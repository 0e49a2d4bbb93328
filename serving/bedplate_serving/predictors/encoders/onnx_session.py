"""The engine on ONNX Runtime: a packed graph on a CPU, several batches at once, each on one core.

That serves more under load than one batch on all cores. A batch that is alone in the engine runs on all of them, which
answers a lone caller sooner. Both sessions map the same weights, so the second costs a few megabytes.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from bedplate_registry.errors import Refused
from bedplate_registry.safe_json import read_json
from bedplate_serving.predictors.encoders.engines import Rows, Window, agree
from bedplate_serving.predictors.encoders.graph_folder import graph_key, reason_for_none, stamp
from bedplate_serving.predictors.encoders.onnx_graph import Graph, find_graph
from bedplate_serving.predictors.encoders.packed_row import pack
from bedplate_serving.predictors.refusing import refusing

__all__ = ["TOLERANCE", "OnnxEngine", "await_engine", "open_alone", "open_engine", "session_options"]

log = logging.getLogger("bedplate_serving.predictors")

TOKEN_BUDGET = 256  # beyond it a row gains nothing, and attention over the whole of it takes the square of its length
ROW_TOKENS = 512  # a larger batch is run as several rows
TOLERANCE = 1e-4  # of logits, against torch's padded pass
LOOK_SECONDS = 1.0  # between two looks for a graph that is being made


class OnnxEngine:
    """See engines.EncoderEngine."""

    name = "onnxruntime"
    token_budget = TOKEN_BUDGET

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        self.graph = graph
        self.workers = threads or int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count() or 1  # as torch does
        self._narrow = _session(graph, 1)
        self._wide = _session(graph, self.workers) if self.workers > 1 else self._narrow
        self._inputs = [one.name for one in self._narrow.get_inputs()]
        self._lock = threading.Lock()
        self._running = 0

    def run(self, batch: Sequence[Window]) -> list[Rows]:
        with self._session() as session:
            return [row for part in _parts(batch) for row in self._run(session, part)]

    def _run(self, session: Any, windows: Sequence[Window]) -> list[Rows]:
        row = pack(windows, self.graph.facts.first_position, pooled=self.graph.is_pooled)
        [outputs] = session.run(None, {name: getattr(row, name) for name in self._inputs})
        return row.split(cast(Rows, outputs))

    @contextmanager
    def _session(self) -> Iterator[Any]:
        with self._lock:
            is_alone = self._running == 0
            self._running += 1
        try:
            yield self._wide if is_alone else self._narrow
        finally:
            with self._lock:
                self._running -= 1

    @property
    def is_exact(self) -> bool:
        """Whether its samples are answered as the padded pass of torch answered them, by either session."""
        samples, expected = self.graph.samples, self.graph.expected
        return all(agree(self._run(one, samples), expected, TOLERANCE) for one in (self._narrow, self._wide))


def open_engine(derived: Path, model: Path, task: str, threads: int | None = None) -> OnnxEngine | None:
    """The engine of the graph in `derived`, where there is one of this model and it answers as it should."""
    found = None
    with _passing_over_damage(derived):
        graph = find_graph(derived, model, task)
        if graph is not None:
            engine = OnnxEngine(graph, threads)
            if not engine.is_exact:
                raise Refused(f"The ONNX graph in {derived} does not answer as its model does.")
            found = engine
    return found


def open_alone(
    derived: Path, model: Path, task: str, threads: int | None = None
) -> tuple[OnnxEngine, Any] | tuple[None, None]:
    """The same with its tokenizer, for who does not load the model itself: its labels are those of config.json."""
    engine = open_engine(derived, model, task, threads)
    with _passing_over_damage(derived):
        if engine is not None:
            _check_labels(engine.graph.facts.labels, model)
            return engine, engine.graph.tokenizer()
    return None, None


@contextmanager
def _passing_over_damage(derived: Path) -> Iterator[None]:
    """Whatever is wrong with a graph goes to the log: torch can answer."""
    try:
        with refusing(f"The ONNX graph in {derived}"):
            yield
    except Refused as error:
        log.warning("%s It is not used: remove that folder, and deploy again.", error.message)


def _check_labels(labels: Sequence[str], model: Path) -> None:
    """As transformers reads them: without names they are counted."""
    named = read_json(model / "config.json", "config.json").get("id2label")
    named = named or {str(number): f"LABEL_{number}" for number in range(len(labels))}
    if [*labels] != [str(named[str(number)]) for number in range(len(named))]:
        raise ValueError("it has other labels than its model")


def await_engine(derived: Path, model: Path, task: str, threads: int | None = None) -> OnnxEngine | None:
    """The engine of the graph that another process puts into `derived`, once it is there; None once that folder says
    that none can be made. It waits as long as that takes: the job may stand far back in line.
    """
    seen: object = None
    while True:
        now = stamp(derived)
        if now != seen:
            seen = now
            reason = reason_for_none(derived, graph_key(derived, model, task))
            if reason is not None:
                log.info("there is no ONNX graph: %s", reason)
                return None
            engine = open_engine(derived, model, task, threads)
            if engine is not None:
                return engine
        time.sleep(LOOK_SECONDS)


def session_options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan of memory for every length ever seen: 70 MB more, no sooner an answer
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores are others' as well
    return options


def _session(graph: Graph, threads: int) -> Any:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = session_options(threads)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it was optimized when made
    return onnxruntime.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])


def _parts(batch: Sequence[Window]) -> Iterator[list[Window]]:
    part: list[Window] = []
    tokens = 0
    for window in batch:
        if part and tokens + window.length > ROW_TOKENS:
            yield part
            part, tokens = [], 0
        part.append(window)
        tokens += window.length
    if part:
        yield part
