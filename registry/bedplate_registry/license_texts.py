"""The texts of its license that came with a model: LICENSE, LICENCE, NOTICE. Where there is none, none is made up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .blobs import Blobs
from .model_versions import ModelVersion

__all__ = ["LicenseText", "license_texts"]

MAX_BYTES = 1 << 20  # of one text; a license has some 40 kB
_NAMES = re.compile(r"(LICENSE|LICENCE|NOTICE)(\.\w+)?")


@dataclass(frozen=True)
class LicenseText:
    """One file, as far as it is shown."""

    path: str
    text: str


def license_texts(blobs: Blobs, version: ModelVersion) -> list[LicenseText]:
    """The texts, by path; each to its first MiB. Raises Unavailable or NotFound where a file is damaged or gone."""
    found = []
    for entry in version.files:
        if _NAMES.fullmatch(entry.path):
            with blobs.open(entry.sha256) as file:
                found.append(LicenseText(entry.path, file.read(MAX_BYTES).decode("utf-8", "replace")))
    return found
