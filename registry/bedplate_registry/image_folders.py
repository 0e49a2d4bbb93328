"""Folders of images as datasets, in the layouts that the library `datasets` calls an imagefolder.

    cat/1.png dog/2.png                    the folder is the label
    metadata.csv or .jsonl, with file_name every other column of it is a column
    1.png 2.png                            images alone, to be scored

What comes of it is a table with a row for each image: `image`, its path in the folder; `label`, or what the metadata
says of it; and `image_sha256`, so that the digest of the table is that of everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from .blobs import Blobs
from .errors import Refused
from .model_versions import FileEntry
from .names import check_file_path
from .tables import columns_of, format_of, read_rows

__all__ = ["MAX_ASPECT", "MAX_BYTES", "MAX_PIXELS", "TABLE", "Layout", "check_image", "lay_out", "table_of"]

MAX_BYTES = 32 << 20  # of an image: as much as a request may hold
MAX_PIXELS = 50_000_000  # a camera's largest; to decode and prepare one took 0.7 GB and 3 s (measured)
MAX_ASPECT = 100  # scaled to a short edge of 224, a longer strip would become more pixels than it had
MOST_IMAGES = 50_000  # their list is one request of 8 MiB, which has room for paths of 55 characters

TABLE = "images.jsonl"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
METADATA = ("metadata.csv", "metadata.jsonl")
SPLITS = ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval")
IMAGE, LABEL, DIGEST, FILE_NAME = "image", "label", "image_sha256", "file_name"


@dataclass(frozen=True)
class Layout:
    """Which files of a folder are its images, and what says something of them."""

    images: tuple[str, ...]
    metadata: str | None
    has_labels: bool


def lay_out(paths: Iterable[str]) -> Layout:
    """The layout that the paths of a folder's files make. Raises Refused, which names the file that is in none."""
    paths = sorted(check_file_path(path) for path in paths)
    _check_is_folder(paths)
    found = [path for path in paths if PurePosixPath(path).name in METADATA]
    images = tuple(path for path in paths if path not in found)
    for path in images:
        if not path.lower().endswith(SUFFIXES):
            raise _refused(f"{path} is neither an image nor metadata", "Take it out of the folder.")
    if not images:
        raise _refused("The folder holds no images", f"Images end in {', '.join(SUFFIXES)}.")
    if len(images) > MOST_IMAGES:
        raise _refused(f"The folder holds {len(images):,} images", f"Add at most {MOST_IMAGES:,} at a time.")
    if found and len(found) + found[0].count("/") == 1:
        return Layout(images, found[0], has_labels=False)
    _check_no_splits(paths)
    if found:
        raise _refused(f"There is metadata at {' and '.join(found[:2])}", f"Put one file, {METADATA[0]}, at the top.")
    return Layout(images, None, has_labels=_are_in_folders_of_labels(images))


def _check_is_folder(paths: Sequence[str]) -> None:
    """That every path can be a file beside the others. They are sorted."""
    for path, following in pairwise(paths):
        if path == following:
            raise _refused(f"{path} is there twice", "Give each file once.")
    files = set(paths)
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent) in files:
                raise _refused(f"{parent} is a file, and the folder of {path}", "Rename one of them.")


def _check_no_splits(paths: Sequence[str]) -> None:
    for path in paths:
        top, slash, _ = path.partition("/")
        if slash and top.lower() in SPLITS:
            raise _refused(
                f"The folder {top} looks like a split of the data",
                f"Add each under its own name: bedplate datasets add NAME-{top} DIR/{top}",
            )


def _are_in_folders_of_labels(images: Sequence[str]) -> bool:
    deep = [path for path in images if "/" in path]
    flat = [path for path in images if "/" not in path]
    if flat and deep:
        raise _refused(
            f"{flat[0]} lies in no folder of a label, and {deep[0]} does",
            "Put each image in the folder of its label, or all of them at the top.",
        )
    for path in deep:
        if path.count("/") > 1:
            raise _refused(f"{path} lies deeper than label/file", f"Move it, or describe all in {METADATA[0]}.")
    return bool(deep)


def table_of(layout: Layout, files: Mapping[str, FileEntry], blobs: Blobs) -> bytes:
    """The rows as JSONL. Every image's header was read; Refused names the first that is none."""
    for path in layout.images:
        check_image(blobs.path(files[path].sha256), path)
    rows = _described(layout, files, blobs) if layout.metadata else _by_folder(layout)
    lines = (json.dumps({**row, DIGEST: files[row[IMAGE]].sha256}) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _by_folder(layout: Layout) -> Iterator[dict[str, Any]]:
    for path in layout.images:
        yield {IMAGE: path, LABEL: path.partition("/")[0]} if layout.has_labels else {IMAGE: path}


def _described(layout: Layout, files: Mapping[str, FileEntry], blobs: Blobs) -> Iterator[dict[str, Any]]:
    assert layout.metadata is not None
    name, format = layout.metadata, format_of(layout.metadata)
    table = blobs.path(files[name].sha256)
    columns = columns_of(table, format)
    if FILE_NAME not in columns:
        raise _refused(f"{name} has no column {FILE_NAME!r}", f"It has: {', '.join(columns)}.")
    images, described = set(layout.images), set()
    for number, row in enumerate(read_rows(table, format), 1):
        path = str(row.pop(FILE_NAME, "")).removeprefix("./")
        if path not in images:
            raise _refused(f"Row {number} of {name} names {path[:200]!r}, which is not there", "Correct the path.")
        if taken := {IMAGE, DIGEST} & row.keys():
            raise _refused(f"{name} has a column {taken.pop()!r}, which the dataset makes itself", "Rename it.")
        described.add(path)
        yield {IMAGE: path, **row}
    if missing := sorted(images - described):
        raise _refused(
            f"{name} says nothing of {len(missing):,} of the images, such as {missing[0]}",
            "Add their rows, or take the images out.",
        )


def check_image(file: Path, path: str) -> None:
    """Read the header of an image; `path` is its name in messages. Raises Refused where it is none or too large."""
    from PIL import Image  # for nobody else of the control plane

    if file.stat().st_size > MAX_BYTES:
        raise _refused(f"{path} has more than {MAX_BYTES:,} bytes", "Make it smaller.")
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(path) from None
    except Exception as exc:  # damaged headers fail in as many ways as there are formats
        raise _refused(f"{path} is not an image that can be read", "Take it out, or write it again.") from exc
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(path)
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise _refused(f"{path} is {width} x {height}: one side may be {MAX_ASPECT} times the other", "Cut it.")


def _too_many_pixels(path: str) -> Refused:
    return _refused(f"{path} has more than {MAX_PIXELS:,} pixels", "Make it smaller.")


def _refused(what: str, hint: str) -> Refused:
    return Refused(f"{what}.", hint=hint, code="bad-image-folder")
