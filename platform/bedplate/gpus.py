"""Which GPUs this machine shows, found without torch: a broken driver must not take the control plane down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["pick_device", "visible_gpus"]


def visible_gpus(environ: Mapping[str, str] | None = None, devices: Path = Path("/dev")) -> int:
    """NVIDIA GPUs that a worker started from here would see; CUDA_VISIBLE_DEVICES narrows them."""
    present = sum(path.name.removeprefix("nvidia").isdecimal() for path in devices.glob("nvidia*"))
    chosen = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    named = [part for part in chosen.split(",") if part.strip() and part.strip() != "-1"]
    return min(present, len(named))


def pick_device(device: str) -> str:
    """What `auto` means here. The launcher and the worker must be told the same."""
    if device != "auto":
        return device
    return "cuda" if visible_gpus() else "cpu"
