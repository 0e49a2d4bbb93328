"""What some settings need of the machine: a package that is not installed with Bedplate, a GPU, several processes.

Looked at before a job is made, so nothing is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from bedplate_registry.errors import Refused

__all__ = ["check_needs"]


@dataclass(frozen=True)
class _Need:
    """What a value of a setting needs beside a GPU."""

    package: str | None = None
    install: str = ""
    several: bool = False


_BITSANDBYTES = _Need("bitsandbytes", "pip install bitsandbytes")
_NEEDS: dict[tuple[str, Any], _Need] = {
    ("optim", "adamw_bnb_8bit"): _BITSANDBYTES,
    ("load_in_4bit", True): _BITSANDBYTES,
    ("attn_implementation", "flash_attention_2"): _Need("flash_attn", "pip install flash-attn --no-build-isolation"),
    ("deepspeed_stage", "2"): _Need("deepspeed", "pip install deepspeed"),
    ("deepspeed_stage", "3"): _Need("deepspeed", "pip install deepspeed"),
    ("fsdp", True): _Need(several=True),
}


def check_needs(values: Mapping[str, Any], device: str, processes: int, find: Callable[[str], Any] = find_spec) -> None:
    """Raises Refused (setting-needs) where a setting cannot work on this device, or its package is not installed."""
    for (name, value), need in _NEEDS.items():
        if values[name] == value:
            _check(f"{name}={str(value).lower()}", need, device, processes, find)


def _check(shown: str, need: _Need, device: str, processes: int, find: Callable[[str], Any]) -> None:
    if not device.startswith("cuda"):
        _refuse(f"{shown} needs a GPU, and the device is {device}.", "Leave it out, or train with --device cuda.")
    if need.package and find(need.package) is None:
        _refuse(f"{shown} needs the package {need.package}, which is not installed.", f"Install it: {need.install}")
    if need.several and processes < 2:
        _refuse(f"{shown} shards a model over several GPUs, and there is one process.", "Give --gpus 2 or more.")


def _refuse(message: str, hint: str) -> None:
    raise Refused(message, hint=hint, code="setting-needs")
