"""Rows of labeled images: read from a table, checked, refused by row number. An image is read when it is scored.

`image` of a row is base64, or a path in the folder of the data. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.tables import columns_of
from bedplate_serving.predictors import ItemError
from bedplate_serving.predictors.image_files import is_path, read_image

from .labels import label_names
from .messages import DataFile
from .rows import LabeledRows, LabelLists, PlainRow, read_table

__all__ = ["Picture", "Pictures", "read_pictures"]

TASK = "image-classification"


@dataclass(frozen=True, slots=True)
class Picture(PlainRow):
    """One labeled image. `row` counts from 1 in the file it came from."""

    row: int
    image: str  # base64, or a path in the folder of the data
    labels: tuple[str, ...]

    @property
    def input(self) -> dict[str, str]:
        """As reports show it: base64 says nothing to anybody."""
        return {"image": self.image if is_path(self.image) else f"{len(self.image)} characters of base64"}


@dataclass(frozen=True)
class Pictures(LabeledRows[Picture]):
    """The rows of one file."""

    file: DataFile
    multi_label: bool

    @property
    def lengths(self) -> list[int]:
        """Images have none in characters."""
        return []

    def inputs(self, row: Picture) -> dict[str, Any]:
        """By the task's keys."""
        return dict(row.input)

    def read(self, row: Picture) -> str | bytes:
        """As a predictor takes it. Raises ItemError where the file cannot be read."""
        if not is_path(row.image):
            return row.image
        if self.file.images is None:
            raise ItemError(
                f"names the image {row.image[:200]!r}, which did not come with the table",
                hint="Add the folder as a dataset: bedplate datasets add NAME FOLDER. Or give images as base64.",
            )
        return read_image(row.image, self.file.images, self.file.store)


def read_pictures(file: DataFile, columns: Mapping[str, str], what: str, class_names: Sequence[str] = ()) -> Pictures:
    """All rows of a file. `what` names the file in messages: "The data". Raises Refused: bad-rows, no-rows."""
    mapping = map_columns(TASK, columns_of(file.path, file.format), columns)
    lists = LabelLists()

    def parse(number: int, picked: Mapping[str, Any]) -> Picture:
        lists.count(picked["label"])
        return _picture(number, picked, class_names)

    rows = read_table(file, mapping, what, parse)
    return Pictures(rows, file, lists.in_all(rows, what))


def _picture(number: int, picked: Mapping[str, Any], class_names: Sequence[str]) -> Picture:
    image, label = picked["image"], picked["label"]
    if not isinstance(image, str) or not image.strip():
        raise Refused("has an image that is neither a path nor base64", code="bad-value")
    return Picture(number, image, label_names(label, class_names))
