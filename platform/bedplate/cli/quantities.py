"""Quantities as people write them: `500M` and `1.5B` of parameters, `500MB` and `2GiB` of a disk."""

from __future__ import annotations

import re

from bedplate.cli.output import WrongUse

__all__ = ["bytes_of", "parameters_of"]

NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)")
COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
SIZES |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


def parameters_of(text: str | None) -> int | None:
    """How many parameters a text means. Raises WrongUse."""
    return _read(text, COUNTS, "is no number of parameters", "Write it as 500M, 1.5B or 66000000.")


def bytes_of(text: str | None) -> int | None:
    """How many bytes a text means; without a unit it is bytes. Raises WrongUse."""
    return _read(text, SIZES, "is no size", "Write it as 500MB, 1.5GB, 2GiB or 66000000.")


def _read(text: str | None, units: dict[str, int], what: str, hint: str) -> int | None:
    if text is None:
        return None
    found = NUMBER.fullmatch(text.strip())
    if found is None or found[2].lower() not in units:
        raise WrongUse(f"{text[:80]!r} {what}.", hint=hint)
    return round(float(found[1]) * units[found[2].lower()])
