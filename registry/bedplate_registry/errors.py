"""The errors of all four floors.

    BedplateError
    ├── Refused              the input is wrong: says which value and what is accepted     (HTTP 422)
    │   ├── TooLarge         more than is taken                                            (HTTP 413)
    │   └── UnsupportedMedia of a type or in an encoding that is not read                  (HTTP 415)
    ├── NotFound             a name, job or file that is not there                         (HTTP 404)
    ├── Conflict             right in itself, but not in this state                        (HTTP 409)
    │   └── Changed          somebody else changed it since the caller looked              (HTTP 412)
    ├── Forbidden            the caller may not                                            (HTTP 403)
    └── Unavailable          cannot be done now; the same call may go through later        (HTTP 503)
        └── NoRoom           the disk has no room for it                                   (HTTP 507)

A message says what happened and which value; the hint says what to do next. Neither holds a secret or a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BedplateError",
    "Changed",
    "Conflict",
    "Forbidden",
    "NoRoom",
    "NotFound",
    "Refused",
    "TooLarge",
    "Unavailable",
    "UnsupportedMedia",
    "nearest",
]


class BedplateError(Exception):
    """Something Bedplate cannot do, with a stable `code` for programs and a `hint` for people."""

    code = "failed"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "hint": self.hint}


class Refused(BedplateError):
    """The input is wrong."""

    code = "refused"


class TooLarge(Refused):
    """More than is taken."""

    code = "too-large"


class UnsupportedMedia(Refused):
    """Of a type that is not read."""

    code = "unsupported-media-type"


class NotFound(BedplateError):
    """What was asked for is not there."""

    code = "not-found"


class Conflict(BedplateError):
    """Right in itself, but not in this state."""

    code = "conflict"


class Changed(Conflict):
    """It was changed by somebody else since the caller looked."""

    code = "changed"

    def __init__(
        self,
        message: str = "It was changed since you looked.",
        *,
        hint: str = "Get it again, and send the change with the new ETag.",
        code: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)


class Forbidden(BedplateError):
    """The caller may not do this."""

    code = "forbidden"


class Unavailable(BedplateError):
    """Cannot be done now."""

    code = "unavailable"


class NoRoom(Unavailable):
    """The disk has no room for it."""

    code = "no-room"


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest valid name to an unknown one, or lists them all."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."
