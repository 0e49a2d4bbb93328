"""The name of one request, by which the logs of all processes that it passes through are found."""

from __future__ import annotations

import os

from bedplate_serving.asgi import Scope, header

__all__ = ["request_id_of"]

CHARACTERS = 128


def request_id_of(scope: Scope) -> str:
    """The caller's X-Request-Id, where it is one word of a sane length; else a new one."""
    given = header(scope, b"x-request-id") or ""
    is_good = 0 < len(given) <= CHARACTERS and given.isascii() and given.isprintable() and " " not in given
    return given if is_good else os.urandom(16).hex()
