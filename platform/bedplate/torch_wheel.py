"""Which cards the installed torch was built for: a wheel without a card's architecture fails at its first kernel.

torch is asked in a child process, since the control plane never imports it, and the answer is kept for each version.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate_registry.durable import write_json
from bedplate_registry.errors import Unavailable

__all__ = ["TorchWheel", "ask_torch", "installed_wheel", "wheel_knows"]

CACHE = "torch-wheel.json"  # in BEDPLATE_HOME/run
ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")
# The CUDA 12.6 wheels are the last ones built for cards before Turing (sm_75).
OLD_CARDS_INDEX = "https://download.pytorch.org/whl/cu126"
NEW_CARDS_INDEX = "https://download.pytorch.org/whl/cu130"
TURING = (7, 5)
PROBE = (
    "import json, torch;"
    "print(json.dumps({'version': torch.__version__, 'cuda': torch.version.cuda,"
    " 'architectures': torch.cuda.get_arch_list()}))"
)
PROBE_SECONDS = 120  # a cold import from a slow disk takes tens of seconds


def wheel_knows(capability: tuple[int, int], architectures: tuple[str, ...] | list[str]) -> bool:
    """Whether code built for these runs on the card: binaries within a major version, PTX on every later card."""
    return any(_runs_on(capability, architecture) for architecture in architectures)


@dataclass(frozen=True)
class TorchWheel:
    """The installed torch; `cuda` is None for a build for CPUs, and its `architectures` are empty then."""

    version: str
    cuda: str | None
    architectures: tuple[str, ...]

    def problem_with(self, capability: tuple[int, int]) -> tuple[str, str] | None:
        """Why a card of this capability is of no use with it, and the remedy; None where it is."""
        if self.cuda is not None and (not self.architectures or wheel_knows(capability, self.architectures)):
            return None  # a build that does not tell its architectures is given the benefit of the doubt
        name = "sm_{}{}".format(*capability)
        index = OLD_CARDS_INDEX if capability < TURING else NEW_CARDS_INDEX
        remedy = f"Install a torch that knows {name}: pip install --force-reinstall torch --index-url {index}"
        if self.cuda is None:
            return f"torch {self.version} was built for CPUs only, not for {name}", remedy
        return f"torch {self.version} was not built for {name}, only for {' '.join(self.architectures)}", remedy


def installed_wheel(home: Path) -> TorchWheel:
    """The torch of this environment, asked once a version and kept below `home`. Takes seconds; raises Unavailable."""
    try:
        installed = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError as exc:
        raise Unavailable("torch is not installed.", hint="pip install -c constraints.txt torch") from exc
    cache = home / "run" / CACHE
    if (kept := _kept(cache, installed)) is not None:
        return kept
    wheel = ask_torch()
    if cache.parent.is_dir():
        write_json(cache, {"installed": installed, **_to_json(wheel)})
    return wheel


def ask_torch() -> TorchWheel:
    """Imports torch in a child process. Raises Unavailable with torch's own last words."""
    # Older versions tell their architectures only where they see a card; NVML sees one without starting CUDA on it.
    environment = {**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(f"torch was not imported within {PROBE_SECONDS} seconds.", hint="Is the disk busy?") from exc
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Unavailable(f"torch cannot be imported: {reason}", hint="pip install -c constraints.txt torch")
    try:
        return _from_json(json.loads(done.stdout.strip().splitlines()[-1]))
    except (LookupError, ValueError, TypeError) as exc:
        said = done.stdout.strip()[-200:] or "nothing"
        hint = f"See what this prints: {sys.executable} -c 'import torch'"
        raise Unavailable(f"torch did not tell what it was built for; it said: {said}", hint=hint) from exc


def _runs_on(capability: tuple[int, int], architecture: str) -> bool:
    parsed = ARCHITECTURE.fullmatch(architecture)
    if parsed is None:
        return False
    kind, major, minor, suffix = parsed.groups()
    built = (int(major), int(minor))
    if suffix == "a":  # features of one architecture: it runs there and nowhere else
        return built == capability
    if kind == "sm" or suffix == "f":
        return built[0] == capability[0] and built[1] <= capability[1]
    return built <= capability


def _kept(cache: Path, installed: str) -> TorchWheel | None:
    """What was kept, if it is of this version; a file that cannot be read is asked for again."""
    try:
        data = json.loads(cache.read_text())
        return _from_json(data) if data["installed"] == installed else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _to_json(wheel: TorchWheel) -> dict[str, Any]:
    return {"version": wheel.version, "cuda": wheel.cuda, "architectures": list(wheel.architectures)}


def _from_json(data: dict[str, Any]) -> TorchWheel:
    return TorchWheel(str(data["version"]), data["cuda"], tuple(data["architectures"]))
