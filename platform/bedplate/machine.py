"""What this machine has: cores and memory as far as they are ours, cards by NVML. And a simulated one.

`inventory()` is quick and never raises, whatever the driver does.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock, Thread
from typing import Protocol

import psutil

from bedplate.compute import GIB, Gpu, Inventory
from bedplate.nvml import Cards
from bedplate.spawn import ATTEMPT
from bedplate.torch_wheel import TorchWheel, installed_wheel
from bedplate_registry.errors import BedplateError, Refused
from bedplate_registry.limits import limits

__all__ = ["LocalMachine", "Machine", "MachineForJobs", "SimulatedMachine", "limits", "simulated"]

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # NVML has been seen to hang for good on a broken card
WHEEL_RETRY_SECONDS = 600.0  # an import of torch costs seconds of a core
SIMULATED_CARDS = {"H100": (9, 0), "A100": (8, 0), "T4": (7, 5), "V100": (7, 0)}


class Machine(Protocol):
    """Where jobs and replicas run."""

    def inventory(self) -> Inventory:
        """What there is now. Never raises."""
        ...


class LocalMachine:
    """This machine, as far as this process may use it: by affinity, cgroup limits and CUDA_VISIBLE_DEVICES.

    In a container NVML may name pids of the machine outside, which cannot be judged from in here. They are not counted
    as others: our own workers could not be told from them, and whoever gave the container its cards meant them for us.
    """

    def __init__(
        self,
        home: Path,
        refresh_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        wheel: TorchWheel | None = None,
        environ: Mapping[str, str] | None = None,
        devices: Path = Path("/dev"),
    ) -> None:
        """`wheel`: the installed torch where that is known; else it is asked for once a card is seen."""
        self._home = home
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._visible = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
        self._devices = devices
        self._cards = Cards(self._is_ours)
        self._gpus: tuple[Gpu, ...] = ()
        self._reader: Thread | None = None
        self._wheel = wheel
        self._wheel_asker: Thread | None = None
        self._known: tuple[float, Inventory] | None = None
        self._lock = Lock()

    @property
    def gpu_problem(self) -> str | None:
        """Why no card is seen although the kernel has device files of some; as of the last inventory."""
        has_files = any(path.name.removeprefix("nvidia").isdecimal() for path in self._devices.glob("nvidia*"))
        return self._cards.problem if has_files else None

    def inventory(self) -> Inventory:
        with self._lock:
            now = self._clock()
            if self._known is None or now - self._known[0] >= self._refresh_seconds:
                self._known = (now, self._look())
            inventory = self._known[1]
            return replace(inventory, gpus=tuple(self._judged(gpu) for gpu in inventory.gpus))

    def _look(self) -> Inventory:
        core_limit, memory_limit = limits()
        memory = psutil.virtual_memory()
        total = min(memory.total, memory_limit or memory.total)
        cores = len(os.sched_getaffinity(0))
        gpus = _narrowed(self._read_cards(), self._visible)
        if gpus and self._wheel is None and self._wheel_asker is None:
            self._wheel_asker = Thread(target=self._ask_wheel, name="torch-wheel", daemon=True)
            self._wheel_asker.start()
        return Inventory(min(cores, core_limit or cores), total, min(memory.available, total), gpus)

    def _read_cards(self) -> tuple[Gpu, ...]:
        """Read by a thread, which is left behind if NVML does not come back."""
        patience = 0.0
        if self._reader is None:
            self._reader = Thread(target=self._keep_cards, name="nvml", daemon=True)
            self._reader.start()
            patience = PATIENCE_SECONDS
        self._reader.join(patience)
        if not self._reader.is_alive():
            self._reader = None
            return self._gpus
        self._cards.problem = problem = f"NVML has not answered for {PATIENCE_SECONDS:.0f} seconds"
        return tuple(replace(gpu, problem=problem, remedy="See what nvidia-smi says.") for gpu in self._gpus)

    def _keep_cards(self) -> None:
        self._gpus = self._cards.read()

    def _ask_wheel(self) -> None:
        """Until it is known: what failed once, as for want of memory, may do later."""
        while self._wheel is None:
            try:
                self._wheel = installed_wheel(self._home)
            except (BedplateError, OSError, LookupError, ValueError, TypeError) as exc:
                log.warning("Whether torch knows the cards was not found out: %s", exc)
                time.sleep(WHEEL_RETRY_SECONDS)

    def _judged(self, gpu: Gpu) -> Gpu:
        """With the problem that torch has with it, once that is known."""
        if self._wheel is None or gpu.capability is None or not gpu.is_usable:
            return gpu
        found = self._wheel.problem_with(gpu.capability)
        return gpu if found is None else replace(gpu, problem=found[0], remedy=found[1])

    def _is_ours(self, pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return not _exists(pid)  # gone, or outside of this container: see the class
        except OSError:
            return False
        mark = f"{ATTEMPT}={self._home.resolve()}/".encode()  # it begins with the attempt's folder
        return any(entry.startswith(mark) for entry in environment)


class SimulatedMachine:
    """A machine that has whatever it is told to have: for tests, and for work on the console without cards."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    @property
    def gpu_problem(self) -> str | None:
        return None

    def inventory(self) -> Inventory:
        return self._inventory

    def set(self, inventory: Inventory) -> None:
        self._inventory = inventory


