"""Images of rows: files in a folder, or base64. Only their first bytes are read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from bedplate_registry.image_folders import SUFFIXES

from .labels import LabelCheck
from .marks import Mark, Values
from .report import Collector, SplitFacts

__all__ = ["ImageCheck"]

HEAD_BYTES = 12
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM")


class ImageCheck:
    """Image classification."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._labels = LabelCheck(class_names)

    def look(self, facts: SplitFacts, row: int, values: Values) -> Iterator[Mark]:
        image = values["image"]
        if image is None or image == "":
            yield Mark("empty-value", "image", drops=True)
        elif not isinstance(image, str):
            yield Mark("wrong-type", "image", "it is neither a path nor base64")
        elif problem := _problem(image, facts.images):
            yield Mark(problem, "image", repr(image[:60]))
        yield from self._labels.look(facts, row, values)

    def end(self, splits: Mapping[str, SplitFacts], collector: Collector) -> None:
        self._labels.end(splits, collector)


def _problem(image: str, folder: Path | None) -> str | None:
    """The code of what is wrong with it. Where no folder is known, a path is believed."""
    if folder is None:
        is_path = PurePath(image[-8:]).suffix.lower() in SUFFIXES
        return None if is_path or _is_image(_decoded(image)) else "not-an-image"
    path = folder / image
    if ".." in PurePath(image).parts or PurePath(image).is_absolute() or not path.is_file():
        return "missing-image"
    with path.open("rb") as file:
        return None if _is_image(file.read(HEAD_BYTES)) else "not-an-image"


def _decoded(text: str) -> bytes:
    head = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(head[: HEAD_BYTES * 4 // 3], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_image(head: bytes) -> bool:
    return head.startswith(_STARTS) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
