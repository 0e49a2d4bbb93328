"""The token for private and gated models: from HF_TOKEN, or from the file where the Hub's clients keep it.

It is read when it is needed, so a new one needs no restart, and goes only to the Hub that this server imports from: a
caller may name another one, which is no reason to hand it our token. Only whoever runs the server can set it.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from bedplate.settings import Settings

__all__ = ["HubToken", "find_hub_token", "hub_token_for"]

log = logging.getLogger(__name__)

MOST_BYTES = 4096
TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class HubToken:
    """A token, if there is one, and where it is from; or why the one that is there is not used, and the remedy."""

    text: str | None = field(default=None, repr=False)
    source: str = "none: public models only"
    problem: str = ""
    remedy: str = ""


def find_hub_token(settings: Settings) -> HubToken:
    """HF_TOKEN, else what the token file holds, where that is for this user alone. Never raises."""
    if settings.hf_token is not None:
        return HubToken(settings.hf_token, "HF_TOKEN")
    if settings.hf_token_file is None:
        return HubToken()
    return _read(settings.hf_token_file)


def hub_token_for(settings: Settings, hub_url: str) -> str | None:
    """The token for that Hub, or None. One that is there and not used is told of in the log."""
    if hub_url.rstrip("/") != settings.hub_url:
        return None
    found = find_hub_token(settings)
    if found.problem:
        log.warning("The token for the Hub is not used: %s. %s", found.problem, found.remedy)
    return found.text


def _read(path: Path) -> HubToken:
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return HubToken()
    except OSError as exc:
        reason = "is a link" if exc.errno == errno.ELOOP else f"cannot be read ({exc.strerror})"
        return HubToken(problem=f"{path} {reason}", remedy="Put the token itself there, or set HF_TOKEN.")
    try:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            return HubToken(problem=f"{path} is no regular file", remedy="Put a file there, or set HF_TOKEN.")
        if found.st_uid != os.geteuid():
            return HubToken(problem=f"{path} belongs to another user", remedy="Log in as the user of the server.")
        if found.st_mode & 0o177:
            return HubToken(problem=f"{path} is not for its owner alone", remedy=f"chmod 600 {path}")
        text = os.read(number, MOST_BYTES + 1).decode("utf-8", "replace").strip()
    finally:
        os.close(number)
    if len(text) > MOST_BYTES or not TOKEN.fullmatch(text):
        return HubToken(problem=f"{path} holds no token", remedy="Write it anew: hf auth login")
    return HubToken(text, f"the file {path}")
