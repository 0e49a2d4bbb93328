"""The seam to NVML, NVIDIA's library that tells of its cards: what it says, and what is wrong when it says nothing.

NVML counts cards in the order of the PCI bus. Its library is imported when the first card is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bedplate.compute import Gpu, GpuProcess

__all__ = ["Cards"]

LOST_REMEDY = "See the kernel's log for NVRM messages; resetting the card or restarting the machine may bring it back."


class Cards:
    """The cards of this machine. Nothing here raises: what is wrong is told in `problem`, or in the card's own."""

    def __init__(self, is_ours: Callable[[int], bool]) -> None:
        """`is_ours` says of a pid on a card whether we account for it."""
        self.problem: str | None = None
        self._is_ours = is_ours
        self._is_open = False
        self._seen: dict[str, Gpu] = {}

    def read(self) -> tuple[Gpu, ...]:
        """Every card there is or was since we began to look."""
        try:
            import pynvml
        except ImportError:
            self.problem = "the Python package nvidia-ml-py is not installed"
            return self._with_lost(())
        try:
            count = self._count(pynvml)
        except pynvml.NVMLError as exc:
            self.problem = f"NVML: {exc}"
            self._is_open = False
            return self._with_lost(())
        self.problem = None
        return self._with_lost(tuple(self._card(pynvml, index) for index in range(count)))

    def _count(self, nvml: Any) -> int:
        if not self._is_open:
            nvml.nvmlInit()
            self._is_open = True
        return int(nvml.nvmlDeviceGetCount())

    def _card(self, nvml: Any, index: int) -> Gpu:
        try:
            gpu = _read_card(nvml, index, self._is_ours)
        except nvml.NVMLError as exc:
            known = next((gpu for gpu in self._seen.values() if gpu.index == index), None)
            return _lost(known or Gpu(index, f"unknown-{index}", "unknown", 0), f"NVML: {exc}")
        self._seen[gpu.uuid] = gpu
        return gpu

    def _with_lost(self, cards: Iterable[Gpu]) -> tuple[Gpu, ...]:
        """And those seen before: a card that vanished is shown with its problem, not forgotten."""
        present = {gpu.uuid: gpu for gpu in cards}
        why = self.problem or "the driver no longer lists it"
        gone = [_lost(gpu, why) for uuid, gpu in self._seen.items() if uuid not in present]
        return tuple(sorted([*present.values(), *gone], key=lambda gpu: gpu.index))


def _read_card(nvml: Any, index: int, is_ours: Callable[[int], bool]) -> Gpu:
    """Raises NVMLError where the card does not even tell its name and memory."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    capability = _asked(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    rates = _asked(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    mig = _asked(nvml, nvml.nvmlDeviceGetMigMode, handle)
    has_mig = mig is not None and mig[0] == nvml.NVML_DEVICE_MIG_ENABLE
    return Gpu(
        index=index,
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        name=str(nvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(memory.total),
        capability=None if capability is None else (int(capability[0]), int(capability[1])),
        utilization=None if rates is None else int(rates.gpu),
        others=_others(nvml, handle, int(memory.used), is_ours),
        problem="MIG mode is on" if has_mig else None,
        remedy=f"Turn it off: nvidia-smi -i {index} -mig 0" if has_mig else "",
    )


def _others(nvml: Any, handle: Any, used_bytes: int, is_ours: Callable[[int], bool]) -> tuple[GpuProcess, ...]:
    """The processes we do not account for. Where one's memory is not told, it is what the others leave unexplained."""
    found: dict[int, int | None] = {}
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in _asked(nvml, ask, handle) or ():  # one that computes and draws is in both lists
            found[int(process.pid)] = process.usedGpuMemory
    unexplained = max(0, used_bytes - sum(size or 0 for size in found.values()))
    return tuple(
        GpuProcess(pid, _name(pid), unexplained if size is None else int(size))
        for pid, size in sorted(found.items())
        if not is_ours(pid)
    )


def _asked(nvml: Any, question: Callable[[Any], Any], handle: Any) -> Any:
    """The answer, or None where this card or driver does not tell. Other errors mean that the card is not well."""
    try:
        return question(handle)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission, nvml.NVMLError_FunctionNotFound):
        return None


def _lost(gpu: Gpu, problem: str) -> Gpu:
    return replace(gpu, utilization=None, others=(), problem=problem, remedy=LOST_REMEDY)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "unknown"
