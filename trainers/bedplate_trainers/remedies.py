"""What gives way where training fits into memory on no rung of the ladder: an adapter is trained, then over 4 bits.

    all weights -> apply_lora -> load_in_4bit -> out-of-memory

Each changes what is learned, so only what was left to us (`auto`) is taken. The run starts again from the base; what
was taken is kept beside the checkpoints, and whoever resumes the run goes on with it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bedplate_registry import durable
from bedplate_registry.errors import Refused
from bedplate_registry.tasks import joins_for

from .ladder import Ladder
from .messages import AUTO, FinetuneRequest
from .needs import check_needs
from .settings import FinetuneSettings

__all__ = ["forget", "next_remedy", "take", "taken"]

FILE = "remedies.json"
TOLD = {
    "apply_lora": "a LoRA adapter and the head are trained in place of all weights (apply_lora)",
    "load_in_4bit": "the frozen weights are kept in 4 bits (load_in_4bit)",
}


def taken(work_dir: Path) -> dict[str, bool]:
    """The settings that gave way so far, by their names."""
    path = work_dir / FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def forget(work_dir: Path) -> None:
    """The next run in this folder begins with what was asked for."""
    (work_dir / FILE).unlink(missing_ok=True)


def next_remedy(request: FinetuneRequest, device: str, find: Callable[[str], Any] = find_spec) -> str | None:
    """The setting to change next, of a request with what was taken before; None where all else is the user's choice."""
    settings = FinetuneSettings.from_mapping(request.settings, request.task)
    if settings.fsdp or settings.deepspeed_stage != "none":
        return None  # adapters and shards together are for those who ask for them
    if settings.apply_lora == AUTO and not _would_be_joined(request):
        return "apply_lora"
    if (
        settings.apply_lora is True
        and settings.load_in_4bit == AUTO
        and _has_4bit(settings, device, request.processes, find)
    ):
        return "load_in_4bit"
    return None


def take(name: str, request: FinetuneRequest) -> str:
    """Writes down what gives way, and says what changes. Checkpoints so far are of another model, and go first."""
    for checkpoint in request.work_dir.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    Ladder.forget(request.work_dir)
    durable.write_json(request.work_dir / FILE, {**taken(request.work_dir), name: True})
    rate = request.settings.get("learning_rate", AUTO)
    stays = f" learning_rate stays {rate}, and adapters want about ten times that of all weights."
    return (
        f"Out of memory, even with one row at a time: the run starts again, and {TOLD[name]}. The result is another"
        f" one; {name}=false forbids it.{stays if name == 'apply_lora' and rate != AUTO else ''}"
    )


def _would_be_joined(request: FinetuneRequest) -> bool:
    """What connects two encoders is new, and an adapter would leave it as it began."""
    config: Mapping[str, Any] = json.loads((request.model_dir / "config.json").read_text(encoding="utf-8"))
    return joins_for(config.get("model_type"), request.task)


def _has_4bit(settings: FinetuneSettings, device: str, processes: int, find: Callable[[str], Any]) -> bool:
    wanted = asdict(replace(settings, load_in_4bit=True))
    try:
        check_needs(wanted, device, processes, find)
    except Refused:
        return False
    return True
