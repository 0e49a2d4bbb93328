"""One guard around whatever reads a model's files. It imports nothing, so that it is there before torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bedplate_registry.errors import BedplateError, Refused

__all__ = ["first_line", "refusing"]

_PATH = re.compile(r"(?<![\w:/.])(?:/[^\s'\"/:,]+)*/([^\s'\"/:,]+)/?")


@contextmanager
def refusing(what: str, *, hint: str = "") -> Iterator[None]:
    """Around whatever reads a model's files: what a library raises is Refused as load-failed, in one line.

    A stranger's config.json makes loaders fail in more ways than they document: a number too many is a
    StrictDataclassFieldValidationError, none at all a ZeroDivisionError, and a tokenizer's panic is no Exception.
    """
    try:
        yield
    except (BedplateError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise Refused(f"{what} could not be loaded: {first_line(error)}", hint=hint, code="load-failed") from error


def first_line(error: BaseException) -> str:
    """What a library's error says, short enough to be shown: of paths, which are nobody's business, the last name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    if isinstance(error, LookupError):  # it says the key and nothing else
        said = f"{type(error).__name__}: {said}"
    return _PATH.sub(r"\1", said)[:300]
