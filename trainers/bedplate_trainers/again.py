"""A run that is begun anew until it fits into memory: by this process, or of several processes by their launcher."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bedplate_registry import durable
from bedplate_registry.errors import BedplateError
from bedplate_registry.progress import Reporter

from . import remedies
from .ladder import SteppedDown
from .launch import AGAIN, launches, rank
from .messages import FinetuneRequest, FinetuneResult
from .pretrained import pick_device

__all__ = ["run_until_it_fits"]

Run = Callable[..., FinetuneResult | None]  # of a recipe


def run_until_it_fits(run: Run, request: FinetuneRequest, reporter: Reporter, *, resume: bool) -> FinetuneResult | None:
    """What the recipe comes to. Raises BedplateError `out-of-memory` where nothing is left that may give way.

    Of several processes the one that ran out ends all of them, and the launcher starts them again.
    """
    request.work_dir.mkdir(parents=True, exist_ok=True)
    if number := launches():
        resume = True
        reporter.message(_note(request.work_dir, number - 1).read_text(encoding="utf-8"))
    elif rank() == 0:
        for path in request.work_dir.glob(_note(request.work_dir, "*").name):
            path.unlink()
    if not resume and rank() == 0:
        remedies.forget(request.work_dir)
    while True:
        changed = remedies.taken(request.work_dir) if resume else {}
        asked = replace(request, settings={**request.settings, **changed})
        try:
            result = run(asked, reporter, resume=resume)
            return result and replace(result, resolved=_with_changes(result.resolved, changed))
        except (BedplateError, RuntimeError) as error:
            told = _give_way(error, asked)
            if told is None:
                raise
        # Not in the handler above, where the error's traceback still holds what took the memory.
        reporter.message(told)
        resume = True
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _give_way(error: Exception, request: FinetuneRequest) -> str | None:
    """What gives way, in words, or None where nothing does. Of several processes it ends this one."""
    number = launches()
    if request.processes == 1:
        return _take_next(error, request)
    if number is None:  # of several machines, whose folders may not be one: each is resumed by hand
        return None
    note = _note(request.work_dir, number)
    told = error.message if isinstance(error, SteppedDown) else _take_next(error, request)
    if told is not None:
        durable.write_bytes(note, told.encode())
    if note.exists():  # else the others miss a process that left for another reason
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(AGAIN)  # to say goodbye to processes that wait for us may take forever
    return None


def _take_next(error: Exception, request: FinetuneRequest) -> str | None:
    if not isinstance(error, BedplateError) or error.code != "out-of-memory":
        return None
    name = remedies.next_remedy(request, pick_device(request.device))
    return remedies.take(name, request) if name else None


def _note(work_dir: Path, number: int | str) -> Path:
    """Why all processes of launch `number` were ended."""
    return work_dir / f"again-{number}.txt"


def _with_changes(resolved: dict[str, Any], changed: Mapping[str, bool]) -> dict[str, Any]:
    if not changed:
        return resolved
    reasons = resolved["reasons"] | dict.fromkeys(changed, "memory did not do without")
    return resolved | {"reasons": reasons, "changed": {**changed, **resolved.get("changed", {})}}
