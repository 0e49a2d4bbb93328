"""The texts of its license that came with a model: LICENSE, LICENCE, NOTICE. Where there is none, none is made up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .models import Models, ModelVersion

__all__ = ["LicenseText", "license_texts"]

MAX_BYTES = 1 << 20  # of one text; a license has some 40 kB
_NAMES = re.compile(r"(LICENSE|LICENCE|NOTICE)(\.\w+)?")


@dataclass(frozen=True)
class LicenseText:
    """One file, as far as it is shown."""

    path: str
    text: str


def license_texts(models: Models, version: ModelVersion) -> list[LicenseText]:
    """The texts, by path; each to its first MiB. Of an adapter its base's too, below the base's name.

    Raises Unavailable or NotFound where a file is damaged or gone.
    """
    found = _own_texts(models, version)
    if version.adapter_base is not None:
        base = models.get(version.adapter_base)
        found += [LicenseText(f"{base.ref}/{each.path}", each.text) for each in _own_texts(models, base)]
    return found


def _own_texts(models: Models, version: ModelVersion) -> list[LicenseText]:
    found = []
    for entry in version.files:
        if _NAMES.fullmatch(entry.path):
            with models.blobs.open(entry.sha256) as file:
                found.append(LicenseText(entry.path, file.read(MAX_BYTES).decode("utf-8", "replace")))
    return found
