"""Images as files: which texts name one, and how one is read beside the data that names it. Imports nothing heavy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bedplate_registry.image_folders import MAX_BYTES, SUFFIXES
from bedplate_serving.predictors.base import ItemError

__all__ = ["MAX_BYTES", "is_path", "is_url", "read_image", "sized"]

_URL = re.compile(r"(https?|ftp|file|s3|hf)://", re.IGNORECASE)
_SUFFIXES = (*SUFFIXES, ".tif", ".tiff", ".avif", ".heic", ".svg")  # also of images that are not read


def is_url(text: str) -> bool:
    return bool(_URL.match(text))


def is_path(item: Any) -> bool:
    """Whether a text names a file of an image. (Base64 has no dot.)"""
    return isinstance(item, str) and item.strip()[-10:].lower().endswith(_SUFFIXES) and not is_url(item.strip())


def read_image(path: str, folder: Path, store: Path | None = None) -> bytes:
    """The file of that name in `folder` or below it. Raises ItemError, in which the folder is not named.

    Nothing outside of it is read: no absolute path, no way up, no link that leads out, unless it is one into `store`,
    where the folder of a dataset has its files.
    """
    root, given = folder.resolve(), path.strip()
    try:
        found = (root / given).resolve(strict=True)
        is_kept = store is not None and ".." not in given.split("/") and found.is_relative_to(store.resolve())
        if given.startswith("/") or not (is_kept or found.is_relative_to(root)):
            raise ItemError(f"is the path {given[:200]!r}, which leads out of the data's folder")
        if not found.is_file():  # a pipe would never end
            raise ItemError(f"is the path {given[:200]!r}, which is no file")
        _check_bytes(found.stat().st_size)
        return sized(found.read_bytes())
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it, a name too long, a ring of links
        raise ItemError(f"is the path {given[:200]!r}, which cannot be read") from error


def sized(data: bytes) -> bytes:
    """The same. Raises ItemError where it is empty, or larger than a request may be."""
    if not data:
        raise ItemError("is empty")
    _check_bytes(len(data))
    return data


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise ItemError(f"has {size:,} bytes; an image may have {MAX_BYTES:,}")
