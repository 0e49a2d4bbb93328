"""How libraries are loaded in less time: without parts that no process of ours uses, and without looks for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["out_of_sight", "uncollected"]


@contextmanager
def out_of_sight(name: str) -> Iterator[None]:
    """Inside the block, importing the module `name` fails as if it were not installed, even where it is loaded."""
    loaded = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if loaded is None:
            del sys.modules[name]
        else:
            sys.modules[name] = loaded


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside the block no garbage is looked for. Modules are a great many objects and hardly any garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
