"""What a run will take, measured by a few real steps on its own rows and device before it begins.

    a few of the longest rows -> the longest step, whole -> a usual one, timed -> a batch to judge by -> Forecast

The weights are put back bit by bit, the optimizer is emptied, and random numbers go on from where they were: the run is
the same as without. Where the device has no memory for a step, the ladder gives way here, and not after hours.
"""

from __future__ import annotations

import gc
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from bedplate_registry.errors import BedplateError, NoRoom
from bedplate_registry.limits import limits
from bedplate_registry.progress import Reporter

from .ladder import Ladder, out_of_memory
from .sampling import deal

__all__ = ["Forecast", "Memory", "check_disk", "estimated_checkpoint", "forecast_of", "is_worth_it", "raw_optimizer"]

WORTH = 0.05  # of the run, in tokens: a pre-flight costs no more
PROBE_SHARE = 4  # the first step has a quarter of the rows
FORWARD_SHARE = 1 / 3  # of the time of a step, where judging was not timed


@dataclass(frozen=True)
class Forecast:
    """What the whole run takes, evaluations included."""

    seconds: float
    seconds_per_step: float
    steps: int
    memory_bytes: int  # the most at a time, of the device that it trains on
    memory_limit_bytes: int
    checkpoint_bytes: int
    disk_bytes: int  # of all checkpoints and the model
    disk_free_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"Forecast: {_duration(self.seconds)} for {self.steps:,} steps ({self.seconds_per_step:.2g} s each);"
            f" {_size(self.memory_bytes)} of {_size(self.memory_limit_bytes)} of memory;"
            f" {_size(self.disk_bytes)} of disk, where {_size(self.disk_free_bytes)} are free."
        )


def is_worth_it(trainer: Any) -> bool:
    """Whether the measured steps are a small part of the run."""
    lengths, rows = trainer.train_dataset.lengths, trainer.ladder.step_rows
    measured = rows * (1 + 1 / PROBE_SHARE) * int(lengths.max()) + rows * float(np.median(lengths))
    return bool(measured <= WORTH * _tokens_to_train(trainer))


def estimated_checkpoint(trainer: Any) -> int:
    """Bytes of a checkpoint with the two moments of Adam, where no step was taken to see."""
    trained = [value for value in trainer.model.parameters() if value.requires_grad]
    return _bytes(trainer.model.state_dict().values()) + 2 * _bytes(trained)


def check_disk(trainer: Any, checkpoint_bytes: int) -> tuple[int, int]:
    """Bytes of disk that the run takes, and that are free. Raises NoRoom where they are too few.

    A new checkpoint is written before an old one goes, and the model is written while they are there.
    """
    limit = trainer.flow.settings.save_total_limit + 1
    needed = limit * checkpoint_bytes + _bytes(trainer.model.state_dict().values())
    free = shutil.disk_usage(trainer.args.output_dir).free
    if needed > free:
        raise NoRoom(
            f"The run needs {_size(needed)} of disk for {limit} checkpoints and the model, and {_size(free)} are free.",
            hint="Make room on the disk that holds BEDPLATE_HOME, or set save_total_limit lower"
            f" (it is {limit - 1}; a checkpoint takes {_size(checkpoint_bytes)}).",
        )
    return needed, free


