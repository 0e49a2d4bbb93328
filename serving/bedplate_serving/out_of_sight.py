"""Parts of other people's libraries that no process of ours uses, left out while the rest of them is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["out_of_sight"]


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
