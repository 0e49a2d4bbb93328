"""Which parts of a text are read to fill its masks, where the whole is longer than the model's window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bedplate_serving.predictors.encoders.windows import Span

__all__ = ["MaskedPart", "around", "neighbors"]


class MaskedPart(NamedTuple):
    """As much of a text as one window holds."""

    ids: Sequence[int]
    masks: Sequence[int]  # their places in `ids`


def neighbors(masks: Sequence[int], room: int) -> list[list[int]]:
    """The places of masks in groups that `room` tokens hold each."""
    groups: list[list[int]] = []
    for mask in masks:
        if groups and mask - groups[-1][0] < room:
            groups[-1].append(mask)
        else:
            groups.append([mask])
    return groups


def around(masks: Sequence[int], count: int, room: int) -> Span:
    """The part of a text of `count` tokens that is read: all of it, or `room` tokens with the masks in their middle."""
    if count <= room:
        return Span(0, count)
    width = masks[-1] + 1 - masks[0]
    start = min(max(masks[0] - (room - width) // 2, 0), count - room)
    return Span(start, start + room)