def forecast_of(trainer: Any, reporter: Reporter | None) -> Forecast:
    """Takes a few steps with the trainer's prepared model and optimizer, and leaves everything as it was.

    Raises NoRoom, and BedplateError `out-of-memory` where even the last rung of the ladder does not fit.
    """
    lengths, rows = np.asarray(trainer.train_dataset.lengths), trainer.ladder.step_rows
    longest = [int(row) for row in np.argsort(-lengths, kind="stable")[:rows]]
    usual = [int(row) for row in np.argsort(np.abs(lengths - np.median(lengths)), kind="stable")[:rows]]
    memory = Memory(trainer.args.device)
    with _left_as_it_was(trainer) as copied_bytes:
        probe = longest[: max(1, trainer.ladder.micro_batch // PROBE_SHARE)]
        trainer.try_step(probe)
        states = _bytes(value for state in raw_optimizer(trainer).state.values() for value in state.values())
        checkpoint = _bytes(trainer.model.state_dict().values()) + states
        disk, free = check_disk(trainer, checkpoint)
        _take_a_rung_that_fits(trainer, longest, probe, memory, copied_bytes)
        memory.start()
        seconds = [_timed(trainer, step) for step in (longest, usual)]
        judging = _judging_seconds(trainer, sum(seconds) / _tokens(lengths, longest, usual))
        peak = memory.peak() - (copied_bytes if memory.is_host else 0)
    total = _tokens_to_train(trainer) * sum(seconds) / _tokens(lengths, longest, usual)
    found = Forecast(
        seconds=round(total + judging, 3),
        seconds_per_step=round(total / trainer.state.max_steps, 6),
        steps=trainer.state.max_steps,
        memory_bytes=peak,
        memory_limit_bytes=memory.limit(),
        checkpoint_bytes=checkpoint,
        disk_bytes=disk,
        disk_free_bytes=free,
    )
    if reporter is not None:
        reporter.message(str(found))
    return found


# --- memory


class Memory:
    """The memory of the device that a run trains on: that of this process on a CPU, that of the card on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.is_host = device.type == "cpu"

    def start(self) -> None:
        """`peak` counts from here."""
        gc.collect()
        if self.is_host:
            _reset_high_water()
        else:
            torch.cuda.reset_peak_memory_stats(self._device)

    def now(self) -> int:
        if self.is_host:
            return int(psutil.Process().memory_info().rss)
        return int(torch.cuda.memory_allocated(self._device))

    def held(self) -> int:
        """What nobody else can have: with what torch keeps of a card for later."""
        return self.now() if self.is_host else int(torch.cuda.memory_reserved(self._device))

    def peak(self) -> int:
        if self.is_host:
            return _high_water()
        return int(torch.cuda.max_memory_reserved(self._device))

    def limit(self) -> int:
        """What this process can have in all: what it has, and what is free."""
        if not self.is_host:
            free, _ = torch.cuda.mem_get_info(self._device)
            return int(free) + int(torch.cuda.memory_reserved(self._device))
        available = psutil.virtual_memory().available + self.now()
        _, allowed = limits()
        return int(min(available, allowed or available))


def _take_a_rung_that_fits(trainer: Any, longest: list[int], probe: list[int], memory: Memory, aside: int) -> None:
    """On a CPU the kernel kills whoever takes too much: there it is worked out from few rows what many will take."""
    if not memory.is_host:
        return
    ladder: Ladder = trainer.ladder
    base, each = _bytes_each(trainer, probe, memory)
    while base + each * min(len(longest), ladder.micro_batch) > (limit := memory.limit() + aside):
        keeps = ladder.rung.keeps
        try:
            trainer.step_down()
        except BedplateError as last:
            raise out_of_memory(
                f"One row of the longest needs about {_size(base + each)} of memory, and {_size(limit)} can be had."
            ) from last
        if ladder.rung.keeps != keeps:
            base, each = _bytes_each(trainer, probe[:1], memory)


def _bytes_each(trainer: Any, probe: list[int], memory: Memory) -> tuple[int, float]:
    """What the process holds before a step, and what each row of these takes beside it."""
    memory.start()
    base = memory.now()
    trainer.try_step(probe)
    return base, max(0, memory.peak() - base) / len(probe)


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


def _reset_high_water() -> None:
    """Where the kernel does not let us, the mark stays at the highest of all, which errs on the safe side."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


# --- leaving no trace


@contextmanager
def _left_as_it_was(trainer: Any) -> Iterator[int]:
    """Gives the bytes of the copy of the weights, which is kept in host memory."""
    model, optimizer = trainer.model, raw_optimizer(trainer)
    kept = {name: value.detach().to("cpu", copy=True) for name, value in _changing(model)}
    was_training, python, of_numpy = model.training, random.getstate(), np.random.get_state()
    with torch.random.fork_rng([] if trainer.args.device.type == "cpu" else [trainer.args.device]):
        try:
            yield _bytes(kept.values())
        finally:
            with torch.no_grad():
                for name, value in _changing(model):
                    value.copy_(kept[name])
            model.zero_grad()
            model.train(was_training)
            optimizer.state.clear()
            random.setstate(python)
            np.random.set_state(of_numpy)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _changing(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What a step may change: trained weights, and buffers."""
    yield from ((name, value) for name, value in model.named_parameters() if value.requires_grad)
    yield from model.named_buffers()


def raw_optimizer(trainer: Any) -> torch.optim.Optimizer:
    """Under the wrapper that scales losses and counts steps."""
    found: torch.optim.Optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    return found


# --- time


def _timed(trainer: Any, rows: list[int]) -> float:
    start = time.perf_counter()
    trainer.try_step(rows)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _judging_seconds(trainer: Any, seconds_a_token: float) -> float:
    """Of all evaluations. One batch is timed where there are many."""
    judge, arguments = trainer.judge, trainer.args
    if judge is None or arguments.eval_strategy == "no":
        return 0.0
    each = trainer.state.eval_steps if arguments.eval_strategy == "steps" else trainer.flow.steps_per_epoch
    times = max(1, int(trainer.state.max_steps // max(1, each)))
    batches = deal(judge.lengths, arguments.eval_batch_size, arguments.world_size, arguments.process_index)
    tokens = float(np.sum(judge.lengths)) / arguments.world_size
    if len(batches) * times * WORTH < 1:
        a_token = seconds_a_token * FORWARD_SHARE
    else:
        start = time.perf_counter()
        trainer.judge_batch(judge, batches[0])
        a_token = (time.perf_counter() - start) / _tokens(judge.lengths, batches[0])
    return float(tokens * a_token * times)


def _tokens_to_train(trainer: Any) -> float:
    """Of one process, in the whole run."""
    an_epoch = float(np.sum(trainer.train_dataset.lengths)) / trainer.args.world_size
    return float(an_epoch * trainer.state.max_steps / trainer.flow.steps_per_epoch)


def _tokens(lengths: Any, *steps: Sequence[int]) -> float:
    """With what pads each step to its longest row."""
    return float(sum(len(rows) * int(np.asarray(lengths)[list(rows)].max()) for rows in steps))


def _bytes(tensors: Any) -> int:
    return sum(int(value.nbytes) for value in tensors if isinstance(value, torch.Tensor))


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
