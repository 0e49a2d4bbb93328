"""A step over many items, tried again with halves where it fails: one bad item is found and spoils no other."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from bedplate_registry.errors import BedplateError

__all__ = ["failure_of", "outcomes"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def outcomes(step: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result | BedplateError]:
    """What `step` makes of each item, in their order, or why it makes nothing of it. Raises only what ends a process.

    What is too much at once (a GPU's memory) gets through in parts, and what is wrong with one of n costs about
    2 log2 n steps more.
    """
    if not items:
        return []
    try:
        return list(_whole(step(items), len(items)))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - every item gets an answer; a tokenizer's panic is no Exception
        failure = failure_of(error) if len(items) == 1 else None
    # Only here, out of the handler: the traceback holds the tensors of the batch, for which there was no memory.
    if failure is not None:
        return [failure]
    middle = (len(items) + 1) // 2
    return [*outcomes(step, items[:middle]), *outcomes(step, items[middle:])]


def _whole(results: Sequence[Result], size: int) -> Sequence[Result]:
    if len(results) != size:
        raise RuntimeError(f"{len(results)} results of {size} items")
    return results


def failure_of(error: BaseException) -> BedplateError:
    """What a caller is told of an error of the model's libraries: its type alone, since its text may hold a path or a
    piece of somebody's input. The log says where it was raised.
    """
    if isinstance(error, BedplateError):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    kind = type(error).__name__
    log.error("the model failed on an input: %s at %s", kind, place)
    return BedplateError(
        f"The model failed on this input ({kind}).", hint="The log says where.", code="inference-failed"
    )
