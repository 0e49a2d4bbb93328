"""Data that a request names: an uploaded file, or a registered dataset. Both are blobs with a digest."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import NotFound, Refused, Unavailable
from bedplate_registry.registry import Registry
from bedplate_registry.tables import columns_of, format_of, read_rows
from bedplate_serving.predictors.image_files import is_path

__all__ = ["DataRef", "check_one_line"]


@dataclass(frozen=True)
class DataRef:
    """A table by its digest, with the name and format it came under."""

    sha256: str
    filename: str
    format: str
    dataset: str | None = None
    has_images: bool = False  # the dataset's table names images by their paths in its folder

    @classmethod
    def resolve(cls, registry: Registry, value: object, what: str, *, lines: bool = False) -> DataRef:
        """From `{"upload": sha256, "filename": name}`, or from a dataset reference as text. With `lines`, an upload may
        be a .txt as well.

        Raises Refused, NotFound or Unavailable, which name `what` the data was for.
        """
        if isinstance(value, str):
            version = registry.datasets.get(value)
            if not registry.blobs.is_sound(version.sha256, version.size_bytes):
                raise Unavailable(
                    f"The file of the dataset {version.ref} is damaged or missing.",
                    hint="Add the same file again: bedplate datasets add NAME FILE",
                    code="damaged-dataset",
                )
            if version.files:
                registry.datasets.folder(version)
            return cls(version.sha256, version.filename, version.format, version.ref, bool(version.files))
        if not isinstance(value, Mapping) or not {"upload", "filename"} <= set(value):
            raise Refused(
                f"{what}={value!r} is neither a dataset nor an upload.",
                hint='Give a dataset name, or {"upload": SHA256, "filename": NAME} after PUT /api/v1/uploads/SHA256.',
            )
        sha256, filename = str(value["upload"]), str(value["filename"])
        check_one_line(f"the filename of {what}", filename)
        if not (registry.blobs.keep(sha256) and registry.blobs.is_sound(sha256)):
            raise NotFound(f"The upload {sha256!r} for {what} is not here.", hint="Upload the file first.")
        is_lines = lines and filename.lower().endswith(".txt")
        return cls(sha256, Path(filename).name, "txt" if is_lines else format_of(filename))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DataRef:
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def path(self, registry: Registry) -> Path:
        return registry.blobs.path(self.sha256)

    def images(self, registry: Registry) -> Path | None:
        """The folder that the table's paths lead into; None where it names no images. Raises Unavailable."""
        if not (self.has_images and self.dataset):
            return None
        return registry.datasets.folder(registry.datasets.get(self.dataset))

    def check_holds_images(self, registry: Registry, column: str, what: str) -> None:
        """Raises Refused where the table names files, which stayed with whoever sent it."""
        first: dict[str, Any] = next(read_rows(self.path(registry), self.format, keep_bad=True), {})
        if not self.has_images and is_path(first.get(column)):
            raise Refused(
                f"{what} ({self.filename}): the column {column!r} holds paths of images, which did not come with it.",
                hint="Put the table beside the images as metadata.csv, with the paths in the column file_name, and add "
                "the folder: bedplate datasets add NAME FOLDER. Or give images as base64.",
                code="images-missing",
            )

    def check_columns(
        self, registry: Registry, task: str, columns: Mapping[str, str], *, need_label: bool, what: str
    ) -> dict[str, str]:
        """Which column holds which key, those of their own name too.

        Raises Refused, naming `what` the data is for, where the columns that the task needs are not there.
        """
        try:
            found = map_columns(task, columns_of(self.path(registry), self.format), columns, need_label=need_label)
        except Refused as exc:
            raise Refused(f"{what} ({self.filename}): {exc.message}", hint=exc.hint, code=exc.code) from exc
        return found.columns

    def read_as(
        self, registry: Registry, task: str, columns: Mapping[str, str], class_names: Sequence[str] | None
    ) -> dict[str, Any]:
        """What a report keeps of how it was read, so that a gate compares like with like."""
        mapped = self.check_columns(registry, task, columns, need_label=True, what="data")
        return {"columns": mapped, **({"class_names": [*class_names]} if class_names else {})}


def check_one_line(what: str, text: str) -> None:
    """Raises Refused for a text that would break the tables it stands in: one with control characters."""
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in text):
        raise Refused(
            f"{what} is {text[:80]!r}, with a control character.", hint="Write it in one line.", code="bad-setting"
        )