class MachineForJobs:
    """The machine as jobs may use it: the last `kept_gpus` of its cards that can be used are kept for endpoints."""

    def __init__(self, machine: Machine, kept_gpus: int) -> None:
        self._machine, self._kept_gpus = machine, kept_gpus

    def inventory(self) -> Inventory:
        inventory, kept = self._kept()
        return _without(inventory, kept, "kept for endpoints (BEDPLATE_ENDPOINT_GPUS)")

    def for_endpoints(self) -> Inventory:
        """The cards that are kept for endpoints, as if there were no others."""
        inventory, kept = self._kept()
        return _without(inventory, {gpu.index for gpu in inventory.gpus} - kept, "not kept for endpoints")

    def _kept(self) -> tuple[Inventory, set[int]]:
        inventory = self._machine.inventory()
        usable = [gpu.index for gpu in inventory.usable_gpus]
        return inventory, set(usable[max(0, len(usable) - self._kept_gpus) :])


def _without(inventory: Inventory, cards: set[int], problem: str) -> Inventory:
    gpus = (replace(gpu, problem=problem) if gpu.index in cards else gpu for gpu in inventory.gpus)
    return replace(inventory, gpus=tuple(gpus))


def simulated(cards: str = "", *, cores: int = 8, memory_gb: int = 64) -> SimulatedMachine:
    """A machine with such cards: "2xV100-32GB", "1xA100-80GB,4xT4-16GB", or "" for none. Raises Refused."""
    models = [model for part in cards.split(",") if part for model in _parse_cards(part)]
    gpus = tuple(
        Gpu(index, f"GPU-simulated-{index}", name, size_gb * GIB, SIMULATED_CARDS[name.partition("-")[0]])
        for index, (name, size_gb) in enumerate(models)
    )
    return SimulatedMachine(Inventory(cores, memory_gb * GIB, memory_gb * GIB, gpus))


def _narrowed(gpus: Sequence[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """As CUDA reads CUDA_VISIBLE_DEVICES: starts of uuids or indices (in bus order), up to one that is no card."""
    if visible is None:
        return tuple(gpus)
    chosen: set[str] = set()
    for part in (part.strip() for part in visible.split(",")):
        named = [gpu.uuid for gpu in gpus if str(gpu.index) == part or (part and gpu.uuid.startswith(part))]
        if not named:
            break
        chosen.add(named[0])
    return tuple(gpu for gpu in gpus if gpu.uuid in chosen)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _parse_cards(text: str) -> list[tuple[str, int]]:
    parsed = re.fullmatch(r"(\d+)x((\w+)-(\d+)GB)", text.strip())
    if parsed is None or parsed[3] not in SIMULATED_CARDS:
        raise Refused(
            f"There is no simulated card {text!r}.",
            hint=f"Write it like 2xV100-32GB, with one of {', '.join(SIMULATED_CARDS)}.",
            code="bad-card",
        )
    return [(parsed[2], int(parsed[4]))] * int(parsed[1])
